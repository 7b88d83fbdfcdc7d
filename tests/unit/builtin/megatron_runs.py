"""What the tests of the megatron backend share: a small Llama of the 3.1 kind, requests, and runs of both backends."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from domadapt.artifacts import Checkpoint, Corpus, TokenStore
from domadapt.builtin.training.megatron.backend import MegatronBackend, MegatronOptions
from domadapt.builtin.training.torch_loop import TorchBackend, TorchOptions
from domadapt.builtin.training.windows import held_out
from domadapt.components import Stage, TrainRequest
from domadapt.errors import Interrupted
from domadapt.pipeline.fingerprints import digest_files
from domadapt.recipe.schema import Train
from domadapt.testing.models import write_byte_tokenizer

SETTINGS = {
    "batch_tokens": 128,
    "micro_batch": 2,
    "lr": 3e-3,
    "warmup": 0.2,
    "weight_decay": 0.5,
    "clip": 0.5,
    "precision": "fp32",
    "checkpoint_every": 3,
    "eval_every": 4,
    "eval_windows": 3,
}
SCALING = {
    "rope_type": "llama3",
    "rope_theta": 10_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 16,
}


def write_llama(folder: Path, *, tied: bool = False, dtype: str = "float32") -> Checkpoint:
    """Four layers, four heads in two groups, heads wider than hidden / heads, scaled rotary frequencies, 259 tokens."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=259,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=4,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=16,
        max_position_embeddings=64,
        rope_parameters=SCALING,
        initializer_range=0.1,
        tie_word_embeddings=tied,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config)
    with torch.no_grad():  # as made, norms are all ones, and one in the place of another would not show
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
    model.to(getattr(torch, dtype)).save_pretrained(folder)
    write_byte_tokenizer(folder, context=64)
    return Checkpoint(folder, digest=digest_files([folder]))


def sentences(seed: int, count: int) -> list[str]:
    draw = random.Random(seed)
    nouns, verbs = ("claim", "filing", "patent", "tumour", "risk"), ("shows", "covers", "raises", "treats")
    return [f"The {draw.choice(nouns)} {draw.choice(verbs)} the {draw.choice(nouns)}." for _ in range(count)]


def make_store(make_corpus: Any, make_tokens: Any, **mix: Any) -> TokenStore:
    """48 windows of 32 tokens, a quarter of them general."""
    domain: Corpus = make_corpus({"train": sentences(1, 90), "selection": sentences(2, 6), "report": sentences(3, 3)})
    general: Corpus = make_corpus({"train": ["general text " * 20] * 3, "selection": ["general"], "report": ["text"]})
    parts = {"domain": domain, "general": general}
    store: TokenStore = make_tokens(parts, **{"seq_len": 32, "replay": 0.25, "num_samples": 48, **mix})
    return store


