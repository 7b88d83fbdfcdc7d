"""Stop, change the mixture, go on: every window that was read counts, none is lost, none comes twice."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from domadapt.artifacts import Checkpoint, Corpus, TokenStore
from domadapt.builtin.training.torch_loop import TorchBackend, TorchOptions
from domadapt.components import Stage, TrainRequest
from domadapt.errors import Interrupted
from domadapt.pipeline.continuing import take_over
from domadapt.recipe.schema import Train

MakeCorpus = Callable[..., Corpus]
MakeTokens = Callable[..., TokenStore]
MakeStage = Callable[..., Stage]
PER_STEP, STEPS = 4, 10
BEGINS = "no checkpoint in the store began with the windows and rates of this training: it begins at step 1"
EARLIER = {"until_step": 5, "steps": STEPS, "replay": 0.25}
SETTINGS = {
    "batch_tokens": 64, "micro_batch": 4, "lr": 1e-3, "precision": "fp32", "checkpoint_every": 3, "eval_every": 100,
}  # fmt: skip


@pytest.fixture
def mixed(make_corpus: MakeCorpus, make_tokens: MakeTokens) -> Callable[..., TokenStore]:
    """Token stores of the same two corpora in mixtures of 40 windows."""
    domain = make_corpus({"train": ["domain text " * 9] * 3, "selection": ["domain"], "report": ["text"]})
    general = make_corpus({"train": ["other words " * 9] * 2, "selection": ["other"], "report": ["words"]})

    def make(**mix: Any) -> TokenStore:
        return make_tokens(
            {"domain": domain, "general": general},
            **{"num_samples": 40, "samples_per_step": PER_STEP, "max_epochs": 99, **mix},
        )

    return make


def request(start: Checkpoint, tokens: TokenStore, **settings: Any) -> TrainRequest:
    train = Train.model_validate({**SETTINGS, **settings})
    return TrainRequest(replace(start, digest="base"), tokens, train, STEPS, PER_STEP)


def trained(asked: TrainRequest, stage: Stage, out: Path) -> list[dict[str, Any]]:
    """The events of a training that takes over what it can."""
    options = TorchOptions(threads=1)
    take_over(asked, options, stage)
    out.mkdir(exist_ok=True)
    TorchBackend(options).train(asked, out, stage)
    events: list[dict[str, Any]] = stage.facts["events"]
    return events


def stopped_at(step: int, asked: TrainRequest, stage: Stage, out: Path) -> None:
    events: list[dict[str, Any]] = stage.facts["events"]
    stage = replace(stage, stop_requested=lambda: any(e.get("done") == step for e in events if e["kind"] == "progress"))
    with pytest.raises(Interrupted, match=f"stopped at step {step} of {STEPS}"):
        trained(asked, stage, out)


def test_changed_shares_go_on_from_the_step_at_which_the_training_was_stopped(
    tmp_path: Path, tiny_model: Checkpoint, mixed: Callable[..., TokenStore], make_stage: MakeStage
) -> None:
    before = mixed(replay=0.25)
    stopped_at(5, request(tiny_model, before), make_stage("before"), tmp_path / "a")
    after = mixed(replay=0.5, earlier=[EARLIER])
    stage = make_stage("after")
    events = trained(request(tiny_model, after), stage, tmp_path / "b")
    assert [e["step"] for e in events if e["kind"] == "taken_over"] == [5]
    assert [e["step"] for e in events if e["kind"] == "resumed"] == [5]
    lines = [json.loads(line) for line in (tmp_path / "b" / "training" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, STEPS + 1))

    # the windows read: those of the first mixture until step 5, those of the second from there on
    read = [*map(tuple, before.order()[:20].tolist()), *map(tuple, after.order()[20:].tolist())]
    assert read == [*map(tuple, after.order().tolist())]
    for part, windows in enumerate(after.facts["windows"]["train"].values()):
        uses = Counter(window for number, window in read if number == part)
        assert set(uses) == set(range(windows))
        assert max(uses.values()) - min(uses.values()) <= 1
    shares = [part["windows_used"] for part in after.plan["parts"]]
    assert shares == [15 + 10, 5 + 10]
    told = [(one["mixture"], one["first"], one["last"], one["parts"]["general"]) for one in after.plan["stages"]]
    assert told == [(0, 0, 20, {"asked": 5.0, "windows": 5}), (1, 20, 40, {"asked": 10.0, "windows": 10})]


def test_a_mixture_that_began_otherwise_or_another_training_is_not_taken_over(
    tmp_path: Path, tiny_model: Checkpoint, mixed: Callable[..., TokenStore], make_stage: MakeStage
) -> None:
    before = mixed(replay=0.25)
    stopped_at(3, request(tiny_model, before), make_stage("before"), tmp_path / "a")
    threads = TorchOptions(threads=1)
    same_windows = mixed(replay=0.5, earlier=[{**EARLIER, "until_step": 3}])
    asked = request(tiny_model, same_windows)
    for name, other, options in (
        ("windows", request(tiny_model, mixed(replay=0.5)), threads),
        ("rate", request(tiny_model, same_windows, lr=2e-3), threads),
        ("start", replace(asked, start=replace(tiny_model, digest="other")), threads),
        ("options", asked, TorchOptions(threads=1, lora_rank=2)),
        ("length", replace(asked, num_steps=20), threads),
        ("stopped later", replace(asked, num_steps=2), threads),
    ):
        stage = make_stage(name)
        take_over(other, options, stage)
        assert not list(stage.scratch.glob("step-*")), name
        told = [e["message"] for e in stage.facts["events"]]
        assert told == ([] if name == "windows" else [BEGINS])
    stage = make_stage("same")
    take_over(asked, threads, stage)
    assert [e["step"] for e in stage.facts["events"]] == [3]


def test_a_training_is_made_longer_where_its_rates_so_far_do_not_depend_on_its_length(
    tmp_path: Path, tiny_model: Checkpoint, mixed: Callable[..., TokenStore], make_stage: MakeStage
) -> None:
    constant = {"schedule": "constant", "warmup": 0.1}
    stopped_at(5, request(tiny_model, mixed(replay=0.25), **constant), make_stage("before"), tmp_path / "a")
    longer = mixed(replay=0.5, earlier=[EARLIER], num_samples=20 * PER_STEP)
    cut, stage = request(tiny_model, longer, schedule="constant", warmup=0.05), make_stage("after")
    trained(replace(cut, num_steps=20), stage, tmp_path / "b")
    assert [e["step"] for e in stage.facts["events"] if e["kind"] == "resumed"] == [5]
    lines = [json.loads(line) for line in (tmp_path / "b" / "training" / "metrics.jsonl").read_text().splitlines()]
    assert [line["lr"] for line in lines if "lr" in line] == [1e-3] * 20

    twice_as_slow = request(tiny_model, longer, schedule="constant", warmup=0.1)
    stage = make_stage("other warm-up")
    take_over(replace(twice_as_slow, num_steps=20), TorchOptions(threads=1), stage)
    assert [e["message"] for e in stage.facts["events"]] == [BEGINS]


def test_a_training_with_checkpoints_of_its_own_keeps_them(
    tmp_path: Path, tiny_model: Checkpoint, mixed: Callable[..., TokenStore], make_stage: MakeStage
) -> None:
    asked, stage = request(tiny_model, mixed(replay=0.25)), make_stage("before")
    stopped_at(3, asked, stage, tmp_path / "a")
    found = sorted(path.name for path in stage.scratch.iterdir())
    take_over(asked, TorchOptions(threads=1), stage)
    assert sorted(path.name for path in stage.scratch.iterdir()) == found
