"""Which window of its part a sample gets: whole passes in seeded order, and subsets that are seen several times first.

The windows of a part come from one endless row of permutations, whatever stage or mixture asks: what a change of
weights takes from the row later is what it would have given next, so none is lost and none comes twice. A stage with a
subset repeats the first windows of the row; the row goes on behind them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np


class Passes:
    """An endless row over the same windows, pass after pass, each in another order. taken: how many it has given."""

    def __init__(self, windows: np.ndarray, first: np.ndarray, rng: np.random.Generator) -> None:
        self.taken = 0
        self._windows, self._rng, self._row, self._at = windows, rng, first, 0

    def take(self, count: int) -> np.ndarray:
        """The next `count` windows."""
        pieces = [np.empty(0, np.int64)]
        self.taken += count
        while count:
            if self._at == len(self._row):
                self._row, self._at = self._rng.permutation(self._windows), 0
            piece = self._row[self._at : self._at + count]
            self._at += len(piece)
            count -= len(piece)
            pieces.append(piece)
        return np.concatenate(pieces)

    def skip_to(self, taken: int) -> None:
        """Leave out the first pass's windows before this one, where the row is not behind them already."""
        if self.taken < taken <= len(self._windows):
            self.taken = self._at = taken


class Windows:
    """The windows of one part in the order in which they are drawn. available: how many it has."""

    def __init__(self, available: int, seed: int, part: str) -> None:
        self.available = available
        self._seed, self._part = seed, part
        rng = self._generator("")
        self._first = rng.permutation(available)
        self._row = Passes(np.arange(available), self._first, rng)
        self._subsets: dict[int, Passes] = {}

    def _generator(self, purpose: str) -> np.random.Generator:
        known = {"domain": 0, "general": 1}
        number = known.get(self._part + purpose)
        if number is None:
            number = int.from_bytes(hashlib.sha256((self._part + purpose).encode()).digest()[:7], "big") + 2
        return np.random.Generator(np.random.Philox(key=[self._seed, number]))

    def take(self, count: int) -> np.ndarray:
        """The next `count` windows of the row."""
        return self._row.take(count)

    def repeat(self, size: int, count: int, stage: int) -> np.ndarray:
        """`count` windows of the first `size` of the row: whole passes, each in another order.

        stage: of the one that asks first; later ones with the same subset go on in its passes.
        """
        subset = self._subsets.get(size)
        if subset is None:
            first = self._first[:size]
            subset = self._subsets[size] = Passes(first, first, self._generator(f"/subset-{stage}"))
            subset.skip_to(min(size, self._row.taken))  # what the row has shown already comes last
        found = subset.take(count)
        self._row.skip_to(min(size, subset.taken))  # what the subset has shown comes last in the row
        return found


def draw(windows: Windows, counts: Iterable[int], subsets: Iterable[float]) -> np.ndarray:
    """The windows of all samples of a part. counts, subsets: of each stage."""
    pieces = [np.empty(0, np.int64)]
    for stage, (count, subset) in enumerate(zip(counts, subsets, strict=True)):
        size = subset_size(windows.available, subset)
        pieces.append(windows.take(count) if size == windows.available else windows.repeat(size, count, stage))
    return np.concatenate(pieces)


def subset_size(available: int, subset: float) -> int:
    """Windows of a subset of a part."""
    return min(available, max(1, round(available * subset)))
