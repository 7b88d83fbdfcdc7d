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

from domadapt.builtin.merging.fast.routes import RUN, Flat, Gathered, Route, Windows

if TYPE_CHECKING:
    from numpy.typing import NDArray


SAMPLE = 1 << 15
"""Entries of a sample."""
DEVIATIONS, LEEWAY = 3, 16
"""Half the width of a window: in standard deviations of the sample's rank, and what is added to it."""
WORTH = 8 * SAMPLE
"""Entries from which the sample pays."""
FREQUENT = 1 / 128
"""Share of the sample that a magnitude needs to be counted by itself."""
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
        models = [model for model, _ in wanted.values()]
        samples = route.sample(base, models, self._rounded, SAMPLE // RUN)
        windows = [
            _windows(sample, [number / size for number in numbers])
            for sample, (_, numbers) in zip(samples, wanted.values(), strict=True)
        ]
        gathered = route.gather(base, models, self._rounded, windows, int(size * min(1.0, ROOM * most)) + 4096)
        if gathered is None:
            return
        for (role, (_, numbers)), where, what in zip(wanted.items(), windows, gathered, strict=True):
            what.found.sort()
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


def _windows(sample: NDArray[np.uint32], shares: Sequence[float]) -> Windows:
    """For each share the bits between which the magnitude lies that so many reach, almost surely; atoms in them.

    sample: [runs, RUN].  How far a rank of the sample may be off is seen in how its runs differ: neighbours, rows of
    an embedding say, are alike (cluster sampling: Cochran 1977, "Sampling Techniques", section 9A.2).
    """
    ordered = np.sort(sample, axis=None)
    size, ranges, often = len(ordered), [], dict[int, int]()
    for share in shares:
        rank = min(int((1 - share) * size), size - 1)
        error = np.std(np.mean(sample > ordered[rank], axis=1)) / math.sqrt(len(sample)) * size
        spread = DEVIATIONS * float(error) + LEEWAY
        low, high = math.floor(rank - spread), math.ceil(rank + spread)
        first, last = int(ordered[low]) if low >= 0 else 0, int(ordered[high]) if high < size else LARGEST
        ranges.append((first, last))
        values, counts = np.unique(ordered[slice(*np.searchsorted(ordered, [first, last + 1]))], return_counts=True)
        often |= {int(v): int(n) for v, n in zip(values, counts, strict=True) if n >= FREQUENT * size}
    atoms = sorted(often, key=lambda value: (-often[value], -value))[:MOST_ATOMS]
    return Windows(ranges, sorted(atoms, reverse=True))


def _select(where: Windows, what: Gathered, place: int, number: int) -> Threshold | None:
    """The `number`-th largest magnitude, looked for in one window; None when it is not there.

    what: its magnitudes are sorted.
    """
    first, last = where.ranges[place]
    rest = number - what.above[place]
    low, high = (int(at) for at in np.searchsorted(what.found, np.array([first, last + 1], np.uint32)))
    if rest <= 0:
        return None
    for atom, equal in zip(where.atoms, what.equal, strict=False):  # largest first
        if not first <= atom <= last:
            continue
        middle = int(np.searchsorted(what.found, np.uint32(atom)))
        if rest <= high - middle:
            low = middle
            break
        rest -= high - middle
        if rest <= equal:
            return Threshold(atom, rest)
        high, rest = middle, rest - equal
    if rest > high - low:
        return None
    bits = what.found[high - rest]
    return Threshold(int(bits), rest - high + int(np.searchsorted(what.found, bits, side="right")))
