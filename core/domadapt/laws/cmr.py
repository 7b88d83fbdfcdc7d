"""The law of the critical mixture ratio: the most domain text that general ability bears, by training length.

Its constraint is absolute and at a fixed rise of the general loss; that is why its ratios (0.3 to 0.5 for finance) are
not those of the D-CPT law (0.7 to 0.9), which allows a relative rise and has the whole curve. State which one is meant.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from domadapt.laws.dcpt import TOKENS
from domadapt.laws.law import Inputs, Law, Parameter

if TYPE_CHECKING:
    Array = np.ndarray

UNIT = 0.2e9
"""Tokens that the published coefficients count as one."""


class CriticalRatio(Law):
    """R(T) = a T^s + b, with parameters of either sign: what is predicted is a domain share, not a loss.

    T: training tokens, in units of 0.2 billion.  Published for finance, (a, s, b): 460M (0.22524761, 0.26944345,
    -0.48139982), 940M (0.7520627, 0.13720245, -1.06581937), 1.6B (-2.36384831, -0.15125569, 1.59223649),
    3.1B (-2.5368197, -0.42071423, 0.84375368).
    Source: Gu et al. 2024, "CMR scaling law", arXiv 2407.17467, section 5.
    """

    name: ClassVar[str] = "cmr"
    title: ClassVar[str] = "CMR law"
    source: ClassVar[str] = "Gu et al. 2024, arXiv 2407.17467, section 5"
    value: ClassVar[str] = "critical ratio"
    inputs = (TOKENS,)
    absolute = True
    parameters = (
        Parameter("a", -3.0, 3.0, positive=False),
        Parameter("s", -1.0, 1.0, positive=False),
        Parameter("b", -1.5, 1.5, positive=False),
    )

    def loss(self, theta: Array, inputs: Inputs) -> tuple[Array, Array]:
        """Critical ratios and gradient, rows in the order of the parameters."""
        a, s, b = theta
        log_t = np.log(inputs[TOKENS] / UNIT)
        power = np.exp(s * log_t)
        return a * power + b, np.stack([power, a * power * log_t, np.ones_like(power)])


def critical_ratio(shares: Array, general: Array, limit: float) -> float | None:
    """The largest domain share of runs of one length whose general loss is within a limit, by linear interpolation.

    shares, general: domain share and general loss of each run.  None when no run keeps the limit, or all do: then
    the critical ratio lies outside of what was measured.
    Source: arXiv 2407.17467, section 4: the most domain text with a rise of the general loss of at most epsilon.
    """
    order = np.argsort(shares)
    x, y = np.asarray(shares, float)[order], np.asarray(general, float)[order]
    kept = np.flatnonzero(y <= limit)
    if not len(kept) or kept[-1] == len(x) - 1:
        return None
    at = int(kept[-1])
    return float(x[at] + (limit - y[at]) * (x[at + 1] - x[at]) / (y[at + 1] - y[at]))
