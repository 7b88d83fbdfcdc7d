"""One model against another of the same run, paired on the same items, from the samples in the store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from domadapt.errors import DataError
from domadapt.report.differences import paired_difference
from domadapt.report.finished_run import FinishedRun
from domadapt.report.statistics import JointSamples


def difference_between(run: FinishedRun, measure: Mapping[str, Any], model: str, other: str) -> dict[str, Any]:
    """score(model) - score(other) on a measure of the ledger, by the ledger's own rules (`paired_difference`).

    The ledger itself holds the differences to the reference alone.
    Raises DataError when one has no samples or they were scored on different items.
    """
    tables = []
    for label in (model, other):
        card = run.scorecard(label, measure["task"])
        if card is None:
            raise DataError(f"run {run.name}: {label} has no scores on {measure['task']}")
        tables.append(card.samples(measure["metric"]).to_pydict())
    first, second = tables
    if first["item"] != second["item"] or first["cluster"] != second["cluster"]:
        raise DataError(f"run {run.name}: {model} and {other} were scored on different items of {measure['task']}")
    samples = JointSamples.of(
        [first["value"], second["value"]], [first["weight"], second["weight"]], first["cluster"], seed=0
    )
    return paired_difference(samples, 0, 1, measure["higher_is_better"], bootstrap=False)
