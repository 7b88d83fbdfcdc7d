"""The k-th largest magnitude of a task vector by counting: what mergekit sorts for.

The bits of |x| are ordered as |x| is. A bf16 delta has 32,768 of them, so one pass counts them all; an fp32 delta
takes a second pass over the lower half of the bits, for the one upper half in which the k-th lies. Either
pass serves every density, so a sweep makes it once.

A shorter way is tried first: a sample says between which two magnitudes the k-th almost surely lies; one pass
gathers those few in between and counts those above (and counts, instead of gathering, single magnitudes that the
sample has often: deltas of bf16 weights are multiples of a power of two). When the sample misled, counting it is:
the result is the same, the time that of more passes.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from domadapt.builtin.merging.fast.operators import NumpyArrays, Operators
from domadapt.builtin.merging.fast.routes import Flat, Gathered, Route, Windows

if TYPE_CHECKING:
    from numpy.typing import NDArray


SAMPLE, RUN = 1 << 14, 16
"""Entries of a sample, and how many of them lie together (a cache line of bf16)."""
DEVIATIONS = 3
"""Half the width of the window in standard deviations of the sample's rank."""
WORTH = 16 * SAMPLE
"""Entries from which the sample pays."""
FREQUENT = SAMPLE // 128
"""How often a magnitude is in the sample to be counted by itself."""
MOST_WINDOWS, MOST_ATOMS = 12, 16
LARGEST = 0x7FFFFFFF
ROOM = 1 / 12
"""Share of a task vector that is gathered at most for one window."""


class Threshold(NamedTuple):
    """Keep every magnitude above `bits`, and of those equal to it the first `budget` by index."""

    bits: int
    budget: int


class _Counts(NamedTuple):
    """Upper halves that occur, largest first, and how many magnitudes are at least as large."""

    bins: NDArray[np.int64]
    reached: NDArray[np.int64]


class Thresholds:
    """Thresholds by (tensor, model, number of entries kept), each found once.

    rounded: deltas are rounded to bf16.  A thread works on one tensor at a time, so nothing here needs a lock.
    """

    def __init__(self, rounded: bool) -> None:
        self._rounded = rounded
        self._counts: dict[tuple[str, str], _Counts] = {}
        self._found: dict[tuple[str, str, int], Threshold] = {}

    def find(
        self,
        route: Route,
        name: str,
        base: Flat,
        models: Sequence[Flat],
        roles: Sequence[str],
        kept: Sequence[set[int]],
    ) -> None:
        """Find thresholds of one tensor: `kept` holds for each model the numbers of entries to keep."""
        open_ = [
            k for k, (role, numbers) in enumerate(zip(roles, kept, strict=True))
            if any((name, role, number) not in self._found for number in numbers)
        ]  # fmt: skip
        uncounted = [k for k in open_ if (name, roles[k]) not in self._counts]
        if uncounted:
            self._gather(route, name, base, {roles[k]: (models[k], sorted(kept[k])) for k in uncounted})
            open_ = [k for k in open_ if any((name, roles[k], number) not in self._found for number in kept[k])]
        uncounted = [k for k in open_ if (name, roles[k]) not in self._counts]
        if uncounted:
            table = route.count_high(base, [models[k] for k in uncounted], self._rounded)
            for k, row in zip(uncounted, table, strict=True):
                bins = np.flatnonzero(row)[::-1]
                self._counts[name, roles[k]] = _Counts(bins, np.cumsum(row[bins]))
        for k in open_:
            self._find(route, name, roles[k], base, models[k], sorted(kept[k]))

    def get(self, name: str, role: str, number: int) -> Threshold:
        """A threshold that was found."""
        return self._found[name, role, number]

    def _gather(self, route: Route, name: str, base: Flat, wanted: Mapping[str, tuple[Flat, list[int]]]) -> None:
        """The shorter way; what it does not find stays open."""
        size = int(base.size)
        most = max(len(numbers) for _, numbers in wanted.values())
        if size < WORTH or most > MOST_WINDOWS:
            return
        windows = [
            _windows(_sample(base, model, self._rounded), [number / size for number in numbers])
            for model, numbers in wanted.values()
        ]
        models = [model for model, _ in wanted.values()]
        gathered = route.gather(base, models, self._rounded, windows, int(size * min(1.0, ROOM * most)) + 4096)
        if gathered is None:
            return
        for (role, (_, numbers)), where, what in zip(wanted.items(), windows, gathered, strict=True):
            for place, number in enumerate(numbers):
                if (threshold := _select(where, what, place, number)) is not None:
                    self._found[name, role, number] = threshold

    def _find(self, route: Route, name: str, role: str, base: Flat, model: Flat, numbers: Sequence[int]) -> None:
        counts = self._counts[name, role]
        places = [int(np.searchsorted(counts.reached, number)) for number in numbers]
        above = [int(counts.reached[place - 1]) if place else 0 for place in places]
        if self._rounded:
            for number, place, larger in zip(numbers, places, above, strict=True):
                self._found[name, role, number] = Threshold(int(counts.bins[place]) << 16, number - larger)
            return
        wanted = sorted({int(counts.bins[place]) for place in places})
        table = route.count_low(base, model, wanted)
        reached = {high: np.cumsum(row[::-1]) for high, row in zip(wanted, table, strict=True)}
        for number, place, larger in zip(numbers, places, above, strict=True):
            high = int(counts.bins[place])
            rest = number - larger
            from_top = int(np.searchsorted(reached[high], rest))
            larger_here = int(reached[high][from_top - 1]) if from_top else 0
            self._found[name, role, number] = Threshold(high << 16 | 0xFFFF - from_top, rest - larger_here)


