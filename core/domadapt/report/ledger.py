"""The forgetting ledger: every model against the reference on the same items, with what the numbers can tell.

All statements are paired: models are compared item by item. A difference is called better or worse only when
its 95 % interval excludes 0, at least six independent units were scored and, for right-or-wrong items, the exact
McNemar test agrees; anything else is "not distinguishable", and the smallest detectable effect says how
much could be missed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domadapt.errors import DataError
from domadapt.report.statistics import (
    MIN_CLUSTERS,
    RESAMPLES,
    Interval,
    JointSamples,
    holm,
    smallest_detectable,
)

if TYPE_CHECKING:
    from domadapt.artifacts import ScoreRow
    from domadapt.report.results import ModelResult, RunResults

SEED = 0
PERPLEXITY = "bits_per_byte."

BETTER = "better"
WORSE = "worse"
UNCLEAR = "not distinguishable"


@dataclass(frozen=True)
class Measure:
    """One metric of one task with the samples of all models that have it, in the models' order."""

    task: str
    row: ScoreRow
    rows: Mapping[str, ScoreRow]
    samples: JointSamples

    @property
    def labels(self) -> list[str]:
        """Labels of the models, in the order of the sample columns."""
        return list(self.rows)


def reference_label(models: Sequence[ModelResult]) -> str:
    """The model that all others are measured against: instruct, or base where there is no instruct model."""
    by_role = {model.role: model.label for model in reversed(models)}
    for role in ("instruct", "base"):
        if role in by_role:
            return by_role[role]
    raise DataError("report: neither a base nor an instruct model was evaluated; add one to the recipe's model section")


def build_ledger(results: RunResults) -> dict[str, Any]:
    """Scores, differences and shares of one run as plain data.

    measures: one entry per task and metric, the first metric of a task is its main one ("main": true), with
    "scores": one per model (value, stderr, low, high, n, clusters, and against the reference "difference":
    value, stderr, low, high, p, p_holm, verdict, smallest_detectable; None for the reference itself).
    shares: per merge and measure the share of CPT's gain kept, or of its loss won back, or why neither exists.
    Raises DataError when two models were scored on different items.
    """
    reference = reference_label(results.models)
    cpt = next((model.label for model in results.models if model.role == "cpt"), None)
    merges = [model.label for model in results.models if model.role == "merged"]
    measures: list[dict[str, Any]] = []
    shares: list[dict[str, Any]] = []
    tasks_seen: set[str] = set()
    for measure in _measures(results):
        entry = _measure_entry(measure, reference, main=measure.task not in tasks_seen)
        tasks_seen.add(measure.task)
        measures.append(entry)
        shares += [_share(measure, entry, reference, cpt, merge) for merge in merges if merge in measure.rows]
    _adjust_p_values(measures)
    return {
        "reference": reference,
        "cpt": cpt,
        "confidence": 0.95,
        "resamples": RESAMPLES,
        "seed": SEED,
        "min_clusters": MIN_CLUSTERS,
        "comparisons": sum(1 for _ in _differences(measures)),
        "measures": measures,
        "shares": shares,
    }


def _measures(results: RunResults) -> Iterator[Measure]:
    """Every metric of every task, in the order of display."""
    for task in results.tasks:
        scored = {m.label: m.scorecards[task] for m in results.models if task in m.scorecards}
        rows = {label: {row.metric: row for row in card.rows()} for label, card in scored.items()}
        for metric in dict.fromkeys(metric for by_metric in rows.values() for metric in by_metric):
            having = {label: by_metric[metric] for label, by_metric in rows.items() if metric in by_metric}
            tables = {label: scored[label].samples(metric).to_pydict() for label in having}
            _require_same_items(task, tables)
            first = next(iter(tables.values()))
            try:
                samples = JointSamples.of(
                    [t["value"] for t in tables.values()],
                    [t["weight"] for t in tables.values()],
                    first["cluster"],
                    SEED,
                )
            except ValueError as error:
                raise DataError(f"task {task}, metric {metric}: the samples cannot be used: {error}") from None
            yield Measure(task, next(iter(having.values())), having, samples)


