"""Several runs that differ in a few keys, compared with the first one, model by model, on the items that all share.

Each arm is paired with the first as `adapt compare` pairs two runs; p values are adjusted over all arms together, since
more arms find more by chance. What cannot be compared, and an arm that failed, is named with its reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from domadapt.errors import DataError, UsageError
from domadapt.report.compare import MERGED, RunScores, compare_models, open_scores
from domadapt.report.experiment_curves import arm_curves, gap_rows
from domadapt.report.finished_run import open_run
from domadapt.report.ledger import PERPLEXITY
from domadapt.report.numbers import without_nan
from domadapt.report.run_tables import flattened
from domadapt.report.significance import holm

Entry = Mapping[str, Any]

CPT = "cpt"
JSON_NAME = "experiment.json"
HTML_NAME = "experiment.html"


@dataclass(frozen=True)
class Arm:
    """One finished run of an experiment: how it differs, its folder, its scores, the tokens that it trained on.

    report: its report.json; without one it has scores and nothing else.
    """

    label: str
    folder: Path
    scores: RunScores
    tokens: int | None
    report: Entry = field(default_factory=dict)


@dataclass(frozen=True)
class FailedArm:
    """An arm that did not get to its end, and why."""

    label: str
    run: str
    error: str


def open_arm(label: str, folder: Path) -> Arm:
    """A finished run as an arm."""
    run = open_run(folder)
    model = run.model(CPT)
    tokens = model["facts"].get("tokens") if model is not None else None
    return Arm(label, folder, open_scores(folder), tokens, run.data)


def experiment_data(arms: Sequence[Arm], failed: Sequence[FailedArm] = (), name: str = "") -> dict[str, Any]:
    """Everything that the table, the page and the JSON say, as plain data.

    Keys: schema; name; first: label of the arm that all are compared with.  before: model and scores (task, metric,
    value) of the first arm's reference, the instruct model or else the base; None where it was not scored.
    arms: arm, run, state ("done" or "failed"), error, tokens, steps, parts (name, share, epochs), unmet: gates.
    budget: {equal, sentence}.  recipes: key -> arm -> value, of what differs.
    comparisons: how many p_holm is adjusted for.  models: "cpt" and "merged" -> rows; a row is one of `compare_models`
    with arm: a is the arm's score, b the first arm's.  skipped: arm, model, task, metric, reason.
    tradeoff: "cpt" and "merged" -> points, see `_tradeoff`.  curves, gaps: see `arm_curves` and `gap_rows`.
    Raises DataError when no arm can be compared with the first one.
    """
    first, *others = arms
    models: dict[str, list[dict[str, Any]]] = {}
    skipped: list[dict[str, Any]] = []
    for model in (CPT, MERGED):
        for arm in others:
            rows, left_out = _compared(arm, first, model)
            if rows:
                models.setdefault(model, []).extend(rows)
            skipped += left_out
    found = [row for rows in models.values() for row in rows]
    if not found:
        reasons = "; ".join(dict.fromkeys(f"{s['arm']}: {s['reason']}" for s in skipped)) or "no model in common"
        raise DataError(f"experiment: nothing can be compared ({reasons})")
    for row, adjusted in zip(found, holm([row["p"] for row in found]), strict=True):
        row["p_holm"] = adjusted
    told = [_about(arm) for arm in arms]
    reports = {arm.label: arm.report for arm in arms if arm.report}
    data = {
        "schema": 1,
        "name": name,
        "first": first.label,
        "before": _before(first),
        "arms": [*told, *(_about_failed(arm) for arm in failed)],
        "budget": _budget(told),
        "recipes": _differing({label: report["recipe"] for label, report in reports.items()}),
        "comparisons": len(found),
        "models": models,
        "skipped": skipped,
        "tradeoff": {model: points for model, rows in models.items() if (points := _tradeoff(rows, first, model))},
        "curves": arm_curves(reports),
        "gaps": gap_rows(reports),
    }
    plain: dict[str, Any] = without_nan(data)
    return plain


def _compared(arm: Arm, first: Arm, model: str) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The rows of one arm's model against the first's, and what could not be compared."""
    label, base = _label(arm, model), _label(first, model)
    told: dict[str, Any] = {"arm": arm.label, "model": model}
    if label is None or base is None:
        reason = "it has no such model" if base is not None else "the first arm has no such model"
        return [], [{**told, "task": None, "metric": None, "reason": reason}] if label != base else []
    if arm.scores.digests.get(label) == first.scores.digests.get(base) is not None:
        return [], [{**told, "task": None, "metric": None, "reason": "it is the first arm's model"}]
    try:
        pair = compare_models(arm.scores, label, first.scores, base)["pairs"][0]
    except DataError as error:  # nothing in common, each task with its reason
        return [], [{**told, "task": None, "metric": None, "reason": str(error).removeprefix("compare: ")}]
    return [{**told, **row} for row in pair["rows"]], [{**told, **entry} for entry in pair["skipped"]]


def _label(arm: Arm, model: str) -> str | None:
    """What the arm's run calls its model; None where it has none, as where no merge was made."""
    try:
        return arm.scores.model(model)
    except UsageError:
        return None


