"""The forgetting ledger: every model against the reference on the same items, with what the numbers can tell.

All statements are paired: models are compared item by item (see `differences`). Beside the differences stand what
each stage gained, lost and won back (see `accounts`), the merges against the control arms, and the same scores on
clean items alone where it is known which items occur in the text of the sources.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from domadapt.builtin.cleaning.decontamination import found_items
from domadapt.errors import DataError
from domadapt.report.accounts import stage_rows, total_rows
from domadapt.report.differences import BETTER, UNCLEAR, WORSE, paired_difference
from domadapt.report.significance import holm
from domadapt.report.statistics import MIN_CLUSTERS, RESAMPLES, Interval, JointSamples

if TYPE_CHECKING:
    from domadapt.artifacts import ScoreRow
    from domadapt.report.results import ModelResult, RunResults

__all__ = [
    "BETTER",
    "PERPLEXITY",
    "UNCLEAR",
    "WORSE",
    "Measure",
    "build_ledger",
    "measure_unit",
    "read_measures",
    "reference_label",
]

SEED = 0
PERPLEXITY = "bits_per_byte."


@dataclass(frozen=True)
class Measure:
    """One metric of one task with the samples of all models that have it, in the models' order.

    dirty: [N], the items that occur in the text of the sources; None where nobody looked for them. dropped: whether the
    documents that hold them were kept out of the training text.
    """

    task: str
    row: ScoreRow
    rows: Mapping[str, ScoreRow]
    samples: JointSamples
    dirty: npt.NDArray[np.bool_] | None = None
    dropped: bool = False

    @property
    def labels(self) -> list[str]:
        """Labels of the models, in the order of the sample columns."""
        return list(self.rows)

    @property
    def unit(self) -> str:
        """The unit; evaluators often leave that of an accuracy out."""
        return measure_unit(self.row, self.samples)


def measure_unit(row: ScoreRow, samples: JointSamples) -> str:
    """The unit of a measure: a score between 0 and 1 without one is a share."""
    return row.unit or ("share" if row.higher_is_better and samples.is_share else "")


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
        "scores": one per model (value, stderr, low, high, n and against the reference "difference": the keys of
        `paired_difference` and p_holm; None for the reference itself); "dirty_items": how many items occur
        in the text of the sources (None: not known), "dirty_dropped": whether the documents that hold them were
        dropped before training, and, where there are such items, "clean" and "dirty": the same scores on the items
        that do not occur, and that do {n, clusters, scores}, else None.
    shares: per merge and measure the share of CPT's gain kept, or of its loss won back, or why neither exists;
        differing_items: items that the merge answers otherwise than the model at that share's end (the reference
        for a loss won back, CPT for a gain kept; None for other than right-or-wrong scores).
    stages: what each stage gained and lost, and each merge recovered, see `stage_rows`.
    totals: the same in sums by side and unit, see `total_rows`.
    controls: each merge against each control arm (models of role "control") on every measure: merge, control,
        task, metric, side, main and the keys of `paired_difference` and p_holm.
    comparisons: number of differences to the reference.
    Raises DataError when two models were scored on different items.
    """
    reference = reference_label(results.models)
    cpt = next((model.label for model in results.models if model.role == "cpt"), None)
    merges, controls = ([m.label for m in results.models if m.role == role] for role in ("merged", "control"))
    measures: list[dict[str, Any]] = []
    shares: list[dict[str, Any]] = []
    stages: list[Mapping[str, Any]] = []
    against_controls: list[dict[str, Any]] = []
    read: list[Measure] = []
    tasks_seen: set[str] = set()
    for measure in read_measures(results):
        entry = _measure_entry(measure, reference, main=measure.task not in tasks_seen)
        tasks_seen.add(measure.task)
        read.append(measure)
        measures.append(entry)
        shares += [_share(measure, entry, reference, cpt, merge) for merge in merges if merge in measure.rows]
        stages += stage_rows(measure, entry, reference, cpt, merges)
        against_controls += _against_controls(measure, entry, merges, controls)
    _adjust_p_values(_differences(measures))
    for subset in ("clean", "dirty"):
        _adjust_p_values(_differences([m[subset] for m in measures if m[subset] is not None]))
    _adjust_p_values(against_controls)
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
        "stages": stages,
        "totals": total_rows(read, stages, reference, cpt, merges),
        "controls": against_controls,
    }


def read_measures(results: RunResults) -> Iterator[Measure]:
    """Every metric of every task, in the order of display."""
    looked_for = found_items(results.corpora.values())
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
            dirty, dropped = _dirty(tables.values()), False
            # joined here, not when scored, so that scores of base and instruct can be reused with another corpus
            if dirty is None and (found := looked_for.get(task.partition("@")[0])) is not None:
                dirty, dropped = np.array([item in found.items for item in first["item"]], dtype=bool), found.dropped
            yield Measure(task, next(iter(having.values())), having, samples, dirty, dropped)


