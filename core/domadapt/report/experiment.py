"""Several runs that differ in a few keys, compared with the first one, model by model, on the items that all share.

Each arm is paired with the first as `adapt compare` pairs two runs; p values are adjusted over all arms together, since
more arms find more by chance.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domadapt.errors import DataError, UsageError
from domadapt.report.compare import MERGED, RunScores, compare_models, open_scores
from domadapt.report.finished_run import open_run
from domadapt.report.significance import holm

CPT = "cpt"


@dataclass(frozen=True)
class Arm:
    """One run of an experiment: how it differs, its folder, its scores, the tokens that it trained on."""

    label: str
    folder: Path
    scores: RunScores
    tokens: int | None


def open_arm(label: str, folder: Path) -> Arm:
    """A finished run as an arm."""
    run = open_run(folder)
    model = run.model(CPT)
    return Arm(label, folder, open_scores(folder), model["facts"].get("tokens") if model is not None else None)


def experiment_data(arms: Sequence[Arm]) -> dict[str, Any]:
    """Keys: arms: label, run, tokens; comparisons: how many p_holm is adjusted for; models: "cpt" and "merged" -> rows.

    A row is one of `compare_models` with arm: a is the arm's score, b the first arm's.  skipped: arm, model, task,
    metric, reason.  Raises DataError when no arm can be compared with the first one.
    """
    first, *others = arms
    models: dict[str, list[dict[str, Any]]] = {}
    skipped: list[dict[str, Any]] = []
    for model in (CPT, MERGED):
        for arm in others:
            try:
                label, base = arm.scores.model(model), first.scores.model(model)
            except UsageError:  # no merge was made there
                continue
            told = {"arm": arm.label, "model": model}
            if arm.scores.digests.get(label) == first.scores.digests.get(base) is not None:
                skipped.append({**told, "task": None, "metric": None, "reason": "it is the first arm's model"})
                continue
            pair = compare_models(arm.scores, label, first.scores, base)["pairs"][0]
            models.setdefault(model, []).extend({**told, **row} for row in pair["rows"])
            skipped += [{**told, **entry} for entry in pair["skipped"]]
    rows = [row for found in models.values() for row in found]
    if not rows:
        reasons = "; ".join(dict.fromkeys(f"{s['arm']}: {s['reason']}" for s in skipped)) or "no model in common"
        raise DataError(f"experiment: nothing can be compared ({reasons})")
    for row, adjusted in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = adjusted
    return {
        "arms": [{"arm": arm.label, "run": arm.folder.name, "tokens": arm.tokens} for arm in arms],
        "comparisons": len(rows),
        "models": models,
        "skipped": skipped,
    }


def by_measure(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, Mapping[str, Any]]]:
    """(task, metric) -> arm -> row, in the order of the rows."""
    found: dict[tuple[str, str], dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault((row["task"], row["metric"]), {})[row["arm"]] = row
    return found
