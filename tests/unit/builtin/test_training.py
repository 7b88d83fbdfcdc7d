"""The torch backend on a tiny random model: it learns, resumes to the same bits, and stops before damage."""

from __future__ import annotations

import hashlib
import json
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domadapt.artifacts import Checkpoint, Corpus, TokenStore
from domadapt.builtin.training.torch_loop import TorchBackend, TorchOptions
from domadapt.components import Stage, TrainRequest
from domadapt.errors import DataError, Interrupted, StageError
from domadapt.recipe.schema import Train
from domadapt.testing.models import write_tiny_model

MakeCorpus = Callable[..., Corpus]
MakeTokens = Callable[..., TokenStore]
MakeStage = Callable[..., Stage]


def sentences(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    nouns, verbs = ("claim", "filing", "patent", "tumour", "risk"), ("shows", "covers", "raises", "treats")
    return [f"The {draw.choice(nouns)} {draw.choice(verbs)} the {draw.choice(nouns)}." for _ in range(count)]


@pytest.fixture
def tokens(make_corpus: MakeCorpus, make_tokens: MakeTokens) -> TokenStore:
    """12 steps of 4 windows of 32 tokens, a quarter of them general."""
    domain = make_corpus({"train": sentences(1, 60), "selection": sentences(2, 6), "report": sentences(3, 3)})
    general = make_corpus({"train": ["general text " * 20] * 3, "selection": ["general"], "report": ["text"]})
    return make_tokens({"domain": domain, "general": general}, seq_len=32, replay=0.25, num_samples=48)


SETTINGS = {
    "batch_tokens": 128,
    "micro_batch": 2,
    "lr": 3e-3,
    "warmup": 0.2,
    "precision": "fp32",
    "checkpoint_every": 3,
    "eval_every": 4,
    "eval_windows": 4,
}


def request(start: Checkpoint, tokens: TokenStore, num_steps: int = 12, **settings: Any) -> TrainRequest:
    return TrainRequest(start, tokens, Train.model_validate({**SETTINGS, **settings}), num_steps, 4)


@dataclass
class Trained:
    """What a training left behind."""

    folder: Path
    facts: dict[str, Any]
    events: list[dict[str, Any]]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "training" / "metrics.jsonl").read_text().splitlines()]

    @property
    def losses(self) -> list[float]:
        return [line["loss"] for line in self.metrics if "loss" in line]

    def digests(self) -> dict[str, str]:
        files = ("model.safetensors", "training/metrics.jsonl")
        return {name: hashlib.sha256((self.folder / name).read_bytes()).hexdigest() for name in files}

    def warnings(self) -> list[str]:
        return [e["message"] for e in self.events if e["kind"] == "warning"]


def train(req: TrainRequest, out: Path, stage: Stage) -> Trained:
    out.mkdir(exist_ok=True)
    facts = TorchBackend(TorchOptions(threads=1)).train(req, out, stage)
    return Trained(out, facts, stage.facts["events"])


class Dies(Exception):
    """Stands for whatever ends a process."""


def dying_at(stage: Stage, step: int) -> Stage:
    """The same stage, whose progress report at `step` raises."""
    emit = stage.emit

    def emit_or_die(kind: str, data: Mapping[str, Any]) -> None:
        emit(kind, data)
        if kind == "progress" and data["done"] == step:
            raise Dies

    return replace(stage, emit=emit_or_die)


