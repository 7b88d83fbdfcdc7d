"""Two models, of one run or of two, compared task by task on the items that both were scored on.

Only scores of one protocol are paired: the same task and metric, prompt, number of examples and window. What cannot be
paired is named with its reason, never compared unpaired.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domadapt.artifacts import Scorecard, ScoreRow
from domadapt.errors import DataError, UsageError
from domadapt.report.differences import paired_difference
from domadapt.report.finished_run import REPORT, open_run
from domadapt.report.ledger import SEED, measure_unit
from domadapt.report.significance import holm
from domadapt.report.statistics import JointSamples
from domadapt_registry.errors import suggestion

MERGED = "merged"

Cards = Mapping[str, Scorecard]
Columns = Mapping[str, list[Any]]


@dataclass(frozen=True)
class RunScores:
    """The scores of a run: label -> task -> scorecard.

    chosen: the merge that its report names.  digests: label -> digest of the model's files, where known.
    """

    name: str
    cards: Mapping[str, Cards]
    chosen: str | None
    digests: Mapping[str, str]

    def model(self, label: str) -> str:
        """The label as the run has it: `merged` is the chosen merge, `merge.ties` is ties. Raises UsageError."""
        wanted = self.chosen if label == MERGED and self.chosen is not None else label.removeprefix("merge.")
        if wanted not in self.cards:
            known = [*self.cards, *([MERGED] if self.chosen else [])]
            raise UsageError(f"compare: run {self.name} has no scores of '{label}'{suggestion(label, known)}")
        return wanted


def open_scores(folder: Path) -> RunScores:
    """Read a run's scorecards: those its report was made from, or all there are when it has not finished.

    Raises UsageError when the folder holds no scores.
    """
    if (folder / REPORT).is_file() and (folder / "stages" / "report").exists():
        run = open_run(folder)
        tasks = [task["task"] for task in run.data["tasks"]]
        labels = [model["label"] for model in run.data["models"]]
        found = {label: {t: c for t in tasks if (c := run.scorecard(label, t)) is not None} for label in labels}
        digests = {model["label"]: model["digest"] for model in run.data["models"]}
        return RunScores(folder.name, found, run.data["verdict"]["chosen_merge"], digests)
    cards: dict[str, dict[str, Scorecard]] = {}
    for path in sorted((folder / "stages").glob("eval.*")):
        if (path / "scores.json").is_file():
            card = Scorecard(path)
            task = card.rows()[0].task
            cards.setdefault(path.name.removeprefix("eval.").removesuffix(f".{task}"), {})[task] = card
    if not cards:
        raise UsageError(f"compare: there are no scores in {folder}; `adapt run` makes them")
    return RunScores(folder.name, cards, None, {})


def compare_runs(a: RunScores, b: RunScores, tasks: Sequence[str] = ()) -> dict[str, Any]:
    """Every model that both runs scored and that is not the same model, and their chosen merges. See `compare_models`.

    same: labels that stand for one and the same model in both runs.
    """
    common = [label for label in a.cards if label in b.cards]
    same = [n for n in common if a.digests.get(n) is not None and a.digests.get(n) == b.digests.get(n)]
    pairs = [(label, label) for label in common if label not in same]
    if a.chosen is not None and b.chosen is not None and (a.chosen, b.chosen) not in pairs and a.chosen not in same:
        pairs.append((a.chosen, b.chosen))
    if not pairs:
        raise UsageError(
            f"compare: {a.name} and {b.name} have no two different models of one label ({a.name}: "
            f"{', '.join(a.cards)}; {b.name}: {', '.join(b.cards)}); name two, such as {a.name}:{next(iter(a.cards))}"
        )
    return {**_compared(a, b, pairs, tasks), "same": same}


def compare_models(a: RunScores, label_a: str, b: RunScores, label_b: str, tasks: Sequence[str] = ()) -> dict[str, Any]:
    """Two models on every task and metric that both have, or on the tasks named.

    Keys: comparisons: how many there are in all, which is what p_holm is adjusted for; pairs: {a, b: names as
    RUN:MODEL, rows, skipped}. A row: task, metric, side, unit, higher_is_better, protocol, a, b: the scores on
    the items in common; items_a, items_b: items each was scored on; the keys of `paired_difference` for a - b
    (verdict: of a against b) and p_holm.  skipped: {task, metric, reason}.
    Raises UsageError for a model or a task that is not there, or when nothing can be paired.
    """
    found = a.model(label_a), b.model(label_b)
    if a.cards[found[0]] is b.cards[found[1]]:
        raise UsageError(f"compare: {a.name}:{found[0]} would be compared with itself")
    return {**_compared(a, b, [found], tasks), "same": []}


def _compared(a: RunScores, b: RunScores, pairs: Sequence[tuple[str, str]], tasks: Sequence[str]) -> dict[str, Any]:
    known = list(dict.fromkeys(task for own, other in pairs for task in (*a.cards[own], *b.cards[other])))
    for task in tasks:
        if task not in known:
            raise UsageError(f"compare: no task '{task}'{suggestion(task, known)}")
    found: list[dict[str, Any]] = []
    for own, other in pairs:
        rows, skipped = _pair(a.cards[own], b.cards[other], [t for t in known if not tasks or t in tasks])
        found.append({"a": f"{a.name}:{own}", "b": f"{b.name}:{other}", "rows": rows, "skipped": skipped})
    every = [row for pair in found for row in pair["rows"]]
    if not every:
        reasons = "; ".join(dict.fromkeys(f"{s['task']}: {s['reason']}" for pair in found for s in pair["skipped"]))
        raise DataError(f"compare: nothing can be compared ({reasons})")
    for row, adjusted in zip(every, holm([row["p"] for row in every]), strict=True):
        row["p_holm"] = adjusted
    return {"comparisons": len(every), "pairs": found}


def _pair(a: Cards, b: Cards, tasks: Sequence[str]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of two models, and what could not be paired."""
    rows, skipped = [], []
    for task in tasks:
        if task not in a or task not in b:
            skipped.append({"task": task, "metric": None, "reason": "only one of the two was scored on it"})
            continue
        own, other = ({row.metric: row for row in cards[task].rows()} for cards in (a, b))
        for metric in dict.fromkeys([*own, *other]):
            reason = _unlike(own.get(metric), other.get(metric))
            row: dict[str, Any] | str = reason or _row(own[metric], a[task], b[task])
            if isinstance(row, str):
                skipped.append({"task": task, "metric": metric, "reason": row})
            else:
                rows.append(row)
    return rows, skipped


