"""Whether longer training wins back what it first forgets, and when: two readings of the CPT-dynamics law.

The loss on the pre-training corpus rises while the distribution shifts, and falls with all training. The shift is
bounded by B, the fall by what pre-training left to learn, A S1pt^-alpha: a model trained further than the critical
point never comes back, whatever the length. Both are read off at a learning rate that stays; annealing lowers the loss
on top of it.
Source: Wang et al. 2025, arXiv 2505.07796, finding 4.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray

LONGEST = 1e12
"""Lengths looked at, in units of the pre-training's: beyond, "never" is the better word."""
GRID = 2000


def shift(theta: Mapping[str, float], ratio: float) -> float:
    """The most that the pre-training corpus' loss rises by the shift: B, times its factor at a general share."""
    return theta["B"] * (1 - np.exp(-theta["a2"] * (1 - ratio)) if "a2" in theta else 1.0)


def critical_point(theta: Mapping[str, float], ratio: float = 0.0) -> float:
    """Forward area of pre-training beyond which the loss never comes back, A S1pt^-alpha = B h; infinite without rise.

    theta: parameters of the pre-training corpus' fit, by name.  ratio: general share, for a law with replay.
    """
    rise = shift(theta, ratio)
    if not rise > 0:
        return float("inf")
    return float(np.exp(min(np.log(theta["A"] / rise) / theta["alpha"], 700.0)))


def turning_length(theta: Mapping[str, float], s1_pt: float, ratio: float = 0.0) -> float | None:
    """Forward area of CPT from which on the loss stays below its start; 0 when it never rises, None when never below.

    It solves A (S1pt + x)^-alpha - A S1pt^-alpha + B h (1 - (1 + E x)^-beta) = 0.
    """
    from scipy.optimize import brentq

    if s1_pt >= critical_point(theta, ratio):
        return None

    def rise(x: Array) -> Array:
        learnt = theta["A"] * ((s1_pt + x) ** -theta["alpha"] - s1_pt ** -theta["alpha"])
        risen: Array = learnt + shift(theta, ratio) * (1 - (1 + theta["E"] * x) ** -theta["beta"])
        return risen

    lengths = s1_pt * np.geomspace(1e-9, LONGEST, GRID)
    above = np.flatnonzero(rise(lengths) > 0)
    if not len(above):
        return 0.0
    last = int(above[-1])
    if last == GRID - 1:
        return None
    return float(brentq(rise, lengths[last], lengths[last + 1]))
