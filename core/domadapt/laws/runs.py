"""Finished runs as a table of losses: what training measured on the held-out text, and with which mixture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from domadapt.errors import DataError, UsageError
from domadapt.laws.table import Table, of_rows

METRICS = Path("training") / "metrics.jsonl"
LAW_RUN = "law-"
"""Small runs that a recipe with `mix.replay: law` makes are stages "train.law-SHARE"."""


def read_run(folder: Path) -> Table:
    """The measurements of one run's training, and of the small runs of its law, where it has them.

    folder: of the run (runs/NAME).  Columns: run, params, tokens, step, lr, domain_share, domain_loss, general_loss.
    Raises UsageError when no training of this run is finished, DataError when what it wrote is damaged.
    """
    stages = folder / "stages"
    if not stages.is_dir():
        raise UsageError(f"law: {folder} is neither a table (.csv, .parquet, .json, .jsonl) nor a run's folder")
    trained = sorted(p for p in stages.iterdir() if p.name == "train" or p.name.startswith(f"train.{LAW_RUN}"))
    rows = [row for train in trained for row in _rows(train, stages / train.name.replace("train", "tokens", 1), folder)]
    if not rows:
        raise UsageError(f"law: run {folder.name!r} has no finished training with held-out losses")
    return of_rows(rows, str(folder))


def _rows(train: Path, tokens: Path, folder: Path) -> Iterator[dict[str, Any]]:
    try:
        lines = [json.loads(line) for line in (train / METRICS).read_text().splitlines()]
        plan = json.loads((tokens / "plan.json").read_bytes())
        params = json.loads((train / "artifact.json").read_bytes())["facts"]["parameters"]
    except FileNotFoundError:
        return
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{train}: damaged ({error}); run the same `adapt run` command again") from None
    part = train.name.removeprefix("train").removeprefix(".")
    name = f"{folder.name}/{part}" if part else folder.name
    yield from measurements(lines, plan, params, name)


def measurements(
    lines: list[dict[str, Any]], plan: Mapping[str, Any], params: int, name: str
) -> Iterator[dict[str, Any]]:
    """Rows of one training: each held-out measurement, with the learning rate of every step up to it.

    lines: of metrics.jsonl.  plan: of its token store.
    """
    share = {part["name"]: part["share_achieved"] for part in plan["parts"]}
    about = {"run": name, "params": float(params), "domain_share": share.get("domain", 1.0)}
    rates = [line["lr"] for line in lines if "lr" in line]
    per_step = next((line["tokens"] / line["step"] for line in lines if "tokens" in line), 0.0)
    areas = forward_and_annealing(rates)
    for line in lines:
        if "heldout_domain" in line:
            step = line["step"]
            s1, s2 = areas[min(step, len(rates))]
            losses = {f"{side}_loss": line[f"heldout_{side}"] for side in share if f"heldout_{side}" in line}
            yield {**about, "tokens": step * per_step, "step": step, "s1": s1, "s2": s2, **losses}


def forward_and_annealing(rates: list[float]) -> list[tuple[float, float]]:
    """Areas of the learning rate after 0, 1, ... steps, a warm-up counted as the peak."""
    from domadapt.laws.schedules import areas, with_warmup_at_peak

    if not rates:
        return [(0.0, 0.0)]
    s1, s2 = areas(with_warmup_at_peak(rates))
    return [(0.0, 0.0), *zip(s1.tolist(), s2.tolist(), strict=True)]
