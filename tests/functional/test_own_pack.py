"""The tutorial is true: a pack written by `adapt plugins new` installs from its wheel, passes its checks and runs."""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from .conftest import NO_NETWORK

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "own-pack.md").read_text(encoding="utf-8")
KINDS = ("merger", "source", "evaluator", "backend")


def commands() -> list[list[str]]:
    """Every command of the page in its order, each once."""
    blocks = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
    return [shlex.split(line) for line in dict.fromkeys(line for block in blocks for line in block.splitlines())]


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


def test_every_piece_of_code_in_the_tutorial_runs(tmp_path: Path) -> None:
    blocks = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    assert len(blocks) == 3
    for number, block in enumerate(blocks):
        load(block, f"tutorial_{number}", tmp_path)


def load(code: str, name: str, folder: Path) -> ModuleType:
    """Import a piece of code as a file of its own."""
    file = folder / f"{name}.py"
    file.write_text(code, encoding="utf-8")
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_source_for_letters_in_the_tutorial_reads_letters_and_rejects_the_rest(tmp_path: Path) -> None:
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL) if "class Letters(" in block)
    letters = load(code, "tutorial_letters", tmp_path)
    folder = tmp_path / "letters"
    folder.mkdir()
    head = b"From: Ada <ada@x.example>\nMessage-ID: <1@x>\nSubject: Keys\n"
    (folder / "a.eml").write_bytes(head + b"\nThey are\nhere.\n> Where?\n-- \nAda\n")
    (folder / "b.eml").write_bytes(b"From: Bo <bo@x.example>\nReferences: <1@x> <2@x>\n\nThanks.\n")
    (folder / "c.eml").write_bytes(head + b'Content-Type: text/plain; charset="klingon"\n\nqa\xffpla\n')
    (folder / "d.eml").write_bytes(bytes(range(256)))
    (folder / "e.txt").write_text("no letter")
    rejected: list[tuple[str, str]] = []
    source = letters.Letters(letters.LettersOptions(path=str(folder)))
    batches = list(source.read(lambda reason, where: rejected.append((reason, where))))
    rows = [row for batch in batches for row in batch.to_pylist()]
    assert [(row["id"], row["text"], row["group"]) for row in rows[:2]] == [
        ("a.eml", "They are\nhere.", "<1@x>"),
        ("b.eml", "Thanks.", "<1@x>"),
    ]
    assert {*(row["id"] for row in rows), *(where for _, where in rejected)} == {path.name for path in folder.iterdir()}
    assert ("no text", "d.eml") in rejected
    assert ("not .eml", "e.txt") in rejected


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
    settings = "--config-file=domadapt-sample-name/pyproject.toml"
    workshop.run(sys.executable, "-m", "mypy", settings, "domadapt-sample-name/src")


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
