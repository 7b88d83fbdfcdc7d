"""What the README says is true: its commands are there, plan and parse."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"^```sh\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def adapt_commands(text: str) -> list[list[str]]:
    commands = (part.strip() for line in text.splitlines() for part in line.split("&&"))
    return [shlex.split(os.path.expandvars(c))[1:] for c in commands if c.startswith("adapt ")]


def plan(arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    assert arguments[0] == "run"
    command = [sys.executable, "-m", "domadapt", "plan", *arguments[1:]]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)


def test_the_readme_opens_with_the_two_commands():
    first, second = BLOCKS[:2]
    assert first.strip().endswith("adapt run --domain sec")
    assert second.strip().endswith("make test")
    for block in (first, second):
        assert "pip install torch==2.13.0" in block
        assert len(block.strip().splitlines()) == 1


def test_the_first_command_plans_without_a_mistake(tmp_path: Path):
    (arguments,) = adapt_commands(BLOCKS[0])
    done = plan(arguments, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "report" in done.stdout


@pytest.mark.slow
def test_the_main_job_of_the_first_command_ends_with_the_papers_effect(tmp_path: Path):
    (arguments,) = adapt_commands(BLOCKS[0])
    subprocess.run([sys.executable, "-m", "domadapt", *arguments], cwd=tmp_path, check=True, timeout=580)
    verdict = json.loads((tmp_path / "runs/sec-starter/report.json").read_bytes())["verdict"]
    assert verdict["effect"] == "shown"
    (merge,) = verdict["merges"]
    for share in ("kept", "won_back"):
        assert merge[share]["value"] >= 0.6
        assert merge[share]["low"] > 0


def test_the_command_for_your_own_filings_is_one_line_that_plans(tmp_path: Path):
    if "ADAPT_REAL_DATA" not in os.environ:
        pytest.skip("ADAPT_REAL_DATA is not set: no real filings to plan for")
    assert len(BLOCKS[2].strip().splitlines()) == 1
    (arguments,) = adapt_commands(BLOCKS[2])
    done = plan(arguments, tmp_path)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_command_for_your_own_filings_runs_and_accounts_for_every_document(tmp_path: Path):
    if "ADAPT_REAL_DATA" not in os.environ:
        pytest.skip("ADAPT_REAL_DATA is not set: no real filings to run over")
    (arguments,) = adapt_commands(BLOCKS[2])
    short = ["--set", "train.steps=2", "--set", "eval.limit=10"]
    subprocess.run([sys.executable, "-m", "domadapt", *arguments, *short], cwd=tmp_path, check=True, timeout=580)
    report = json.loads((tmp_path / "runs/filings/report.json").read_bytes())
    for step in report["corpora"]["domain"]["funnel"]:
        assert step["in"] == step["kept"] + sum(step["dropped"].values())
    assert report["corpora"]["domain"]["funnel"][0]["in"] > 1000


def test_every_command_in_the_table_exists():
    from domadapt.cli import COMMANDS

    named = set(re.findall(r"`adapt (\w+)", README))
    assert named <= set(COMMANDS)
    assert set(COMMANDS) <= named


def test_python_in_the_readme_parses():
    for block in re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL):
        ast.parse(block)


def test_links_inside_the_project_lead_somewhere():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins").glob("*/README.md")]
    for page in pages:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            made = link.startswith("reference/")  # by tools/docs_reference.py, while the site is built
            assert made or (page.parent / link).exists(), f"{page.name}: {link}"
