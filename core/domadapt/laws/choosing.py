"""From small runs to a mixture: which law predicts best what was held out, and what it advises.

Two laws know the ratio and the length: D-CPT counts tokens, the CPT-dynamics law the learning rate of every step, which
tells a small run that has annealed from the middle of a long one. Both are fitted to both losses; the one that is less
wrong on what was held out (each ratio in turn, the end of each run) advises.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.errors import AdaptError, DataError, StageError
from domadapt.laws.advice import At, advice_data, advise
from domadapt.laws.dcpt import RATIO, TOKENS
from domadapt.laws.dynamics import S1_CPT, S2_CPT
from domadapt.laws.observations import observe
from domadapt.laws.planned import SmallRuns
from domadapt.laws.study import Study, reaching, study, study_data
from domadapt.laws.table import Table

if TYPE_CHECKING:
    Array = np.ndarray

CANDIDATES = ("dcpt", "dynamics")
UNSETTLED = 0.25
"""Share of a run's begin that D-CPT is not fitted to."""


def choose(
    table: Table, runs: SmallRuns, areas: tuple[float, float], reference: float | None, seed: int
) -> dict[str, Any]:
    """The advice with all that it rests on, as plain data: law, errors by law, advice, studies, runs.

    areas: S1 and S2 at the end of the planned training.  reference: instruct's general loss; None: that before it.
    Raises StageError with the reasons when no law carries an advice.
    """
    if reference is None:
        reference = start_loss(table)
    bound = reference * (1 + runs.bound)
    end = planned_end(runs, areas)
    accounts, reasons = {}, []
    for law in CANDIDATES:
        try:
            observed = observe(settled(table) if law == "dcpt" else table, law)
            fitted = [study(observations, seed=seed) for observations in observed]
            accounts[law] = [reaching(found, end(found, 0.5), seed) for found in fitted]
        except DataError as error:
            reasons.append(str(error))
    errors = {law: held_out_error(studies) for law, studies in accounts.items()}
    for law in sorted(accounts, key=errors.__getitem__):
        domain, general = accounts[law]
        try:
            advice = advise(domain, general, end, bound, reference)
        except AdaptError as error:
            reasons.append(str(error))
            continue
        studies = [study_data(found) for found in accounts[law]]
        return {
            "law": law,
            "errors": {name: error if np.isfinite(error) else None for name, error in errors.items()},
            "advice": advice_data(advice),
            "studies": studies,
            "runs": {**vars(runs), "shares": list(runs.shares), "told": runs.told()},
        }
    raise StageError(f"law: no mixture can be advised from the small runs: {'; '.join(reasons)}")


def settled(table: Table) -> Table:
    """Without the first quarter of each run: D-CPT has no term for the general loss that rises when training begins.

    The start itself, 0 tokens, stays: the law leaves it out by itself.
    """
    runs, tokens = table.runs(), table[TOKENS]
    longest = np.zeros(len(table))
    for run in dict.fromkeys(runs):
        longest[runs == run] = tokens[runs == run].max()
    kept = (tokens == 0) | (tokens >= UNSETTLED * longest)
    return Table({name: column[kept] for name, column in table.columns.items()}, table.where)


def start_loss(table: Table) -> float:
    """The general loss before training."""
    before = table["general_loss"][table[TOKENS] == 0]
    return float(before.mean())


def held_out_error(studies: Sequence[Study]) -> float:
    """Relative error over all that was held out, on both losses; infinite when nothing could be."""
    squares = [held.logs**2 for found in studies for held in found.held_out]
    return float(np.sqrt(np.concatenate(squares).mean())) if squares else float("inf")


def planned_end(runs: SmallRuns, areas: tuple[float, float]) -> At:
    """The end of the planned training, at a domain share."""

    def inputs(found: Study, domain_share: Array | float) -> Mapping[str, Any]:
        share = np.asarray(domain_share, float)
        own = np.clip(1 - share if found.side == "general" else share, 0.0, 1.0)
        return {RATIO: own, TOKENS: float(runs.target_tokens), S1_CPT: areas[0], S2_CPT: areas[1]}

    return inputs
