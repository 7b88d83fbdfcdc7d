"""Which candidates a sweep looks at, in which order: all of a grid, or where a search by CMA-ES leads.

Searching: each method has its own strategy and an equal part of the budget. Coordinates are 0 to 1 over each range;
numbers are rounded to three digits before they are scored, so that a command can say them. The path depends on the
seed and the scores alone.
Source: Hansen 2016, arXiv 1604.00772 (CMA-ES); Akiba et al. 2025, arXiv 2403.13187, and mergekit-evolve for merges.
"""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from domadapt.recipe.sweeps import Axis, Point, SweepPlan, SweptMethod

DIGITS = 3
STEP = 0.25
"""First standard deviation, as a share of each range: half of the first draws lie in the middle third."""
Score = Callable[["Point"], float]


def propose(plan: SweepPlan, score: Score, seed: int) -> Iterator[Point]:
    """The candidates in their order, each once. score: what a candidate should have little of; it is asked for
    every candidate before the next one that depends on it comes."""
    if plan.search == "grid":
        yield from plan.points()
        return
    share, rest = divmod(plan.budget, len(plan.methods))
    for place, method in enumerate(plan.methods):
        yield from _searched(method, score, share + (place < rest), f"{seed}/{method.label}")


def _searched(method: SweptMethod, score: Score, budget: int, seed: str) -> Iterator[Point]:
    size = sum(max(1, axis.knots) for axis in method.axes)
    if not size or not budget:
        yield from [method.at([])][: 1 if not size else 0]
        return
    known: dict[str, float] = {}
    strategy = _strategy(size, seed)
    while len(known) < budget and not strategy.stop():
        asked = strategy.ask()
        losses = []
        for vector in asked:
            point = method.at(list(_decoded(method.axes, vector)))
            name = json.dumps(point.arguments)
            if name not in known:
                if len(known) == budget:
                    return
                yield point
                known[name] = score(point)
            losses.append(known[name])
        strategy.tell(asked, losses)


def _strategy(size: int, seed: str) -> Any:
    import random

    import numpy as np

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # cma misses matplotlib, for plots that nobody asks for
        import cma
    generator = np.random.default_rng(random.Random(seed).getrandbits(64))
    options = {
        "bounds": [0, 1],
        "randn": lambda *shape: generator.standard_normal(shape),
        "seed": math.nan,  # leave numpy's global generator alone
        "verbose": -9,
    }
    if size == 1:
        # CMA-ES has no covariance to learn in one dimension; cma refuses it, so a second coordinate idles
        size = 2
    return cma.CMAEvolutionStrategy([0.5] * size, STEP, options)


def _decoded(axes: Sequence[Axis], vector: Sequence[float]) -> Iterator[Any]:
    """The values of the axes for a point of the unit cube."""
    place = 0
    for axis in axes:
        low, high = axis.values
        numbers = [round(low + (high - low) * min(1.0, max(0.0, float(v))), DIGITS) for v in vector[place:]]
        yield numbers[: axis.knots] if axis.knots else numbers[0]
        place += max(1, axis.knots)
