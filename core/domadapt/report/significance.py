"""Tests of differences, and what a comparison could have missed. Closed formulas on counts and standard errors.

No difference is called significant without the smallest effect that the same comparison would have found: with
100 items of which 10 % change sides, nothing below 9 points is visible.
Sources: McNemar 1947; Holm 1979; Miller 2024, arXiv 2411.00640, section 5 (power of paired evaluations).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

Z95 = 1.959964
Z80 = 0.841621


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar test of paired right-or-wrong answers.

    gained: items only the new model has right.  lost: items only the old one has right.
    """
    discordant = gained + lost
    below = ways = 1
    for k in range(1, min(gained, lost) + 1):
        # exact integers: C(n, k) from C(n, k - 1); floats underflow from about 1000 items on
        ways = ways * (discordant - k + 1) // k
        below += ways
    # two Python integers divide to the nearest float however large they are
    return min(1.0, 2 * below / (1 << discordant))


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment for several comparisons, in the order given."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted


def smallest_detectable(stderr: float, units: float = math.inf) -> float:
    """The difference that a comparison with this standard error finds in 80 % of repetitions at the 5 % level.

    units: independent units behind the standard error; with few of them Student's t replaces the normal.
    """
    if math.isinf(units):
        return (Z95 + Z80) * stderr
    if not units > 1:
        return math.nan
    from scipy.special import stdtrit

    return float(stdtrit(units - 1, 0.975) + stdtrit(units - 1, 0.8)) * stderr


def planned_detectable(num_items: int, discordance: float = 0.1) -> float:
    """The smallest detectable difference of two accuracies on `num_items` items, before anything is scored.

    discordance: share of items on which the two models will differ; 0.1 is usual between a model and its
    further-trained version.
    """
    return smallest_detectable(math.sqrt(discordance / num_items))


def items_needed(effect: float, discordance: float = 0.1) -> int:
    """Items on which a difference of accuracies of size `effect` is found in 80 % of repetitions.

    1 point at 10 % discordance needs 7849 items, 2 points 1962.
    """
    return round((Z95 + Z80) ** 2 * discordance / effect**2)
