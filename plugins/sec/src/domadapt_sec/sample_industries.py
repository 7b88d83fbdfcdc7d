"""The industries of the sample filings: classification, economics and vocabulary, read from `sample_industries.toml`.

The economics are rough, good enough for statements that look like the industry's (a utility is all plant
and debt, a biotech burns cash); the vocabulary is what makes filings of two industries read differently.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Literal

Range = tuple[float, float]


@dataclass(frozen=True)
class Economics:
    """Ranges a company's habits are drawn from; shares are of annual revenue, for a bank of interest income.

    cost: what is deducted before gross profit, depreciation included.  plant: at the start.
    seasons: revenue of the four quarters relative to a quarter of the year's.
    """

    growth: Range
    cost: Range
    overhead: Range
    research: Range
    plant: Range
    inventory_days: Range
    receivable_days: Range
    debt: Range
    seasons: tuple[float, float, float, float]


@dataclass(frozen=True)
class Industry:
    """One industry. sic, title: as in EDGAR's list.  names: what its companies have in theirs.
    revenue, cost: the captions its companies use.

    words: grammar symbol -> phrases, of which a company takes a part for its own.
    """

    key: str
    sic: str
    title: str
    names: tuple[str, ...]
    model: Literal["commercial", "bank"]
    revenue: str
    cost: str
    economics: Economics
    words: Mapping[str, tuple[str, ...]] = field(repr=False, hash=False)


@cache
def industries() -> tuple[Industry, ...]:
    """All industries, in the order of the file."""
    tables = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
    return tuple(
        Industry(
            key=key,
            economics=Economics(**{name: tuple(values) for name, values in table.pop("economics").items()}),
            names=tuple(table.pop("names")),
            words={symbol: tuple(phrases) for symbol, phrases in table.pop("words").items()},
            **table,
        )
        for key, table in tables.items()
    )
