"""Areas of a learning-rate schedule: what the annealing laws know of it.

Source: Tissue et al. 2024, "Scaling law with learning rate annealing", arXiv 2408.11029, section 3.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    Array = np.ndarray

DECAY = 0.999
"""lambda of the annealing area, fixed by the authors."""


def areas(rates: Sequence[float] | Array, decay: float = DECAY) -> tuple[Array, Array]:
    """Forward and annealing area after each step, S1 and S2, from the learning rates of the steps.

    S1(t) = sum_{i<=t} eta_i; S2(t) = sum_{i<=t} m_i with m_i = lambda m_{i-1} + (eta_{i-1} - eta_i), which is
    sum_{i<=t} sum_{k<=i} (eta_{k-1} - eta_k) lambda^{i-k}. The first rate has no step before it: m is 0 there.
    Source: arXiv 2408.11029, section 3 (equations 1 and 2).
    """
    from scipy.signal import lfilter

    eta = np.asarray(rates, float)
    falls = -np.diff(eta, prepend=eta[:1])
    momentum = lfilter([1.0], [1.0, -decay], falls)
    return np.cumsum(eta), np.cumsum(momentum)


def with_warmup_at_peak(rates: Sequence[float] | Array) -> Array:
    """The rates with a rising start replaced by the peak, as the authors' code computes areas of a warm-up."""
    eta = np.array(rates, float)
    if not len(eta):
        return eta
    peak = int(eta.argmax())
    if (np.diff(eta[: peak + 1]) >= 0).all():
        eta[:peak] = eta[peak]
    return eta
