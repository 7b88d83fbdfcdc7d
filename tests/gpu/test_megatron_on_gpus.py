"""The megatron backend on CUDA: what the CPU tests show, with kernels and communication of GPUs. Not run without one.

fp32 of both backends is compared on the same GPU; TF32 is off for matrix products, which is torch's default, and on in
Transformer Engine's.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from domadapt.artifacts import Checkpoint, Corpus, TokenStore
from domadapt.components import Stage
from domadapt.errors import Interrupted

UNIT = Path(__file__).parents[1] / "unit"


def loaded(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


_fixtures = loaded("unit_fixtures", UNIT / "conftest.py")
runs = loaded("megatron_runs", UNIT / "builtin" / "megatron_runs.py")
tiny_model, make_stage = _fixtures.tiny_model, _fixtures.make_stage
make_corpus, make_tokens = _fixtures.make_corpus, _fixtures.make_tokens

GPUS = torch.cuda.device_count()
pytestmark = [pytest.mark.gpu, pytest.mark.skipif(not GPUS, reason="no CUDA device")]
WITHIN = 1e-2 if importlib.util.find_spec("transformer_engine") else 1e-4

MakeCorpus = Callable[..., Corpus]
MakeTokens = Callable[..., TokenStore]
MakeStage = Callable[..., Stage]


@pytest.fixture(scope="session", params=[False, True], ids=["untied", "tied"])
def llama(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Checkpoint:
    start: Checkpoint = runs.write_llama(tmp_path_factory.mktemp("llama") / "start", tied=request.param)
    return start


@pytest.fixture
def tokens(make_corpus: MakeCorpus, make_tokens: MakeTokens) -> TokenStore:
    store: TokenStore = runs.make_store(make_corpus, make_tokens)
    return store


def layouts() -> list[Any]:
    """Each where there are GPUs for it."""
    wanted: list[tuple[int, dict[str, Any]]] = [
        (1, {"data_parallel": 1}),
        (1, {"data_parallel": 1, "distributed_optimizer": False, "gradient_checkpointing": True}),
        (2, {"tensor_parallel": 2, "data_parallel": 1}),
        (2, {"pipeline_parallel": 2, "data_parallel": 1}),
        (2, {"data_parallel": 2}),
        (2, {"data_parallel": 2, "distributed_optimizer": False}),
        (4, {"tensor_parallel": 2, "pipeline_parallel": 2, "data_parallel": 1}),
    ]
    return [
        pytest.param(layout, marks=pytest.mark.skipif(number > GPUS, reason=f"needs {number} GPUs"), id=str(layout))
        for number, layout in wanted
    ]


@pytest.mark.parametrize("layout", layouts())
@pytest.mark.parametrize("document_mask", [False, True])
def test_every_layout_trains_as_the_torch_backend_does(
    tmp_path: Path,
    llama: Checkpoint,
    tokens: TokenStore,
    make_stage: MakeStage,
    layout: dict[str, Any],
    document_mask: bool,
) -> None:
    req = runs.request(llama, tokens, document_mask=document_mask)
    wanted = runs.train_torch(req, tmp_path / "torch", make_stage("torch"))
    found = runs.train_megatron(req, tmp_path / "megatron", make_stage("megatron"), **layout)
    runs.same_curves(found.metrics, wanted.metrics, WITHIN)
    assert found.facts["device"] == "cuda"


@pytest.mark.parametrize("layout", layouts())
def test_bf16_learns_as_torch_does(
    tmp_path: Path,
    llama: Checkpoint,
    tokens: TokenStore,
    make_stage: MakeStage,
    layout: dict[str, Any],
) -> None:
    req = runs.request(llama, tokens, precision="bf16")
    wanted = runs.train_torch(req, tmp_path / "torch", make_stage("torch"))
    found = runs.train_megatron(req, tmp_path / "megatron", make_stage("megatron"), **layout)
    runs.same_curves(found.metrics, wanted.metrics, 5e-2)


@pytest.mark.parametrize("layout", layouts())
def test_a_checkpoint_of_one_gpu_is_continued_by_every_layout(
    tmp_path: Path,
    llama: Checkpoint,
    tokens: TokenStore,
    make_stage: MakeStage,
    layout: dict[str, Any],
) -> None:
    req, stage = runs.request(llama, tokens), make_stage("stopped")
    asked = replace(stage, stop_requested=lambda: True)
    with pytest.raises(Interrupted):
        runs.train_megatron(req, tmp_path / "one", asked, data_parallel=1)
    found = runs.train_megatron(req, tmp_path / "two", stage, **layout)
    whole = runs.train_megatron(req, tmp_path / "whole", make_stage("whole"), data_parallel=1)
    runs.same_curves(found.metrics, whole.metrics, WITHIN)