def _unlike(own: ScoreRow | None, other: ScoreRow | None) -> str:
    """Why two scores may not be paired, "" where they may."""
    if own is None or other is None:
        return "only one of the two has this metric"
    for name in ("protocol", "unit", "higher_is_better"):
        if (mine := getattr(own, name)) != (theirs := getattr(other, name)):
            return f"scored differently: {name} '{mine}' against '{theirs}'"
    return ""


def _row(row: ScoreRow, a: Scorecard, b: Scorecard) -> dict[str, Any] | str:
    """One comparison, or why the samples cannot be paired."""
    own, other = a.samples(row.metric).to_pydict(), b.samples(row.metric).to_pydict()
    places = _common(own, other)
    if isinstance(places, str):
        return places
    first, second = places
    try:
        samples = JointSamples.of(
            [[own["value"][i] for i in first], [other["value"][i] for i in second]],
            [[own["weight"][i] for i in first], [other["weight"][i] for i in second]],
            [own["cluster"][i] for i in first],
            SEED,
        )
    except ValueError as error:
        return f"the samples cannot be used: {error}"
    return {
        "task": row.task,
        "metric": row.metric,
        "side": row.side,
        "unit": measure_unit(row, samples),
        "higher_is_better": row.higher_is_better,
        "protocol": row.protocol,
        "a": samples.scores[0].item(),
        "b": samples.scores[1].item(),
        "items_a": len(own["item"]),
        "items_b": len(other["item"]),
        **paired_difference(samples, 0, 1, row.higher_is_better),
    }


def _common(own: Columns, other: Columns) -> tuple[list[int], list[int]] | str:
    """The places of the items in common, in the first one's order, or why they cannot be matched."""
    if own["item"] == other["item"]:
        first = second = list(range(len(own["item"])))
    else:
        if len(set(own["item"])) < len(own["item"]) or len(set(other["item"])) < len(other["item"]):
            return "items have no unique names, and the two lists differ"
        place = {item: i for i, item in enumerate(other["item"])}
        first = [i for i, item in enumerate(own["item"]) if item in place]
        second = [place[own["item"][i]] for i in first]
    if not first:
        return "no item in common"
    for name, what in (("weight", "sizes"), ("cluster", "clusters")):
        if [own[name][i] for i in first] != [other[name][i] for i in second]:
            return f"items of one name have different {what}: their content is not the same"
    return first, second
