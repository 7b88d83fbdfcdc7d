"""docs/recipes.md is true: every key is there, with its default, and no other."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from domadapt.recipe.reading import read_value
from domadapt.recipe.schema import Recipe
from domadapt.recipe.tree import Origin
from domadapt.recipe.values import keys_of

PAGE = Path(__file__).parents[3] / "docs" / "recipes.md"


def schema_keys(section: type[BaseModel], at: str = "") -> dict[str, Any]:
    """Every key as the page writes it, with its default (PydanticUndefined: required)."""
    keys: dict[str, Any] = {}
    for key, field in keys_of(section).items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            keys |= schema_keys(annotation, f"{at}{key}.")
            continue
        keys[f"{at}{key}"] = field.get_default()
        items = [a for a in get_args(annotation) for a in (*get_args(a), a) if isinstance(a, type)]
        for item in items:
            if issubclass(item, BaseModel) and key not in ("general", "earlier"):  # as `domain`, `mix`
                keys |= schema_keys(item, f"{at}{key}[]." if get_origin(annotation) is list else f"{at}{key}.")
    return keys


def page_rows() -> dict[str, str]:
    """Default by key, from the tables of the page's last chapter."""
    chapter = PAGE.read_text(encoding="utf-8").split("## Every key")[1]
    return dict(re.findall(r"^\| `([a-z0-9_.\[\]]+)` +\| ([^|]*?) +\|", chapter, re.MULTILINE))


def test_the_page_explains_every_key_of_the_schema_and_no_other() -> None:
    assert set(page_rows()) == set(schema_keys(Recipe))


def test_every_section_is_named() -> None:
    sections = [key for key in keys_of(Recipe) if key not in schema_keys(Recipe)]
    assert "`" + "`, `".join(sections) + "`" in PAGE.read_text(encoding="utf-8")


@pytest.mark.parametrize("key", sorted(schema_keys(Recipe)))
def test_the_page_states_the_default_of(key: str) -> None:
    default, written = schema_keys(Recipe)[key], page_rows()[key]
    if default is PydanticUndefined:
        assert written == "required"
    elif default is None:
        assert written in ("nothing", "all", "the domain's name")
    elif default in ([], {}):
        assert written == "none"
    elif isinstance(default, list):
        assert written == ", ".join(getattr(item, "use", item) for item in default)
    else:
        assert read_value(re.sub(r"(?<=\d)_(?=\d)", "", written), Origin("page"))[0].plain() == default
