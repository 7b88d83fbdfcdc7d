"""A megatron training that was stopped, killed or damaged continues, on the same ranks or on others."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domadapt.artifacts import Checkpoint, Corpus, TokenStore
from domadapt.builtin.training.megatron import backend
from domadapt.components import Stage
from domadapt.errors import StageError

from .megatron_runs import (
    Driven,
    gone,
    make_store,
    request,
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

WITHIN, WEIGHTS_WITHIN = 1e-5, 2e-5

pytestmark = pytest.mark.slow  # several processes a test


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return write_llama(tmp_path_factory.mktemp("llama") / "tied", tied=True)


@pytest.fixture
def tokens(make_corpus: MakeCorpus, make_tokens: MakeTokens) -> TokenStore:
    return make_store(make_corpus, make_tokens)


def test_a_training_that_was_stopped_continues_as_if_it_had_not_been(
    tmp_path: Path, llama: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    req, stage = request(llama, tokens), make_stage("megatron")
    state = stop_after_one_step(req, tmp_path / "one", stage)
    assert (state["step"], state["samples"], sum(state["consumed"].values())) == (1, 4, 4)
    # what came after the checkpoint is written again
    with (stage.scratch / "metrics.jsonl").open("a") as file:
        file.write('{"step": 999, "loss": 0.0}\n')
    found = train_megatron(req, tmp_path / "two", stage)
    assert found.said("resumed") == [{"kind": "resumed", "step": 1, "num_steps": 6}]
    wanted = train_torch(req, tmp_path / "torch", make_stage("torch"))
    same_curves(found.metrics, wanted.metrics, WITHIN)
    same_tensors(found, wanted, WEIGHTS_WITHIN)
    assert found.facts["consumed"] == wanted.facts["consumed"]


@pytest.mark.parametrize("options", [{}, {"data_parallel": 2}, {"tensor_parallel": 2, "distributed_optimizer": False}])
def test_a_resume_in_the_same_layout_gives_the_bits_of_an_undisturbed_training(
    tmp_path: Path, llama: Checkpoint, tokens: TokenStore, make_stage: MakeStage, options: dict[str, Any]
) -> None:
    req, stage = request(llama, tokens), make_stage("stopped")
    for attempt in (1, 2):
        assert stop_after_one_step(req, tmp_path / f"{attempt}", stage, **options)["step"] == attempt
    resumed = train_megatron(req, tmp_path / "resumed", stage, **options)
    whole = train_megatron(req, tmp_path / "whole", make_stage("whole"), **options)
    assert resumed.metrics == whole.metrics
    same_tensors(resumed, whole, 0.0)


def test_a_checkpoint_of_tensor_parallel_ranks_is_continued_by_a_pipeline_and_by_one_process(
    tmp_path: Path, llama: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    req, stage = request(llama, tokens), make_stage("resharded")
    layouts: list[dict[str, Any]] = [
        {"tensor_parallel": 2},
        {"pipeline_parallel": 2},
        {"data_parallel": 2, "async_save": False},
        {"data_parallel": 2, "distributed_optimizer": False},
    ]
    for number, layout in enumerate(layouts, 1):
        assert stop_after_one_step(req, tmp_path / f"{number}", stage, **layout)["step"] == number
    found = train_megatron(req, tmp_path / "last", stage)
    wanted = train_torch(req, tmp_path / "torch", make_stage("torch"))
    # nothing is lost or taken twice: the sums of other ranks are rounded in another order, and that is all
    same_curves(found.metrics, wanted.metrics, WITHIN)
    same_tensors(found, wanted, WEIGHTS_WITHIN)


def test_a_bf16_checkpoint_keeps_its_fp32_weights_over_a_change_of_layout(
    tmp_path: Path, llama: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    req, stage = request(llama, tokens, precision="bf16"), make_stage("resharded")
    stop_after_one_step(req, tmp_path / "1", stage, data_parallel=2)
    stop_after_one_step(req, tmp_path / "2", stage, distributed_optimizer=False)
    found = train_megatron(req, tmp_path / "last", stage)
    whole = train_megatron(req, tmp_path / "whole", make_stage("whole"))
    same_curves(found.metrics, whole.metrics, 1e-4)
    # weights that had gone through bf16 would be 2e-3 apart
    same_tensors(found, whole, 2e-4)


def test_a_damaged_checkpoint_is_set_aside_and_the_one_before_continues(
    tmp_path: Path, llama: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    req, stage = request(llama, tokens), make_stage("damaged")
    for attempt in (1, 2):
        stop_after_one_step(req, tmp_path / f"{attempt}", stage)
    file = max((stage.scratch / "step-00000002").glob("*.distcp"))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    stage.facts["events"].clear()
    found = train_megatron(req, tmp_path / "last", stage)
    (warning,) = found.said("warning")
    assert "checkpoint set aside" in warning["message"]
    assert found.said("resumed")[0]["step"] == 1
    wanted = train_torch(req, tmp_path / "torch", make_stage("torch"))
    same_curves(found.metrics, wanted.metrics, WITHIN)


def test_f67_a_checkpoint_of_a_training_with_other_settings_is_refused_with_the_difference(
    tmp_path: Path, llama: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    stage = make_stage("changed")
    stop_after_one_step(request(llama, tokens), tmp_path / "one", stage)
    (tmp_path / "two").mkdir()
    with pytest.raises(StageError, match=r"step-00000001 was made with lr 0\.003 \(now 0\.001\); take that back"):
        train_megatron(request(llama, tokens, lr=1e-3), tmp_path / "two", stage)


FULL_DISK = """
import os, sys
from domadapt.builtin.training.megatron import worker