def test_the_loss_falls_and_the_metrics_say_what_happened(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    done = train(request(tiny_model, tokens), tmp_path / "out", make_stage())
    assert done.losses[0] == pytest.approx(math.log(259), abs=0.5)
    assert done.losses[-1] < done.losses[0] - 1
    steps = [line for line in done.metrics if "loss" in line]
    assert [line["step"] for line in steps] == list(range(1, 13))
    assert [line["tokens"] for line in steps] == [128 * i for i in range(1, 13)]
    assert steps[0]["lr"] == pytest.approx(3e-3 / 3)
    assert steps[2]["lr"] == pytest.approx(3e-3)
    assert all(line["grad_norm"] > 0 for line in steps)
    held = [line for line in done.metrics if "heldout_domain" in line]
    assert [line["step"] for line in held] == [0, 4, 8, 12]
    assert set(held[0]) == {"step", "heldout_domain", "heldout_general"}
    assert held[-1]["heldout_domain"] < held[0]["heldout_domain"] - 1
    assert done.facts["steps"] == 12
    assert done.facts["tokens"] == 12 * 128


def test_the_first_loss_is_that_of_the_windows_in_order_computed_by_transformers(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    done = train(request(tiny_model, tokens, num_steps=1), tmp_path / "out", make_stage())
    model = AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32)
    names = [part["name"] for part in tokens.plan["parts"]]
    rows = np.stack([tokens.windows("train", names[p])[w] for p, w in tokens.order()[:4]]).astype(np.int64)
    with torch.no_grad():
        wanted = model(input_ids=torch.from_numpy(rows), labels=torch.from_numpy(rows)).loss.item()
    assert done.losses == [pytest.approx(wanted, abs=1e-5)]


@pytest.mark.parametrize("deaths", [[4], [3], [1], [5, 8], [7, 7, 11]])
def test_a_training_that_died_ends_with_the_bits_of_an_undisturbed_one(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage, deaths: list[int]
) -> None:
    req = request(tiny_model, tokens)
    whole = train(req, tmp_path / "whole", make_stage("whole"))
    stage = make_stage("dying")
    for number, step in enumerate(deaths):
        with pytest.raises(Dies):
            train(req, tmp_path / f"attempt-{number}", dying_at(stage, step))
    resumed = train(req, tmp_path / "resumed", stage)
    assert resumed.digests() == whole.digests()
    # checkpoints are made after the report of steps 3, 6, 9
    at = [e["step"] for e in resumed.events if e["kind"] == "resumed"]
    assert at == [(step - 1) // 3 * 3 for step in deaths if step > 3]
    assert resumed.warnings() == []


def test_a_training_asked_to_stop_saves_says_so_with_75_and_continues_to_the_same_bits(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    req = request(tiny_model, tokens, checkpoint_every=1000)
    whole = train(req, tmp_path / "whole", make_stage("whole"))
    stage = make_stage("stopping")
    for number, stop_at in enumerate((2, 9, 12)):

        def stop(at: int = stop_at) -> bool:
            return max((e["done"] for e in stage.facts["events"] if e["kind"] == "progress"), default=0) >= at

        with pytest.raises(
            Interrupted, match=f"stopped at step {stop_at} of 12, saved; run the same command"
        ) as raised:
            train(req, tmp_path / f"attempt-{number}", replace(stage, stop_requested=stop))
        assert raised.value.exit_code == 75
    resumed = train(req, tmp_path / "resumed", stage)
    assert resumed.digests() == whole.digests()
    assert [e["step"] for e in resumed.events if e["kind"] == "resumed"] == [2, 9, 12]


def test_dropout_draws_the_same_numbers_after_resuming(
    tmp_path: Path, tokens: TokenStore, make_stage: MakeStage
) -> None:
    start = write_tiny_model(tmp_path / "model")
    config = json.loads((start.path / "config.json").read_bytes())
    (start.path / "config.json").write_text(json.dumps({**config, "attention_dropout": 0.3}))
    req = request(start, tokens)
    whole = train(req, tmp_path / "whole", make_stage("whole"))
    stage = make_stage("dying")
    with pytest.raises(Dies):
        train(req, tmp_path / "attempt", dying_at(stage, 8))
    assert train(req, tmp_path / "resumed", stage).digests() == whole.digests()
    other = train(req, tmp_path / "other", make_stage("other", seed=2))
    assert other.digests() != whole.digests()


def test_gradient_accumulation_changes_nothing_beyond_rounding(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    """fp32, 12 steps: losses agree to 1e-4 nats, weights to 1e-3 (Adam's first steps divide by small numbers)."""
    from safetensors.numpy import load_file

    one = train(request(tiny_model, tokens, micro_batch=1), tmp_path / "one", make_stage("one"))
    four = train(request(tiny_model, tokens, micro_batch=4), tmp_path / "four", make_stage("four"))
    assert one.losses == pytest.approx(four.losses, abs=1e-4)
    weights = [load_file(t.folder / "model.safetensors") for t in (one, four)]
    assert max(float(np.abs(weights[0][n] - weights[1][n]).max()) for n in weights[0]) < 1e-3


def test_gradient_accumulation_weighs_tokens_not_rows_when_there_is_padding(
    tmp_path: Path, tiny_model: Checkpoint, make_corpus: MakeCorpus, make_tokens: MakeTokens, make_stage: MakeStage
) -> None:
    texts = {"train": ["a" * n for n in (28, 5, 29, 27)], "selection": ["a"], "report": ["b"]}
    tokens = make_tokens({"domain": make_corpus(texts)}, seq_len=32, packing="best_fit", num_samples=4)
    assert tokens.facts["padding"]["domain"] > 20
    one, four = (
        train(request(tiny_model, tokens, num_steps=1, micro_batch=n), tmp_path / str(n), make_stage(str(n)))
        for n in (1, 4)
    )
    assert one.losses == pytest.approx(four.losses, abs=1e-5)
    assert one.metrics[1]["grad_norm"] == pytest.approx(four.metrics[1]["grad_norm"], rel=1e-4)


@pytest.mark.parametrize(("packing", "seq_len"), [("concat", 48), ("best_fit", 64)])
def test_with_document_masks_the_loss_is_that_of_each_document_by_itself(
    tmp_path: Path,
    tiny_model: Checkpoint,
    make_corpus: MakeCorpus,
    make_tokens: MakeTokens,
    make_stage: MakeStage,
    packing: str,
    seq_len: int,
) -> None:
    import torch
    from transformers import AutoModelForCausalLM

    from domadapt.builtin.training.windows import WindowReader

    texts = {"train": ["".join(t.split()[1:3]) for t in sentences(5, 24)], "selection": ["a"], "report": ["b"]}
    tokens = make_tokens({"domain": make_corpus(texts)}, seq_len=seq_len, packing=packing, num_samples=4)
    masked = train(
        request(tiny_model, tokens, num_steps=1, document_mask=True), tmp_path / "masked", make_stage("masked")
    )
    plain = train(request(tiny_model, tokens, num_steps=1), tmp_path / "plain", make_stage("plain"))

    model = AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32)
    ids, labels, positions = WindowReader(tokens).samples(0, 4)
    total, count, documents = 0.0, 0, 0
    for row, row_labels, row_positions in zip(ids, labels, positions, strict=True):
        starts = np.flatnonzero(row_positions == 0).tolist()
        documents += len(starts)
        with torch.no_grad():
            alone = [
                model(input_ids=torch.from_numpy(row[None, a:b])).logits[0]
                for a, b in zip(starts, [*starts[1:], len(row)], strict=True)
            ]
        targets = torch.from_numpy(row_labels[1:])
        losses = torch.nn.functional.cross_entropy(torch.cat(alone)[:-1], targets, reduction="sum", ignore_index=-100)
        total, count = total + losses.item(), count + int((targets >= 0).sum())
    assert documents > 4
    assert masked.losses == [pytest.approx(total / count, abs=1e-5)]
    assert abs(plain.losses[0] - masked.losses[0]) > 1e-4  # the mask does something


def test_a_loss_that_is_not_finite_stops_before_the_step_and_nothing_is_saved(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domadapt.builtin.training import torch_run

    stage = make_stage()
    calls = 0
    loss = torch_run.TorchRun._loss

    def spoiled(self: Any, *args: Any) -> Any:
        nonlocal calls
        calls += 1
        value = loss(self, *args)
        return value * math.nan if self.step == 7 and self.model.training else value

    with monkeypatch.context() as patch:
        patch.setattr(torch_run.TorchRun, "_loss", spoiled)
        with pytest.raises(StageError, match=r"loss nan .* at step 8 \(samples 28 to 31\).* Lower train\.lr"):
            train(request(tiny_model, tokens), tmp_path / "spoiled", stage)
    assert calls > 8
    assert sorted(p.name for p in stage.scratch.glob("step-*")) == ["step-00000003", "step-00000006"]
    # without the spoiler the same stage goes on to the bits of an undisturbed run
    resumed = train(request(tiny_model, tokens), tmp_path / "resumed", stage)
    assert resumed.digests() == train(request(tiny_model, tokens), tmp_path / "whole", make_stage("w")).digests()


def test_an_infinite_weight_in_the_start_model_stops_the_training(
    tmp_path: Path, tokens: TokenStore, make_stage: MakeStage
) -> None:
    from safetensors.torch import load_file, save_file

    start = write_tiny_model(tmp_path / "model")
    weights = load_file(start.path / "model.safetensors")
    weights["model.layers.1.mlp.down_proj.weight"][0, 0] = math.inf
    save_file(weights, start.path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(StageError, match=r"loss (nan|inf) .* at step 1 "):
        train(request(start, tokens), tmp_path / "out", make_stage())
    assert not (tmp_path / "out" / "model.safetensors").exists()


def interrupted(req: TrainRequest, stage: Stage, folder: Path) -> list[Path]:
    """Let a training die at step 8, with checkpoints of steps 3 and 6; return them, newest last."""
    with pytest.raises(Dies):
        train(req, folder, dying_at(stage, 8))
    found = sorted(stage.scratch.glob("step-????????"))
    assert [p.name for p in found] == ["step-00000003", "step-00000006"]
    return found


def flip_a_bit(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-2])


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (flip_a_bit, "model.safetensors"),
        (flip_a_bit, "optimizer.safetensors"),
        (flip_a_bit, "state.json"),
        (flip_a_bit, "artifact.json"),
        (truncate, "optimizer.safetensors"),
        (truncate, "artifact.json"),
        (Path.unlink, "model.safetensors"),
    ],
)
def test_a_damaged_newest_checkpoint_is_set_aside_aloud_and_the_older_one_continues_to_the_same_bits(
    tmp_path: Path,
    tiny_model: Checkpoint,
    tokens: TokenStore,
    make_stage: MakeStage,
    damage: Callable[[Path], None],
    name: str,
) -> None:
    req = request(tiny_model, tokens)
    stage = make_stage()
    newest = interrupted(req, stage, tmp_path / "attempt")[-1]
    damage(newest / name)
    if damage is not flip_a_bit:  # once more, with what was set aside before still there
        with pytest.raises(Dies):
            train(req, tmp_path / "attempt-2", dying_at(stage, 7))
        damage(newest / name)
    resumed = train(req, tmp_path / "resumed", stage)
    assert [e["step"] for e in resumed.events if e["kind"] == "resumed"][-1] == 3
    assert all("checkpoint set aside" in message and newest.name in message for message in resumed.warnings())
    assert len(resumed.warnings()) == (1 if damage is flip_a_bit else 2)
    whole = train(req, tmp_path / "whole", make_stage("whole"))
    assert resumed.digests() == whole.digests()


def test_when_no_checkpoint_is_intact_training_never_starts_over_by_itself(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    req = request(tiny_model, tokens)
    stage = make_stage()
    for path in interrupted(req, stage, tmp_path / "attempt"):
        flip_a_bit(path / "model.safetensors")
    for _ in range(2):  # nor when asked again
        with pytest.raises(StageError, match=f"none of the 2 checkpoints in {stage.scratch} is intact; delete that"):
            train(req, tmp_path / "again", stage)


def test_never_fewer_than_two_checkpoints_once_there_were_two_and_never_more_at_rest(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage, monkeypatch: pytest.MonkeyPatch
) -> None:
    from domadapt.builtin.training import checkpoints
    from domadapt.pipeline.store import is_intact, remove

    left: list[int] = []

    def watched(path: Path) -> None:
        left.append(sum(is_intact(p) for p in path.parent.glob("step-????????") if p != path))
        remove(path)

    monkeypatch.setattr(checkpoints, "remove", watched)
    stage = make_stage()
    train(request(tiny_model, tokens, checkpoint_every=2), tmp_path / "out", stage)
    assert left == [2, 2, 2]
    assert [p.name for p in sorted(stage.scratch.glob("step-*"))] == ["step-00000008", "step-00000010"]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_saved_folder_is_a_whole_model_in_the_type_of_the_start_model(
    tmp_path: Path, tokens: TokenStore, make_stage: MakeStage, dtype: Any
) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    start = write_tiny_model(tmp_path / "model", dtype=dtype)
    done = train(request(start, tokens, num_steps=2), tmp_path / "out", make_stage())
    model = AutoModelForCausalLM.from_pretrained(done.folder, dtype="auto")
    assert {p.dtype for p in model.parameters()} == {getattr(torch, dtype)}
    assert json.loads((done.folder / "config.json").read_bytes())["dtype"] == dtype
    assert done.facts["dtype"] == dtype
    tokenizer = AutoTokenizer.from_pretrained(done.folder)
    chat = [{"role": "user", "content": "hi"}]
    wanted = AutoTokenizer.from_pretrained(start.path).apply_chat_template(chat, tokenize=False)
    assert tokenizer.apply_chat_template(chat, tokenize=False) == wanted == "<|user|>hi<|end|>"
    assert GenerationConfig.from_pretrained(done.folder).max_new_tokens == 16
    assert not list(done.folder.glob("*.bin"))


def test_tied_embeddings_stay_tied(tmp_path: Path, tokens: TokenStore, make_stage: MakeStage) -> None:
    from transformers import AutoModelForCausalLM

    start = write_tiny_model(tmp_path / "model", tied=True)
    req = request(start, tokens)
    whole = train(req, tmp_path / "whole", make_stage("whole"))
    stage = make_stage("dying")
    with pytest.raises(Dies):
        train(req, tmp_path / "attempt", dying_at(stage, 5))
    resumed = train(req, tmp_path / "resumed", stage)
    assert resumed.digests() == whole.digests()
    model = AutoModelForCausalLM.from_pretrained(resumed.folder)
    assert model.lm_head.weight is model.model.embed_tokens.weight


def test_bf16_computes_in_autocast_over_fp32_weights_and_learns(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    done = train(request(tiny_model, tokens, precision="bf16"), tmp_path / "bf16", make_stage("bf16"))
    full = train(request(tiny_model, tokens), tmp_path / "fp32", make_stage("fp32"))
    assert done.losses[-1] < done.losses[0] - 1
    assert done.losses != full.losses
    assert done.losses == pytest.approx(full.losses, abs=0.1)


def test_recomputing_activations_gives_the_same_losses(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    plain = train(request(tiny_model, tokens, num_steps=3), tmp_path / "plain", make_stage("plain"))
    out = tmp_path / "recomputed"
    out.mkdir()
    backend = TorchBackend(TorchOptions(threads=1, gradient_checkpointing=True))
    stage = make_stage("recomputed")
    backend.train(request(tiny_model, tokens, num_steps=3), out, stage)
    assert Trained(out, {}, stage.facts["events"]).losses == pytest.approx(plain.losses, abs=1e-5)


def test_a_start_model_with_fewer_tokens_than_the_store_and_one_that_cannot_be_loaded_are_refused(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    vars(tokens)["manifest"] = {**tokens.manifest, "facts": {**tokens.facts, "vocab_size": 300}}
    with pytest.raises(DataError, match="the token store has 300 tokens, the model's embedding 259"):
        train(request(tiny_model, tokens), tmp_path / "out", make_stage())
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: its weights cannot be read"):
        train(request(Checkpoint(tmp_path / "empty"), tokens), tmp_path / "out", make_stage())


def test_tokens_of_another_tokenizer_are_refused(tmp_path: Path, tokens: TokenStore, make_stage: MakeStage) -> None:
    start = write_tiny_model(tmp_path / "model")
    file = start.path / "tokenizer.json"
    made = json.loads(file.read_bytes())
    vocabulary = made["model"]["vocab"]
    vocabulary["!"], vocabulary["A"] = vocabulary["A"], vocabulary["!"]
    file.write_text(json.dumps(made))
    with pytest.raises(DataError, match="is not the one that made the tokens"):
        train(request(start, tokens), tmp_path / "out", make_stage())


def test_weight_decay_is_on_matrices_only_and_the_rate_reaches_the_optimizer(
    tmp_path: Path, tiny_model: Checkpoint, tokens: TokenStore, make_stage: MakeStage
) -> None:
    """With a rate of 1e-3 and a decay of 0.5, one step scales matrices by 0.9995 and moves all by at most 1e-3."""
    from safetensors.numpy import load_file

    before = load_file(tiny_model.path / "model.safetensors")
    req = request(tiny_model, tokens, num_steps=1, lr=1e-3, warmup=0.0, weight_decay=0.5, clip=1e9)
    after = load_file(train(req, tmp_path / "out", make_stage()).folder / "model.safetensors")
    for name, old in before.items():
        decayed = old * (1 - 1e-3 * 0.5) if old.ndim >= 2 else old
        assert np.abs(after[name] - decayed).max() <= 1e-3 * 1.001, name  # Adam's first step is the rate, by sign
        assert np.abs(after[name] - decayed).max() > 0.9e-3, name