def _require_same_items(task: str, tables: Mapping[str, Mapping[str, list[Any]]]) -> None:
    (first, wanted), *others = tables.items()
    for label, table in others:
        if table["item"] != wanted["item"] or table["cluster"] != wanted["cluster"]:
            raise DataError(
                f"task {task}: {label} was scored on {len(table['item'])} items that are not the "
                f"{len(wanted['item'])} items of {first}, so they cannot be compared; run again with --fresh"
            )


def _measure_entry(measure: Measure, reference: str, *, main: bool) -> dict[str, Any]:
    row = measure.row
    scores = []
    for label, own in measure.rows.items():
        comparable = label != reference and reference in measure.rows
        scores.append(
            {
                "model": label,
                **{name: getattr(own, name) for name in ("value", "stderr", "low", "high", "n")},
                "difference": _difference(measure, label, reference) if comparable else None,
            }
        )
    return {
        "task": measure.task,
        "main": main,
        **{name: getattr(row, name) for name in ("metric", "side", "higher_is_better", "protocol")},
        # evaluators often leave the unit of an accuracy out
        "unit": row.unit or ("share" if row.higher_is_better and measure.samples.is_share else ""),
        "clusters": measure.samples.num_clusters,
        "scores": scores,
    }


def _difference(measure: Measure, label: str, reference: str) -> dict[str, Any]:
    pair = measure.labels.index(label), measure.labels.index(reference)
    estimate = measure.samples.difference(*pair)
    p = measure.samples.p_value(*pair)
    return {
        **_plain(estimate),
        "p": p,
        "verdict": _verdict(estimate, measure, p),
        # identical answers have a standard error of 0, which says nothing about what could be detected
        "smallest_detectable": smallest_detectable(estimate.stderr) if estimate.stderr > 0 else None,
    }


def _verdict(estimate: Interval, measure: Measure, p: float) -> str:
    samples = measure.samples
    exact = samples.is_binary and not samples.is_clustered
    if not estimate.excludes(0) or samples.num_clusters < MIN_CLUSTERS or (exact and p >= 0.05):
        return UNCLEAR
    return BETTER if (estimate.value > 0) == measure.row.higher_is_better else WORSE


def _share(measure: Measure, entry: Mapping[str, Any], reference: str, cpt: str | None, merge: str) -> dict[str, Any]:
    """What the merge did with CPT's change: "gain kept" where CPT was better, "loss won back" where worse."""
    share = {"merge": merge, "task": measure.task, "metric": measure.row.metric, "side": measure.row.side}
    nothing = {"kind": None, "value": None, "stderr": None, "low": None, "high": None}
    scores = {score["model"]: score for score in entry["scores"]}
    if cpt is None or cpt not in scores or scores[cpt]["difference"] is None:
        return {**share, **nothing, "reason": f"{cpt or 'CPT'} or {reference} has no score here"}
    verdict = scores[cpt]["difference"]["verdict"]
    if verdict == UNCLEAR:
        return {**share, **nothing, "reason": f"{cpt} cannot be distinguished from {reference} here"}
    places = [measure.labels.index(label) for label in (reference, cpt, merge)]
    if verdict == BETTER:
        return {**share, "kind": "gain kept", **_plain(measure.samples.gain_kept(*places)), "reason": None}
    return {**share, "kind": "loss won back", **_plain(measure.samples.loss_won_back(*places)), "reason": None}


def _differences(measures: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    return (score["difference"] for m in measures for score in m["scores"] if score["difference"] is not None)


def _adjust_p_values(measures: Sequence[Mapping[str, Any]]) -> None:
    """Add "p_holm": the p-value adjusted for all comparisons of the ledger."""
    differences = list(_differences(measures))
    for difference, adjusted in zip(differences, holm([d["p"] for d in differences]), strict=True):
        difference["p_holm"] = adjusted


def _plain(estimate: Interval) -> dict[str, Any]:
    return dict(estimate._asdict())
