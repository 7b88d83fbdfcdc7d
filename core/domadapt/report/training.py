"""The training of the CPT model as the report shows it: curves, checkpoints, probes and the stability gap.

Read from the `training/metrics.jsonl` beside the weights. A run that was resumed wrote some steps twice: the later
line is the one that counts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.errors import DataError
from domadapt.report.stability import stability_gap

if TYPE_CHECKING:
    from domadapt.report.results import RunResults

Record = Mapping[str, Any]
Points = list[tuple[int, float, float | None]]
"""Step, value, standard error of its difference to the first one on the same items."""

METRICS = Path("training") / "metrics.jsonl"
MAX_CURVE_POINTS = 240
HELD_OUT = ("heldout_domain", "heldout_general")


def training_data(results: RunResults) -> dict[str, Any] | None:
    """The curves of the CPT model that this run trained; None when it was trained elsewhere.

    steps: loss, lr, grad_norm and tokens by step, thinned.  evaluations: both held-out losses by step.
    probes: task, step, value, stderr, n.  checkpoints: steps at which the training state was saved.
    stability: the dip of each curve, see `_stability`.  flops_per_token: None where the model's family is not known.
    Raises DataError for a line that is no JSON object with a step.
    """
    if results.tokens is None:
        return None
    checkpoint = next((m.checkpoint for m in results.models if m.role == "cpt"), None)
    file = checkpoint.path / METRICS if checkpoint is not None else None
    if file is None or not file.is_file():
        return None
    steps, evaluations, probes = _records(file)
    logged = [steps[step] for step in sorted(steps)]
    return {
        "num_logged": len(steps),
        "steps": _thinned(logged, ("loss", "lr", "grad_norm")),
        "evaluations": [
            {"step": step, **{name: evaluations[step].get(name) for name in HELD_OUT}} for step in sorted(evaluations)
        ],
        "probes": [
            {"task": task, "step": step, **{k: probes[task, step].get(f"probe_{k}") for k in ("value", "stderr", "n")}}
            for task, step in sorted(probes)
        ],
        "checkpoints": _checkpoints(results.recipe, max(steps, default=0)),
        "stability": _stability(evaluations, probes),
        "flops_per_token": _flops_per_token(file.parent.parent, results.tokens.plan["seq_len"]),
    }


def _flops_per_token(model: Path, seq_len: int) -> float | None:
    """As `adapt plan` and the training count them; None for a model family that they do not know."""
    from domadapt.planning.flops import flops_per_token
    from domadapt.planning.shapes import read_shape

    try:
        return flops_per_token(read_shape(model), seq_len)
    except DataError:
        return None


def _records(file: Path) -> tuple[dict[int, Record], dict[int, Record], dict[tuple[str, int], Record]]:
    """Training steps, held-out measurements and probes, the last line of each."""
    steps: dict[int, Record] = {}
    evaluations: dict[int, Record] = {}
    probes: dict[tuple[str, int], Record] = {}
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            step = record["step"]
            if "probe_task" in record:
                probes[record["probe_task"], step] = record
            else:
                (steps if "loss" in record else evaluations)[step] = record
        except (ValueError, KeyError, TypeError):
            raise DataError(f"{file}:{number}: a JSON object with a step was wanted, {line[:60]!r} found") from None
    return steps, evaluations, probes


def _stability(evaluations: Mapping[int, Record], probes: Mapping[tuple[str, int], Record]) -> list[dict[str, Any]]:
    """The dip of each curve: probes first, since they are what the stability gap was found on, then held-out losses.

    Each is what `stability_gap` returns with curve, its name, and began_at, the last step at the start or better
    before the deepest point.
    """
    curves: list[tuple[str, bool, Points]] = []
    for task in dict.fromkeys(task for task, _ in sorted(probes)):
        own = [(at, record) for (name, at), record in sorted(probes.items()) if name == task]
        better = bool(own[0][1].get("probe_higher_is_better", True))
        curves.append((task, better, [(at, r["probe_value"], r.get("probe_change_stderr")) for at, r in own]))
    for name, side in zip(HELD_OUT, ("domain", "general"), strict=True):
        points: Points = [(at, r[name], None) for at, r in sorted(evaluations.items()) if r.get(name) is not None]
        curves.append((f"held-out {side} loss", False, points))
    return [_dip(name, points, higher_is_better=better) for name, better, points in curves if len(points) > 1]


def _dip(name: str, points: Points, *, higher_is_better: bool) -> dict[str, Any]:
    steps, values = [p[0] for p in points], [p[1] for p in points]
    errors = [math.nan if p[2] is None else p[2] for p in points]
    gap = stability_gap(
        steps,
        values,
        higher_is_better=higher_is_better,
        change_errors=None if all(map(math.isnan, errors)) else errors,
        name=name,
    )
    sign = 1 if higher_is_better else -1
    whole = [at for at, value in zip(steps, values, strict=True) if sign * value >= sign * values[0]]
    # a task's name stays as it is
    gap["sentence"] = re.sub("^held-out", "Held-out", gap["sentence"])
    return {**gap, "curve": name, "began_at": max(at for at in whole if at <= gap["depth_at"])}


def _checkpoints(recipe: Mapping[str, Any], last: int) -> list[int]:
    """Steps at which the recipe has the training state saved, without the end."""
    every = recipe.get("train.checkpoint_every")
    return list(range(every, last, every)) if isinstance(every, int) and every > 0 else []


def _thinned(records: Sequence[Record], names: Iterable[str]) -> list[dict[str, Any]]:
    """At most MAX_CURVE_POINTS points: neighbours are averaged, a point stands at the last step it holds."""
    width = max(1, math.ceil(len(records) / MAX_CURVE_POINTS))
    points = []
    for start in range(0, len(records), width):
        part = records[start : start + width]
        point = {"step": part[-1]["step"], "tokens": part[-1].get("tokens")}
        for name in names:
            values = [record[name] for record in part if record.get(name) is not None]
            point[name] = sum(values) / len(values) if values else None
        points.append(point)
    return points