def _dirty(tables: Iterable[Mapping[str, list[Any]]]) -> npt.NDArray[np.bool_] | None:
    """Items that any of the evaluations calls dirty; None where none has the column."""
    marks = [[mark is True for mark in table["dirty"]] for table in tables if "dirty" in table]
    return np.logical_or.reduce(np.array(marks, dtype=bool), axis=0) if marks else None


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
        estimate = {name: getattr(own, name) for name in ("value", "stderr", "low", "high", "n")}
        difference = _difference(measure, measure.samples, label, reference)
        scores.append({"model": label, **estimate, "difference": difference})
    dirty = measure.dirty
    apart = dirty is not None and dirty.any()
    return {
        "task": measure.task,
        "main": main,
        **{name: getattr(row, name) for name in ("metric", "side", "higher_is_better", "protocol")},
        "unit": measure.unit,
        "clusters": measure.samples.num_clusters,
        "scores": scores,
        "dirty_items": None if dirty is None else int(dirty.sum()),
        "dirty_dropped": None if dirty is None else measure.dropped,
        "clean": _subset(measure, ~dirty, reference) if dirty is not None and apart else None,
        "dirty": _subset(measure, dirty, reference) if dirty is not None and apart else None,
    }


def _subset(measure: Measure, mask_N: npt.NDArray[np.bool_], reference: str) -> dict[str, Any] | None:
    """The scores on some of the items; None where these cannot be scored."""
    try:
        samples = measure.samples.subset(mask_N)
    except ValueError:
        return None
    scores = [
        {
            "model": label,
            **_plain(samples.score(number)),
            "n": len(samples.values),
            "difference": _difference(measure, samples, label, reference),
        }
        for number, label in enumerate(measure.labels)
    ]
    return {"n": len(samples.values), "clusters": samples.num_clusters, "scores": scores}


def _difference(measure: Measure, samples: JointSamples, label: str, reference: str) -> dict[str, Any] | None:
    if label == reference or reference not in measure.rows:
        return None
    places = measure.labels.index(label), measure.labels.index(reference)
    return paired_difference(samples, *places, measure.row.higher_is_better)


def _against_controls(
    measure: Measure, entry: Mapping[str, Any], merges: Sequence[str], controls: Sequence[str]
) -> Iterator[dict[str, Any]]:
    common = {name: entry[name] for name in ("task", "metric", "side", "main")}
    for merge in (m for m in merges if m in measure.rows):
        for control in (c for c in controls if c in measure.rows):
            difference = _difference(measure, measure.samples, merge, control)
            yield {"merge": merge, "control": control, **common, **(difference or {})}


def _share(measure: Measure, entry: Mapping[str, Any], reference: str, cpt: str | None, merge: str) -> dict[str, Any]:
    """What the merge did with CPT's change: "gain kept" where CPT was better, "loss won back" where worse."""
    share = {"merge": merge, "task": measure.task, "metric": measure.row.metric, "side": measure.row.side}
    nothing = {"kind": None, "value": None, "stderr": None, "low": None, "high": None, "differing_items": None}
    scores = {score["model"]: score for score in entry["scores"]}
    if cpt is None or cpt not in scores or scores[cpt]["difference"] is None:
        return {**share, **nothing, "reason": f"{cpt or 'CPT'} or {reference} has no score here"}
    verdict = scores[cpt]["difference"]["verdict"]
    if verdict == UNCLEAR:
        return {**share, **nothing, "reason": f"{cpt} cannot be distinguished from {reference} here"}
    places = [measure.labels.index(label) for label in (reference, cpt, merge)]
    kind, end = ("gain kept", places[1]) if verdict == BETTER else ("loss won back", places[0])
    estimate = measure.samples.gain_kept(*places) if verdict == BETTER else measure.samples.loss_won_back(*places)
    flips = measure.samples.flips(places[2], end)
    differing = None if flips is None else sum(flips)
    return {**share, "kind": kind, **_plain(estimate), "differing_items": differing, "reason": None}


def _differences(measures: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    return (score["difference"] for m in measures for score in m["scores"] if score["difference"] is not None)


def _adjust_p_values(differences: Iterable[dict[str, Any]]) -> None:
    """Add "p_holm": the p-value adjusted for all of these comparisons."""
    family = list(differences)
    for difference, adjusted in zip(family, holm([d["p"] for d in family]), strict=True):
        difference["p_holm"] = adjusted


def _plain(estimate: Interval) -> dict[str, Any]:
    return dict(estimate._asdict())
