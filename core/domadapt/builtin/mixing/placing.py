"""Which sample is of which part, so that after every sample each part has what is wanted to within one window.

Placed, not drawn: a share of 0.001 is exact over ten thousand windows, which chance is not. Two parts: one has its
window wherever its wanted number reaches the next whole one, the other all else. More: Tijdeman's rule for the chairman
assignment problem, whose largest error is 1 - 1 / (2 k - 2) windows for k parts, also where shares change with every
sample (Discrete Mathematics 32, 1980): the rule looks ahead, so the changes must be known.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable

import numpy as np

EPSILON = 1e-9
"""Sums of shares such as 0.05 reach a whole number to within it."""
NEVER = 2**62
"""Later than any sample."""
NONE = np.empty(0, np.int64)


def place(
    num_samples: int, num_parts: int, wanted: Callable[[int], np.ndarray], before: np.ndarray = NONE
) -> np.ndarray:
    """The part of each sample, int64 [num_samples], those of `before` first.

    wanted: of a part, how many windows it should have had after each sample, float64 [num_samples]; over all parts they
    add up to the number of samples, and none decreases.
    before: the part of each sample that was placed when other shares were wanted. With more than two parts, one may
    lack up to two windows for a while behind it: nobody could look ahead to what comes now. None ever has a window too
    much.
    """
    first = len(before)
    if num_samples <= first:
        return before[:num_samples]
    if num_parts == 1:
        return np.zeros(num_samples, np.int64)
    had = np.bincount(before, minlength=num_parts)
    if num_parts == 2:
        whole = np.floor(wanted(1)[first:] + EPSILON)
        placed = (np.diff(whole, prepend=had[1]) > 0).astype(np.int64)
    else:
        times = [_times(wanted(part)[first:] - had[part], num_parts) for part in range(num_parts)]
        placed = _by_deadline(num_samples - first, times)
    return np.concatenate([before, placed])


def _times(wanted: np.ndarray, num_parts: int) -> tuple[list[int], list[int]]:
    """When the n-th window of a part may come at the earliest, and when it must have come, as numbers of samples."""
    slack = 1 / (2 * num_parts - 2)
    numbers = np.arange(max(1, int(np.ceil(wanted[-1] + 1)) + 1))
    may = np.searchsorted(wanted, numbers + slack - EPSILON)
    due = numbers + 1 - slack - EPSILON
    must = np.searchsorted(wanted, due)
    # behind the end as if it went on: how often a part comes at the end does not depend on where the end is
    rate = max(EPSILON, wanted[-1] - wanted[-2] if len(wanted) > 1 else wanted[-1])
    late = must == len(wanted)
    must[late] += np.ceil((due[late] - wanted[-1]) / rate).astype(np.int64) - 1
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
