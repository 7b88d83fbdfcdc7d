"""One network in memory that takes the weights of every candidate in turn, and what it is scored by.

A candidate is scored with the bits that writing it would store: on a CPU the network computes in fp32 on weights
rounded to the stored type, as the evaluators load a checkpoint.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.artifacts import Checkpoint, Corpus
from domadapt.components import EvalRequest, Evaluator, LiveModel, Side, Stage
from domadapt.errors import MissingError

if TYPE_CHECKING:
    from domadapt.builtin.merging.search.candidates import Candidates
    from domadapt.recipe.sweeps import Point

SIDES: tuple[Side, Side] = ("domain", "general")
METRIC = "bits_per_byte"
HEADROOM = 1.3
"""Memory of a network at work over that of its weights."""


def check_memory(stage: Stage, checkpoint: Checkpoint) -> None:
    """Raises MissingError when no network to score candidates fits: in memory, or on a GPU beside nothing else."""
    import torch

    from domadapt.builtin.merging.fast.checkpoint import Weights
    from domadapt.builtin.merging.guards import available_memory

    entries = sum(tensor.size for tensor in Weights(checkpoint.path).tensors.values())
    gpu = torch.cuda.is_available()
    available = torch.cuda.mem_get_info()[0] if gpu else available_memory()
    needed = int(entries * (2 if gpu else 4) * HEADROOM)
    if available is not None and needed > available:
        raise MissingError(
            f"{stage.name}: scoring candidates takes about {needed / 1e9:.1f} GB of {'GPU ' if gpu else ''}memory, "
            f"{available / 1e9:.1f} GB are available; merge without lists, one method at a time"
        )


def load_network(checkpoint: Checkpoint) -> LiveModel:
    """A network of one's own to overwrite, as evaluators load it: fp32 on a CPU, bf16 on a GPU."""
    import torch

    from domadapt.builtin.models.tokenizer import load_tokenizer
    from domadapt.builtin.models.weights import load_causal_lm

    gpu = torch.cuda.is_available()
    network = load_causal_lm(checkpoint.path, torch.bfloat16 if gpu else torch.float32)
    return LiveModel(network.to("cuda" if gpu else "cpu").eval(), load_tokenizer(checkpoint.path))


def fill(model: LiveModel, candidates: Candidates, point: Point) -> None:
    """Give the network a candidate's weights, rounded to the type that the written model would store."""
    import torch

    prepared = candidates.prepared(point)
    candidates.sweep(prepared).load_into(model.network, prepared.candidate)
    stored = getattr(torch, prepared.out_dtype)
    with torch.no_grad():
        for parameter in model.network.parameters():
            if parameter.dtype != stored and parameter.dtype == torch.float32:
                parameter.copy_(parameter.to(stored))


@dataclass(frozen=True)
class Scorer:
    """Scores a model on the selection split of both sides, and by its answers to prompts.

    perplexity, probes: the evaluators.  corpora: by side.  limit, batch_tokens: as in the recipe's eval.
    """

    perplexity: Evaluator
    probes: Evaluator
    corpora: Mapping[Side, Corpus]
    limit: int | None
    batch_tokens: int

    def scores(self, model: LiveModel, stage: Stage) -> dict[str, Any]:
        """By side: items, clusters, bits and bytes of each document."""
        return {side: self._bits(model, side, stage) for side in SIDES}

    def _bits(self, model: LiveModel, side: Side, stage: Stage) -> dict[str, Any]:
        import pyarrow.parquet as pq

        request = EvalRequest(
            f"{METRIC}.{side}", side, None, self.corpora[side], self.limit, self.batch_tokens, split="selection"
        )
        with _folder(stage) as out:
            rows = self.perplexity.evaluate(model, request, out, stage)
            columns = pq.read_table(out / "samples.parquet").to_pydict()
        return {
            "values": columns["value"],
            "weights": columns["weight"],
            "clusters": columns["cluster"],
            "protocol": rows[0].protocol,
        }

    def answers(self, model: LiveModel, stage: Stage) -> list[dict[str, Any]]:
        """Of each prompt: item, prompt, answer, and whether it is one that ends by itself."""
        import pyarrow.parquet as pq

        request = EvalRequest("probes", "general", None, None, None, self.batch_tokens, split="selection")
        with _folder(stage) as out:
            self.probes.evaluate(model, request, out, stage)
            samples = pq.read_table(out / "samples.parquet").to_pylist()
            said = [json.loads(line) for line in (out / "answers.jsonl").read_text(encoding="utf-8").splitlines()]
        metrics = {(s["metric"], s["item"]): s["value"] for s in samples}
        return [
            {**answer, "good": metrics["answers", item] > 0 and metrics["ends", item] > 0}
            for answer in said
            if ("answers", item := answer["item"]) in metrics
        ]


@contextmanager
def _folder(stage: Stage) -> Iterator[Path]:
    """A folder for what an evaluator writes, gone afterwards."""
    path = stage.scratch / "scoring"
    shutil.rmtree(path, ignore_errors=True)
    path.mkdir(parents=True)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def quiet(stage: Stage, progress: Callable[[], None]) -> Stage:
    """The stage for an evaluator: its own progress becomes that of the sweep."""

    def emit(kind: str, data: Mapping[str, Any]) -> None:
        if kind == "progress":
            progress()
        else:
            stage.emit(kind, data)

    return replace(stage, emit=emit)
