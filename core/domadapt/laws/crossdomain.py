"""The cross-domain D-CPT law: the law of a new domain from a short probe run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from domadapt.laws.dcpt import DCPT
from domadapt.laws.law import Inputs, Parameter

if TYPE_CHECKING:
    Array = np.ndarray

INITIAL, DECLINE = "k1", "k2"
"""Columns: validation loss on the domain before training; its fall per step in a short run."""


class CrossDomain(DCPT):
    """L(N, D, r, K) = E + A/N^alpha + B r^eta / D^beta + C/(r + eps)^gamma + F/K^mu with K = 1/k1 + w k2.

    K tells domains apart: k1 is the loss on the domain before training, k2 its rate of decline over a short run
    (about 1 % of the cost). The paper writes K = w1/k1 + w2 k2; w1 only changes F (F w1^-mu), so it is 1 here.
    Fitted on several domains, it predicts one that gave no more than k1 and k2.
    Source: Que et al. 2024, arXiv 2406.01375, section 3.2 (form K3).
    """

    name: ClassVar[str] = "cross-domain"
    title: ClassVar[str] = "cross-domain D-CPT law"
    source: ClassVar[str] = "Que et al. 2024, arXiv 2406.01375, section 3.2"

    def __init__(self, *, sizes: bool = True) -> None:
        """sizes: whether the size of the model varies."""
        super().__init__(sizes=sizes)
        self._own = len(self.parameters)
        self.inputs = (*self.inputs, INITIAL, DECLINE)
        self.scaled = (*self.scaled, (INITIAL,), (DECLINE,))
        self.parameters = (
            *self.parameters,
            Parameter("F", 0.01, 1.0, amplitude=True),
            Parameter("mu", 0.1, 3.0),
            Parameter("w", 0.05, 5.0),
        )

    def loss(self, theta: Array, inputs: Inputs) -> tuple[Array, Array]:
        """Losses and gradient, rows in the order of the parameters."""
        losses, gradient = super().loss(theta[: self._own], inputs)
        f, mu, w = theta[self._own :]
        k = 1 / inputs[INITIAL] + w * inputs[DECLINE]
        power = k**-mu
        rows = [power, -f * power * np.log(k), -f * mu * power / k * inputs[DECLINE]]
        return losses + f * power, np.concatenate([gradient, np.stack(rows)])

    def rescaled(self, theta: Array, units: Mapping[str, float]) -> Array:
        """K is per unit of k1: F takes its power, w the units of both."""
        own = super().rescaled(theta[: self._own], units)
        f, mu, w = theta[self._own :]
        return np.array([*own, f * units[INITIAL] ** -mu, mu, w / (units[DECLINE] * units[INITIAL])])


def decline(steps: Array, losses: Array) -> tuple[float, float]:
    """(k1, k2) of a probe run: its first loss, and the fall of the loss per step from the first to the last point.

    Source: arXiv 2406.01375, section 3.2.
    """
    order = np.argsort(steps)
    first, last = order[0], order[-1]
    fall = float((losses[first] - losses[last]) / (steps[last] - steps[first]))
    return float(losses[first]), fall
