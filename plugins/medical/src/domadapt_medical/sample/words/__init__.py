"""The sentences of the sample articles: rules of the prose grammar, kept as data (one TOML file a design)."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

from domadapt.testing.prose import Grammar


@cache
def grammar(design: str) -> Grammar:
    """Shared rules, ways to state comparisons, and the design's own, which win."""
    return Grammar({**_rules("common"), **_rules("comparison"), **_rules(design)})


@cache
def _rules(name: str) -> Mapping[str, Sequence[str]]:
    return tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text("utf-8"))
