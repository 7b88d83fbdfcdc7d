"""Adapters (LoRA), speed and the other options of the torch backend."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domadapt.artifacts import Checkpoint, Corpus, TokenStore
from domadapt.builtin.training.speed import Speed, attended_length
from domadapt.builtin.training.torch_loop import TorchBackend, TorchOptions
from domadapt.builtin.training.torch_ranks import num_ranks
from domadapt.components import Stage, TrainRequest
from domadapt.errors import MissingError
from domadapt.planning.flops import flops_per_token
from domadapt.planning.shapes import read_shape
from domadapt.recipe.schema import Launch, Train
from domadapt.testing.models import write_tiny_model

MakeCorpus = Callable[..., Corpus]
MakeTokens = Callable[..., TokenStore]
MakeStage = Callable[..., Stage]

SETTINGS = {
    "batch_tokens": 64,
    "micro_batch": 2,
    "lr": 1e-2,
    "precision": "fp32",
    "checkpoint_every": 2,
    "eval_every": 4,
    "eval_windows": 2,
}


@pytest.fixture
def tokens(make_corpus: MakeCorpus, make_tokens: MakeTokens) -> TokenStore:
    """8 steps of 4 windows of 16 tokens."""
    texts = {"train": [f"Claim {i % 5} covers a risk." for i in range(30)], "selection": ["A."], "report": ["B."]}
    return make_tokens({"domain": make_corpus(texts)}, num_samples=32, max_epochs=9.0)


def train(start: Checkpoint, tokens: TokenStore, out: Path, stage: Stage, **options: Any) -> list[float]:
    out.mkdir()
    settings = Train.model_validate(SETTINGS)
    TorchBackend(TorchOptions(threads=1, **options)).train(TrainRequest(start, tokens, settings, 8, 4), out, stage)
    lines = [json.loads(line) for line in (out / "training" / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line]


class Dies(Exception):
    """Stands for whatever ends a process."""


def dying_at(stage: Stage, step: int) -> Stage:
    emit = stage.emit

    def emit_or_die(kind: str, data: Mapping[str, Any]) -> None:
        emit(kind, data)
        if kind == "progress" and data["done"] == step:
            raise Dies

    return replace(stage, emit=emit_or_die)


def test_adapters_learn_and_are_merged_into_weights_of_the_same_names_and_shapes(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    """What changed in a linear layer has the adapter's rank; embeddings and norms are as they were, bit for bit."""
    from safetensors.numpy import load_file

    stage = make_stage()
    losses = train(tiny_model, tokens, tmp_path / "out", stage, lora_rank=3)
    assert losses[-1] < losses[0] - 0.5
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_model.path, tmp_path / "out"))
    assert {n: t.shape for n, t in before.items()} == {n: t.shape for n, t in after.items()}
    changed = [name for name in before if not np.array_equal(before[name], after[name])]
    assert sorted({name.split(".")[-2] for name in changed}) == [
        *("down_proj", "gate_proj", "k_proj", "o_proj", "q_proj", "up_proj", "v_proj")
    ]
    for name in changed:
        values = np.linalg.svd(after[name] - before[name], compute_uv=False)
        assert values[2] > 1e3 * values[3], name  # three directions and rounding
    # a checkpoint holds the adapters alone
    saved = load_file(stage.scratch / "step-00000006" / "model.safetensors")
    assert all("lora_" in name for name in saved)


def test_the_merged_model_computes_what_the_adapted_one_did(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    """Its held-out loss is the last one of the training, to 1e-4 nats."""
    import torch
    from transformers import AutoModelForCausalLM

    from domadapt.builtin.training.windows import held_out

    train(tiny_model, tokens, tmp_path / "out", make_stage(), lora_rank=3)
    lines = (tmp_path / "out" / "training" / "metrics.jsonl").read_text().splitlines()
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype=torch.float32)
    ids, labels, _ = (torch.from_numpy(a) for a in held_out(tokens, "selection", "domain", 2))
    with torch.no_grad():
        logits = model(input_ids=ids, use_cache=False).logits
    loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()).item()
    assert loss == pytest.approx(json.loads(lines[-1])["heldout_domain"], abs=1e-4)


