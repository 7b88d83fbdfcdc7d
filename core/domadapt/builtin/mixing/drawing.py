"""Which window of its part a sample gets: whole passes in seeded order, and subsets that are seen several times first.

The windows of a part come from one endless row of permutations, whatever stage asks: what a change of weights takes
from the row later is what it would have given next, so none is lost and none comes twice. A stage with a subset repeats
the first windows of the row; the row goes on behind them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import numpy as np


class Windows:
    """The windows of one part in the order in which they are drawn. available: how many it has."""

    def __init__(self, available: int, seed: int, part: str) -> None:
        self.available = available
        self._seed, self._part = seed, part
        self._rng = self._generator("")
        self._first = self._rng.permutation(available)
        self._row = self._first
        self._taken = 0
        """Windows taken from the row's present permutation."""
        self._begun = False

    def _generator(self, purpose: str) -> np.random.Generator:
        known = {"domain": 0, "general": 1}
        number = known.get(self._part + purpose)
        if number is None:
            number = int.from_bytes(hashlib.sha256((self._part + purpose).encode()).digest()[:7], "big") + 2
        return np.random.Generator(np.random.Philox(key=[self._seed, number]))

    def take(self, count: int) -> np.ndarray:
        """The next `count` windows of the row."""
        pieces = []
        while count:
            if self._taken == self.available:
                self._row, self._taken, self._begun = self._rng.permutation(self.available), 0, True
            piece = self._row[self._taken : self._taken + count]
            self._taken += len(piece)
            count -= len(piece)
            pieces.append(piece)
        return np.concatenate([np.empty(0, np.int64), *pieces])

    def repeat(self, size: int, count: int, stage: int) -> np.ndarray:
        """`count` windows of the first `size` of the row: whole passes, each in another order."""
        found = np.concatenate([np.empty(0, np.int64), *self._passes(size, count, stage)])
        if not self._begun:  # what the subset has shown is not shown again before all the rest
            self._taken = max(self._taken, min(size, count))
        return found

    def _passes(self, size: int, count: int, stage: int) -> Iterator[np.ndarray]:
        rng = self._generator(f"/subset-{stage}")
        row = self._first[:size]
        while count > 0:
            yield row[:count]
            count -= len(row)
            row = rng.permutation(self._first[:size])


def draw(windows: Windows, counts: Sequence[int], subsets: Sequence[float]) -> np.ndarray:
    """The windows of all samples of a part. counts, subsets: of each stage."""
    pieces = [np.empty(0, np.int64)]
    for stage, (count, subset) in enumerate(zip(counts, subsets, strict=True)):
        size = subset_size(windows.available, subset)
        pieces.append(windows.take(count) if size == windows.available else windows.repeat(size, count, stage))
    return np.concatenate(pieces)


def subset_size(available: int, subset: float) -> int:
    """Windows of a subset of a part."""
    return min(available, max(1, round(available * subset)))
