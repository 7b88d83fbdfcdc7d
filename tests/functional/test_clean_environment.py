"""An environment with installed wheels and nothing of this clone: plugins are written, built, installed and run there.

The libraries that the wheels require are those of the environment of the tests, by links; nothing of adapt is linked.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import time
import venv
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import NO_NETWORK

ROOT = Path(__file__).parents[2]
OWN = ("domadapt", "_domadapt", "__editable__", "sitecustomize", "__pycache__")
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1500)]
MINUTES = 10
"""What the first run of a new pack may take, from its name to its report."""


@dataclass(frozen=True)
class Environment:
    """A virtual environment and a folder to work in."""

    folder: Path

    def run(self, program: str, *arguments: str, cwd: Path | None = None) -> str:
        """Run a program of the environment in the working folder; return stdout."""
        work = self.folder / "work"
        work.mkdir(exist_ok=True)
        dropped = ("PYTHONPATH", "PYTHONHOME", "ADAPT_", "VIRTUAL_ENV")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(dropped)}
        settings = {"ADAPT_HOME": str(self.folder / "home"), "COLUMNS": "120"}
        command = [str(self.folder / "env" / "bin" / program), *arguments]
        done = subprocess.run(
            command, cwd=cwd or work, env={**kept, **settings}, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def install(self, project: Path, *options: str) -> None:
        """Build the wheel of a project and install it."""
        pip = ("-m", "pip", "--disable-pip-version-check", "-q")
        wheels = self.folder / "wheels" / project.name
        self.run("python", *pip, "wheel", "--no-deps", "--no-build-isolation", "-w", str(wheels), str(project))
        (wheel,) = wheels.glob("*.whl")
        self.run("python", *pip, "install", "--no-deps", "--no-index", *options, str(wheel))

    def report(self, run: str) -> dict[str, object]:
        """report.json of a run."""
        report: dict[str, object] = json.loads((self.folder / "work" / "runs" / run / "report.json").read_bytes())
        return report


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with adapt's wheel. Tests add to it."""
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder / "env", with_pip=True)
    (site,) = (folder / "env" / "lib").glob("python*/site-packages")
    libraries = folder / "libraries"
    libraries.mkdir()
    for place in map(Path, sys.path):
        for entry in place.iterdir() if place.name in ("site-packages", "dist-packages") else ():
            link = libraries / entry.name
            if not entry.name.startswith(OWN) and entry.suffix != ".pth" and not link.exists():
                link.symlink_to(entry)
    (site / "libraries.pth").write_text(f"{libraries}\n")
    (site / "sitecustomize.py").write_text(NO_NETWORK)
    environment = Environment(folder)
    environment.install(ROOT)
    return environment


@pytest.fixture(scope="module")
def biology(clean: Environment) -> float:
    """The tutorial's first page in the environment. Gives the seconds it took."""
    started = time.monotonic()
    clean.run("adapt", "plugins", "new", "biology")
    clean.install(clean.folder / "work" / "domadapt-biology")
    clean.run("adapt", "plugins", "check", "biology")
    clean.run("adapt", "run", "--domain", "biology")
    return time.monotonic() - started


def test_nothing_of_the_clone_is_there(clean: Environment) -> None:
    rows = json.loads(clean.run("adapt", "plugins", "--json"))
    assert {row["location"].startswith(str(clean.folder)) for row in rows} == {True}
    assert "domadapt" in [row["distribution"] for row in rows]


def test_a_new_pack_is_built_installed_and_run_within_minutes(clean: Environment, biology: float) -> None:
    assert biology < 60 * MINUTES
    tasks = clean.report("biology-starter")["tasks"]
    assert isinstance(tasks, list)
    assert "biology_rulings" in {task["task"] for task in tasks}
    print(f"\nbiology: {biology:.0f} s")


KINDS = {
    "merger": ("--merge", "fresh"),
    "source": ("--set", "corpus.domain=[{source: biology.documents}, {source: fresh.notes, options: {path: notes}}]"),
    "evaluator": ("--set", "eval.domain=[fresh_prompts]"),
    "backend": ("--set", "train.backend=fresh"),
}


