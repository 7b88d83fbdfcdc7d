"""Held-out error: what a law says of runs that it was not fitted to, beside the naive guess."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from domadapt.errors import DataError
from domadapt.laws.dcpt import RATIO
from domadapt.laws.fitting import fit
from domadapt.laws.folds import Folds
from domadapt.laws.law import LOSS, Inputs
from domadapt.laws.observations import MIN_LENGTHS, Observations

if TYPE_CHECKING:
    Array = np.ndarray

STARTS = 8
"""Fewer starts than for the fit: there is one fit for each fold."""


@dataclass(frozen=True)
class FoldError:
    """What was held out and how wrong the prediction was, in the unit of the loss. naive: None where there is none."""

    label: str
    n: int
    rmse: float
    largest: float
    naive: float | None
    naive_largest: float | None


@dataclass(frozen=True)
class HeldOut:
    """The errors of one way to hold out. logs: log errors of all points.  naive: what the naive guess is."""

    what: str
    naive: str
    folds: Sequence[FoldError]
    logs: Array

    @property
    def rmse(self) -> float:
        """Relative error over all points held out."""
        return float(np.sqrt((self.logs**2).mean()))


def held_out(observations: Observations, seed: int = 0) -> list[HeldOut]:
    """Fit without each fold and predict it, for every way to hold out that the data allow."""
    found = []
    for what, folds in observations.folds.items():
        errors = _errors(observations, folds, seed)
        if errors:
            naive = NAIVE if errors[0][0].naive is not None else ""
            logs = np.concatenate([log for _, log in errors])
            found.append(HeldOut(what, naive, [error for error, _ in errors], logs))
    return found


def beyond(observations: Observations, length: str, factor: float, seed: int = 0) -> HeldOut | None:
    """Errors at the ends of the runs of a fit to their beginnings, which end a factor earlier.

    length: the column that counts it.  None when too few measurements lie in the beginnings.
    """
    inputs, groups = observations.inputs, observations.groups
    held = np.zeros(len(groups), bool)
    for run in dict.fromkeys(groups):
        rows = groups == run
        held |= rows & (inputs[length] > inputs[length][rows].max() / factor * (1 + 1e-9))
    if len(np.unique(inputs[length][~held])) < MIN_LENGTHS:
        return None
    errors = _errors(observations, [(f"x {factor:.3g}", held)], seed)
    if not errors:
        return None
    return HeldOut(f"all beyond 1/{factor:.3g} of each run", "", [errors[0][0]], errors[0][1])


def _errors(observations: Observations, folds: Folds, seed: int) -> list[tuple[FoldError, Array]]:
    inputs, law = observations.inputs, observations.law
    share = RATIO if RATIO in law.inputs else next((n for n in law.inputs if n.endswith("domain_share")), None)
    found = []
    for label, held in folds:
        kept = {name: column[~held] for name, column in inputs.items()}
        asked = {name: column[held] for name, column in inputs.items()}
        try:
            fitted = fit(law, kept, seed=seed, starts=STARTS)
        except DataError:  # too few points are left
            continue
        predicted, truth = fitted.predict(asked), asked[LOSS]
        naive = linear(kept, asked, share) if share else None
        wrong = None if naive is None or not np.isfinite(naive).all() else naive - truth
        error = FoldError(
            label,
            int(held.sum()),
            _rms(predicted - truth),
            float(np.abs(predicted - truth).max()),
            None if wrong is None else _rms(wrong),
            None if wrong is None else float(np.abs(wrong).max()),
        )
        found.append((error, np.log(np.maximum(predicted, 1e-9) / truth)))
    return found


NAIVE = "linear inter- and extrapolation in the ratio"


def linear(kept: Inputs, asked: Inputs, share: str) -> Array:
    """The line through the two nearest ratios measured at the same size and length; NaN where there are not two."""
    others = [name for name in kept if name not in (share, LOSS)]
    found = np.full(len(asked[LOSS]), np.nan)
    for row, at in enumerate(asked[share]):
        alike = np.ones(len(kept[LOSS]), bool)
        for name in others:
            alike &= np.isclose(kept[name], asked[name][row], rtol=1e-6)
        x, y = kept[share][alike], kept[LOSS][alike]
        if len(np.unique(x)) < 2:
            continue
        order = np.argsort(np.abs(x - at), kind="stable")
        below, above = order[x[order] <= at], order[x[order] >= at]
        first, second = (below[0], above[0]) if len(below) and len(above) else order[:2]
        slope = (y[second] - y[first]) / (x[second] - x[first]) if x[second] != x[first] else 0.0
        found[row] = y[first] + slope * (at - x[first])
    return found


def _rms(errors: Array) -> float:
    return float(np.sqrt((errors**2).mean()))
