"""The law of learning-rate annealing: loss at any step of any schedule."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from domadapt.laws.law import Inputs, Law, Parameter

if TYPE_CHECKING:
    Array = np.ndarray

S1, S2 = "s1", "s2"
"""Columns: forward and annealing area of the learning rate (`schedules.areas`)."""


class Annealing(Law):
    """L(t) = L0 + A S1(t)^-alpha - C S2(t), four positive parameters.

    Source: Tissue et al. 2024, "Scaling law with learning rate annealing", arXiv 2408.11029, section 3.
    """

    name: ClassVar[str] = "annealing"
    title: ClassVar[str] = "LR-annealing law"
    source: ClassVar[str] = "Tissue et al. 2024, arXiv 2408.11029, section 3"
    inputs = (S1, S2)
    scaled = ((S1,), (S2,))
    parameters = (
        Parameter("L0", 0.1, 1.0, amplitude=True),
        Parameter("A", 0.01, 1.0, amplitude=True),
        Parameter("C", 0.001, 1.0, amplitude=True),
        Parameter("alpha", 0.05, 1.0),
    )

    def loss(self, theta: Array, inputs: Inputs) -> tuple[Array, Array]:
        """Losses and gradient, rows in the order of the parameters."""
        l0, a, c, alpha = theta
        area, annealed = inputs[S1], inputs[S2]
        power = area**-alpha
        rows = [np.ones_like(area), power, -annealed, -a * power * np.log(area)]
        return l0 + a * power - c * annealed, np.array(rows)

    def rescaled(self, theta: Array, units: Mapping[str, float]) -> Array:
        """A takes the power of the forward area's unit, C is per annealing area."""
        l0, a, c, alpha = theta
        return np.array([l0, a * units[S1] ** alpha, c / units[S2], alpha])