@pytest.mark.parametrize("kind", list(KINDS))
@pytest.mark.usefixtures("biology")
def test_a_new_plugin_of_each_kind_is_built_installed_checked_and_used_in_a_run(
    clean: Environment, kind: str, tmp_path: Path
) -> None:
    notes = clean.folder / "work" / "notes"
    notes.mkdir(exist_ok=True)
    paragraphs = [f"Observation {n}: " + "the sample was put aside. " * 12 for n in range(4)]
    (notes / "a.txt").write_text("\n\n".join(paragraphs))
    clean.run("adapt", "plugins", "new", "fresh", "--kind", kind, "--folder", str(tmp_path))
    clean.install(tmp_path / "domadapt-fresh")
    clean.run("adapt", "plugins", "check", "fresh")
    clean.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / "domadapt-fresh" / "tests"))
    clean.run("adapt", "run", "--domain", "biology", "--name", kind, *KINDS[kind])
    assert "fresh" in (clean.folder / "work" / "runs" / kind / "recipe.lock.yaml").read_text()
    clean.run("python", "-m", "pip", "-q", "uninstall", "-y", "domadapt-fresh")


def test_the_tutorials_pack_for_letters_works_at_the_first_try(clean: Environment, tmp_path: Path) -> None:
    """What the page tells to do with a format that nobody here has seen, word for word."""
    page = (ROOT / "docs" / "own-pack.md").read_text(encoding="utf-8")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "class Letters(" in block)
    (command,) = re.findall(r"^    (adapt run .*letters.*)$", page, re.MULTILINE)
    clean.run("adapt", "plugins", "new", "biology", "--folder", str(tmp_path))
    project = tmp_path / "domadapt-biology"
    package = project / "src" / "domadapt_biology"
    (package / "source.py").write_text(code, encoding="utf-8")
    for file in (package / "plugin.py", package / "recipes" / "starter.yaml"):
        text = file.read_text(encoding="utf-8")
        file.write_text(re.sub(r"\bDocuments\b", "Letters", text).replace("biology.documents", "biology.letters"))
    (package / "sample" / "documents.jsonl").unlink()
    for folder, count in ((package / "sample", 40), (clean.folder / "work" / "letters", 80)):
        folder.mkdir(exist_ok=True)
        for number in range(count):
            counts = [f"We counted {number * row % 31} in row {row}, as {row} days ago." for row in range(1, 9)]
            head = f"From: Ada <ada@x.example>\nMessage-ID: <{number}@x>\nSubject: Count {number}\n"
            (folder / f"{number}.eml").write_text(f"{head}\n{chr(10).join(counts)}\n> We counted.\n-- \nAda\n")
    clean.install(project, "--force-reinstall")
    clean.run("adapt", "plugins", "check", "biology")
    clean.run(*shlex.split(command), "--name", "letters", "--set", "train.steps=4")
    corpora = clean.report("letters")["corpora"]
    assert isinstance(corpora, dict)
    assert corpora["domain"]["funnel"][0]["in"] == 80


def test_the_examples_are_built_installed_pass_their_tests_and_run(clean: Environment, tmp_path: Path) -> None:
    for name in ("domadapt-legal", "domadapt-maxmagnitude"):
        subprocess.run(["cp", "-r", str(ROOT / "examples" / name), str(tmp_path)], check=True)
        clean.install(tmp_path / name)
        clean.run("python", "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path / name / "tests"))
        settings = (f"--config-file={tmp_path / name / 'pyproject.toml'}", f"--cache-dir={tmp_path / 'mypy'}")
        clean.run("python", "-m", "mypy", *settings, str(tmp_path / name / "src"))
    clean.run("adapt", "run", "--domain", "legal", "--merge", "ties", "--merge", "max_magnitude")
    report = clean.report("legal-starter")
    models, tasks = report["models"], report["tasks"]
    assert isinstance(models, list)
    assert isinstance(tasks, list)
    assert [model["label"] for model in models] == ["base", "instruct", "cpt", "ties", "max_magnitude"]
    assert {"legal_limits", "legal_sections", "legal_outcomes"} <= {task["task"] for task in tasks}
    compared = json.loads(clean.run("adapt", "compare", "legal-starter:instruct", "legal-starter:cpt", "--json"))
    assert {"legal_limits", "legal_sections", "legal_outcomes"} <= {row["task"] for row in compared["pairs"][0]["rows"]}
