"""The torch backend on two ranks: the same losses as in one process, and checkpoints that either continues."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domadapt.artifacts import Checkpoint, Corpus, TokenStore
from domadapt.builtin.training.jobs import TorchJob, decode, encode, read_job, write_job
from domadapt.builtin.training.peers import Peers
from domadapt.builtin.training.torch_loop import TorchBackend, TorchOptions
from domadapt.components import Benchmark, EvalRequest, Stage, TrainRequest
from domadapt.errors import DataError, Interrupted, PluginError
from domadapt.recipe.schema import Launch, Train

from .megatron_runs import Driven, gone, same_as_exported

MakeCorpus = Callable[..., Corpus]
MakeTokens = Callable[..., TokenStore]
MakeStage = Callable[..., Stage]

SETTINGS = {
    "batch_tokens": 128,
    "micro_batch": 1,
    "lr": 3e-3,
    "warmup": 0.2,
    "precision": "fp32",
    "document_mask": True,
    "checkpoint_every": 3,
    "eval_every": 4,
    "eval_windows": 3,
}


@pytest.fixture
def tokens(make_corpus: MakeCorpus, make_tokens: MakeTokens) -> TokenStore:
    """8 steps of 4 windows of 32 tokens, padded, a quarter of them general."""
    domain = make_corpus(
        {
            "train": [f"Claim {i} covers risk {i * i}." for i in range(80)],
            "selection": ["A claim."] * 9,
            "report": ["x"],
        }
    )
    general = make_corpus({"train": ["general text " * 20] * 3, "selection": ["general"], "report": ["text"]})
    return make_tokens(
        {"domain": domain, "general": general}, seq_len=32, replay=0.25, num_samples=32, packing="best_fit"
    )


@dataclass
class Trained:
    """What a training left behind."""

    folder: Path
    facts: dict[str, Any]
    lines: list[dict[str, Any]]

    def digest(self) -> str:
        return hashlib.sha256((self.folder / "model.safetensors").read_bytes()).hexdigest()

    def values(self, name: str) -> list[float]:
        return [line[name] for line in self.lines if name in line]


def train(req: TrainRequest, out: Path, stage: Stage, **options: Any) -> Trained:
    out.mkdir(exist_ok=True)
    facts = TorchBackend(TorchOptions(threads=1, **options)).train(req, out, stage)
    lines = [json.loads(line) for line in (out / "training" / "metrics.jsonl").read_text().splitlines()]
    return Trained(out, facts, lines)


def request(start: Checkpoint, tokens: TokenStore, **settings: Any) -> TrainRequest:
    return TrainRequest(start, tokens, Train.model_validate({**SETTINGS, **settings}), 8, 4)


def stopping_at(stage: Stage, step: int) -> Stage:
    """The same stage, which asks to stop as soon as it hears of a step."""
    return replace(stage, stop_requested=lambda: any(e.get("done", 0) >= step for e in stage.facts["events"]))


def alike(one: Trained, other: Trained) -> None:
    """fp32: losses and held-out losses agree to 1e-5 at every step, weights to 1e-4."""
    from safetensors.numpy import load_file

    for name in ("loss", "heldout_domain", "heldout_general"):
        assert one.values(name) == pytest.approx(other.values(name), abs=1e-5)
    assert one.values("grad_norm") == pytest.approx(other.values("grad_norm"), rel=1e-4)
    assert one.values("lr") == other.values("lr")
    weights = [load_file(trained.folder / "model.safetensors") for trained in (one, other)]
    assert weights[0].keys() == weights[1].keys()
    assert max(float(np.abs(weights[0][name] - weights[1][name]).max()) for name in weights[0]) < 1e-4


def test_two_ranks_train_as_one_process_does_and_either_continues_what_they_saved(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    whole = train(request(tiny_model, tokens), tmp_path / "whole", make_stage("whole"))
    stage = make_stage("ranks")
    with pytest.raises(Interrupted, match="saved; run the same command") as raised:
        train(request(tiny_model, tokens), tmp_path / "first", stopping_at(stage, 4), num_processes=2)
    assert raised.value.exit_code == 75
    saved = sorted(stage.scratch.glob("step-????????"))[-1]
    assert sorted(p.name for p in (saved / "sharded").glob("*.distcp")) == ["__0_0.distcp", "__1_0.distcp"]
    state = json.loads((saved / "state.json").read_bytes())
    assert state["ranks"] == 2
    assert state["samples"] == 4 * state["step"] == sum(state["consumed"].values())
    # one process goes on with the shards of two
    resumed = train(request(tiny_model, tokens), tmp_path / "resumed", stage)
    assert [e["step"] for e in stage.facts["events"] if e["kind"] == "resumed"] == [state["step"]]
    alike(whole, resumed)
    assert resumed.facts["consumed"] == whole.facts["consumed"]
    same_as_exported(resumed.folder, request(tiny_model, tokens), resumed.lines, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 4), (2, 2), (4, 1)])
def test_f66_a_training_goes_on_with_another_number_of_ranks(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage, before: int, after: int
) -> None:
    """The same samples in the same order, losses to 1e-5."""
    whole = train(request(tiny_model, tokens), tmp_path / "whole", make_stage("whole"))
    stage = make_stage("ranks")
    with pytest.raises(Interrupted):
        train(request(tiny_model, tokens), tmp_path / "first", stopping_at(stage, 4), num_processes=before)
    resumed = train(request(tiny_model, tokens), tmp_path / "resumed", stage, num_processes=after)
    alike(whole, resumed)
    same_as_exported(resumed.folder, request(tiny_model, tokens), resumed.lines, 1e-5)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"gradient_checkpointing": True}, {"lora_rank": 4}], ids=["recomputed", "adapters"]
)
def test_two_ranks_agree_with_one_process_in_other_modes(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage, options: dict[str, Any]
) -> None:
    one, two = (
        train(request(tiny_model, tokens), tmp_path / str(n), make_stage(str(n)), num_processes=n, **options)
        for n in (1, 2)
    )
    alike(one, two)


@pytest.mark.slow
def test_two_ranks_in_bf16_learn_as_one_process_does(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    """Sharded weights are bf16 while a layer computes, autocast rounds later: losses agree to 0.05 nats."""
    one, two = (
        train(request(tiny_model, tokens, precision="bf16"), tmp_path / str(n), make_stage(str(n)), num_processes=n)
        for n in (1, 2)
    )
    assert one.values("loss") == pytest.approx(two.values("loss"), abs=0.05)
    assert two.values("loss")[-1] < two.values("loss")[0] - 1


@pytest.mark.slow
def test_f64_a_rank_that_is_killed_ends_the_others_and_the_training_continues_to_the_same_bits(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    asked = request(tiny_model, tokens, checkpoint_every=1)
    stage = make_stage("killed")
    driven = Driven(asked, stage.scratch, tmp_path / "first", backend="torch", num_processes=2)
    assert driven.until(3)
    pids = driven.ranks()
    os.kill(pids[1], signal.SIGKILL)
    began = time.monotonic()
    code, errors = driven.finish()
    assert time.monotonic() - began < 60
    assert code != 0
    assert "StageError: train: rank 1 was ended by signal 9" in errors
    assert all(map(gone, pids))
    resumed = train(asked, tmp_path / "resumed", stage, num_processes=2)
    assert [e["step"] >= 2 for e in stage.facts["events"] if e["kind"] == "resumed"] == [True]
    whole = train(asked, tmp_path / "whole", make_stage("whole"), num_processes=2)
    assert resumed.lines == whole.lines
    assert resumed.digest() == whole.digest()


@pytest.mark.slow
def test_f65_a_rank_that_hangs_is_noticed_and_ends_the_training(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    stage = make_stage("hung")
    asked = request(tiny_model, tokens)
    driven = Driven(asked, stage.scratch, tmp_path / "first", backend="torch", num_processes=2, timeout=60)
    assert driven.until(1)
    pids = driven.ranks()
    os.kill(pids[1], signal.SIGSTOP)
    code, errors = driven.finish()
    assert code != 0
    assert "StageError: train: " in errors
    assert all(map(gone, pids))


@pytest.mark.slow
def test_the_probe_of_a_sharded_model_is_that_of_the_whole_one(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_corpus: MakeCorpus, make_stage: MakeStage
) -> None:
    from domadapt.builtin.evaluating.perplexity import Perplexity

    texts = [f"Claim {i} covers risk {i}." for i in range(9)]
    corpus = make_corpus({"train": texts, "selection": texts, "report": texts})
    asked = EvalRequest("bits", "domain", None, corpus, 9, 4096, split="selection")
    probed = replace(request(tiny_model, tokens), probe=asked, evaluator=Perplexity())
    one, two = (train(probed, tmp_path / str(n), make_stage(str(n)), num_processes=n) for n in (1, 2))
    assert one.values("probe_value") == pytest.approx(two.values("probe_value"), abs=1e-4)
    assert len(two.values("probe_value")) == 3


def test_samples_of_a_step_are_shared_in_order_and_only_evenly() -> None:
    ranks = [Peers(rank, 4, None) for rank in range(4)]  # type: ignore[arg-type]
    assert [peers.share(8) for peers in ranks] == [(0, 2), (2, 2), (4, 2), (6, 2)]
    with pytest.raises(DataError, match=r"a step has 6 windows, which 4 ranks .* one of \[2, 3, 6\] ranks"):
        ranks[0].share(6)


def test_a_job_is_the_same_after_its_file(tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore) -> None:
    from domadapt.builtin.evaluating.lm_eval_tasks import LmEval

    evaluator = LmEval()
    asked = EvalRequest("quiz", "domain", Benchmark("quiz", "Quiz", tmp_path), None, 40, 4096, num_fewshot=2)
    req = replace(request(tiny_model, tokens, schedule="wsd"), probe=asked, evaluator=evaluator, launch=Launch(nodes=2))
    job = TorchJob(req, TorchOptions(lora_rank=4), tmp_path, tmp_path / "f", tmp_path / "s", "k", 7, None)
    write_job(job, tmp_path / "job.json")
    again = read_job(tmp_path / "job.json")
    assert type(again.request.evaluator) is LmEval
    assert again.request.evaluator.config == evaluator.config
    assert replace(again, request=replace(again.request, evaluator=evaluator)) == job


@pytest.mark.parametrize("name", ["builtins:print", "subprocess:Popen", "pathlib:Path"])
def test_a_job_file_that_names_anything_but_the_contract_is_refused(name: str) -> None:
    for kind in ("data", "component", "model"):
        with pytest.raises(PluginError, match=f"{name} is no "):
            decode({"is": kind, "class": name, "values": {}})


def test_mappings_and_paths_survive_a_job_file(tmp_path: Path) -> None:
    values: Mapping[str, Any] = {"a": [1, {"b": tmp_path}], "c": None}
    assert decode(json.loads(json.dumps(encode(values)))) == values
