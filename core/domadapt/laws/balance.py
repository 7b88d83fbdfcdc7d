"""The learning rate, the length and the mixture that weigh what is learnt against what is forgotten as asked.

A bound on forgetting asks for the largest domain share that keeps it; a weight asks for the least of a sum, and may
prefer a lower learning rate to more replay. Looked for on a grid of what is given, among shares that were measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.errors import UsageError
from domadapt.laws.advice import CURVE, At, refuse_vague, share_range
from domadapt.laws.dcpt import PARAMS, RATIO
from domadapt.laws.dynamics import S1_CPT, S2_CPT
from domadapt.laws.fitting import predict
from domadapt.laws.intervals import interval
from domadapt.laws.schedules import areas
from domadapt.laws.study import Study, predicted, reaching

if TYPE_CHECKING:
    from domadapt.builtin.training.schedule import Shape
    from domadapt.laws.observations import Observations

    Array = np.ndarray


@dataclass(frozen=True)
class Plan:
    """A training's schedule: its peak rate, its steps, and the areas at its end."""

    peak_lr: float
    steps: int
    s1: float
    s2: float


def plan(peak_lr: float, steps: int, shape: Shape, minimum: float) -> Plan:
    """A schedule without a warm-up, which the laws count as the peak. minimum: final rate as a share of the peak."""
    from domadapt.builtin.training.schedule import learning_rate

    rates = [learning_rate(i, steps, peak=peak_lr, shape=shape, warmup=0.0, minimum=minimum) for i in range(steps)]
    s1, s2 = areas(rates)
    return Plan(peak_lr, steps, float(s1[-1]), float(s2[-1]))


def fixed(observations: Observations, params: float | None = None) -> dict[str, float]:
    """What a schedule does not say: areas of the pre-training, as measured, and the size of model.

    Raises UsageError when the runs differ in them, and it is not told which one is meant.
    """
    found = {}
    for name in observations.law.inputs:
        if name in (RATIO, S1_CPT, S2_CPT):
            continue
        values = observations.inputs[name]
        if name == PARAMS and params is not None:
            found[name] = params
        elif name == PARAMS:
            raise UsageError("law suggest: the table has several sizes of model; wanted --params")
        elif np.allclose(values, values[0], rtol=1e-6):
            found[name] = float(values[0])
        else:
            raise UsageError(
                f"law suggest: the runs differ in {name} ({values.min():.4g} to {values.max():.4g}), and an advice is "
                "for one start; give the runs of one alone"
            )
    return found


def at_end(training: Plan, given: Mapping[str, float]) -> At:
    """Inputs of the CPT-dynamics law at the end of a training. given: of `fixed`."""

    def inputs(study: Study, domain_share: Array | float) -> Mapping[str, Any]:
        share = np.asarray(domain_share, float)
        own = np.clip(1 - share if study.side == "general" else share, 0.0, 1.0)
        return {**given, RATIO: own, S1_CPT: training.s1, S2_CPT: training.s2}

    return inputs


def reached(studies: Sequence[Study], plans: Sequence[Plan], given: Mapping[str, float], seed: int) -> list[Study]:
    """The accounts with their errors on lengths as far beyond those measured as the longest plan."""
    longest = at_end(max(plans, key=lambda entry: entry.s1), given)
    return [reaching(study, longest(study, 0.5), seed) for study in studies]


def balance(
    domain: Study, general: Study, plans: Sequence[Plan], weight: float, given: Mapping[str, float]
) -> dict[str, Any]:
    """The plan and domain share with the least weight * L_pt + (1 - weight) * L_cpt, with intervals, as plain data.

    weight: of the general loss, 0 to 1. The paper weighs changes of the losses; their start is the same for all plans.
    chance: share of the resamples in which no other plan is better.
    Source: Wang et al. 2025, arXiv 2505.07796, section 5.
    Raises DataError when the measurements do not determine the losses there, or leave them vague.
    """
    low, high = share_range(general)
    shares = np.linspace(low, high, CURVE)

    def weighed(of_general: Array, of_domain: Array) -> Array:
        return weight * _losses(general, of_general, plans, shares, given) + (1 - weight) * _losses(
            domain, of_domain, plans, shares, given
        )

    values = weighed(general.fit.theta[None], domain.fit.theta[None])[0]
    drawn = weighed(general.ensemble.thetas, domain.ensemble.thetas)
    best, at = divmod(int(np.argmin(values)), values.shape[1])
    chosen_plans, chosen_shares = np.divmod(drawn.reshape(len(drawn), -1).argmin(1), values.shape[1])
    edges = interval(shares[chosen_shares])
    where = at_end(plans[best], given)
    share = float(shares[at])
    losses = {s.side: predicted(s, where(s, share)) for s in (domain, general)}
    refuse_vague(domain.fit.law.name, losses, share)
    return {
        "weight": weight,
        "peak_lr": plans[best].peak_lr,
        "steps": plans[best].steps,
        "domain_share": {"value": share, "low": min(float(edges[0]), share), "high": max(float(edges[1]), share)},
        **losses,
        "weighed_loss": float(values[best, at]),
        "chance": float((chosen_plans == best).mean()),
        "plans": [
            {"peak_lr": p.peak_lr, "steps": p.steps, "domain_share": float(shares[row.argmin()]), "weighed_loss": least}
            for p, row, least in zip(plans, values, values.min(1).tolist(), strict=True)
        ],
    }


def _losses(study: Study, thetas: Array, plans: Sequence[Plan], shares: Array, given: Mapping[str, float]) -> Array:
    """Losses at the ends of the plans [thetas, plans, shares]."""
    ends = [at_end(entry, given)(study, shares) for entry in plans]
    return np.array([[predict(study.fit.law, theta, end) for end in ends] for theta in thetas])
