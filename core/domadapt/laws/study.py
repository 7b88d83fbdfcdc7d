"""A law's whole account of a table: fit, errors on what it had not seen, intervals, and what speaks against it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.errors import DataError
from domadapt.laws.dcpt import DCPT, RATIO, TOKENS
from domadapt.laws.determined import standard_error, unseen
from domadapt.laws.dynamics import S1_CPT, S1_PT, Dynamics
from domadapt.laws.fitting import STARTS, Fit, fit
from domadapt.laws.heldout import HeldOut, beyond, held_out
from domadapt.laws.intervals import DRAWS, Ensemble, bootstrap
from domadapt.laws.law import LOSS
from domadapt.laws.observations import Observations

if TYPE_CHECKING:
    Array = np.ndarray

WIDEST = 0.05
"""Half of a 95 % interval, as a share of the loss, beyond which nothing is advised."""
LARGEST_ERROR = 0.03
"""Relative error on what was held out beyond which a fit is called poor."""
LEAST_R2 = 0.5
"""Share of the variance that a fit explains below which it is called poor, unless its error is small all the same."""
SMALL_ERROR = 0.005
UNLIKELY = 1e5
"""A length so many times the longest run's is more likely a table in billions than a question."""
MEASURED = 1.02
"""Lengths up to this share of the longest one measured are not beyond it: steps are whole."""


@dataclass(frozen=True)
class Study:
    """One law fitted to one loss. against: reasons not to rely on it; empty for none. notes: what to know of it."""

    observations: Observations
    fit: Fit
    held_out: Sequence[HeldOut]
    ensemble: Ensemble
    against: Sequence[str]
    notes: Sequence[str]

    @property
    def side(self) -> str:
        """Whose loss it is."""
        return self.observations.side


def study(observations: Observations, *, seed: int = 0, draws: int = DRAWS, starts: int = STARTS) -> Study:
    """Fit, hold out, bootstrap and judge. Raises DataError when there are fewer points than parameters."""
    fitted = fit(observations.law, observations.inputs, seed=seed, starts=starts)
    errors = held_out(observations, seed)
    logs = np.concatenate([held.logs for held in errors]) if errors else None
    ensemble = bootstrap(fitted, observations.inputs, observations.groups, seed=seed, draws=draws, errors=logs)
    notes = [*observations.notes, *_unseen(fitted, observations), *_constraints(fitted, observations)]
    notes += _returning(fitted, observations)
    if not errors:
        notes.append("too few runs to hold one out: its error on runs it has not seen is unknown")
    return Study(observations, fitted, errors, ensemble, _poor(fitted, errors), notes)


def reaching(found: Study, asked: Mapping[str, Any], seed: int = 0) -> Study:
    """The account with its error on lengths as far beyond those it was fitted to as the length asked for.

    Where that is worse than the errors on runs held out, it makes the interval; where the runs are too short to tell,
    that speaks against the fit. A length that was measured, or a law that does not count it, changes nothing.
    """
    law, inputs = found.fit.law, found.observations.inputs
    name = next((n for n in (TOKENS, S1_CPT) if n in law.inputs), None)
    if name is None or float(np.max(asked[name])) <= inputs[name].max() * MEASURED:
        return found
    factor = float(np.max(asked[name]) / inputs[name].max())
    error = beyond(found.observations, name, factor, seed)
    if error is None:
        told = f"the runs are too short to tell how a length {factor:.3g} times theirs is predicted; make them longer"
        if factor > UNLIKELY:
            told += f" (the longest has {inputs[name].max():g} {name}: is the table in the same unit as the question?)"
        return replace(found, against=[*found.against, told])
    logs = max((error.logs, found.ensemble.errors), key=lambda logs: float((logs**2).mean()) if len(logs) else 0.0)
    return replace(
        found,
        held_out=[*found.held_out, error],
        ensemble=replace(found.ensemble, errors=logs),
        against=[*found.against, *_poor_on([error], law.value)],
    )


def refuse(studies: Sequence[Study]) -> None:
    """Raise DataError with the reasons when one of the fits cannot be relied on."""
    reasons = [f"{s.side or s.fit.law.title}: {reason}" for s in studies for reason in s.against]
    if reasons:
        raise DataError(f"law {studies[0].fit.law.name}: nothing is advised: " + "; ".join(reasons))


def _poor(fitted: Fit, errors: Sequence[HeldOut]) -> list[str]:
    reasons = []
    if fitted.r2 < LEAST_R2 and fitted.rmse > SMALL_ERROR:
        reasons.append(
            f"the fit explains {max(0.0, fitted.r2):.0%} of the variance of what was measured (R2 {fitted.r2:.3f}, "
            f"{LEAST_R2:g} is wanted, or a relative error below {SMALL_ERROR:.1%}, which is {fitted.rmse:.1%})"
        )
    return reasons + _poor_on(errors, fitted.law.value)


def _poor_on(errors: Sequence[HeldOut], value: str) -> list[str]:
    return [
        f"{held.what} held out, the error is {held.rmse:.1%} of the {value} (at most {LARGEST_ERROR:.0%} is wanted)"
        for held in errors
        if not held.rmse <= LARGEST_ERROR
    ]