@pytest.mark.parametrize("tied", [False, True])
def test_adapters_continue_to_the_same_bits_after_a_death(
    tmp_path: Path, tokens: TokenStore, make_stage: MakeStage, tied: bool
) -> None:
    start = write_tiny_model(tmp_path / "model", tied=tied)
    whole = train(start, tokens, tmp_path / "whole", make_stage("whole"), lora_rank=2)
    stage = make_stage("dying")
    with pytest.raises(Dies):
        train(start, tokens, tmp_path / "first", dying_at(stage, 5), lora_rank=2)
    assert train(start, tokens, tmp_path / "resumed", stage, lora_rank=2) == whole
    weights = [(tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "resumed")]
    assert weights[0] == weights[1]


def test_progress_says_tokens_a_second_and_mfu(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    stage = make_stage()
    train(tiny_model, tokens, tmp_path / "out", stage)
    told = [e for e in stage.facts["events"] if e["kind"] == "progress"][-1]
    assert told["tokens/s"] > 0
    assert told["MFU"].endswith("%")
    assert told["tokens"] == 8 * 64


def test_speed_is_the_mean_of_the_last_steps_without_the_first(tiny_model: Checkpoint) -> None:
    speed = Speed(tiny_model.path, peak_flops=1e9, num_devices=2)
    speed.add(100.0, 10, 16)
    assert speed.shown()["tokens/s"] == 0
    for _ in range(3):
        speed.add(0.5, 1000, 16)
    per_token = flops_per_token(read_shape(tiny_model.path), 16)
    assert speed.shown() == {"tokens/s": 2000, "MFU": f"{per_token * 2000 / 2e9:.1%}"}


def test_a_model_of_an_unknown_family_has_a_speed_and_no_mfu(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "rwkv"}')
    speed = Speed(tmp_path, 1e9, 1)
    speed.add(1.0, 10, 16)
    assert speed.shown() == {"tokens/s": 10}


def test_masked_documents_attend_over_the_sum_of_squares_by_the_sum() -> None:
    pieces = [5, 2, 9]
    positions = np.concatenate([np.arange(n) for n in pieces])
    assert attended_length(positions) == pytest.approx(sum(n * n for n in pieces) / sum(pieces))


@pytest.mark.parametrize(
    ("told", "launch", "gpus", "ranks"),
    [
        (None, None, 0, 1),
        (None, None, 8, 8),
        (4, None, 8, 4),
        (2, None, 0, 2),
        (None, Launch(nodes=4, executor="torchrun", gpus_per_node=8), 0, 32),
        (None, Launch(), 2, 2),
        (None, Launch(executor="slurm", gpus_per_node=0), 0, 1),
    ],
)
def test_ranks_are_as_many_as_told_or_as_the_gpus(
    monkeypatch: pytest.MonkeyPatch, told: int | None, launch: Launch | None, gpus: int, ranks: int
) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert num_ranks(TorchOptions(num_processes=told), launch) == ranks


def test_more_ranks_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(MissingError, match="num_processes is 4, but this machine has 2 GPUs"):
        num_ranks(TorchOptions(num_processes=4), None)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_compiled_layers_learn_alike(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    """torch.compile needs a C++ compiler; losses agree to 1e-4 in fp32."""
    import shutil

    if shutil.which("g++") is None:
        pytest.skip("torch.compile needs g++ on a CPU")
    plain = train(tiny_model, tokens, tmp_path / "plain", make_stage("plain"))
    compiled = train(tiny_model, tokens, tmp_path / "compiled", make_stage("compiled"), compile=True)
    assert compiled == pytest.approx(plain, abs=1e-4)