def _sample(base: Flat, model: Flat, rounded: bool) -> NDArray[np.uint32]:
    """Magnitude bits of entries spread over a task vector, sorted."""
    step = base.size // (SAMPLE // RUN)
    ours, others = (a[: step * (SAMPLE // RUN)].reshape(-1, step)[:, :RUN].reshape(-1) for a in (base, model))
    return np.sort(Operators(NumpyArrays()).magnitudes(ours, others, rounded))


def _windows(sample: NDArray[np.uint32], shares: Sequence[float]) -> Windows:
    """For each share the bits between which the magnitude lies that so many reach, almost surely; atoms in them."""
    size = len(sample)
    ranges = []
    for share in shares:
        rank = (1 - share) * size
        spread = DEVIATIONS * math.sqrt(max(share * (1 - share) * size, 1.0)) + RUN
        first, last = math.floor(rank - spread), math.ceil(rank + spread)
        ranges.append((int(sample[first]) if first >= 0 else 0, int(sample[last]) if last < size else LARGEST))
    values, counts = np.unique(sample, return_counts=True)
    often = [(int(n), int(v)) for v, n in zip(values[counts >= FREQUENT], counts[counts >= FREQUENT], strict=True)]
    atoms = [value for _, value in sorted(often, reverse=True) if any(a <= value <= b for a, b in ranges)]
    return Windows(ranges, sorted(atoms[:MOST_ATOMS], reverse=True))


def _select(where: Windows, what: Gathered, place: int, number: int) -> Threshold | None:
    """The `number`-th largest magnitude, looked for in one window; None when it is not there."""
    first, last = where.ranges[place]
    rest = number - what.above[place]
    inside = what.found[(what.found >= first) & (what.found <= last)]
    if rest <= 0:
        return None
    for atom, equal in zip(where.atoms, what.equal, strict=False):  # largest first
        if not first <= atom <= last:
            continue
        larger = inside > atom
        above = int(larger.sum())
        if rest <= above:
            inside = inside[larger]
            break
        if rest <= above + equal:
            return Threshold(atom, rest - above)
        inside, rest = inside[~larger], rest - above - equal
    if rest > len(inside):
        return None
    bits = int(np.partition(inside, len(inside) - rest)[len(inside) - rest])
    return Threshold(bits, rest - int((inside > bits).sum()))
