"""Scorecards and runs made by hand, for tests of what is computed from them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from domadapt.artifacts import Checkpoint, Scorecard
from domadapt.report.results import ModelResult, RunResults
from domadapt.report.statistics import interval

Values = Sequence[float]


def scorecard(
    path: Path,
    task: str,
    side: str,
    values: Values,
    *,
    weights: Values | None = None,
    items: Sequence[str] | None = None,
    clusters: Sequence[str] | None = None,
    dirty: Sequence[bool | None] | None = None,
    protocol: str = "zero-shot",
    metric: str = "acc",
) -> Scorecard:
    """One metric of one task; with weights it is bits per byte, without them an accuracy."""
    path.mkdir(parents=True, exist_ok=True)
    (path / "artifact.json").write_text(json.dumps({"facts": {}, "files": {}}))
    names = list(items) if items is not None else [str(i) for i in range(len(values))]
    groups = list(clusters) if clusters is not None else names
    unit, metric = ("", metric) if weights is None else ("bits/byte", "bits_per_byte")
    weights = [1.0] * len(values) if weights is None else weights
    table: dict[str, Any] = {"metric": [metric] * len(names), "item": names, "cluster": groups}
    table |= {"value": list(map(float, values)), "weight": list(map(float, weights))}
    if dirty is not None:
        table["dirty"] = dirty
    pq.write_table(pa.table(table), path / "samples.parquet")
    row = {"task": task, "metric": metric, "side": side, "n": len(names), "unit": unit, "protocol": protocol}
    row |= interval(values, weights, groups)._asdict() | {"higher_is_better": not unit}
    (path / "scores.json").write_text(json.dumps({"rows": [row]}))
    return Scorecard(path)


def answers(items: int, right: Sequence[int]) -> list[float]:
    """1 for the items in `right`, 0 for the others."""
    return [float(i in set(right)) for i in range(items)]


def run_of(
    models: Mapping[str, Mapping[str, Scorecard]], tasks: Mapping[str, str], roles: Mapping[str, str] | None = None
) -> RunResults:
    """A run of these models; a label that names no role is a merge, one that starts with "control." a control."""
    found = []
    for label, cards in models.items():
        role = (roles or {}).get(label) or (label if label in ("base", "instruct", "cpt") else "merged")
        role = "control" if label.startswith("control.") else role
        found.append(ModelResult(label, role, Checkpoint(Path(label), role, label), {}, cards))  # type: ignore[arg-type]
    return RunResults("run", "sec", found, tasks, {}, None, {}, {}, {}, {})  # type: ignore[arg-type]
