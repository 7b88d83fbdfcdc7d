"""The stability gap: a curve that falls when training begins and comes back later, and whether it did.

Measure: Guo et al. 2024 (arXiv 2406.14833) plot benchmark scores over training tokens and see a V; depth, recovery
and area put numbers on it. A score on a few hundred items wobbles by points, so a dip is said only where the drop
exceeds what chance makes of a curve that never fell. The price: small dips on few items go unsaid, never unshown.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from statistics import NormalDist
from typing import TypedDict

LEVEL = 0.05
"""Chance that a curve that never fell shows a dip somewhere, over all its points."""


class StabilityGap(TypedDict):
    """A dip in numbers; plain data.

    start, last: first and last value.  gain: last against start, positive for better.
    depth: largest drop below the start, in the unit of the values, 0 for none.  depth_at: step of it.
    noise: drop that chance explains at that step, None where nothing is known about it.
    found: whether some drop exceeds its noise.
    recovered_at: first step from depth_at on that is back at the start or better, None if there is none.
    area: value times steps below the start (trapezoids).
    inside: whether the curve ends inside a dip that was found: not back yet, or below the start once more.
    sentence: what to tell a person.
    """

    start: float
    last: float
    gain: float
    depth: float
    depth_at: int
    noise: float | None
    found: bool
    recovered_at: int | None
    area: float
    inside: bool
    sentence: str


def stability_gap(
    steps: Sequence[int],
    values: Sequence[float],
    *,
    higher_is_better: bool = True,
    errors: Sequence[float] | None = None,
    change_errors: Sequence[float] | None = None,
    name: str = "the score",
) -> StabilityGap:
    """Depth, place, recovery and area of the dip of a curve below its first point.

    steps: rising; any unit of progress (tokens give an area in value times tokens).  errors: standard error of
    each value.  change_errors: standard error of each value's difference to the first one on the same items (the
    first is not looked at); it is preferred, because it is two to four times smaller than what `errors` allow to
    say, sqrt(first**2 + own**2).  With neither, every drop counts and the sentence says that noise is unknown.
    The bound of a point is z standard errors, one-sided, with LEVEL shared among the points after the first
    (Bonferroni).  name: how the sentence calls the curve.
    Raises ValueError for no point, lengths that differ, steps that do not rise and values that are not finite.
    """
    _check(steps, values, errors, change_errors)
    start, sign = values[0], 1.0 if higher_is_better else -1.0
    drops = [max(0.0, sign * (start - value)) for value in values]
    bounds = _bounds(len(values), errors, change_errors)
    deepest = max(range(len(drops)), key=lambda i: drops[i])
    found = any(drop > (0.0 if bound is None else bound) for drop, bound in zip(drops, bounds, strict=True))
    back = next((i for i in range(deepest, len(drops)) if drops[i] == 0), None) if drops[deepest] else None
    gap = StabilityGap(
        start=start,
        last=values[-1],
        gain=sign * (values[-1] - start),
        depth=drops[deepest],
        depth_at=steps[deepest],
        noise=_finite(bounds[deepest]),
        found=found,
        recovered_at=None if back is None else steps[back],
        area=sum((drops[i - 1] + drops[i]) / 2 * (steps[i] - steps[i - 1]) for i in range(1, len(drops))),
        inside=found and (back is None or drops[-1] > (bounds[-1] or 0.0)),
        sentence="",
    )
    gap["sentence"] = _sentence(gap, name, steps, drops[-1], bounds, higher_is_better=higher_is_better)
    return gap


def _check(
    steps: Sequence[int],
    values: Sequence[float],
    errors: Sequence[float] | None,
    change_errors: Sequence[float] | None,
) -> None:
    if not values or any(len(given) != len(values) for given in (steps, errors, change_errors) if given is not None):
        raise ValueError("steps, values and standard errors must have the same length, at least 1")
    if any(later <= earlier for earlier, later in pairwise(steps)):
        raise ValueError("steps must rise")
    if not all(map(math.isfinite, values)):
        raise ValueError("values must be finite")


def _bounds(
    count: int, errors: Sequence[float] | None, change_errors: Sequence[float] | None
) -> list[float] | list[None]:
    """The drop that chance explains, of each point; infinite where a standard error is not known."""
    if change_errors is None and errors is None:
        return [None] * count
    if count == 1:
        return [0.0]
    z = NormalDist().inv_cdf(1 - LEVEL / (count - 1))
    if change_errors is not None:
        spread = [0.0, *change_errors[1:]]
    else:
        assert errors is not None
        spread = [0.0, *(math.hypot(errors[0], own) for own in errors[1:])]
    return [math.inf if math.isnan(error) else z * error for error in spread]


def _finite(bound: float | None) -> float | None:
    return None if bound is None or math.isinf(bound) else bound


def _sentence(
    gap: StabilityGap,
    name: str,
    steps: Sequence[int],
    last_drop: float,
    bounds: Sequence[float | None],
    *,
    higher_is_better: bool,
) -> str:
    if len(steps) == 1:
        return f"{name} was measured once, at step {steps[0]}: there is no curve to judge."
    went, side = ("fell", "below") if higher_is_better else ("rose", "above")
    if not gap["depth"]:
        return f"{name} never {went} {side} its start ({gap['start']:.4g}): no stability gap."
    size = f"{name} {went} by {gap['depth']:.3g} from {gap['start']:.4g} at step {gap['depth_at']}"
    if not gap["found"]:
        noise = "what its noise explains" if gap["noise"] is None else f"its noise of {gap['noise']:.3g}"
        return f"{size}, not more than {noise}: no stability gap is shown."
    if gap["noise"] is None and gap["depth_at"] == steps[-1]:
        return f"{size}, the last (noise unknown): it has not turned, so this is forgetting, or a gap that still opens."
    exceeds = "noise unknown" if gap["noise"] is None else f"noise explains {gap['noise']:.3g}"
    dip = f"Stability gap: {size} ({exceeds})"
    if not gap["inside"]:
        return f"{dip} and was back at its start by step {gap['recovered_at']}."
    again = "and was not back at its start" if gap["recovered_at"] is None else "and after a recovery"
    end = f"{dip}, {again} at the last step, {steps[-1]} ({last_drop:.3g} {side} it"
    within = bounds[-1] is not None and last_drop <= bounds[-1]
    return f"{end}, within the noise)." if within else f"{end}): it ends inside the dip."
