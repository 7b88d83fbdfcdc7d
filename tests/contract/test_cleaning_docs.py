"""The chapter on cleaning in docs/recipes.md: every step and every option with its default, and no other."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic_core import PydanticUndefined

from domadapt.builtin import plugin

PAGE = Path(__file__).parents[2] / "docs" / "recipes.md"
STEPS = {cls.name: cls for cls in plugin.adapt_register_cleaners()}


def chapter() -> str:
    return re.split(r"^## ", PAGE.read_text(encoding="utf-8").split("\n## Cleaning\n")[1], flags=re.MULTILINE)[0]


def rows(columns: int) -> list[list[str]]:
    """Lines of the tables with so many columns, without their heads."""
    lines = [line.strip().strip("|").split("|") for line in chapter().splitlines() if line.startswith("|")]
    cells = [[cell.strip() for cell in line] for line in lines]
    return [row for row in cells if len(row) == columns and not row[0].startswith(("step", "---"))]


def option_rows() -> dict[tuple[str, str], str]:
    """Default by (steps, option) as the page writes them; a cell left empty is that of the row above."""
    found: dict[tuple[str, str], str] = {}
    steps = ""
    for first, option, default, _ in rows(4):
        steps = first or steps
        found[steps, option.strip("`")] = default
    return found


def matching(name: str, option: str) -> list[tuple[str, str]]:
    return [
        (steps, listed)
        for steps, listed in option_rows()
        if listed == option and any(fnmatchcase(name, pattern) for pattern in re.findall(r"`([^`]+)`", steps))
    ]


def test_every_step_is_listed_and_no_other() -> None:
    assert sorted(row[0].strip("`") for row in rows(2)) == sorted(STEPS)


OPTIONS = [(name, option) for name, cls in STEPS.items() for option in cls.Config.model_fields]


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_every_option_has_one_row_with_its_default(name: str, option: str) -> None:
    (place,) = matching(name, option)
    written, default = option_rows()[place], STEPS[name].Config.model_fields[option].default
    if default is PydanticUndefined:
        assert written == "required"
    elif default is None:
        assert written == "nothing"
    else:
        wanted: Any = list(default) if isinstance(default, tuple) else default
        assert yaml.safe_load(re.sub(r"(?<=\d)_(?=\d)", "", written)) == wanted


def test_no_row_is_of_an_option_that_no_step_has() -> None:
    used = {place for name, option in OPTIONS for place in matching(name, option)}
    assert used == set(option_rows())


def test_the_example_is_a_list_of_steps_with_options_they_have() -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", chapter(), re.DOTALL)
    for step in yaml.safe_load(block)["corpus"]["clean"]:
        given = step if isinstance(step, dict) else {"use": step}
        STEPS[given["use"]].Config.model_validate(given.get("options", {}))
