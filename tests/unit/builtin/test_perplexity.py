"""Bits per byte: lm-eval's own rolling likelihood, whatever the batch, the order and the length."""

from __future__ import annotations

import math
import random
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domadapt.artifacts import Checkpoint, Corpus
from domadapt.builtin.evaluating.models import loaded
from domadapt.builtin.evaluating.perplexity import Perplexity, PerplexityOptions, document_nats, first_bytes
from domadapt.components import EvalRequest, Stage
from domadapt.errors import DataError, StageError
from domadapt.testing.models import write_tiny_model

MakeCorpus = Callable[..., Corpus]
MakeStage = Callable[..., Stage]


def texts_of_lengths(*lengths: int) -> list[str]:
    draw = random.Random(1)
    return ["".join(draw.choice("abcdefgh é\n") for _ in range(n)) for n in lengths]


# the model sees 64 tokens, a token is a byte: shorter, exactly one window, one more, several windows
TEXTS = [*texts_of_lengths(1, 5, 30), "x" * 63, "y" * 64, "z" * 65, "w" * 128, "v" * 129, *texts_of_lengths(300)]


def request(corpus: Corpus | None, **changes: Any) -> EvalRequest:
    return replace(EvalRequest("bits_per_byte.domain", "domain", None, corpus, None, 1024), **changes)


def rolling_of_lm_eval(checkpoint: Checkpoint, texts: list[str]) -> list[float]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM

        network, tokenizer = loaded(checkpoint)
        model = HFLM(pretrained=network, tokenizer=tokenizer, batch_size=3, max_length=64)
        instances = [Instance("loglikelihood_rolling", {}, (text,), i) for i, text in enumerate(texts)]
        return [-value for value in model.loglikelihood_rolling(instances, disable_tqdm=True)]


def test_each_document_has_the_likelihood_that_lm_eval_gives_it(tiny_model: Checkpoint, make_stage: MakeStage) -> None:
    ours = document_nats(*loaded(tiny_model), TEXTS, 64, 1024, make_stage("eval"))
    assert ours == pytest.approx(rolling_of_lm_eval(tiny_model, TEXTS), abs=5e-4)


def test_a_model_without_begin_token_starts_from_its_end_token(tmp_path: Path, make_stage: MakeStage) -> None:
    checkpoint = write_tiny_model(tmp_path / "m")
    network, tokenizer = loaded(checkpoint)
    tokenizer.bos_token = None
    ours = document_nats(network, tokenizer, TEXTS, 64, 1024, make_stage("eval"))
    assert ours == pytest.approx(rolling_of_lm_eval(checkpoint, TEXTS), abs=5e-4)


def test_likelihoods_by_hand_with_a_model_of_known_probabilities(make_stage: MakeStage) -> None:
    """A network that gives every token of 8 the same probability: ln 8 nats a token, 3 bits a byte."""
    import torch

    class Uniform:
        device, config = "cpu", type("Config", (), {"vocab_size": 8})

        def __call__(self, ids: Any, use_cache: bool) -> Any:
            return type("Output", (), {"logits": torch.zeros(*ids.shape, 8)})

    class Bytes:
        bos_token_id = 0

        def __call__(self, texts: list[str], **named: Any) -> dict[str, Any]:
            return {"input_ids": [[b % 8 for b in text.encode()] for text in texts]}

    nats = document_nats(Uniform(), Bytes(), ["abc", "", "ä" * 10], 4, 16, make_stage("eval"))
    assert nats == pytest.approx([3 * math.log(8), 0, 20 * math.log(8)])


