"""What a pair of fitted laws advises: the share of domain text under a bound on the general loss, and what to expect.

The share is looked for among those measured, never beyond: a law says least about mixtures that nobody has tried.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.errors import DataError
from domadapt.laws.applications import trade_off
from domadapt.laws.dcpt import RATIO, TOKENS
from domadapt.laws.intervals import interval
from domadapt.laws.mixing import LENGTH
from domadapt.laws.study import WIDEST, Study, predicted, refuse

if TYPE_CHECKING:
    Array = np.ndarray

CURVE = 61
FAR = 20.0
"""Training this many times longer than the longest run measured is called far."""

SURE = 0.9
"""The chance to keep the bound that a second, smaller share is told for."""

At = Callable[[Study, "Array | float"], Mapping[str, Any]]
"""Inputs of a study's law at a domain share."""


@dataclass(frozen=True)
class Advice:
    """A share of domain text with its 95 % interval, and what a run there will measure.

    domain, general: value, low, high.  bound: what the general loss must not exceed.  reference: the loss that the
    bound is relative to.  chance: that the general loss of a run at this share keeps the bound: a half, where the bound
    is what limits the share.  safe: the share at which that chance is SURE.
    limited: whether the largest share measured keeps the bound, so that more might.  shares and curves: for a picture.
    """

    domain_share: float
    low: float
    high: float
    bound: float
    reference: float | None
    chance: float
    safe: float
    limited: bool
    domain: Mapping[str, float]
    general: Mapping[str, float]
    shares: Array
    curves: Mapping[str, Mapping[str, Array]]
    notes: list[str]


def at_length(tokens: float | None, params: float | None) -> At:
    """Inputs at a training length and a size of model; a law by lengths measured takes the nearest of its own."""

    def inputs(study: Study, domain_share: Array | float) -> Mapping[str, Any]:
        law = study.fit.law
        if LENGTH in law.inputs:
            (name,) = (n for n in law.inputs if n != LENGTH)
            last = float(study.observations.inputs[LENGTH].max())
            return {name: domain_share, LENGTH: np.full_like(np.asarray(domain_share, float), last)}
        own = 1 - np.asarray(domain_share, float) if study.side == "general" else np.asarray(domain_share, float)
        return {RATIO: np.clip(own, 0.0, 1.0), TOKENS: tokens, "params": params}

    return inputs


def advise(domain: Study, general: Study, at: At, bound: float, reference: float | None = None) -> Advice:
    """The largest measured-range share of domain text that keeps the general loss within a bound.

    Raises DataError with the reasons when a fit is poor, no share keeps the bound, or the prediction is too vague.
    """
    refuse([domain, general])
    low, high = share_range(general)
    shares = np.linspace(low, high, CURVE)
    share = trade_off(lambda s: general.fit.predict(at(general, s)), bound, low, high)
    if share is None:
        least = float(general.fit.predict(at(general, shares)).min())
        raise DataError(
            f"law {general.fit.law.name}: no domain share from {low:g} to {high:g} keeps the general loss within "
            f"{bound:.4f}: the least it predicts is {least:.4f}. Allow more, train less, or measure smaller shares"
        )
    drawn = general.ensemble.measurements(at(general, shares))
    largest = np.array([_largest(shares, row, bound) for row in drawn])
    edges = interval(largest)
    expected = {s.side: predicted(s, at(s, share)) for s in (domain, general)}
    refuse_vague(domain.fit.law.name, expected, share)
    chance = float((general.ensemble.measurements(at(general, share)) <= bound).mean())
    curves = {s.side: _curve(s, at, shares) for s in (domain, general)}
    return Advice(
        share,
        min(float(edges[0]), share),
        max(float(edges[1]), share),
        bound,
        reference,
        chance,
        float(np.quantile(largest, 1 - SURE)),
        share >= high - 1e-9,
        expected["domain"],
        expected["general"],
        shares,
        curves,
        _warnings(domain, at(domain, share)),
    )


def refuse_vague(law: str, expected: Mapping[str, Mapping[str, float]], share: float) -> None:
    """Raise DataError when a loss at a domain share is predicted, but not well enough. expected: by side."""
    for side, value in expected.items():
        half = (value["high"] - value["low"]) / 2 / value["value"]
        if half > WIDEST:
            raise DataError(
                f"law {law}: the {side} loss at a domain share of {share:.3f} is only known to ±{half:.1%} (at most "
                f"±{WIDEST:.0%} is wanted): more ratios or longer runs are needed"
            )


def _largest(shares: Array, losses: Array, bound: float) -> float:
    """The last share within the bound, by linear interpolation between the shares."""
    kept = np.flatnonzero(losses <= bound)
    if not len(kept):
        return float(shares[0])
    at = int(kept[-1])
    if at == len(shares) - 1:
        return float(shares[-1])
    part = (bound - losses[at]) / (losses[at + 1] - losses[at])
    return float(shares[at] + part * (shares[at + 1] - shares[at]))


def share_range(study: Study) -> tuple[float, float]:
    """The smallest and largest domain share measured."""
    inputs = study.observations.inputs
    if RATIO in inputs:
        ratio = 1 - inputs[RATIO] if study.side == "general" else inputs[RATIO]
    else:
        (name,) = (n for n in study.fit.law.inputs if n != LENGTH)
        ratio = inputs[name]
    return float(ratio.min()), float(ratio.max())


def _curve(study: Study, at: At, shares: Array) -> Mapping[str, Array]:
    low, high = study.ensemble.measured(at(study, shares))
    return {"value": study.fit.predict(at(study, shares)), "low": low, "high": high}


def _warnings(study: Study, asked: Mapping[str, Any]) -> list[str]:
    if TOKENS not in study.observations.inputs:
        return []
    longest = float(study.observations.inputs[TOKENS].max())
    if asked[TOKENS] > FAR * longest:
        return [f"{asked[TOKENS]:.3g} tokens are {asked[TOKENS] / longest:.0f} times the longest run measured"]
    return []


def advice_data(advice: Advice) -> dict[str, Any]:
    """The advice as plain data."""
    return {
        "domain_share": advice.domain_share,
        "low": advice.low,
        "high": advice.high,
        "replay": 1 - advice.domain_share,
        "bound": advice.bound,
        "reference": advice.reference,
        "chance": advice.chance,
        "safe": {"domain_share": advice.safe, "chance": SURE},
        "limited": advice.limited,
        "domain": dict(advice.domain),
        "general": dict(advice.general),
        "shares": advice.shares.tolist(),
        "curves": {side: {k: v.tolist() for k, v in curve.items()} for side, curve in advice.curves.items()},
        "notes": list(advice.notes),
    }