def _before(first: Arm) -> dict[str, Any] | None:
    """What the model could do that the training began from or is merged with."""
    model = next((label for label in ("instruct", "base") if label in first.scores.cards), None)
    if model is None:
        return None
    rows = [row for card in first.scores.cards[model].values() for row in card.rows()]
    scores = [{"task": row.task, "metric": row.metric, "value": row.value} for row in rows]
    return {"model": model, "scores": scores}


def _about(arm: Arm) -> dict[str, Any]:
    """What is told of an arm beside its scores."""
    model = next((m for m in arm.report.get("models", ()) if m["label"] == CPT), None)
    mixture = arm.report.get("mixture") or {}
    return {
        "arm": arm.label,
        "run": arm.folder.name,
        "state": "done",
        "error": None,
        "tokens": arm.tokens,
        "steps": model["facts"].get("steps") if model is not None else None,
        "parts": [
            {"name": part["name"], "share": part["share_achieved"], "epochs": part["epochs"]}
            for part in mixture.get("parts", ())
        ],
        "unmet": [gate["gate"] for gate in arm.report.get("gates", ()) if not gate["met"]],
    }


def _about_failed(arm: FailedArm) -> dict[str, Any]:
    nothing: dict[str, Any] = {"tokens": None, "steps": None, "parts": [], "unmet": []}
    return {"arm": arm.label, "run": arm.run, "state": "failed", "error": arm.error, **nothing}


def _budget(arms: Sequence[Entry]) -> dict[str, Any]:
    """Whether all arms trained for the same number of steps and tokens, exactly, in words too."""
    spent = {(arm["steps"], arm["tokens"]) for arm in arms}
    if any(tokens is None for _, tokens in spent):
        return {"equal": None, "sentence": "budgets are not known of every arm: a checkpoint was made elsewhere"}
    if len(spent) == 1:
        steps, tokens = spent.pop()
        of = f"{steps:,} steps, {tokens:,} tokens each" if steps is not None else f"{tokens:,} tokens each"
        return {"equal": True, "sentence": f"the arms are of equal budget: {of}"}
    what = "tokens" if len({tokens for _, tokens in spent}) > 1 else "steps"
    return {
        "equal": False,
        "sentence": f"the arms are not of equal budget: they differ in the {what} they trained on; a difference may be "
        "of the length of training as well as of what was varied",
    }


def _differing(recipes: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Recipe values that are not the same in all arms: key -> arm -> value. The runs' names are no difference."""
    flat = {
        label: {key: value for key, value in flattened(recipe) if value != "none"} for label, recipe in recipes.items()
    }
    keys = sorted({key for recipe in flat.values() for key in recipe} - {"name"})
    found = {key: {label: recipe.get(key, "not set") for label, recipe in flat.items()} for key in keys}
    return {key: values for key, values in found.items() if len(set(values.values())) > 1}


def _tradeoff(rows: Sequence[Entry], first: Arm, model: str) -> list[dict[str, Any]]:
    """Domain and general bits per byte of each arm: {arm, domain, general}, each {value, low, high}.

    An arm stands where its paired difference puts it from the first arm's score, and its interval is that of the
    difference: what the documents have in common is no doubt between arms. The first has no interval. Only arms that
    were compared on both sides.
    """
    cards = first.scores.cards[first.scores.model(model)]
    points: list[dict[str, Any]] = [{"arm": first.label}]
    points += [{"arm": arm} for arm in dict.fromkeys(row["arm"] for row in rows)]
    for side in ("domain", "general"):
        task = PERPLEXITY + side
        if task not in cards:
            return []
        score = cards[task].rows()[0]
        points[0][side] = {"value": score.value, "low": None, "high": None}
        change = {row["arm"]: row for row in rows if (row["task"], row["metric"]) == (task, score.metric)}
        for point in points[1:]:
            if (row := change.get(point["arm"])) is not None:
                point[side] = {key: score.value + row[key] for key in ("value", "low", "high")}
    return [point for point in points if "domain" in point and "general" in point]


def by_measure(rows: Sequence[Entry]) -> dict[tuple[str, str], dict[str, Entry]]:
    """(task, metric) -> arm -> row, in the order of the rows."""
    found: dict[tuple[str, str], dict[str, Entry]] = {}
    for row in rows:
        found.setdefault((row["task"], row["metric"]), {})[row["arm"]] = row
    return found


def first_row(found: Mapping[str, Entry]) -> Entry:
    """Of the rows of one measure, the one compared on the most items: its b is the first arm's score there."""
    return max(found.values(), key=lambda row: row["n"])


def score_before(data: Entry, task: str, metric: str) -> tuple[str, float] | None:
    """The reference and its score on a measure."""
    before = data["before"] or {"model": "", "scores": ()}
    found = (s["value"] for s in before["scores"] if (s["task"], s["metric"]) == (task, metric))
    return next(((before["model"], value) for value in found), None)


def items_text(row: Entry) -> str:
    """How many items an arm was compared on: all of the first arm's, or those in common."""
    return f"{row['n']:,}" if row["n"] == row["items_b"] else f"{row['n']:,} of {row['items_b']:,}"
