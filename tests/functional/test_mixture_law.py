"""`mix.replay: law` on the default run: the advice, and what the training at the advised share measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "domadapt", "run", "--domain", "sec", "--set", "mix.replay=law"]


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_default_run_at_the_share_that_a_law_advised_measures_what_was_predicted(tmp_path: Path) -> None:
    """Five small runs first: a quarter of an hour on two cores."""
    done = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, timeout=3500, check=False)
    assert done.returncode == 0, done.stderr
    assert "5 small runs of 75 steps" in done.stderr
    folder = tmp_path / "runs" / "sec-starter"
    law = json.loads((folder / "report.json").read_bytes())["law"]
    plan = json.loads((folder / "stages" / "tokens" / "plan.json").read_bytes())
    achieved = {part["name"]: part["share_achieved"] for part in plan["parts"]}
    windows = 75 * 16
    assert achieved["general"] == pytest.approx(law["advice"]["replay"], abs=1 / windows)
    assert 0.01 <= law["advice"]["replay"] <= 0.5
    for outcome in law["outcome"]:
        assert outcome["inside"], outcome
        assert outcome["half"] <= 0.05
    assert "The mixture, chosen by a law" in (folder / "report.html").read_text()
    assert (folder / "stages" / "law" / "law.html").is_file()
    assert "measured" in done.stdout

    again = subprocess.run(COMMAND, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=True)
    assert "small runs" not in again.stderr
