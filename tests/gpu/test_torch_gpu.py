"""The torch backend on CUDA. Every test needs a GPU, some need two."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domadapt.artifacts import Checkpoint, TokenStore
from domadapt.builtin.tokens.tokenizer import DocumentTokenizer
from domadapt.builtin.training.torch_loop import TorchBackend, TorchOptions
from domadapt.components import Stage, TrainRequest
from domadapt.pipeline.store import publish
from domadapt.recipe.schema import Train
from domadapt.testing.models import write_byte_tokenizer, write_tiny_model

pytestmark = pytest.mark.gpu


@pytest.fixture(autouse=True)
def _cuda() -> None:
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")


def store(folder: Path, model: Checkpoint, rows: int, seq_len: int, vocabulary: int) -> TokenStore:
    """Windows of a few words over and over, so that there is something to learn."""
    draw = random.Random(1)
    words = [[draw.randrange(3, vocabulary) for _ in range(8)] for _ in range(5)]
    ids = np.array([[t for _ in range(seq_len // 8) for t in draw.choice(words)] for _ in range(rows)], np.int32)
    work = folder / "tokens.partial"
    for split in ("train", "selection"):
        (work / split).mkdir(parents=True)
    ids.tofile(work / "train" / "domain.bin")
    (work / "selection" / "domain.bin").touch()
    np.save(work / "train" / "domain.documents.npy", np.array([[0, ids.size]]))
    np.save(work / "order.npy", np.stack([np.zeros(rows, np.int64), np.arange(rows)], 1))
    (work / "plan.json").write_text(json.dumps({"parts": [{"name": "domain"}]}))
    tokenizer = DocumentTokenizer(model)
    facts = {
        "seq_len": seq_len,
        "dtype": "int32",
        "vocab_size": tokenizer.vocab_size,
        "tokenizer": tokenizer.digest(),
        "windows": {"train": {"domain": rows}, "selection": {"domain": 0}},
    }
    publish(work, folder / "tokens", {"kind": "tokens", "facts": facts})
    return TokenStore(folder / "tokens")


def train(
    folder: Path, model: Checkpoint, tokens: TokenStore, options: TorchOptions, die_at: int = 0, **settings: Any
) -> tuple[list[float], list[dict[str, Any]]]:
    """Train in a folder that keeps its scratch; losses and progress."""
    told: list[dict[str, Any]] = []

    def emit(kind: str, data: Mapping[str, Any]) -> None:
        if kind == "progress":
            told.append(dict(data))

    (folder / "scratch").mkdir(parents=True, exist_ok=True)
    (folder / "out").mkdir(exist_ok=True)
    stage = Stage("train", "0" * 16, 7, "torch", lambda *_: {}, folder / "scratch", emit=emit)
    if die_at:
        stage = replace(stage, stop_requested=lambda: bool(told) and told[-1]["done"] >= die_at)
    seq_len = tokens.facts["seq_len"]
    rows = settings.pop("rows", 8)
    train_settings = Train.model_validate(
        {"batch_tokens": rows * seq_len, "micro_batch": 4, "lr": 3e-3, "checkpoint_every": 4, **settings}
    )
    request = TrainRequest(model, tokens, train_settings, len(tokens.order()) // rows, rows)
    TorchBackend(options).train(request, folder / "out", stage)
    lines = [json.loads(line) for line in (folder / "out" / "training" / "metrics.jsonl").read_text().splitlines()]
    return [line["loss"] for line in lines if "loss" in line], told


@pytest.mark.parametrize("precision", ["bf16", "fp32"])
def test_a_training_on_a_gpu_learns_and_continues_with_the_same_losses(tmp_path: Path, precision: str) -> None:
    """Losses after the resume agree to 1e-3 with those of the undisturbed training: kernels sum in another order."""
    from domadapt.errors import Interrupted

    model = write_tiny_model(tmp_path / "model")
    tokens = store(tmp_path, model, 96, 64, 259)
    one = TorchOptions(num_processes=1)
    whole, _ = train(tmp_path / "whole", model, tokens, one, precision=precision)
    assert whole[-1] < whole[0] - 1
    with pytest.raises(Interrupted):
        train(tmp_path / "cut", model, tokens, one, die_at=6, precision=precision)
    resumed, _ = train(tmp_path / "cut", model, tokens, one, precision=precision)
    assert resumed == pytest.approx(whole, abs=1e-3)


def test_two_gpus_train_as_one_does(tmp_path: Path) -> None:
    """fp32: losses agree to 1e-4."""
    import torch

    if torch.cuda.device_count() < 2:
        pytest.skip("one GPU here, two are needed")
    model = write_tiny_model(tmp_path / "model")
    tokens = store(tmp_path, model, 96, 64, 259)
    one, two = (
        train(tmp_path / str(n), model, tokens, TorchOptions(num_processes=n), precision="fp32")[0] for n in (1, 2)
    )
    assert two == pytest.approx(one, abs=1e-4)


@pytest.mark.slow
def test_a_model_of_one_billion_parameters_uses_45_percent_of_the_gpu(tmp_path: Path) -> None:
    """Llama of the 1B class (2048 wide, 16 layers, 128,256 tokens), bf16, windows of 4,096: MFU of the data sheet's
    peak."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=128_256,
        hidden_size=2048,
        intermediate_size=8192,
        num_hidden_layers=16,
        num_attention_heads=32,
        num_key_value_heads=8,
        max_position_embeddings=4096,
        tie_word_embeddings=True,
    )
    with torch.device("cuda"):
        torch.manual_seed(0)
        network = LlamaForCausalLM(config).to(torch.bfloat16)
    network.save_pretrained(tmp_path / "model")
    del network
    torch.cuda.empty_cache()
    write_byte_tokenizer(tmp_path / "model", context=4096)
    model = Checkpoint(tmp_path / "model")
    tokens = store(tmp_path, model, 16 * 30, 4096, 128_256)
    options = TorchOptions(num_processes=1, compile=True)
    _, told = train(
        tmp_path / "run", model, tokens, options, rows=16, lr=1e-4, eval_every=10_000, checkpoint_every=10_000
    )
    print(
        f"\n{told[-1]['tokens/s']:,} tokens/s, MFU {told[-1]['MFU']}, {torch.cuda.max_memory_allocated() / 1e9:.1f} GB"
    )
    assert float(told[-1]["MFU"].rstrip("%")) >= 45
