"""Faults of a training that need no death: damaged and foreign checkpoints, exploding numbers, no memory, no room.

Rows of the table of faults that die are in tests/faults.
"""

from __future__ import annotations

import errno
import json
import math
import os
import random
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domadapt.artifacts import Checkpoint, Corpus, TokenStore
from domadapt.builtin.training.checkpoints import newest_checkpoint
from domadapt.builtin.training.torch_loop import TorchBackend, TorchOptions
from domadapt.builtin.training.torch_run import TorchRun
from domadapt.components import Stage, TrainRequest
from domadapt.errors import MissingError, StageError
from domadapt.pipeline.store import publish
from domadapt.recipe.schema import Train

MakeCorpus = Callable[..., Corpus]
MakeTokens = Callable[..., TokenStore]
MakeStage = Callable[..., Stage]

SETTINGS = {
    "batch_tokens": 64,
    "micro_batch": 2,
    "lr": 3e-3,
    "precision": "fp32",
    "checkpoint_every": 2,
    "eval_every": 4,
    "eval_windows": 2,
}


@pytest.fixture
def tokens(make_corpus: MakeCorpus, make_tokens: MakeTokens) -> TokenStore:
    """8 steps of 4 windows of 16 tokens."""
    texts = {"train": [f"Claim {i} covers risk {i * i}." for i in range(30)], "selection": ["A."], "report": ["B."]}
    return make_tokens({"domain": make_corpus(texts)}, num_samples=32)


def train(
    start: Checkpoint, tokens: TokenStore, out: Path, stage: Stage, num_steps: int = 8, **settings: Any
) -> list[dict[str, Any]]:
    """Train; the lines of its metrics."""
    out.mkdir(exist_ok=True)
    given = {name: settings.pop(name) for name in tuple(settings) if name in TorchOptions.model_fields}
    request = TrainRequest(start, tokens, Train.model_validate({**SETTINGS, **settings}), num_steps, 4)
    TorchBackend(TorchOptions(threads=1, **given)).train(request, out, stage)
    return [json.loads(line) for line in (out / "training" / "metrics.jsonl").read_text().splitlines()]


class Dies(Exception):
    """Stands for whatever ends a process."""


def dying_at(stage: Stage, step: int) -> Stage:
    emit = stage.emit

    def emit_or_die(kind: str, data: Mapping[str, Any]) -> None:
        emit(kind, data)
        if kind == "progress" and data["done"] == step:
            raise Dies

    return replace(stage, emit=emit_or_die)


@pytest.fixture
def stopped(tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage) -> Stage:
    """The stage of a training that died at step 7, with checkpoints of steps 4 and 6."""
    stage = make_stage("stopped")
    with pytest.raises(Dies):
        train(tiny_model, tokens, tmp_path / "attempt", dying_at(stage, 7))
    return stage


def warnings(stage: Stage) -> list[str]:
    return [e["message"] for e in stage.facts["events"] if e["kind"] == "warning"]


def test_f57_every_one_of_twenty_flipped_bits_is_found_and_told_and_the_checkpoint_before_continues(
    tmp_path: Path, stopped: Stage, make_stage: MakeStage
) -> None:
    draw = random.Random(57)
    for number in range(20):
        stage = make_stage(f"flipped-{number}")
        shutil.copytree(stopped.scratch, stage.scratch, dirs_exist_ok=True)
        newest = stage.scratch / "step-00000006"
        file = draw.choice(sorted(f for f in newest.iterdir()))
        data = bytearray(file.read_bytes())
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)
        file.write_bytes(data)
        assert newest_checkpoint(stage) == stage.scratch / "step-00000004", file.name
        (told,) = warnings(stage)
        assert "checkpoint set aside" in told
        assert "step-00000006" in told


@pytest.mark.parametrize("name", ["model.safetensors", "optimizer.safetensors", "state.json", "artifact.json"])
def test_f58_a_checkpoint_with_a_file_missing_or_cut_is_set_aside(stopped: Stage, name: str) -> None:
    file = stopped.scratch / "step-00000006" / name
    file.write_bytes(file.read_bytes()[:-3])
    assert newest_checkpoint(stopped) == stopped.scratch / "step-00000004"
    (stopped.scratch / "step-00000004" / name).unlink()
    with pytest.raises(StageError, match="none of the 2 checkpoints"):
        newest_checkpoint(stopped)


def test_f59_when_all_checkpoints_are_bad_training_never_starts_over_by_itself(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, stopped: Stage
) -> None:
    for path in stopped.scratch.glob("step-????????"):
        (path / "state.json").write_text("{}")
    for _ in range(2):  # nor when asked again
        with pytest.raises(StageError, match=r"none of the 2 checkpoints in .* is intact; delete that") as raised:
            train(tiny_model, tokens, tmp_path / "out", stopped)
        assert raised.value.exit_code == 1


