"""What a tracker plots: numbers by name and step, from events as they come and from the files of a finished stage."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

METRICS = Path("training") / "metrics.jsonl"
SCORES = "scores.json"


def of_event(stage: str, kind: str, data: Mapping[str, Any]) -> tuple[int, dict[str, float]] | None:
    """Step and numbers of a training event, None for what has none. Names as in metrics.jsonl."""
    if stage != "train":
        return None
    if kind == "progress":
        return int(data["done"]), _numbers(data, without=("done", "total"))
    if kind in ("heldout", "probe") and isinstance(data.get("step"), int):
        return data["step"], _numbers(data, without=("step",))
    return None


def of_training(out: Path) -> Iterator[tuple[int, dict[str, float]]]:
    """Step and numbers of every line that a training wrote; nothing where it wrote none."""
    file = out / METRICS
    if not file.is_file():
        return
    for line in file.read_text(encoding="utf-8").splitlines():
        data = json.loads(line)
        yield int(data["step"]), _numbers(data, without=("step",))


def of_scores(stage: str, out: Path) -> tuple[str, dict[str, float]] | None:
    """The model's label and SIDE/TASK/METRIC -> score of an evaluation, None for another stage."""
    file = out / SCORES
    if not file.is_file():
        return None
    rows = json.loads(file.read_bytes())["rows"]
    model = stage.removeprefix("eval.")
    for row in rows:
        model = model.removesuffix(f".{row['task']}")
    return model, {f"{row['side']}/{row['task']}/{row['metric']}": float(row["value"]) for row in rows}


def _numbers(data: Mapping[str, Any], without: tuple[str, ...]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in data.items()
        if key not in without and isinstance(value, (int, float)) and not isinstance(value, bool)
    }
