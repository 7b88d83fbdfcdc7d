"""The tutorial is true: a pack written by `adapt plugins new` installs from its wheel, passes its checks and runs."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from .conftest import NO_NETWORK

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-pack.md").read_text(encoding="utf-8")
KINDS = ("merger", "source", "evaluator", "backend")


def commands() -> list[list[str]]:
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [shlex.split(line) for block in blocks for line in block.splitlines()]


class Workshop:
    """A folder in which an author works: commands of the tutorial, packs installed from their wheels."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.site = folder, folder / "site"
        self.site.mkdir()
        (self.site / "sitecustomize.py").write_text(NO_NETWORK)
        self.env = {**os.environ, "PYTHONPATH": str(self.site), "ADAPT_HOME": str(folder / "home"), "COLUMNS": "100"}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(command, cwd=self.folder, env=self.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done

    def adapt(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self.run(sys.executable, "-m", "domadapt", *arguments)

    def install(self, folder: str) -> None:
        """Build the wheel and install it, as `pip install` does."""
        pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
        wheels = self.folder / f"{folder}.wheel"
        self.run(*pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(self.folder / folder))
        (wheel,) = wheels.glob("*.whl")
        self.run(*pip, "install", "--no-deps", "--target", str(self.site), str(wheel))


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    return Workshop(tmp_path)


def test_every_command_of_the_tutorial_works_in_its_order(workshop: Workshop) -> None:
    for program, *arguments in commands():
        if program == "pip":
            assert arguments[:2] == ["install", "-e"]
            workshop.install(arguments[2])
        else:
            assert program == "adapt"
            workshop.adapt(*arguments)
    report = json.loads((workshop.folder / "runs" / "biology-starter" / "report.json").read_bytes())
    assert [model["label"] for model in report["models"]] == ["base", "instruct", "cpt", "ties"]
    assert "biology_rulings" in {task["task"] for task in report["tasks"]}
    funnel = report["corpora"]["domain"]["funnel"]
    assert {step["step"] for step in funnel} >= {"biology.footers", "dedup.minhash"}


@pytest.mark.parametrize("kind", ["pack", *KINDS])
def test_what_is_written_passes_the_projects_own_checks(workshop: Workshop, kind: str) -> None:
    workshop.adapt("plugins", "new", "sample_name", "--kind", kind)
    config = str(ROOT / "pyproject.toml")
    for check in (["check"], ["format", "--check"]):
        workshop.run(sys.executable, "-m", "ruff", *check, "--no-cache", "--config", config, "domadapt-sample-name")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["pack", *KINDS])
def test_a_plugin_of_each_kind_installs_and_passes_its_own_tests_and_types(workshop: Workshop, kind: str) -> None:
    workshop.adapt("plugins", "new", "sample_name", "--kind", kind)
    workshop.install("domadapt-sample-name")
    workshop.adapt("plugins", "check", "sample_name")
    workshop.run(sys.executable, "-m", "pytest", "-q", "domadapt-sample-name/tests")
    workshop.run(sys.executable, "-m", "mypy", "--strict", "domadapt-sample-name/src")


def test_a_folder_that_is_there_is_not_written_to(workshop: Workshop) -> None:
    (workshop.folder / "domadapt-mine").mkdir()
    command = [sys.executable, "-m", "domadapt", "plugins", "new", "mine"]
    done = subprocess.run(command, cwd=workshop.folder, env=workshop.env, capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert "domadapt-mine is there already" in done.stderr
    assert list((workshop.folder / "domadapt-mine").iterdir()) == []


@pytest.mark.parametrize("name", ["Biology", "my-pack", "1st", "class", "x", "domadapt", "../up"])
def test_what_cannot_be_a_package_is_refused(workshop: Workshop, name: str) -> None:
    command = [sys.executable, "-m", "domadapt", "plugins", "new", "--", name]
    done = subprocess.run(command, cwd=workshop.folder, env=workshop.env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "cannot be the name of a package" in done.stderr