def test_f60_a_loss_that_is_no_number_stops_before_the_update_and_names_the_samples(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = make_stage()
    loss = TorchRun._loss
    monkeypatch.setattr(TorchRun, "_loss", lambda self, *a: loss(self, *a) * (math.nan if self.step == 5 else 1))
    with pytest.raises(StageError, match=r"loss nan .* at step 6 \(samples 20 to 23\).* checkpoint was due at step 4"):
        train(tiny_model, tokens, tmp_path / "out", stage)
    assert sorted(p.name for p in stage.scratch.glob("step-*")) == ["step-00000002", "step-00000004"]


def exploding(monkeypatch: pytest.MonkeyPatch, steps: set[int]) -> None:
    """Infinite gradients under a finite loss, at the steps given (from 0)."""
    loss = TorchRun._loss

    def exploded(self: Any, *arguments: Any) -> Any:
        value = loss(self, *arguments)
        if self.step in steps and self.model.training:
            (weight, *_) = self.trainee.trained.values()
            value = value + (weight - weight.detach()).sum() * 1e30 * 1e30  # 0, with a slope that no float holds
        return value

    monkeypatch.setattr(TorchRun, "_loss", exploded)


def test_f61_a_step_with_an_infinite_gradient_is_left_out_and_counted_also_after_a_resume(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    exploding(monkeypatch, {1, 4})
    stage, again = make_stage("whole"), make_stage("again")
    whole = train(tiny_model, tokens, tmp_path / "whole", stage)
    assert [line["step"] for line in whole if line.get("grad_norm", 0) is None] == [2, 5]
    assert [told[:38] for told in warnings(stage)] == [
        "step 2 is left out: its gradient is no",
        "step 5 is left out: its gradient is no",
    ]
    assert "1 more may be" in warnings(stage)[1]
    with pytest.raises(Dies):
        train(tiny_model, tokens, tmp_path / "first", dying_at(again, 3))
    assert train(tiny_model, tokens, tmp_path / "resumed", again) == whole
    assert "1 more may be" in warnings(again)[-1]
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "resumed")]
    assert weights[0] == weights[1]