def test_neither_the_order_of_documents_nor_the_batch_changes_a_likelihood(
    tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    network, tokenizer = loaded(tiny_model)
    alone = [document_nats(network, tokenizer, [text], 64, 1, make_stage("eval"))[0] for text in TEXTS]
    order = random.Random(2).sample(range(len(TEXTS)), len(TEXTS))
    for batch_tokens in (1, 70, 10**6):
        shuffled = document_nats(network, tokenizer, [TEXTS[i] for i in order], 64, batch_tokens, make_stage("eval"))
        assert shuffled == pytest.approx([alone[i] for i in order], abs=1e-3)


def test_the_score_is_the_sum_of_bits_over_the_sum_of_bytes(
    tmp_path: Path, tiny_model: Checkpoint, make_corpus: MakeCorpus, make_stage: MakeStage
) -> None:
    groups = {"report-0": "x", "report-1": "x"}
    corpus = make_corpus({"train": ["t"], "selection": ["s"], "report": TEXTS}, groups)
    rows = Perplexity().evaluate(tiny_model, request(corpus), tmp_path, make_stage("eval"))
    assert len(rows) == 1
    (row,) = rows
    nats = rolling_of_lm_eval(tiny_model, TEXTS)
    num_bytes = sum(len(t.encode()) for t in TEXTS)
    assert row.value == pytest.approx(sum(nats) / math.log(2) / num_bytes, abs=1e-5)
    assert (row.metric, row.unit, row.higher_is_better, row.n) == ("bits_per_byte", "bits/byte", False, len(TEXTS))
    assert row.low < row.value < row.high
    assert "windows of 64 tokens" in row.protocol
    samples = pq.read_table(tmp_path / "samples.parquet").to_pydict()
    assert samples["item"] == [f"report-{i}" for i in range(len(TEXTS))]
    assert samples["cluster"][:3] == ["x", "x", "report-2"]
    assert samples["weight"] == [len(t.encode()) for t in TEXTS]
    assert row.value == pytest.approx(sum(samples["value"]) / sum(samples["weight"]))


def test_a_limit_takes_the_first_documents_and_long_ones_are_cut_to_their_beginning(
    tmp_path: Path, tiny_model: Checkpoint, make_corpus: MakeCorpus, make_stage: MakeStage
) -> None:
    corpus = make_corpus({"train": ["t"], "selection": ["s"], "report": ["a" * 400, "b" * 50, "c"]})
    evaluator = Perplexity(PerplexityOptions(document_bytes=256))
    evaluator.evaluate(tiny_model, request(corpus, limit=2), tmp_path, make_stage("eval"))
    samples = pq.read_table(tmp_path / "samples.parquet").to_pydict()
    assert samples["weight"] == [256, 50]
    wanted = rolling_of_lm_eval(tiny_model, ["a" * 256, "b" * 50])
    np.testing.assert_allclose(np.array(samples["value"]) * math.log(2), wanted, atol=5e-4)


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(0, 30))
@example("aé", 2)
@example("😀😀", 7)
def test_first_bytes_is_the_longest_beginning_that_fits(text: str, most: int) -> None:
    first = first_bytes(text, most)
    assert text.startswith(first)
    assert len(first.encode()) <= most
    assert first == text or len(text[: len(first) + 1].encode()) > most


def test_a_damaged_model_and_a_missing_corpus_are_said(
    tmp_path: Path, make_corpus: MakeCorpus, make_stage: MakeStage
) -> None:
    from safetensors.torch import load_file, save_file

    broken = write_tiny_model(tmp_path / "m")
    weights = load_file(broken.path / "model.safetensors")
    weights["model.norm.weight"][0] = math.nan
    save_file(weights, broken.path / "model.safetensors", metadata={"format": "pt"})
    corpus = make_corpus({"train": ["t"], "selection": ["s"], "report": ["abc"]})
    with pytest.raises(StageError, match="eval: document 0 has a likelihood that is not finite"):
        Perplexity().evaluate(broken, request(corpus), tmp_path, make_stage("eval"))
    with pytest.raises(StageError, match="no corpus to score"):
        Perplexity().evaluate(broken, request(None), tmp_path, make_stage("eval"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="its weights cannot be read"):
        Perplexity().evaluate(Checkpoint(tmp_path / "empty"), request(corpus), tmp_path, make_stage("eval"))
