"""Intervals of fitted laws: a wild bootstrap by run, refitted from the fit itself.

The points stay where they are; the residuals of each run are flipped and stretched together by one random weight, so
that the noise which the checkpoints of a run share stays shared, and no ratio or size is ever missing from a resample
(which would leave a law unidentified). Webb's six weights do for the handful of runs there are. A refit starts from
the fit and takes milliseconds.
Source: Cameron, Gelbach and Miller 2008, "Bootstrap-based improvements for inference with clustered errors"; the
weights: Webb 2014, QED working paper 1315.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.laws.fitting import DELTA, Fit, Problem, predict
from domadapt.laws.law import Inputs

if TYPE_CHECKING:
    Array = np.ndarray

DRAWS = 200
WEBB = np.array([-1.5, -1.0, -0.5, 0.5, 1.0, 1.5])
"""Squares of Webb's weights: sign(w) sqrt(|w|) has mean 0 and variance 1."""
ENOUGH = 1e-3
"""A refit ends when a round gains less than this share of the objective: far less than draws differ."""
LEVEL = 0.95


@dataclass(frozen=True)
class Ensemble:
    """A fit and what it might have been: thetas [draws, parameters].

    errors: held-out log errors, the law's own mistake where it has not seen a run; none if they are not known.
    """

    fit: Fit
    thetas: Array
    errors: Array

    def draws(self, inputs: Mapping[str, Any]) -> Array:
        """Losses of each draw [draws, *shape]: what the law's value there might be."""
        return np.stack([predict(self.fit.law, theta, inputs) for theta in self.thetas])

    def bounds(self, inputs: Mapping[str, Any]) -> tuple[Array, Array]:
        """95 % interval of the law's value."""
        return interval(self.draws(inputs))

    def measurements(self, inputs: Mapping[str, Any]) -> Array:
        """What a run there might measure [many, *shape]: each draw with each of the law's errors on runs not seen."""
        values = self.draws(inputs)
        if not len(self.errors):
            return values
        return np.concatenate([values * np.exp(error) for error in _thinned(self.errors)])

    def measured(self, inputs: Mapping[str, Any]) -> tuple[Array, Array]:
        """95 % interval of what a run there will measure."""
        return interval(self.measurements(inputs))

    def parameters(self) -> tuple[Array, Array]:
        """95 % intervals of the parameters."""
        return interval(self.thetas)


def interval(draws: Array, level: float = LEVEL) -> tuple[Array, Array]:
    """The middle share of the draws along the first axis."""
    low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=0)
    return low, high


def _thinned(errors: Array, most: int = 64) -> Array:
    """The errors and their mirror images: a law is as likely to be too high as too low."""
    both = np.concatenate([errors, -errors])
    return both if len(both) <= most else np.quantile(both, (np.arange(most) + 0.5) / most)


def bootstrap(
    fit: Fit,
    inputs: Inputs,
    groups: Array,
    *,
    seed: int = 0,
    draws: int = DRAWS,
    errors: Array | None = None,
    delta: float = DELTA,
) -> Ensemble:
    """Refit the law to resampled losses.

    groups: the run of each point.  errors: held-out log errors, for `Ensemble.measured`.
    Residuals are stretched by sqrt(n / (n - parameters)), since a fit comes nearer to its points than the truth.
    """
    problem = Problem(fit.law, inputs, delta)
    z, logs = problem.locate(fit)
    n, wanted = len(logs), len(z)
    residuals = (problem.log_losses - logs) * np.sqrt(n / max(1, n - wanted))
    names, members = np.unique(groups, return_inverse=True)
    rng = np.random.default_rng(seed)
    thetas = np.empty((draws, wanted))
    for number in range(draws):
        chosen = rng.choice(WEBB, len(names))
        weights = np.sign(chosen) * np.sqrt(np.abs(chosen))
        _, drawn = problem.refine(z, logs + weights[members] * residuals, ENOUGH)
        thetas[number] = problem.natural(drawn)
    return Ensemble(fit, thetas, np.array([]) if errors is None else np.asarray(errors))
