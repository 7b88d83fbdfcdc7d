"""`adapt experiment` as a process: killed in the middle it goes on, and an arm that fails takes no other with it."""

from __future__ import annotations

import json

import pytest

from .conftest import Adapt

EXPERIMENT = ("experiment", "--domain", "law", "--vary", "train.lr=1e-3,1e30,3e-4")
ARMS = ("law.lr-1e-3", "law.lr-1e30", "law.lr-3e-4")


def trains(adapt: Adapt, run: str) -> bool:
    """Whether the run has come to its training's first checkpoint."""
    try:
        return any(e["stage"] == "train" and e["kind"] == "checkpoint" for e in adapt.events(run))
    except (FileNotFoundError, ValueError):
        return False


@pytest.mark.slow
def test_an_experiment_killed_in_its_last_arm_goes_on_and_compares_the_arms_beside_one_that_fails(adapt: Adapt) -> None:
    assert adapt.kill_when(EXPERIMENT, lambda: trains(adapt, ARMS[2])) == -9
    before = adapt.done(ARMS[0])
    assert "report" in before
    assert "train" not in adapt.done(ARMS[1])

    said = adapt(*EXPERIMENT, code=1)
    assert adapt.done(ARMS[0]) == before
    assert any(e["kind"] == "resumed" for e in adapt.events(ARMS[2]))
    last = said.splitlines()[-1]
    assert last.startswith("experiment: 1 of 3 arms failed (train.lr=1e30: train: ")
    assert "the 2 others are compared above" in last
    assert "Traceback" not in said

    folder = adapt.folder / "runs" / "law.lr-1e-3.1e30.3e-4"
    data = json.loads((folder / "experiment.json").read_bytes())
    assert [(arm["arm"], arm["state"]) for arm in data["arms"]] == [
        ("train.lr=1e-3", "done"),
        ("train.lr=3e-4", "done"),
        ("train.lr=1e30", "failed"),
    ]
    assert data["budget"] == {
        "equal": True,
        "sentence": "the arms are of equal budget: 12 steps, 6,144 tokens each",
    }
    assert {curve["curve"] for curve in data["curves"]} >= {"held-out domain loss", "held-out general loss"}
    assert {row["arm"] for row in data["gaps"]} == {"train.lr=1e-3", "train.lr=3e-4"}
    page = (folder / "experiment.html").read_text()
    for run in (ARMS[0], ARMS[2]):
        assert f'href="../{run}/report.html"' in page
        assert (folder.parent / run / "report.html").is_file()
