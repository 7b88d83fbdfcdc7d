"""Checkpoint probes: lines and facts they leave, and that they leave nothing else in the training."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from domadapt.artifacts import Checkpoint, Corpus, ScoreRow, TokenStore
from domadapt.builtin.evaluating.perplexity import Perplexity
from domadapt.builtin.evaluating.samples import Samples, write_samples
from domadapt.builtin.training.torch_loop import TorchBackend, TorchOptions
from domadapt.components import EvalRequest, Evaluator, LiveModel, Stage, TrainRequest
from domadapt.errors import StageError
from domadapt.recipe.schema import Train
from domadapt.testing.models import write_tiny_model

MakeCorpus = Callable[..., Corpus]
MakeTokens = Callable[..., TokenStore]
MakeStage = Callable[..., Stage]

SETTINGS = {"batch_tokens": 128, "micro_batch": 2, "lr": 3e-3, "precision": "fp32", "checkpoint_every": 3}


@pytest.fixture
def corpus(make_corpus: MakeCorpus) -> Corpus:
    draw = random.Random(1)
    words = ("claim", "filing", "patent", "tumour", "risk")
    texts = [f"The {draw.choice(words)} shows the {draw.choice(words)}." for _ in range(80)]
    return make_corpus({"train": texts[:60], "selection": texts[60:70], "report": texts[70:]})


@pytest.fixture
def tokens(corpus: Corpus, make_tokens: MakeTokens) -> TokenStore:
    return make_tokens({"domain": corpus}, seq_len=32, num_samples=48)


class Hostile(Evaluator):
    """Scores 0 or 1 by item as `curve` says, and disturbs whatever an evaluator can disturb."""

    name: ClassVar[str] = "hostile"

    def __init__(self, curve: Mapping[int, Sequence[float]], order: int = 1) -> None:
        super().__init__()
        self.curve, self.order, self.calls = curve, order, 0
        self.seen: list[Any] = []

    def evaluate(self, model: Checkpoint | LiveModel, request: EvalRequest, out: Path, stage: Stage) -> list[ScoreRow]:
        import numpy as np
        import torch

        assert isinstance(model, LiveModel)
        assert model.tokenizer.eos_token_id is not None
        assert list(out.iterdir()) == []
        self.seen.append((model.network.training, request.limit, torch.is_autocast_enabled("cpu")))
        random.seed(0)
        np.random.seed(0)
        torch.manual_seed(0)
        torch.set_num_threads(2)
        model.network.model.layers[0].train()
        with torch.inference_mode():
            model.network(torch.tensor([[3, 4, 5]]))
        stage.progress(1, 2, "windows")
        stage.event("warning", message="not for the training's log")
        values = [float(v) for v in self.curve[self.calls]]
        self.calls += 1
        items = [f"item-{i}" for i in range(len(values))][:: self.order]
        samples = Samples("acc", "share", True, items, items, values, [1.0] * len(values))
        write_samples([samples], out)
        return [samples.row(request, "stub")]


@dataclass
class Trained:
    """What a training left behind."""

    folder: Path
    facts: dict[str, Any] = field(default_factory=dict)
    events: list[dict[str, Any]] = field(default_factory=list)

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "training" / "metrics.jsonl").read_text().splitlines()]

    @property
    def probes(self) -> list[dict[str, Any]]:
        return [line for line in self.metrics if "probe_value" in line]

    @property
    def weights(self) -> str:
        return hashlib.sha256((self.folder / "model.safetensors").read_bytes()).hexdigest()

    @property
    def warnings(self) -> list[str]:
        return [e["message"] for e in self.events if e["kind"] == "warning"]


def request(
    start: Checkpoint, tokens: TokenStore, evaluator: Evaluator | None, *, num_steps: int = 8, **settings: Any
) -> TrainRequest:
    train = Train.model_validate({**SETTINGS, "eval_every": 4, "eval_windows": 4, **settings})
    asked = EvalRequest("quiz", "domain", None, None, 40, 4096) if evaluator is not None else None
    return TrainRequest(start, tokens, train, num_steps, 4, asked, evaluator)


def train(req: TrainRequest, out: Path, stage: Stage) -> Trained:
    out.mkdir(exist_ok=True)
    facts = TorchBackend(TorchOptions(threads=1)).train(req, out, stage)
    return Trained(out, facts, stage.facts["events"])


RISING = {0: [1] * 10 + [0] * 30, 1: [1] * 15 + [0] * 25, 2: [1] * 20 + [0] * 20}
DIP = {0: [1] * 30 + [0] * 10, 1: [1] * 10 + [0] * 30, 2: [1] * 35 + [0] * 5}
FALL = {0: [1] * 30 + [0] * 10, 1: [1] * 20 + [0] * 20, 2: [1] * 10 + [0] * 30}


def test_every_measurement_has_a_line_with_the_value_and_the_error_of_its_paired_change(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    evaluator = Hostile(RISING)
    done = train(request(tiny_model, tokens, evaluator), tmp_path / "out", make_stage())
    assert [line["step"] for line in done.probes] == [0, 4, 8]
    assert [line["step"] for line in done.metrics if "heldout_domain" in line] == [0, 4, 8]
    assert [line["probe_value"] for line in done.probes] == [0.25, 0.375, 0.5]
    assert {(line["probe_task"], line["probe_metric"], line["probe_n"]) for line in done.probes} == {
        ("quiz", "acc", 40)
    }
    # 5 and 10 of 40 items gained, none lost: sd of the differences over sqrt(40)
    errors = [(g / 40 * (1 - g / 40) / 39) ** 0.5 for g in (0, 5, 10)]
    assert [line["probe_change_stderr"] for line in done.probes] == pytest.approx(errors)
    assert done.probes[0]["probe_stderr"] == pytest.approx((0.25 * 0.75 / 39) ** 0.5)
    assert evaluator.seen == [(False, 40, False)] * 3
    assert done.warnings == []
    assert done.facts["stability"]["probe"]["found"] is False
    assert set(done.facts["stability"]) == {"probe", "heldout_domain"}
    assert {e["unit"] for e in done.events if e["kind"] == "progress"} == {"steps"}


def test_the_weights_and_losses_are_the_same_bits_with_and_without_probes(
    tmp_path: Path, tokens: TokenStore, make_stage: MakeStage
) -> None:
    """With dropout, so that a generator left in another state would show."""
    start = write_tiny_model(tmp_path / "model")
    config = json.loads((start.path / "config.json").read_bytes())
    (start.path / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.3}))
    plain = train(request(start, tokens, None), tmp_path / "plain", make_stage("plain"))
    probed = train(request(start, tokens, Hostile(RISING)), tmp_path / "probed", make_stage("probed"))
    assert probed.weights == plain.weights
    assert [line for line in probed.metrics if "probe_value" not in line] == plain.metrics
    assert "probe" not in plain.facts["stability"]


class Dies(Exception):
    """Stands for whatever ends a process."""


@pytest.mark.parametrize("death", [2, 5, 8])
def test_a_training_that_died_has_the_same_lines_and_weights(
    tmp_path: Path, tiny_model: Checkpoint, corpus: Corpus, tokens: TokenStore, make_stage: MakeStage, death: int
) -> None:
    """Scored by bits per byte of the live model, which depend on every weight."""
    req = request(tiny_model, tokens, Perplexity(), num_steps=9, eval_every=2)
    assert req.probe is not None
    req = replace(req, probe=replace(req.probe, corpus=corpus))
    whole = train(req, tmp_path / "whole", make_stage("whole"))
    stage = make_stage("dying")
    emit = stage.emit

    def die(kind: str, data: Mapping[str, Any]) -> None:
        emit(kind, data)
        if kind == "progress" and data["done"] == death:
            raise Dies

    with pytest.raises(Dies):
        train(req, tmp_path / "attempt", replace(stage, emit=die))
    resumed = train(req, tmp_path / "resumed", stage)
    assert resumed.metrics == whole.metrics
    assert resumed.weights == whole.weights
    assert resumed.facts == whole.facts
    assert [line["step"] for line in whole.probes] == [0, 2, 4, 6, 8, 9]
    values = [line["probe_value"] for line in whole.probes]
    assert len(set(values)) == 6
    assert values[-1] < values[0] - 1
    assert whole.probes[0]["probe_higher_is_better"] is False


def test_a_dip_is_said_when_it_is_seen_and_not_at_the_end_when_it_is_over(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    done = train(request(tiny_model, tokens, Hostile(DIP)), tmp_path / "out", make_stage())
    (told,) = done.warnings
    assert told.startswith("Stability gap: quiz (acc, 40 items) fell by 0.5 from 0.75 at step 4 (noise explains 0.13")
    assert told.endswith("Training goes on, a dip may pass")
    gap = done.facts["stability"]["probe"]
    assert (gap["depth"], gap["depth_at"], gap["recovered_at"], gap["inside"]) == (0.5, 4, 8, False)
    assert gap["area"] == 2.0


def test_a_training_that_ends_inside_a_dip_says_so_aloud(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    done = train(request(tiny_model, tokens, Hostile(FALL)), tmp_path / "out", make_stage())
    assert len(done.warnings) == 2
    assert done.warnings[-1].startswith("training ends inside a dip. Stability gap: quiz")
    assert done.warnings[-1].endswith("it ends inside the dip. Train longer, or with a lower train.lr")
    assert done.facts["stability"]["probe"]["inside"] is True


def test_a_domain_loss_that_ends_above_its_start_is_said_too(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    done = train(request(tiny_model, tokens, None, lr=3.0, schedule="constant"), tmp_path / "out", make_stage())
    assert done.facts["stability"]["heldout_domain"]["inside"] is True
    assert [w for w in done.warnings if "the held-out domain loss rose by" in w]


def test_an_evaluator_without_a_score_or_with_other_items_is_refused(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    class Mute(Hostile):
        def evaluate(self, *args: Any) -> list[ScoreRow]:
            return []

    class Fickle(Hostile):
        def evaluate(self, *args: Any) -> list[ScoreRow]:
            self.order = -1 if self.calls else 1
            return super().evaluate(*args)

    with pytest.raises(StageError, match="the probe quiz gave no score"):
        train(request(tiny_model, tokens, Mute({})), tmp_path / "mute", make_stage("mute"))
    with pytest.raises(StageError, match="the probe quiz was scored on other items than at step 0"):
        train(request(tiny_model, tokens, Fickle(RISING)), tmp_path / "fickle", make_stage("fickle"))
