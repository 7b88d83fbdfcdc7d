"""The rules patents are written with (`grammar.toml`): lower-case symbols are rules, those with a capital facts.

Facts about the part in focus: `P` (its name with its sign, written `#12`), `It`, `Is`, `Has`, `S` (ending of its
verb), `Do`, `Does`, `Doing` (one of its functions), `Q` (what holds it), `O` (another part). The rest explain
themselves and are made in `facts.py`.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib.resources import files

from domadapt.testing.prose import Grammar


@cache
def patent_grammar() -> Grammar:
    """All rules in one grammar."""
    rules = tomllib.loads((files(__package__) / "grammar.toml").read_text(encoding="utf-8"))
    return Grammar({symbol: [_alternative(entry) for entry in entries] for symbol, entries in rules.items()})


def _alternative(entry: str | list[float | str]) -> str | tuple[float, str]:
    return entry if isinstance(entry, str) else (float(entry[0]), str(entry[1]))
