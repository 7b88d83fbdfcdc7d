"""Checkpoint probes: the model in training scored on a few hundred items of a benchmark, for its stability gap.

Held-out loss falls steadily while a benchmark may first drop and then recover (Guo et al. 2024, arXiv 2406.14833);
only a benchmark shows that. A probe must leave no trace: generators and modes are what they were before it, so that
weights are the same bits with and without probes, and after a resume.
"""

from __future__ import annotations

import contextlib
import math
import random
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from domadapt.components import LiveModel, Stage, TrainRequest
from domadapt.errors import StageError
from domadapt.report.stability import StabilityGap, stability_gap

if TYPE_CHECKING:
    from pathlib import Path

    import torch

    from domadapt.artifacts import ScoreRow

FOLDER = "probe"
START = "start.parquet"
SIDES = ("heldout_domain", "heldout_general")


class CheckpointProbe:
    """Scores the live model on the request's probe. Its folder in the scratch keeps the samples of step 0."""

    def __init__(self, request: TrainRequest, stage: Stage) -> None:
        from domadapt.builtin.models.tokenizer import load_tokenizer

        assert request.probe is not None
        assert request.evaluator is not None
        self.evaluator, self.precision = request.evaluator, request.settings.precision
        self.tokenizer = load_tokenizer(request.start.path)
        # training may start from a base model, whose later merge has the template that the recipe asks for
        chat = request.probe.chat_template and bool(getattr(self.tokenizer, "chat_template", None))
        self.request = replace(request.probe, chat_template=chat)
        self.folder = stage.scratch / FOLDER
        # what an evaluator reports of its progress is none of the training's
        self.stage = replace(stage, scratch=self.folder / "scratch", emit=lambda kind, data: None)

    def score(self, model: torch.nn.Module, step: int) -> dict[str, Any]:
        """The line of one probe: value with standard error, and that of its difference to step 0."""
        import torch

        out = self.folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir(parents=True)
        device = next(model.parameters()).device.type
        with undisturbed(model), torch.autocast(device, torch.bfloat16, enabled=self.precision == "bf16"):
            rows = self.evaluator.evaluate(LiveModel(model, self.tokenizer), self.request, out, self.stage)
        if not rows:
            raise StageError(f"train: the probe {self.request.task} gave no score; set train.probe_items: 0")
        row, samples = rows[0], out / "samples.parquet"
        if step == 0:
            shutil.copyfile(samples, self.folder / START)
        return {
            "step": step,
            "probe_task": row.task,
            "probe_metric": row.metric,
            "probe_value": row.value,
            "probe_stderr": _known(row.stderr),
            "probe_change_stderr": change_error(self.folder / START, samples, row),
            "probe_n": row.n,
            "probe_higher_is_better": row.higher_is_better,
        }


def _known(error: float) -> float | None:
    return None if math.isnan(error) else error


def change_error(start: Path, now: Path, row: ScoreRow) -> float | None:
    """Standard error of a score's difference to that of another model on the same items.

    start, now: files of samples of the two.  None where it cannot be known: the items share a single cluster, or
    the samples of the start are gone.
    """
    if not start.is_file():
        return None
    import numpy as np
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    from domadapt.report.statistics import JointSamples

    tables = [pq.read_table(file) for file in (start, now)]
    old, new = (table.filter(pc.equal(table["metric"], row.metric)) for table in tables)
    if old["item"] != new["item"]:
        raise StageError(f"train: the probe {row.task} was scored on other items than at step 0")
    values, weights = ([t[name].to_numpy() for t in (old, new)] for name in ("value", "weight"))
    return _known(JointSamples.of(values, weights, new["cluster"].to_pylist()).stderr(np.array([-1.0, 1.0])))


@contextlib.contextmanager
def undisturbed(model: torch.nn.Module) -> Iterator[None]:
    """The model in eval mode; afterwards its modes and all generators are what they were."""
    import numpy as np
    import torch

    modes = {module: module.training for module in model.modules()}
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else []
    threads = torch.get_num_threads()
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        torch.set_num_threads(threads)
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)


def probe_gap(lines: Sequence[Mapping[str, Any]]) -> StabilityGap | None:
    """The stability gap of the probes among the lines of metrics.jsonl, None when there are none."""
    probes = [line for line in lines if "probe_value" in line]
    if not probes:
        return None
    first = probes[0]
    return stability_gap(
        [line["step"] for line in probes],
        [line["probe_value"] for line in probes],
        higher_is_better=first["probe_higher_is_better"],
        change_errors=[_or_nan(line["probe_change_stderr"]) for line in probes],
        name=f"{first['probe_task']} ({first['probe_metric']}, {first['probe_n']} items)",
    )


def _or_nan(error: float | None) -> float:
    return math.nan if error is None else error


def stability_facts(lines: Sequence[Mapping[str, Any]]) -> dict[str, StabilityGap]:
    """The stability gaps of a training: of its probe and of the held-out losses, by what was measured."""
    probe = probe_gap(lines)
    gaps = {} if probe is None else {"probe": probe}
    for side in SIDES:
        points = [line for line in lines if side in line]
        if points:
            steps, losses = [p["step"] for p in points], [p[side] for p in points]
            name = f"the held-out {side.removeprefix('heldout_')} loss"
            gaps[side] = stability_gap(steps, losses, higher_is_better=False, name=name)
    return gaps
