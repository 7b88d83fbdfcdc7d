"""Bits per byte of held-out documents: the same bytes for every model, whatever its tokenizer.

Rolling windows as in lm-eval's `loglikelihood_rolling`: each token is scored once, with one token of context
at a window's start; the last window reaches back to be full. The windows go through the engine of `scoring`:
length-sorted batches by token budget, logits a few hundred rows at a time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from domadapt.artifacts import Checkpoint, ScoreRow
from domadapt.builtin.evaluating.models import context_length, loaded
from domadapt.builtin.evaluating.samples import Samples, write_samples
from domadapt.components import EvalRequest, Evaluator, LiveModel, Options, Stage
from domadapt.errors import StageError


class PerplexityOptions(Options):
    """Options of `perplexity`."""

    window: int = Field(2048, ge=8)
    """Most tokens of a window; a model with fewer positions gets its own number."""
    document_bytes: int = Field(65_536, ge=256)
    """So many bytes of each document are scored, from its beginning: a 10-K of a megabyte is one sample
    like any other."""


class Perplexity(Evaluator):
    """Bits per byte of held-out documents of a corpus, as a rule of its report split."""

    name: ClassVar[str] = "perplexity"
    Config: ClassVar[type[Options]] = PerplexityOptions
    reads_corpus: ClassVar[bool] = True

    def evaluate(self, model: Checkpoint | LiveModel, request: EvalRequest, out: Path, stage: Stage) -> list[ScoreRow]:
        """One sample a document: bits and bytes; clustered by the document's group.

        A prompt stands, unscored, at the beginning of every window.
        """
        if request.corpus is None:
            raise StageError(f"{stage.name}: no corpus to score")
        ids, groups, texts = [], [], []
        for batch in request.corpus.batches(request.split, ["id", "group", "text"]):
            ids += batch["id"].to_pylist()
            groups += batch["group"].to_pylist()
            texts += [first_bytes(t, self.config.document_bytes) for t in batch["text"].to_pylist()]
        ids, groups, texts = ids[: request.limit], groups[: request.limit], texts[: request.limit]
        network, tokenizer = loaded(model)
        length = context_length(network, self.config.window)
        nats = document_nats(network, tokenizer, texts, length, request.batch_tokens, stage, request.prompt)
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
        if request.prompt:
            protocol += f", a prompt of {len(request.prompt)} characters before every window"
        return [samples.row(request, protocol)]


def first_bytes(text: str, most: int) -> str:
    """The longest beginning of a text that fits in `most` UTF-8 bytes."""
    return text.encode()[:most].decode("utf-8", "ignore")


def document_nats(
    network: Any,
    tokenizer: Any,
    texts: Sequence[str],
    length: int,
    batch_tokens: int,
    stage: Stage,
    prompt: str = "",
) -> list[float]:
    """Negative log-likelihood of each text in nats, given the model's begin token (or its end token) and the prompt."""
    from domadapt.builtin.evaluating.scoring.engine import rolling

    nats = rolling(
        network,
        tokenizer,
        texts,
        max_length=length,
        batch_tokens=batch_tokens,
        special=False,
        prompt=f"{prompt}\n\n" if prompt else "",
        stage=stage,
    )
    return [-value for value in nats]
