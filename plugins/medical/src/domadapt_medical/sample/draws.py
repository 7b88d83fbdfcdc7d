"""Random numbers for simulated studies, in ways that give the same numbers on every Python."""

from __future__ import annotations

import random
from collections.abc import Sequence


def binomial(rng: random.Random, n: int, p: float) -> int:
    """Number of events among n. Normal approximation where the variance is above 25: nobody can tell."""
    if (variance := n * p * (1 - p)) > 25:
        return min(n, max(0, round(rng.gauss(n * p, variance**0.5))))
    return sum(rng.random() < p for _ in range(n))


def split(rng: random.Random, total: int, weights: Sequence[float]) -> list[int]:
    """Distribute a total over classes with the given weights; the parts sum to it."""
    parts, left, weight = [], total, sum(weights)
    for w in weights[:-1]:
        part = binomial(rng, left, w / weight) if weight > 0 else 0
        parts.append(part)
        left, weight = left - part, weight - w
    return [*parts, left]
