"""The megatron backend trains as the torch backend does, whatever the layout of its ranks.

Every comparison is of the same weights and the same data in fp32: losses, held-out losses, learning rates and gradient
norms of every step agree to 1e-5, written weights to 2e-5 (rounding grows with AdamW's steps of 3e-3). The gradients
are clipped at every step, vectors are not decayed, one window in four is general, and a step is several micro-batches:
whatever Megatron would do differently without a word shows.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from domadapt.artifacts import Checkpoint, Corpus, TokenStore
from domadapt.builtin.training.megatron import backend
from domadapt.components import Stage
from domadapt.errors import StageError

from .megatron_runs import (
    make_store,
    request,
    same_as_exported,
    same_curves,
    same_tensors,
    stop_after_one_step,
    train_megatron,
    train_torch,
    write_llama,
)

MakeCorpus = Callable[..., Corpus]
MakeTokens = Callable[..., TokenStore]
MakeStage = Callable[..., Stage]

WITHIN = 1e-5
WEIGHTS_WITHIN = 2e-5


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return write_llama(tmp_path_factory.mktemp("llama") / "untied")


@pytest.fixture(scope="session")
def tied_llama(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return write_llama(tmp_path_factory.mktemp("llama") / "tied", tied=True)


@pytest.fixture
def tokens(make_corpus: MakeCorpus, make_tokens: MakeTokens) -> TokenStore:
    return make_store(make_corpus, make_tokens)


def test_a_step_of_two_tensor_parallel_ranks_and_the_rest_by_one_process_train_as_the_torch_backend_does(
    tmp_path: Path, llama: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    req, stage = request(llama, tokens), make_stage("megatron")
    stop_after_one_step(req, tmp_path / "one", stage, tensor_parallel=2)
    found = train_megatron(req, tmp_path / "two", stage)
    assert found.said("resumed") == [{"kind": "resumed", "step": 1, "num_steps": 6}]
    assert [event["when"] for event in found.said("parity")] == ["before the first step", "after the export"]
    wanted = train_torch(req, tmp_path / "torch", make_stage("torch"))
    same_curves(found.metrics, wanted.metrics, WITHIN)
    same_tensors(found, wanted, WEIGHTS_WITHIN)
    same_as_exported(found.folder, req, found.metrics, WITHIN)


@pytest.mark.slow
def test_two_tensor_parallel_ranks_train_as_the_torch_backend_does(
    tmp_path: Path, llama: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    req = request(llama, tokens, micro_batch=1)
    wanted = train_torch(req, tmp_path / "torch", make_stage("torch"))
    found = train_megatron(req, tmp_path / "megatron", make_stage("megatron"), tensor_parallel=2)
    # the norm too: ranks that both counted what they both have would have one of their own
    same_curves(found.metrics, wanted.metrics, WITHIN)
    assert all(line["grad_norm"] > 0.5 for line in found.metrics if "grad_norm" in line)
    same_tensors(found, wanted, WEIGHTS_WITHIN)
    same_as_exported(found.folder, req, found.metrics, WITHIN)
    assert [event["when"] for event in found.said("parity")] == ["before the first step", "after the export"]
    for name in ("steps", "tokens", "consumed", "parameters", "dtype", "device", "threads"):
        assert found.facts[name] == wanted.facts[name]
    assert {f.name for f in found.folder.iterdir()} == {f.name for f in wanted.folder.iterdir()}
    assert [event["done"] for event in found.said("progress")] == [1, 2, 3, 4, 5, 6]


@pytest.mark.slow
def test_one_rank_with_documents_masked_and_windows_padded_trains_a_tied_model_as_torch_does(
    tmp_path: Path, tied_llama: Checkpoint, make_corpus: MakeCorpus, make_tokens: MakeTokens, make_stage: MakeStage
) -> None:
    # best_fit leaves padding: micro-batches have other numbers of targets, and the global batch divides the sum
    tokens = make_store(make_corpus, make_tokens, packing="best_fit", max_epochs=20)
    req = request(tied_llama, tokens, document_mask=True, micro_batch=3)
    wanted = train_torch(req, tmp_path / "torch", make_stage("torch"))
    found = train_megatron(req, tmp_path / "megatron", make_stage("megatron"))
    same_curves(found.metrics, wanted.metrics, WITHIN)
    same_tensors(found, wanted, WEIGHTS_WITHIN)
    same_as_exported(found.folder, req, found.metrics, WITHIN)


LAYOUTS: list[dict[str, Any]] = [
    {},
    {"pipeline_parallel": 2},
    {"pipeline_parallel": 4},
    {"data_parallel": 2},
    {"data_parallel": 2, "distributed_optimizer": False},
    {"tensor_parallel": 2, "pipeline_parallel": 2},
    {"pipeline_parallel": 2, "data_parallel": 2},
    {"distributed_optimizer": False, "gradient_checkpointing": True, "async_save": False},
]


@pytest.mark.slow
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: " ".join(f"{k}={v}" for k, v in layout.items()))
@pytest.mark.parametrize("tied", [False, True], ids=["untied", "tied"])
def test_every_layout_trains_as_the_torch_backend_does(
    tmp_path: Path,
    llama: Checkpoint,
    tied_llama: Checkpoint,
    tokens: TokenStore,
    make_stage: MakeStage,
    layout: dict[str, Any],
    tied: bool,
) -> None:
    # 3 windows a step: ranks that share them have unequal numbers
    req = request(tied_llama if tied else llama, tokens, batch_tokens=96, document_mask=tied)
    wanted = train_torch(req, tmp_path / "torch", make_stage("torch"))
    found = train_megatron(req, tmp_path / "megatron", make_stage("megatron"), **layout)
    same_curves(found.metrics, wanted.metrics, WITHIN)
    same_tensors(found, wanted, WEIGHTS_WITHIN)
    same_as_exported(found.folder, req, found.metrics, WITHIN)


@pytest.mark.slow
def test_windows_that_tensor_parallel_ranks_cannot_share_evenly_are_held_by_each(
    tmp_path: Path, llama: Checkpoint, make_corpus: MakeCorpus, make_tokens: MakeTokens, make_stage: MakeStage
) -> None:
    tokens = make_store(make_corpus, make_tokens, seq_len=31)
    req = request(llama, tokens, batch_tokens=124)
    wanted = train_torch(req, tmp_path / "torch", make_stage("torch"))
    found = train_megatron(req, tmp_path / "megatron", make_stage("megatron"), tensor_parallel=2)
    same_curves(found.metrics, wanted.metrics, WITHIN)
    same_tensors(found, wanted, WEIGHTS_WITHIN)
    same_as_exported(found.folder, req, found.metrics, WITHIN)


@pytest.mark.slow
@pytest.mark.parametrize("layout", [{}, {"data_parallel": 2}, {"data_parallel": 2, "distributed_optimizer": False}])
def test_bf16_keeps_its_weights_in_fp32_and_learns_as_torch_does(
    tmp_path: Path, llama: Checkpoint, tokens: TokenStore, make_stage: MakeStage, layout: dict[str, Any]
) -> None:
    req = request(llama, tokens, precision="bf16")
    wanted = train_torch(req, tmp_path / "torch", make_stage("torch"))
    found = train_megatron(req, tmp_path / "megatron", make_stage("megatron"), **layout)
    # torch keeps the residual stream in fp32 (autocast), Megatron in bf16: 2 to 3 significant digits
    same_curves(found.metrics, wanted.metrics, 3e-2)
    # written in fp32, as the start is: more than bf16's 8 bits of them are used
    kept = found.tensors()["model.layers.0.mlp.up_proj.weight"]
    assert kept.dtype == torch.float32
    assert (kept != kept.bfloat16().float()).float().mean() > 0.9


@pytest.mark.slow
def test_a_start_in_bf16_is_written_in_bf16(tmp_path: Path, tokens: TokenStore, make_stage: MakeStage) -> None:
    start = write_llama(tmp_path / "start", dtype="bfloat16")
    req = request(start, tokens)
    wanted = train_torch(req, tmp_path / "torch", make_stage("torch"))
    found = train_megatron(req, tmp_path / "megatron", make_stage("megatron"), pipeline_parallel=2)
    same_curves(found.metrics, wanted.metrics, WITHIN)
    assert {tensor.dtype for tensor in found.tensors().values()} == {torch.bfloat16}
    same_tensors(found, wanted, 2**-7)  # one unit in the last place of values up to 2


BROKEN = """
import sys
import domadapt.builtin.training.megatron.conversion as conversion
from domadapt.builtin.training.megatron import worker