def test_f61_one_infinite_gradient_too_many_ends_the_training(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    exploding(monkeypatch, {1, 2, 3})
    with pytest.raises(StageError, match=r"gradient norm inf at step 4 \(samples 12 to 15\)"):
        train(tiny_model, tokens, tmp_path / "out", make_stage(), max_skips=2)


def test_f61_a_norm_a_hundred_times_as_large_is_clipped(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Clipped to 0.1, gradients times 100 give the same updates: weights agree to 1e-5."""
    import numpy as np
    from safetensors.numpy import load_file

    train(tiny_model, tokens, tmp_path / "plain", make_stage("plain"), clip=0.1)
    loss = TorchRun._loss
    monkeypatch.setattr(TorchRun, "_loss", lambda self, *a: loss(self, *a) * (100 if self.step == 3 else 1))
    train(tiny_model, tokens, tmp_path / "large", make_stage("large"), clip=0.1)
    one, other = (load_file(tmp_path / name / "model.safetensors") for name in ("plain", "large"))
    assert max(float(np.abs(one[name] - other[name]).max()) for name in one) < 1e-5


def test_f62_a_spike_of_the_loss_is_an_event(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domadapt.builtin.training import torch_run

    monkeypatch.setattr(torch_run, "SPIKE_STEPS", 4)
    loss = TorchRun._loss
    monkeypatch.setattr(TorchRun, "_loss", lambda self, *a: loss(self, *a) * (9 if self.step == 6 else 1))
    stage = make_stage()
    lines = train(tiny_model, tokens, tmp_path / "out", stage)
    (spike,) = [e for e in stage.facts["events"] if e["kind"] == "spike"]
    assert spike["step"] == 7
    assert spike["loss"] == next(line["loss"] for line in lines if line["step"] == 7 and "loss" in line)


def test_f63_a_pass_that_does_not_fit_into_memory_says_what_to_make_smaller(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    stage = make_stage()
    loss = TorchRun._loss
    with monkeypatch.context() as patch:
        patch.setattr(TorchRun, "_loss", lambda self, *a: torch.empty(2**58) if self.step == 5 else loss(self, *a))
        with pytest.raises(
            MissingError, match=r"memory is full: .*micro_batch=2 .* set train\.micro_batch=1"
        ) as raised:
            train(tiny_model, tokens, tmp_path / "out", stage)
    assert raised.value.exit_code == 4
    assert [p.name for p in sorted(stage.scratch.glob("step-*"))] == ["step-00000002", "step-00000004"]
    assert train(tiny_model, tokens, tmp_path / "resumed", stage)[-1]["step"] == 8


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"lr": 1e-3}, r"lr 0\.003 \(now 0\.001\)"),
        ({"num_steps": 6}, r"steps 8 \(now 6\)"),
        ({"lora_rank": 2}, r"lora_rank 0 \(now 2\)"),
    ],
)
def test_f67_a_checkpoint_of_a_training_with_other_settings_is_refused_with_the_difference(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, stopped: Stage, changed: dict[str, Any], told: str
) -> None:
    with pytest.raises(StageError, match=rf"step-00000006 was made with {told}; take that back to continue"):
        train(tiny_model, tokens, tmp_path / "out", stopped, **changed)


def test_f67_what_changes_no_weight_may_change(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, stopped: Stage
) -> None:
    assert train(tiny_model, tokens, tmp_path / "out", stopped, checkpoint_every=100)[-1]["step"] == 8


def rewritten(path: Path, change: Callable[[Path], None]) -> None:
    """Change a published checkpoint and publish it again, with a manifest that is right."""
    work = path.with_name("work.partial")
    shutil.copytree(path, work)
    change(work)
    shutil.rmtree(path)
    publish(work, path, {"kind": "training checkpoint", "facts": {}})


@pytest.mark.parametrize(
    ("file", "entry"),
    [
        ("model.safetensors", "model.norm.weight"),
        ("optimizer.safetensors", "model.norm.weight/exp_avg"),
        ("optimizer.safetensors", "model.norm.weight/step"),
        ("optimizer.safetensors", "rng/torch"),
    ],
)
def test_f70_a_checkpoint_that_lacks_a_tensor_is_refused(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, stopped: Stage, file: str, entry: str
) -> None:
    from safetensors.torch import load_file, save_file

    def strip(work: Path) -> None:
        held = load_file(work / file)
        del held[entry]
        save_file(held, work / file)

    rewritten(stopped.scratch / "step-00000006", strip)
    with pytest.raises(StageError, match=rf"step-00000006 lacks 1 tensors \({entry}\)"):
        train(tiny_model, tokens, tmp_path / "out", stopped)


@pytest.mark.parametrize("key", ["step", "samples", "consumed", "metrics_bytes", "made_with"])
def test_f70_a_checkpoint_without_its_position_is_set_aside(stopped: Stage, key: str) -> None:
    def strip(work: Path) -> None:
        state = json.loads((work / "state.json").read_bytes())
        del state[key]
        (work / "state.json").write_text(json.dumps(state))

    rewritten(stopped.scratch / "step-00000006", strip)
    assert newest_checkpoint(stopped) == stopped.scratch / "step-00000004"
    assert f"state.json does not say {key}" in warnings(stopped)[0]


def test_f72_there_is_no_pointer_to_the_newest_checkpoint_that_could_be_wrong(stopped: Stage) -> None:
    (stopped.scratch / "LATEST").write_text("step-99999999")
    (stopped.scratch / "step-00000009.partial").mkdir()
    assert newest_checkpoint(stopped) == stopped.scratch / "step-00000006"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_f73_a_folder_that_became_read_only_ends_with_4_and_says_which(
    tmp_path: Path,
    tiny_model: Checkpoint,
    tokens: TokenStore,
    make_stage: MakeStage,
    monkeypatch: pytest.MonkeyPatch,
    number: int,
) -> None:
    stage = make_stage()
    mkdir = Path.mkdir

    def refuse(self: Path, *arguments: Any, **more: Any) -> None:
        if self.name == "step-00000004.partial":
            raise OSError(number, os.strerror(number), str(self))
        mkdir(self, *arguments, **more)

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(MissingError, match=r"cannot be written .* step 4 is not written; make it writable") as raised:
        train(tiny_model, tokens, tmp_path / "out", stage)
    assert raised.value.exit_code == 4
    assert [p.name for p in stage.scratch.glob("step-*")] == ["step-00000002"]


def test_a_disk_without_room_for_a_checkpoint_is_told_before_anything_is_written(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domadapt.builtin.training import checkpoints

    stage = make_stage()
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(checkpoints.shutil, "disk_usage", lambda path: usage._replace(free=1000))
    with pytest.raises(MissingError, match=r"a checkpoint needs 0\.\d+ GB in .*, where 1e-06 GB are free"):
        train(tiny_model, tokens, tmp_path / "out", stage)
    assert list(stage.scratch.glob("step-*")) == []


def test_consumed_samples_are_exact_for_every_part_at_every_checkpoint(
    tmp_path: Path, tiny_model: Checkpoint, make_corpus: MakeCorpus, make_tokens: MakeTokens, make_stage: MakeStage
) -> None:
    texts = {"train": [f"Claim {i} covers risk {i * i}." for i in range(30)], "selection": ["A."], "report": ["B."]}
    tokens = make_tokens({"domain": make_corpus(texts), "general": make_corpus(texts)}, replay=0.3, num_samples=32)
    stage = make_stage()
    train(tiny_model, tokens, tmp_path / "out", stage)
    names = [part["name"] for part in tokens.plan["parts"]]
    told = [e for e in stage.facts["events"] if e["kind"] == "checkpoint"]
    assert [e["step"] for e in told] == [2, 4, 6]
    for event in told:
        seen = [names[part] for part, _ in tokens.order()[: 4 * event["step"]]]
        assert event["consumed"] == {name: seen.count(name) for name in names}
    state = json.loads((stage.scratch / "step-00000006" / "state.json").read_bytes())
    assert (state["consumed"], state["samples"]) == (told[-1]["consumed"], 24)
