"""Bits per byte of held-out documents: the same bytes for every model, whatever its tokenizer.

Rolling windows as in lm-eval's `loglikelihood_rolling`: each token is scored once, with one token of context
at a window's start; the last window reaches back to be full. Length-sorted batches by token budget instead of
one window after another.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple

from pydantic import Field

from domadapt.artifacts import Checkpoint, ScoreRow
from domadapt.builtin.evaluating.models import context_length, loaded
from domadapt.builtin.evaluating.samples import Samples, write_samples
from domadapt.components import EvalRequest, Evaluator, Options, Stage
from domadapt.errors import StageError

if TYPE_CHECKING:
    import torch

LOGIT_ELEMENTS = 2**28
"""Most logits held at once, 1 GiB in fp32: caps the batch for large vocabularies."""


class PerplexityOptions(Options):
    """Options of `perplexity`."""

    window: int = Field(2048, ge=8)
    """Most tokens of a window; a model with fewer positions gets its own number."""
    document_bytes: int = Field(65_536, ge=256)
    """So many bytes of each document are scored, from its beginning: a 10-K of a megabyte is one sample
    like any other."""


class Perplexity(Evaluator):
    """Bits per byte on the report split of a corpus."""

    name: ClassVar[str] = "perplexity"
    Config: ClassVar[type[Options]] = PerplexityOptions
    reads_corpus: ClassVar[bool] = True

    def evaluate(self, model: Checkpoint, request: EvalRequest, out: Path, stage: Stage) -> list[ScoreRow]:
        """One sample a document: bits and bytes; clustered by the document's group."""
        if request.corpus is None:
            raise StageError(f"{stage.name}: no corpus to score")
        ids, groups, texts = [], [], []
        for batch in request.corpus.batches("report", ["id", "group", "text"]):
            ids += batch["id"].to_pylist()
            groups += batch["group"].to_pylist()
            texts += [first_bytes(t, self.config.document_bytes) for t in batch["text"].to_pylist()]
        ids, groups, texts = ids[: request.limit], groups[: request.limit], texts[: request.limit]
        network, tokenizer = loaded(model)
        length = context_length(network, self.config.window)
        nats = document_nats(network, tokenizer, texts, length, request.batch_tokens, stage)
        samples = Samples(
            metric="bits_per_byte",
            unit="bits/byte",
            higher_is_better=False,
            items=ids,
            clusters=groups,
            values=[n / math.log(2) for n in nats],
            weights=[float(len(t.encode())) for t in texts],
        )
        write_samples([samples], out)
        protocol = f"rolling windows of {length} tokens, each scored once, first {self.config.document_bytes} bytes"
        return [samples.row(request, protocol)]


class Window(NamedTuple):
    """Token ids of one forward pass; the last `num_scored` of them count for the document."""

    document: int
    ids: list[int]
    num_scored: int


def first_bytes(text: str, most: int) -> str:
    """The longest beginning of a text that fits in `most` UTF-8 bytes."""
    return text.encode()[:most].decode("utf-8", "ignore")


def document_nats(
    network: Any, tokenizer: Any, texts: Sequence[str], length: int, batch_tokens: int, stage: Stage
) -> list[float]:
    """Negative log-likelihood of each text in nats, given the model's begin token (or its end token)."""
    import torch

    prefix = tokenizer.bos_token_id if tokenizer.bos_token_id is not None else tokenizer.eos_token_id
    windows: list[Window] = []
    for number, ids in enumerate(tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]):
        stream = [prefix, *ids]
        for first in range(0, len(ids), length):
            end = min(first + length, len(ids))
            windows.append(Window(number, stream[max(0, end - length) : end + 1], end - first))
    windows.sort(key=lambda w: -len(w.ids))  # sort is stable: the order is the same in every run
    budget = min(batch_tokens, LOGIT_ELEMENTS // network.config.vocab_size)
    nats = [0.0] * len(texts)
    done = 0
    with torch.inference_mode():
        for batch in _batches(windows, budget):
            for window, value in zip(batch, _window_nats(network, batch).tolist(), strict=True):
                nats[window.document] += value
            done += len(batch)
            stage.progress(done, len(windows), "windows")
    for number, value in enumerate(nats):
        if not math.isfinite(value):
            raise StageError(
                f"{stage.name}: document {number} has a likelihood that is not finite; the model is damaged"
            )
    return nats


def _batches(windows: list[Window], budget: int) -> Iterator[list[Window]]:
    at = 0
    while at < len(windows):
        count = max(1, budget // (len(windows[at].ids) - 1))
        yield windows[at : at + count]
        at += count


def _window_nats(network: Any, windows: Sequence[Window]) -> torch.Tensor:
    """Sum of scored losses of each window, float64 [B]. Padding stands on the right, behind all that counts."""
    import torch

    lengths = torch.tensor([len(w.ids) - 1 for w in windows])
    scored = torch.tensor([w.num_scored for w in windows])
    longest = int(lengths.max())
    padded = torch.tensor([[*w.ids, *[0] * (longest + 1 - len(w.ids))] for w in windows], device=network.device)
    logits_BTV = network(padded[:, :-1], use_cache=False).logits.float()
    losses = torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), padded[:, 1:].flatten(), reduction="none")
    at = torch.arange(longest)
    counts = (at < lengths[:, None]) & (at >= (lengths - scored)[:, None])
    return (losses.view(len(windows), longest).cpu().double() * counts).sum(1)