true = conversion.rule

def rule(name, first_layer, config):
    found = true(name, first_layer, config)
    if not name.endswith("linear_fc1.weight"):
        return found
    swapped = conversion.Rule(found.pieces[::-1], found.fuse, found.part)
    return swapped

conversion.rule = rule
sys.exit(worker.main(sys.argv[1]))
"""


def test_a_conversion_that_swaps_two_matrices_is_stopped_by_the_gate(
    tmp_path: Path, llama: Checkpoint, tokens: TokenStore, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken_worker.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr(backend, "WORKER", "broken_worker")
    stage = make_stage("megatron")
    with pytest.raises(StageError, match="the parity gate before the first step does not hold") as caught:
        train_megatron(request(llama, tokens), tmp_path / "out", stage)
    assert "logits differ by" in str(caught.value)
    assert not [event for event in stage.facts["events"] if event["kind"] == "progress"]
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.slow
def test_a_loss_that_is_no_number_ends_the_training_before_it_spoils_a_weight(
    tmp_path: Path, llama: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    with pytest.raises(StageError, match=r"gradient norm nan at step \d+ \(samples \d+ to \d+\)"):
        train_megatron(request(llama, tokens, lr=1e30, clip=1e30), tmp_path / "out", make_stage("megatron"))
    assert not list((tmp_path / "out").iterdir())


def test_another_family_is_refused_before_anything_is_started(
    tmp_path: Path, tokens: TokenStore, make_stage: MakeStage
) -> None:
    from transformers import AutoConfig

    AutoConfig.for_model("gpt2").save_pretrained(tmp_path / "gpt2")
    stage = make_stage("megatron")
    with pytest.raises(StageError, match="Llama family"):
        train_megatron(request(Checkpoint(tmp_path / "gpt2"), tokens), tmp_path / "out", stage)
    assert not list(stage.scratch.iterdir())