def _unseen(fitted: Fit, observations: Observations) -> list[str]:
    """What the measurements leave open: no reason against a fit, but against predictions that depend on it."""
    found = unseen(fitted, observations.inputs)
    told = "any value fits as well, and no loss is predicted that depends on it"
    return [f"the measurements do not fix {'; '.join(found)}: {told}"] if found else []


def _constraints(fitted: Fit, observations: Observations) -> list[str]:
    """What the D-CPT paper demands of a fit: more of a corpus must not make its own loss worse."""
    law = fitted.law
    if not isinstance(law, DCPT):
        return []
    from domadapt.laws.applications import least_tokens

    largest = float(observations.inputs[RATIO].max())
    if law.held:
        return ["held to the paper's demand that more of a corpus lowers its loss, which no measurement speaks against"]
    needed, least = least_tokens(law, fitted.theta, largest), float(observations.inputs[TOKENS].min())
    if needed <= least:
        return []
    return [
        f"below {needed:.3g} tokens the fit says that more of a corpus makes its own loss worse at a share of "
        f"{largest:g}, and runs are as short as {least:.3g} (a demand of the paper is not met)"
    ]


def _returning(fitted: Fit, observations: Observations) -> list[str]:
    """When longer training wins back the general loss that it cost first, by the CPT-dynamics law."""
    from domadapt.laws.turning import turning_length

    law, inputs = fitted.law, observations.inputs
    if not isinstance(law, Dynamics) or law.corpus != "pt":
        return []
    longest = float(inputs[S1_CPT].max())
    start = float(np.median(inputs[S1_PT])) if law.known else fitted.named["S1pt"]
    ratios = sorted(set(np.round(inputs[RATIO], 3).tolist())) if law.replay else [0.0]
    lengths = {ratio: turning_length(fitted.named, start, ratio) for ratio in ratios}
    never = [f"{ratio:g}" for ratio, length in lengths.items() if length is None]
    back = {f"{ratio:g}": length / longest for ratio, length in lengths.items() if length}
    of_shares = f" at general shares of {', '.join(never)}" if law.replay else ""
    notes = [f"longer training alone never wins back the general loss it costs first{of_shares}"] if never else []
    if back:
        told = (f"{times:.3g}{f' ({ratio} general text)' if law.replay else ''}" for ratio, times in back.items())
        notes.append(f"the general loss is back at its start after so many times the longest run: {', '.join(told)}")
    return notes


def study_data(found: Study) -> dict[str, Any]:
    """The account as plain data: what `--json` prints and the page draws."""
    law, inputs = found.fit.law, found.observations.inputs
    low, high = found.ensemble.parameters()
    predicted = found.fit.predict(inputs)
    return {
        "law": law.name,
        "title": law.title,
        "source": law.source,
        "side": found.side,
        "value": law.value,
        "n": found.fit.n,
        "runs": len(set(found.observations.groups)),
        "parameters": [
            {"name": p.name, "value": float(v), "low": float(a), "high": float(b)}
            for p, v, a, b in zip(law.parameters, found.fit.theta, low, high, strict=True)
        ],
        "constants": dict(found.observations.constants),
        "r2": found.fit.r2,
        "rmse": found.fit.rmse,
        "largest": found.fit.largest,
        "objective": found.fit.objective,
        "starts": {"agreeing": found.fit.agreeing, "tried": found.fit.starts},
        "held_out": [_held_out_data(held) for held in found.held_out],
        "against": list(found.against),
        "notes": list(found.notes),
        "points": {
            "group": [str(group) for group in found.observations.groups],
            **{name: _plain(inputs[name]) for name in law.inputs},
            "measured": _plain(inputs[LOSS]),
            "predicted": _plain(predicted),
        },
    }


def _held_out_data(held: HeldOut) -> dict[str, Any]:
    return {
        "what": held.what,
        "rmse": held.rmse,
        "naive": held.naive,
        "folds": [
            {
                "label": f.label,
                "n": f.n,
                "rmse": f.rmse,
                "largest": f.largest,
                "naive_rmse": f.naive,
                "naive_largest": f.naive_largest,
            }
            for f in held.folds
        ],
    }


def predicted(found: Study, inputs: Mapping[str, Any]) -> dict[str, float]:
    """What a run there will measure, with its 95 % interval.

    Raises DataError when the measurements do not determine it.
    """
    determined(found, inputs)
    low, high = found.ensemble.measured(inputs)
    return {"value": float(found.fit.predict(inputs)), "low": float(low), "high": float(high)}


def determined(found: Study, inputs: Mapping[str, Any]) -> None:
    """Raise DataError when the loss at this point depends on what the measurements do not fix."""
    error, name = standard_error(found.fit, found.observations.inputs, inputs)
    if not error <= WIDEST:
        raise DataError(
            f"law {found.fit.law.name}: the measurements do not determine the {found.side or 'predicted'} loss there: "
            f"it depends on {name}, which they leave open; measure closer to the point asked for"
        )


def _plain(column: Array) -> list[float]:
    return [float(value) for value in column]
