"""What a law is: a formula for a loss with its gradient, its parameters, and what they are measured in.

A law is fitted in units of its own data (a model size relative to the sizes measured, a loss relative to the losses
measured), so that one range of starting values serves losses of 1 and of 7 nats, models of a million and of a billion
parameters. `rescaled` turns the parameters back into the units of the paper.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import numpy as np

    Array = np.ndarray

Inputs = Mapping[str, "Array"]
"""Columns of equal length by name."""

LOSS = "loss"
"""The column that laws predict."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a law.

    low, high: range of its starting values, in the units of the fit.  positive: it is fitted as its logarithm.
    amplitude: it is in the unit of the loss.
    """

    name: str
    low: float
    high: float
    positive: bool = True
    amplitude: bool = False


class Law(ABC):
    """A formula for a loss. An instance may be a reduced form, for data that cannot tell some parameters apart."""

    name: ClassVar[str]
    title: ClassVar[str]
    source: ClassVar[str]
    """Paper and section."""
    value: ClassVar[str] = "loss"
    """What it predicts."""
    inputs: tuple[str, ...]
    """Columns that it reads."""
    scaled: tuple[tuple[str, ...], ...] = ()
    """Of these, the ones that are divided by their geometric mean before the fit; those of a group by one together."""
    parameters: tuple[Parameter, ...]
    held: bool = False
    """Whether a fit is held to the law's demands. A law for which it is not is fitted without them first."""
    absolute: bool = False
    """Whether losses stay in their own unit during the fit, because the formula has constants in that unit."""

    @abstractmethod
    def loss(self, theta: Array, inputs: Inputs) -> tuple[Array, Array]:
        """Losses [n] and their gradient [parameters, n] by the parameters."""

    def demands(self, theta: Array, inputs: Inputs) -> tuple[Array, Array] | None:
        """What is wanted of every fit: numbers [m] of at most 0, their gradient [parameters, m]; None: nothing.

        One that is above 0 by as much counts like an error of a log loss by as much.  inputs: those of the fit.
        """
        return None

    def rescaled(self, theta: Array, units: Mapping[str, float]) -> Array:
        """The parameters for inputs as they are, from parameters for inputs divided by `units`.

        Both give the same losses, amplitudes apart, which the fitter turns back itself.
        """
        assert not self.scaled, f"{self.name} scales {self.scaled} and must say what that does"
        return theta
