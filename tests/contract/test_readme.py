"""What the README says is true: its commands are there, plan and parse."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest
from click.testing import CliRunner

from domadapt.builtin.models.resolve import resolve_model
from domadapt.cli import COMMANDS, adapt

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
    named = set(re.findall(r"`adapt (\w+)", README))
    assert named <= set(COMMANDS)
    assert set(COMMANDS) <= named


def test_the_plugin_in_the_readme_is_one(tmp_path: Path):
    from domadapt import components, hookspecs
    from domadapt_registry import Registry

    (block,) = re.findall(r"^```python\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    module = ModuleType("readme_plugin")
    module.__file__ = str(tmp_path / "plugin.py")
    exec(compile(block, module.__file__, "exec"), vars(module))
    found = Registry.discover(hookspecs, builtin=[("law", module)], entry_points=[], names=vars(components))
    assert [row.state for row in found.rows] == ["ok"]
    assert found.find("domain", "law").recipes == tmp_path / "recipes"


def code_spans() -> list[str]:
    """What stands between backticks, without the blocks."""
    prose = re.sub(r"^```.*?^```", "", README, flags=re.MULTILINE | re.DOTALL)
    return [span.replace("\\|", "|") for span in re.findall(r"`([^`]+)`", prose)]


def options_of(command: click.Command) -> set[str]:
    """Its options and those of its subcommands."""
    inner = command.commands.values() if isinstance(command, click.Group) else ()
    return {name for one in (command, *inner) for option in one.params for name in option.opts}


@pytest.mark.parametrize("span", [span for span in code_spans() if re.match(r"adapt [a-z]|--[a-z]", span)])
def test_the_options_in_the_text_exist(span: str):
    names = [span.split()[1]] if span.startswith("adapt ") else list(COMMANDS)
    known: set[str] = set()
    for name in names:
        _, command, _ = adapt.resolve_command(click.Context(adapt, info_name="adapt"), [name])
        assert command is not None
        known |= options_of(command)
    assert set(re.findall(r"(?<![\w-])--[a-z-]+", span)) <= known


SETTINGS = [span for span in code_spans() if re.match(r"--(set|merge|control) ", span)]


@pytest.mark.parametrize("span", SETTINGS)
def test_a_run_takes_the_settings_in_the_text(span: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    for name, model in (("my-base", "builtin:tiny"), ("my-instruct", "builtin:tiny-instruct")):
        folder = resolve_model(model, tmp_path)
        assert folder is not None
        shutil.copytree(folder, tmp_path / name)
    (tmp_path / "medqa").mkdir()
    item = {"question": "?", "options": {"A": "a", "B": "b", "C": "c", "D": "d"}, "answer_idx": "A", "answer": "a"}
    (tmp_path / "medqa" / "test.jsonl").write_text(json.dumps(item) + "\n")
    done = CliRunner().invoke(adapt, ["run", "--domain", "sec", "--dry-run", *shlex.split(span)])
    assert done.exit_code == 0, done.output


def test_links_inside_the_project_lead_somewhere():
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "plugins").glob("*/README.md")]
    for page in pages:
        for link in re.findall(r"\]\((?!https?:|#)([^)#]+)", page.read_text()):
            made = link.startswith("reference/")  # by tools/docs_reference.py, while the site is built
            assert made or (page.parent / link).exists(), f"{page.name}: {link}"
