"""Which sample is of which part, so that after every sample each part has what is wanted to within one window.

Placed, not drawn: a share of 0.001 is exact over ten thousand windows, which chance is not. Two parts: one has its
window wherever its wanted number reaches the next whole one, the other all else. More: Tijdeman's rule for the chairman
assignment problem, whose largest error is 1 - 1 / (2 k - 2) windows for k parts (Discrete Mathematics 32, 1980).
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence

import numpy as np

EPSILON = 1e-9
"""Sums of shares such as 0.05 reach a whole number to within it."""
NEVER = 2**62
"""Later than any sample."""


def place(ends: Sequence[int], num_parts: int, wanted: Callable[[int], np.ndarray]) -> np.ndarray:
    """The part of each sample, int64 [num_samples].

    ends: the sample before which each stage ends, the last one the number of samples.
    wanted: of a part, how many windows it should have had after each sample, float64 [num_samples]; over all parts they
    add up to the number of samples, and none decreases.

    What a stage places does not depend on the stages after it. Where shares change, more than two parts may be up to
    two windows from what is wanted for a while.
    """
    num_samples = ends[-1] if ends else 0
    if num_parts == 1 or not num_samples:
        return np.zeros(num_samples, np.int64)
    if num_parts == 2:
        whole = np.floor(wanted(1) + EPSILON)
        return (np.diff(whole, prepend=0.0) > 0).astype(np.int64)
    asked = [wanted(part) for part in range(num_parts)]
    order, first = np.empty(num_samples, np.int64), 0
    for last in ends:
        if last > first:
            had = np.bincount(order[:first], minlength=num_parts)
            times = [
                _times(one[first:last] - had[part], float(one[first - 1] - had[part]) if first else 0.0, num_parts)
                for part, one in enumerate(asked)
            ]
            order[first:last] = _by_deadline(last - first, times)
        first = last
    return order


def _times(wanted: np.ndarray, before: float, num_parts: int) -> tuple[list[int], list[int]]:
    """When the n-th window of a part may come at the earliest, and when it must have come, as numbers of samples."""
    slack = 1 / (2 * num_parts - 2)
    numbers = np.arange(max(1, int(np.ceil(wanted[-1] + 1)) + 1))
    may = np.searchsorted(wanted, numbers + slack - EPSILON)
    due = numbers + 1 - slack - EPSILON
    must = np.searchsorted(wanted, due)
    # behind the end of a stage as if it went on: what comes next is no reason to place otherwise now
    rate = wanted[-1] - (wanted[-2] if len(wanted) > 1 else before)
    late = must == len(wanted)
    with np.errstate(divide="ignore"):
        beyond = np.minimum(np.ceil((due[late] - wanted[-1]) / max(rate, 0.0)), NEVER)
    must[late] = len(wanted) - 1 + beyond.astype(np.int64)
    return may.tolist(), must.tolist()


def _by_deadline(num_samples: int, times: list[tuple[list[int], list[int]]]) -> np.ndarray:
    """Of the parts whose next window may come, the one whose must come first."""
    number = [0] * len(times)
    waiting = [(may[0], part) for part, (may, _) in enumerate(times)]
    heapq.heapify(waiting)
    ready: list[tuple[int, int]] = []
    order = np.empty(num_samples, np.int64)
    for sample in range(num_samples):
        while waiting and waiting[0][0] <= sample:
            part = heapq.heappop(waiting)[1]
            heapq.heappush(ready, (times[part][1][number[part]], part))
        # rounding alone can leave none ready: then the one that may come next
        part = heapq.heappop(ready or waiting)[1]
        order[sample] = part
        number[part] += 1
        may = times[part][0]
        heapq.heappush(waiting, (may[number[part]] if number[part] < len(may) else NEVER, part))
    return order
