"""Rows that hold several requests: what they begin with once, where they part as branches.

A row is a prefix tree in preorder. Node i may look at node j when j is i itself or lies above it, which in preorder is
j <= i < end[j]: one comparison gives the whole mask. A longer row costs more attention, so requests share a row only
where the tokens saved outweigh it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from domadapt.builtin.evaluating.scoring.requests import Request

if TYPE_CHECKING:
    import torch

Numbered = tuple[int, Request]


@dataclass(frozen=True)
class Tree:
    """One row. L nodes, S scored tokens.

    ids, depth, end: int32 [L]: token, distance from the root (its position for the model), and the first node behind
    the node's subtree.  node, target, owner: int32 [S]: the node whose output predicts the token `target` of request
    `owner`.  root: so many first nodes are a chain that every request shares and none scores.
    """

    ids: np.ndarray
    depth: np.ndarray
    end: np.ndarray
    node: np.ndarray
    target: np.ndarray
    owner: np.ndarray
    root: int

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def branches(self) -> bool:
        """Whether any node has two children."""
        return int(self.end.min()) < len(self.ids)


def sort_key(ids: np.ndarray) -> bytes:
    """Sorts token sequences so that those with a common beginning are neighbours, the shorter first."""
    return ids.astype(">i4").tobytes()


def common_length(one: np.ndarray, other: np.ndarray) -> int:
    """How many first tokens two sequences share."""
    shorter = min(len(one), len(other))
    different = one[:shorter] != other[:shorter]
    return int(different.argmax()) if different.any() else shorter


def grow(requests: Sequence[Numbered]) -> Tree:
    """The prefix tree of requests in the order of `sort_key` of their inputs."""
    parts: dict[str, list[np.ndarray]] = {name: [] for name in ("ids", "depth", "node", "target", "owner")}
    path = np.empty(0, np.int64)
    before = np.empty(0, np.int32)
    count, root = 0, len(requests[0][1].ids)
    closed: list[tuple[np.ndarray, int]] = []
    for number, (tokens, num_scored) in requests:
        inputs = tokens[:-1]
        shared = common_length(before, inputs)
        closed.append((path[shared:], count))
        new = len(inputs) - shared
        path = np.concatenate([path[:shared], np.arange(count, count + new)])
        count += new
        parts["ids"].append(inputs[shared:])
        parts["depth"].append(np.arange(shared, len(inputs)))
        parts["node"].append(path[-num_scored:])
        parts["target"].append(tokens[-num_scored:])
        parts["owner"].append(np.full(num_scored, number))
        root = min(root, shared if len(before) else root, len(inputs) - num_scored)
        before = inputs
    closed.append((path, count))
    end = np.empty(count, np.int32)
    for nodes, behind in closed:
        end[nodes] = behind
    return Tree(**{name: np.concatenate(part).astype(np.int32) for name, part in parts.items()}, end=end, root=root)


def attention_cost(hidden_size: int) -> Callable[[int], float]:
    """Cost of a row by its length, in tokens without attention.

    A token costs 24 H^2 operations a layer in the matrices and 4 H for each token it is compared with, masked or not.
    """
    return lambda length: length + length * length / (6 * hidden_size)


def trees(requests: Sequence[Numbered], cost: Callable[[int], float], longest: int) -> Iterator[Tree]:
    """Rows of at most `longest` tokens for the requests of one group; requests share one where that is cheaper."""
    ordered = sorted(requests, key=lambda r: sort_key(r[1].ids[:-1]))
    row: list[Numbered] = []
    length = 0
    for request in ordered:
        inputs = request[1].ids[:-1]
        if row:
            joined = length + len(inputs) - common_length(row[-1][1].ids[:-1], inputs)
            if joined <= longest and cost(joined) <= cost(length) + cost(len(inputs)):
                row.append(request)
                length = joined
                continue
            yield grow(row)
        row, length = [request], len(inputs)
    if row:
        yield grow(row)


def tree_mask(end_BL: torch.Tensor) -> torch.Tensor:
    """Which node may look at which: bool [B, L, L], True where node i (dim 1) may look at node j (dim 2)."""
    import torch

    at = torch.arange(end_BL.shape[1], device=end_BL.device)
    return (at[None, :, None] >= at) & (at[None, :, None] < end_BL[:, None, :])