fsync = os.fsync

def full(descriptor):
    file = os.readlink(f"/proc/self/fd/{descriptor}")
    if "step-00000002" in file and file.endswith(".distcp"):
        raise OSError(28, "No space left on device")
    fsync(descriptor)

os.fsync = full
sys.exit(worker.main(sys.argv[1]))
"""


@pytest.mark.parametrize("background", [True, False])
def test_a_disk_that_is_full_leaves_the_checkpoint_before_and_the_training_continues(
    tmp_path: Path,
    llama: Checkpoint,
    tokens: TokenStore,
    make_stage: MakeStage,
    monkeypatch: pytest.MonkeyPatch,
    background: bool,
) -> None:
    (tmp_path / "full_disk.py").write_text(FULL_DISK)
    req, stage = request(llama, tokens, checkpoint_every=1), make_stage("full")
    with monkeypatch.context() as patched:
        patched.setenv("PYTHONPATH", str(tmp_path))
        patched.setattr(backend, "WORKER", "full_disk")
        with pytest.raises(OSError, match="No space left on device"):
            train_megatron(req, tmp_path / "one", stage, async_save=background)
    assert [path.name for path in stage.scratch.glob("step-????????")] == ["step-00000001"]
    found = train_megatron(req, tmp_path / "two", stage)
    assert found.said("resumed")[0]["step"] == 1
    wanted = train_torch(req, tmp_path / "torch", make_stage("torch"))
    same_curves(found.metrics, wanted.metrics, WITHIN)


@pytest.mark.timeout(3000)
@pytest.mark.parametrize("options", [{}, {"tensor_parallel": 2}], ids=["one rank", "two ranks"])
def test_trainings_killed_at_random_points_end_with_the_bits_of_an_undisturbed_one(
    tmp_path: Path, llama: Checkpoint, tokens: TokenStore, make_stage: MakeStage, options: dict[str, Any]
) -> None:
    # a checkpoint after every step: most kills meet one that is being written
    req = request(llama, tokens, num_steps=12, checkpoint_every=1)
    draw = random.Random(7)
    for number in range(5):
        driven = Driven(req, tmp_path / "scratch", tmp_path / f"killed-{number}", **options)
        if not driven.until(draw.randint(2 * number + 1, 2 * number + 2)):
            break
        time.sleep(draw.random() * 0.5)
        pids = driven.ranks()
        driven.process.kill()
        driven.finish()
        assert all(map(gone, pids))
    stage = replace(make_stage("killed"), scratch=tmp_path / "scratch")
    found = train_megatron(req, tmp_path / "last", stage, **options)
    assert found.said("resumed")[0]["step"] >= 1
    whole = train_megatron(req, tmp_path / "whole", make_stage("whole"), **options)
    assert found.metrics == whole.metrics
    same_tensors(found, whole, 0.0)
    assert not list((tmp_path / "scratch").glob("*.partial"))


def test_f64_a_rank_that_is_killed_ends_the_training_which_then_continues(
    tmp_path: Path, llama: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    req = request(llama, tokens, num_steps=12, checkpoint_every=1)
    driven = Driven(req, tmp_path / "scratch", tmp_path / "killed", tensor_parallel=2)
    assert driven.until(3)
    pids = driven.ranks()
    os.kill(pids[1], signal.SIGKILL)
    began = time.monotonic()
    code, errors = driven.finish()
    assert time.monotonic() - began < 120
    assert code != 0
    assert "StageError: train: rank 1 was ended" in errors
    assert all(map(gone, pids))
    stage = replace(make_stage("killed"), scratch=tmp_path / "scratch")
    found = train_megatron(req, tmp_path / "last", stage, tensor_parallel=2)
    wanted = train_torch(req, tmp_path / "torch", make_stage("torch"))
    same_curves(found.metrics, wanted.metrics, WITHIN)


@pytest.mark.parametrize("number", [0, 1])
def test_f65_a_rank_that_hangs_is_noticed(
    tmp_path: Path, llama: Checkpoint, tokens: TokenStore, make_stage: MakeStage, number: int
) -> None:
    req = request(llama, tokens, num_steps=12)
    driven = Driven(req, tmp_path / "scratch", tmp_path / "hung", tensor_parallel=2, timeout=60)
    assert driven.until(1)
    pids = driven.ranks()
    os.kill(pids[number], signal.SIGSTOP)
    code, errors = driven.finish()
    assert code != 0
    assert "StageError: train: " in errors
    assert all(map(gone, pids))
