"""The documentation builds without a warning, asks nobody for anything, and its commands and recipes are right."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from domadapt.cli import adapt
from domadapt.recipe.check import resolve
from domadapt.recipe.load import load_recipe

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs").glob("*.md"))
COMMAND = re.compile(r"^(?:    )?(adapt [a-z].*?)(?:  +#.*)?$", re.MULTILINE)


def commands() -> list[tuple[str, str]]:
    """(page, command) of every line of a page that is a command and leaves nothing out."""
    found = [(page.name, line) for page in PAGES for line in COMMAND.findall(page.read_text(encoding="utf-8"))]
    return [(page, line) for page, line in found if "..." not in line and "[" not in line.split("'")[0]]


def recipes() -> list[tuple[str, str]]:
    """(page, text) of every recipe that stands whole in a page of the manual."""
    fenced = re.compile(r"```yaml\n(version: 1\n.*?)```", re.DOTALL)
    blocks = [(page.name, text) for page in PAGES for text in fenced.findall(page.read_text(encoding="utf-8"))]
    return [(page, text) for page, text in blocks if "\nmodel:" in text and "pack:" not in text]


@pytest.mark.parametrize(("page", "line"), commands())
def test_a_command_in_the_documentation_is_one(page: str, line: str) -> None:
    name, *arguments = shlex.split(line, comments=True)[1:]
    _, command, _ = adapt.resolve_command(click.Context(adapt, info_name="adapt"), [name])
    assert command is not None
    context = command.make_context(name, list(arguments))
    if isinstance(command, click.Group) and arguments:
        inner = command.get_command(context, arguments[0])
        assert inner is not None, line
        inner.make_context(arguments[0], arguments[1:])


@pytest.mark.parametrize(("page", "text"), recipes())
def test_a_recipe_in_the_documentation_validates(page: str, text: str, tmp_path: Path) -> None:
    from domadapt.cli.frame import open_registry

    file = tmp_path / "recipe.yaml"
    file.write_text(text)
    resolve(load_recipe(open_registry(), path=file))


def test_the_site_builds_without_a_warning_and_asks_nobody(tmp_path: Path) -> None:
    if importlib.util.find_spec("material") is None:
        pytest.skip("mkdocs-material is not installed: the documentation is not built")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    pages = list(tmp_path.rglob("*.html"))
    assert len(pages) > len(PAGES)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        assert not re.findall(r"<(?:script|img|iframe|source)[^>]+src=\"?https?:", text), page.name
        loaded = re.findall(r"<link[^>]*>", text)
        assert not [tag for tag in loaded if "http" in tag and not re.search(r"rel=\"?(canonical|prev|next)", tag)]
    components = (tmp_path / "reference" / "components.html").read_text(encoding="utf-8")
    assert "sec.filings" in components
    assert "max_reject_rate" in (tmp_path / "recipes.html").read_text(encoding="utf-8")
