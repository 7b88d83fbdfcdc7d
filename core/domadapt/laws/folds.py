"""What is held out together, and distinct values: how a table is cut to see what a law says of what it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray

LATE = 0.2
"""Share of a run's last measurements that are held out to see how a law extrapolates in length."""
TENTHS = 10
"""Parts that many mixtures are held out in."""

Folds = Sequence[tuple[str, "Array"]]
"""What is held out together: its label, and which rows [n] (bool)."""


def distinct_values(values: Array) -> Array:
    """Distinct values, rounding apart."""
    ordered = np.unique(values)
    kept = [ordered[:1], *(np.array([b]) for a, b in pairwise(ordered) if not np.isclose(a, b, rtol=1e-6, atol=1e-9))]
    return np.concatenate(kept)


def by_value(values: Array, least: int) -> Folds:
    """Each distinct value in turn, where enough others are left."""
    distinct = distinct_values(values)
    if len(distinct) <= least:
        return []
    return [(f"{value:.4g}", np.isclose(values, value, rtol=1e-6, atol=1e-9)) for value in distinct]


def late(groups: Array, lengths: Array) -> Folds:
    """The last fifth of every run's measurements at once; none where runs are a few points long."""
    held = np.zeros(len(groups), bool)
    for run in dict.fromkeys(groups):
        rows = np.flatnonzero(groups == run)
        count = int(LATE * len(rows))
        if count:
            held[rows[np.argsort(lengths[rows], kind="stable")[-count:]]] = True
    return [("last fifth", held)] if held.any() else []


def by_name(names: Array) -> Folds:
    """Each run or domain in turn, where there is more than one."""
    distinct = list(dict.fromkeys(names))
    return [(str(name), names == name) for name in distinct] if len(distinct) > 1 else []


def by_mixture(mixture: Array, distinct: Array, wanted: int) -> Folds:
    """Each mixture in turn; of many, tenths. mixture: number of each row's [n].  distinct: the mixtures."""
    count = len(distinct)
    if count <= wanted:
        return []
    if count <= 2 * TENTHS:
        return [("-".join(f"{v:g}" for v in distinct[i]), mixture == i) for i in range(count)]
    tenth = np.random.default_rng(0).permutation(count) % TENTHS
    return [(f"tenth {i + 1}", tenth[mixture] == i) for i in range(TENTHS)]


def usable(folds: Mapping[str, Folds]) -> dict[str, Folds]:
    """The ways to hold out that the data allow."""
    return {name: rows for name, rows in folds.items() if rows}
