"""Which requests go through the model together: rows, headers that many rows share, batches.

A header (the solved examples before every question, a passage with many questions) goes through the model once; its
keys and values stand before every row of its batches. Rows are sorted by length and a batch holds as many as its
token budget allows, so little is padding.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from domadapt.builtin.evaluating.scoring.requests import Requests
from domadapt.builtin.evaluating.scoring.trees import Numbered, Tree, common_length, sort_key, trees

HEADER_COST = 256
"""Tokens that a header must save beyond its own: it breaks the batches apart."""
HEADER_SHARE = 8
"""A header's token in front of a row counts as 1/8 token of the row: it is copied and attended to, not computed."""


@dataclass(frozen=True)
class Batch:
    """Rows that go through the model together, behind `header`, int32 [P], P often 0."""

    header: np.ndarray
    rows: list[Tree]


class Run(NamedTuple):
    """Neighbouring rows start to stop (exclusive) that share their first `shared` tokens."""

    start: int
    stop: int
    shared: int


def plan(requests: Requests, cost: Callable[[int], float], batch_tokens: int) -> list[Batch]:
    """Batches, those with the longest rows first. Every request is in exactly one."""
    groups: dict[Hashable, list[Numbered]] = {}
    for number, (group, request) in enumerate(zip(requests.groups, requests.requests, strict=True)):
        groups.setdefault(group, []).append((number, request))
    rows = [tree for members in groups.values() for tree in trees(members, cost, batch_tokens)]
    rows.sort(key=lambda tree: sort_key(tree.ids[: tree.root]))
    batches: list[Batch] = []
    rest = np.ones(len(rows), bool)
    for run in headers(rows):
        rest[run.start : run.stop] = False
        batches += cut(rows[run.start].ids[: run.shared], rows[run.start : run.stop], batch_tokens)
    batches += cut(np.empty(0, np.int32), [rows[i] for i in np.flatnonzero(rest)], batch_tokens)
    return sorted(batches, key=lambda batch: -len(batch.header) - len(batch.rows[0]))


def headers(rows: Sequence[Tree]) -> list[Run]:
    """The headers that save most tokens, for rows in the order of their roots.

    Rows that share at least so many first tokens are intervals of the order, one inside the other; an interval is
    taken when it saves more than all those inside it together.
    """
    shared = [common_length(a.ids[: a.root], b.ids[: b.root]) for a, b in pairwise(rows)]
    open_runs: list[tuple[int, int, int, list[Run]]] = [(-1, 0, 0, [])]  # shared, start, saved inside, runs inside
    for at, length in enumerate([*shared, -1], start=1):
        start, saved, inside = at - 1, 0, list[Run]()
        while open_runs and open_runs[-1][0] > length:
            deep, start, saved_inside, runs_inside = open_runs.pop()
            saved, inside = saved + saved_inside, [*runs_inside, *inside]
            if (own := deep * (at - start - 1) - HEADER_COST) > saved:
                saved, inside = own, [Run(start, at, deep)]
        if open_runs and open_runs[-1][0] == length:
            _, start, saved_before, runs_before = open_runs.pop()
            saved, inside = saved + saved_before, [*runs_before, *inside]
        open_runs.append((length, start, saved, inside))
    return open_runs[-1][3]


def cut(header: np.ndarray, rows: Iterable[Tree], batch_tokens: int) -> list[Batch]:
    """Batches of rows behind one header, the longest first; a row longer than the budget is a batch of its own."""
    ordered = sorted(rows, key=lambda tree: -len(tree))
    batches, at = [], 0
    while at < len(ordered):
        longest = len(ordered[at]) - len(header) + len(header) // HEADER_SHARE
        count = max(1, batch_tokens // longest)
        batches.append(Batch(header, ordered[at : at + count]))
        at += count
    return batches