def request(start: Checkpoint, tokens: TokenStore, num_steps: int = 6, **settings: Any) -> TrainRequest:
    """Steps of 4 windows, as far as `batch_tokens` is not another number."""
    train = Train.model_validate({**SETTINGS, **settings})
    return TrainRequest(start, tokens, train, num_steps, train.batch_tokens // tokens.facts["seq_len"])


@dataclass
class Trained:
    """What a training left behind."""

    folder: Path
    facts: dict[str, Any]
    events: list[dict[str, Any]]

    @property
    def metrics(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (self.folder / "training" / "metrics.jsonl").read_text().splitlines()]

    def said(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.events if event["kind"] == kind]

    def tensors(self) -> dict[str, Any]:
        from safetensors.torch import load_file

        files = sorted(self.folder.glob("*.safetensors"))
        return {name: tensor for file in files for name, tensor in load_file(file).items()}


def train_torch(req: TrainRequest, out: Path, stage: Stage) -> Trained:
    """In one process, with one thread."""
    out.mkdir(exist_ok=True)
    facts = TorchBackend(TorchOptions(threads=1)).train(req, out, stage)
    return Trained(out, facts, stage.facts["events"])


def train_megatron(req: TrainRequest, out: Path, stage: Stage, **options: Any) -> Trained:
    """options: of the backend."""
    out.mkdir(exist_ok=True)
    backend = MegatronBackend(MegatronOptions.model_validate({"threads": 1, "timeout": 300, **options}))
    facts = backend.train(req, out, stage)
    return Trained(out, facts, stage.facts["events"])


def stop_after_one_step(req: TrainRequest, out: Path, stage: Stage, **options: Any) -> dict[str, Any]:
    """Train, asked to stop from the beginning: one step is made and saved. Returns the newest checkpoint's state."""
    with pytest.raises(Interrupted, match=r"stopped at step \d+ of \d+, saved; run the same command to continue"):
        train_megatron(req, out, replace(stage, stop_requested=lambda: True), **options)
    assert not list(out.iterdir())
    newest = max(stage.scratch.glob("step-????????"))
    state: dict[str, Any] = json.loads((newest / "state.json").read_bytes())
    return state


def same_curves(found: Sequence[dict[str, Any]], wanted: Sequence[dict[str, Any]], within: float) -> None:
    """Losses, held-out losses and rates agree to `within`, norms relatively; steps and keys are equal."""
    assert [sorted(line) for line in found] == [sorted(line) for line in wanted]
    for one, other in zip(found, wanted, strict=True):
        for key, value in other.items():
            scale = max(1.0, abs(value)) if key == "grad_norm" else 1.0
            assert abs(one[key] - value) <= (0 if key in ("step", "tokens") else within * scale), (one, other)


def same_as_exported(folder: Path, req: TrainRequest, metrics: Sequence[dict[str, Any]], within: float) -> None:
    """The folder is the model that was trained: transformers finds in it the losses that the trainer measured last."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    last = next(line for line in reversed(metrics) if "heldout_domain" in line)
    assert last["step"] == req.num_steps
    for part in ("domain", "general"):
        rows = held_out(req.tokens, "selection", part, req.settings.eval_windows)
        ids, labels, positions = (torch.from_numpy(column) for column in rows)
        masked = {"position_ids": positions} if req.settings.document_mask else {}
        with torch.no_grad():
            logits = model(input_ids=ids, use_cache=False, **masked).logits
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        assert abs(loss.item() - last[f"heldout_{part}"]) <= within, part


def same_tensors(found: Trained, wanted: Trained, within: float) -> None:
    """The written weights agree."""
    import torch

    ours, theirs = found.tensors(), wanted.tensors()
    assert set(ours) == set(theirs)
    for name, tensor in theirs.items():
        assert ours[name].dtype == tensor.dtype
        torch.testing.assert_close(ours[name], tensor, atol=within, rtol=0, msg=name)


DRIVER = """
import json, sys
from pathlib import Path
from domadapt.artifacts import Checkpoint, TokenStore
from domadapt.builtin.training.megatron.backend import MegatronBackend, MegatronOptions
from domadapt.builtin.training.torch_loop import TorchBackend, TorchOptions
from domadapt.components import Stage, TrainRequest
from domadapt.recipe.schema import Train

job = json.loads(sys.argv[1])

def emit(kind, data):
    print(json.dumps({"kind": kind, **data}), flush=True)

scratch, out = Path(job["scratch"]), Path(job["out"])
stage = Stage("train", "0", 1234, "test", lambda *_: {}, scratch, emit=emit)
start, tokens, settings = Path(job["start"]), TokenStore(Path(job["tokens"])), Train.model_validate(job["settings"])
request = TrainRequest(Checkpoint(start), tokens, settings, job["num_steps"], job["samples_per_step"])
torch = job["backend"] == "torch"
backend, options = (TorchBackend, TorchOptions) if torch else (MegatronBackend, MegatronOptions)
backend = backend(options.model_validate({"threads": 1, **job["options"]}))
out.mkdir(parents=True, exist_ok=True)
print(json.dumps({"kind": "facts", **backend.train(request, out, stage)}), flush=True)
"""


class Driven:
    """A training in a process of its own, which can be killed with everything it has started or alone."""

    def __init__(
        self, req: TrainRequest, scratch: Path, out: Path, *, backend: str = "megatron", **options: Any
    ) -> None:
        self.scratch = scratch
        scratch.mkdir(exist_ok=True)
        job = {
            "backend": backend,
            "num_steps": req.num_steps,
            "samples_per_step": req.samples_per_step,
            "start": str(req.start.path),
            "tokens": str(req.tokens.path),
            "settings": req.settings.model_dump(mode="json", by_alias=True),
            "scratch": str(scratch),
            "out": str(out),
            "options": options,
        }
        self.process = subprocess.Popen(
            [sys.executable, "-c", DRIVER, json.dumps(job)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        self.lines = (json.loads(line) for line in self.process.stdout)

    def until(self, step: int) -> bool:
        """Whether that step was reported before the end."""
        return any(line["kind"] == "progress" and line["done"] >= step for line in self.lines)

    def ranks(self) -> list[int]:
        """Processes of its ranks."""
        return [int(file.read_text().split()[1]) for file in sorted(self.scratch.glob("attempt-*/rank-*.pid"))]

    def finish(self) -> tuple[int, str]:
        """How it ended, and what it wrote to stderr."""
        _, errors = self.process.communicate()
        return self.process.returncode, errors


def gone(pid: int) -> bool:
    """Whether a process has ended; one that nobody has waited for is no longer running either."""
    for _ in range(200):
        try:
            if Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z":
                return True
        except FileNotFoundError:
            return True
        time.sleep(0.05)
    return False
