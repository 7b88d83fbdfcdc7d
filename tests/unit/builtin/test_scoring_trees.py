"""Rows with branches: every request keeps its own past, and headers are where they save most."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from domadapt.builtin.evaluating.scoring.plan import HEADER_COST, headers, plan
from domadapt.builtin.evaluating.scoring.requests import Request, Requests
from domadapt.builtin.evaluating.scoring.trees import (
    Tree,
    attention_cost,
    common_length,
    grow,
    sort_key,
    tree_mask,
    trees,
)


@st.composite
def a_request(draw: st.DrawFn, letters: int = 2, longest: int = 9) -> Request:
    ids = draw(st.lists(st.integers(0, letters - 1), min_size=2, max_size=longest))
    return Request(np.array(ids, np.int32), draw(st.integers(1, len(ids) - 1)))


many = st.lists(a_request(), min_size=1, max_size=12)


def numbered(requests: Sequence[Request]) -> list[tuple[int, Request]]:
    return sorted(enumerate(requests), key=lambda r: sort_key(r[1].ids[:-1]))


def path(tree: Tree, node: int) -> list[int]:
    """Nodes that a node may look at, by the mask."""
    mask = tree_mask(torch.from_numpy(tree.end)[None])[0]
    return [int(n) for n in np.flatnonzero(mask[node].numpy())]


@given(many)
def test_each_scored_node_sees_its_own_request_and_nothing_else(requests: list[Request]) -> None:
    tree = grow(numbered(requests))
    for owner, (ids, num_scored) in enumerate(requests):
        mine = np.flatnonzero(tree.owner == owner)
        assert tree.target[mine].tolist() == ids[-num_scored:].tolist()
        for at, node in enumerate(tree.node[mine].tolist(), start=len(ids) - 1 - num_scored):
            seen = path(tree, node)
            assert tree.ids[seen].tolist() == ids[: at + 1].tolist()
            assert tree.depth[seen].tolist() == list(range(at + 1))


@given(many)
def test_a_tree_has_one_node_for_each_distinct_beginning(requests: list[Request]) -> None:
    tree = grow(numbered(requests))
    beginnings = {tuple(r.ids[:n].tolist()) for r in requests for n in range(1, len(r.ids))}
    assert len(tree) == len(beginnings)
    assert tree.branches == (len(tree) > max(len(r.ids) - 1 for r in requests))


@given(many)
def test_the_root_is_shared_by_all_and_scored_by_none(requests: list[Request]) -> None:
    tree = grow(numbered(requests))
    inputs = [r.ids[:-1].tolist() for r in requests]
    assert all(ids[: tree.root] == inputs[0][: tree.root] for ids in inputs)
    assert tree.node.min() >= tree.root
    assert tree.root < len(tree)


def test_the_mask_of_a_small_tree_by_hand() -> None:
    """5 6 then 7 8 or 9."""
    requests = [Request(np.array(ids, np.int32), 2) for ids in ([5, 6, 7, 8], [5, 6, 9, 4])]
    tree = grow(numbered(requests))
    assert tree.ids.tolist() == [5, 6, 7, 9]
    assert tree.depth.tolist() == [0, 1, 2, 2]
    assert (tree.root, tree.branches) == (1, True)
    assert tree_mask(torch.from_numpy(tree.end)[None])[0].int().tolist() == [
        [1, 0, 0, 0],
        [1, 1, 0, 0],
        [1, 1, 1, 0],
        [1, 1, 0, 1],
    ]


@given(st.lists(a_request(letters=2, longest=40), min_size=1, max_size=30), st.integers(1, 200), st.integers(1, 3))
def test_a_plan_scores_every_token_of_every_request_once(
    requests: list[Request], batch_tokens: int, group_size: int
) -> None:
    groups = [i // group_size for i in range(len(requests))]
    batches = plan(Requests(requests, groups, [], 0), attention_cost(32), batch_tokens)
    found: dict[int, list[int]] = {i: [] for i in range(len(requests))}
    for batch in batches:
        before = len(batch.header)
        lengths = [len(row) for row in batch.rows]
        assert lengths == sorted(lengths, reverse=True)
        assert len(batch.rows) == 1 or (lengths[0] - before) * len(batch.rows) <= batch_tokens
        for row in batch.rows:
            assert row.ids[:before].tolist() == batch.header.tolist()
            assert row.root >= before
            for owner, target in zip(row.owner.tolist(), row.target.tolist(), strict=True):
                found[owner].append(target)
    assert found == {i: r.ids[-r.num_scored :].tolist() for i, r in enumerate(requests)}


def rows(*groups: tuple[Sequence[int], int]) -> list[Tree]:
    """Questions: for each (header, count) so many rows of that header and a number of their own."""
    made = []
    for header, count in groups:
        for number in range(count):
            ids = np.array([*header, 1000 + number, 7, 8], np.int32)
            made.append(grow([(len(made), Request(ids, 1))]))
    return sorted(made, key=lambda tree: sort_key(tree.ids[: tree.root]))


def test_each_subject_gets_its_own_header() -> None:
    first, second = list(range(100)), [0, *range(200, 280)]
    found = headers(rows((first, 10), (second, 20), ([3], 5)))
    assert [(run.stop - run.start, run.shared) for run in found] == [(10, 100), (20, 81)]


def test_a_header_inside_a_header_is_taken_only_where_it_saves_more() -> None:
    common = list(range(300))
    few = headers(rows((common, 50), ([*common, 400], 3)))
    assert [(run.stop - run.start, run.shared) for run in few] == [(53, 300)]
    many = headers(rows((common, 2), ([*common, *range(400, 500)], 40)))
    assert [(run.stop - run.start, run.shared) for run in many] == [(40, 400)]


def test_a_beginning_that_saves_less_than_a_header_costs_is_no_header() -> None:
    assert headers(rows((list(range(HEADER_COST // 10)), 10))) == []
    assert headers([]) == []


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=6))
def test_headers_save_as_much_as_the_best_choice_of_disjoint_intervals(shape: list[tuple[int, int]]) -> None:
    made = rows(*((range(length * 10), count) for length, count in shape))
    roots = [tree.ids[: tree.root] for tree in made]

    def shared(start: int, stop: int) -> int:
        return min([len(roots[start]), *(common_length(a, b) for a, b in pairwise(roots[start:stop]))])

    def whole(start: int, stop: int) -> bool:
        """Whether no row outside shares as much as those inside."""
        length = shared(start, stop)
        before = start > 0 and shared(start - 1, stop) == length
        return not before and not (stop < len(made) and shared(start, stop + 1) == length)

    best = [0]  # most saved by the first n rows
    for stop in range(1, len(made) + 1):
        starts = [start for start in range(stop - 1) if whole(start, stop)]
        savings = [best[start] + shared(start, stop) * (stop - start - 1) - HEADER_COST for start in starts]
        best.append(max(best[-1], *savings) if savings else best[-1])
    found = headers(made)
    assert sum(run.shared * (run.stop - run.start - 1) - HEADER_COST for run in found) == best[-1]
    assert all(one.stop <= other.start for one, other in pairwise(found))


@pytest.mark.parametrize(("hidden_size", "num_rows"), [(4096, 1), (4, 4)])
def test_choices_share_a_row_only_where_that_is_cheaper(hidden_size: int, num_rows: int) -> None:
    context = list(range(20))
    choices = [(i, Request(np.array([*context, 100 + i, *range(60)], np.int32), 61)) for i in range(4)]
    assert len(list(trees(choices, attention_cost(hidden_size), 10**6))) == num_rows
    assert len(list(trees(choices, attention_cost(hidden_size), 80))) == 4
