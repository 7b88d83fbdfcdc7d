"""Selection by a language model and by importance resampling, against plain counts, laws and a mixed corpus."""

from __future__ import annotations

import math
import random
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt.artifacts import document_schema
from domadapt.builtin.cleaning.dsir import Dsir, Features, log_ratios
from domadapt.builtin.cleaning.ngram_model import NgramModel, perplexity, tokens
from domadapt.builtin.cleaning.perplexity_selection import PerplexitySelection
from domadapt.builtin.cleaning.selection import Selection
from domadapt.components import Stage
from domadapt.errors import DataError, MissingError

# --- the model


def naive_kneser_ney(texts: list[list[str]], order: int) -> Any:
    """p(word | context), by dictionaries and the formula as written; every word is known by name."""
    grams: dict[int, Counter[tuple[str, ...]]] = {order: Counter()}
    for text in texts:
        padded = ["<s>"] * (order - 1) + text
        for place in range(len(text)):
            grams[order][tuple(padded[place : place + order])] += 1
    for n in range(order - 1, 0, -1):
        grams[n] = Counter(gram[1:] for gram in grams[n + 1])
    vocabulary = {word for text in texts for word in text}

    def discount(n: int) -> float:
        values = Counter(grams[n].values())
        return values[1] / (values[1] + 2 * values[2]) if values[1] and values[2] else 0.75

    following: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for n in range(1, order + 1):
        for gram, count in grams[n].items():
            following[gram[:-1] if n > 1 else ()].append((gram[-1], count))

    def probability(word: str, context: tuple[str, ...]) -> float:
        n = len(context) + 1
        lower = probability(word, context[1:]) if context else 1 / (len(vocabulary) + 1)  # one more: the unknown
        after = following.get(context, [])
        total = sum(count for _, count in after)
        if not total:
            return lower
        own = grams[n][(*context, word)]
        return (max(own - discount(n), 0) + discount(n) * len(after) * lower) / total

    return probability


words = st.sampled_from(["a", "b", "c", "d", "e"])
texts = st.lists(st.lists(words, min_size=1, max_size=12), min_size=1, max_size=8)


@settings(max_examples=100, deadline=None)
@given(texts, st.lists(words, min_size=1, max_size=8), st.sampled_from([2, 3]))
def test_probabilities_are_those_of_kneser_ney_by_the_formula(
    reference: list[list[str]], document: list[str], order: int
) -> None:
    model = NgramModel((" ".join(text) for text in reference), order=order, least=1)
    naive = naive_kneser_ney(reference, order)
    known = {word for text in reference for word in text}
    document = [word for word in document if word in known]
    padded = ["<s>"] * (order - 1) + document
    wanted = [naive(word, tuple(padded[place : place + order - 1])) for place, word in enumerate(document)]
    assert np.exp(model.log_probabilities(document)) == pytest.approx(wanted)


@settings(max_examples=50, deadline=None)
@given(texts, st.lists(words, max_size=3), st.sampled_from([2, 3]))
def test_the_probabilities_of_all_words_after_any_context_sum_to_one(
    reference: list[list[str]], context: list[str], order: int
) -> None:
    model = NgramModel((" ".join(text) for text in reference), order=order, least=2)
    every = [*model._ids, "never seen before".replace(" ", "")]
    assert sum(math.exp(model.log_probabilities([*context, word])[-1]) for word in every) == pytest.approx(1)


def test_perplexity_of_minus_fifty_decadic_over_twenty_words() -> None:
    assert perplexity(np.full(20, -50 / 20 * math.log(10))) == pytest.approx(316.2278, abs=1e-4)


def test_text_of_the_reference_surprises_less_than_other_text() -> None:
    reference = ["the cat sat on the mat and the dog lay by the door of the house"] * 5
    model = NgramModel(reference)
    assert model.perplexity("the cat sat on the mat") < model.perplexity("mat the on sat cat the")
    assert model.perplexity("the dog sat on the mat") < model.perplexity("some other words in any order")
    assert model.perplexity("") == math.inf


def test_digits_and_case_make_no_difference() -> None:
    assert tokens("In 2019, Sales rose 3.5%") == tokens("in 1987, sales rose 9.1%")


@pytest.mark.parametrize("reference", [[], [""], ["once"]])
def test_a_model_of_next_to_nothing_still_gives_probabilities(reference: list[str]) -> None:
    model = NgramModel(reference)
    assert model.perplexity("some words") == pytest.approx(1)  # one word only: the unknown


# --- selection


def batch_of(rows: list[str], source: str = "web") -> pa.RecordBatch:
    names = [f"d{i}" for i in range(len(rows))]
    columns = [names, rows, [source] * len(rows), [""] * len(rows), names, ["{}"] * len(rows)]
    return pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], schema=document_schema())


def stage(folder: Path) -> Stage:
    return Stage("corpus.domain", "0" * 16, 1, "test", lambda *_: {}, folder)


def chosen(
    cls: type[Selection], folder: Path, *batches: pa.RecordBatch, **options: Any
) -> tuple[list[str], Counter[str]]:
    """Texts kept and drops, with the reference at `folder`."""
    cleaner = cls(cls.Config.model_validate({"reference": str(folder), "min_words": 5, **options}))
    cleaner.prepare(stage(folder), [])
    for number in range(cleaner.surveys):
        for batch in batches:
            cleaner.survey(batch, number)
    kept: list[str] = []
    dropped: Counter[str] = Counter()
    for batch in batches:
        after, gone = cleaner.clean(batch)
        assert after.num_rows + sum(gone.values()) == batch.num_rows
        kept += after["text"].to_pylist()
        dropped.update(gone)
    return kept, +dropped


def sentence(draw: random.Random, kind: str) -> str:
    made = {
        "law": (["the court", "this agreement", "the party"], ["shall", "may not"], ["terminate", "assign", "waive"]),
        "lab": (["patients", "the cohort", "mice"], ["received", "showed"], ["treatment", "response", "remission"]),
    }[kind]
    return " ".join(draw.choice(part) for part in made)


def written(kind: str, count: int, sentences: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [". ".join(sentence(draw, kind) for _ in range(sentences)) + "." for _ in range(count)]


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    folder = tmp_path / "reference"
    folder.mkdir()
    for number, text in enumerate(written("law", 20, 12, 0)):
        (folder / f"{number}.txt").write_text(text)
    return folder


@pytest.mark.parametrize("cls", [PerplexitySelection, Dsir])
def test_of_a_mixed_corpus_the_kind_of_the_reference_is_kept(cls: type[Selection], reference: Path) -> None:
    mixed = [text for pair in zip(written("law", 30, 10, 1), written("lab", 30, 10, 2), strict=True) for text in pair]
    kept, dropped = chosen(cls, reference, batch_of(mixed[:25]), batch_of(mixed[25:]), keep=0.5)
    assert kept == written("law", 30, 10, 1)
    assert dropped == {cls.reason: 30}


@pytest.mark.parametrize("cls", [PerplexitySelection, Dsir])
def test_length_gives_no_advantage(cls: type[Selection], reference: Path) -> None:
    long, short = written("lab", 10, 60, 1), written("law", 10, 4, 2)
    options = {"sample": False} if cls is Dsir else {}
    assert chosen(cls, reference, batch_of(long + short), keep=0.5, **options)[0] == short


@pytest.mark.parametrize("cls", [PerplexitySelection, Dsir])
def test_short_documents_are_dropped_unjudged_and_other_sources_pass(cls: type[Selection], reference: Path) -> None:
    texts, others = [*written("law", 4, 5, 1), "Too short."], ["x", *written("lab", 3, 5, 1)]
    kept, dropped = chosen(cls, reference, batch_of(texts), batch_of(others, "own"), keep=1, sources=["web"])
    assert kept == [*texts[:4], *others]
    assert dropped == {"under 5 words": 1}


@pytest.mark.parametrize("cls", [PerplexitySelection, Dsir])
@pytest.mark.parametrize("keep", [0.1, 0.33, 1.0])
def test_the_share_asked_for_is_kept(cls: type[Selection], reference: Path, keep: float) -> None:
    texts = written("lab", 100, 8, 3)
    kept, _ = chosen(cls, reference, batch_of(texts), keep=keep)
    assert len(kept) == pytest.approx(100 * keep, abs=3)  # documents of one perplexity stay or go together


@pytest.mark.parametrize("cls", [PerplexitySelection, Dsir])
def test_a_reference_that_is_missing_or_empty_is_said(cls: type[Selection], tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no-such-folder"):
        chosen(cls, tmp_path / "no-such-folder", batch_of([]))
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "a.txt").write_text(" ")
    with pytest.raises(DataError, match=rf"{cls.name}: the reference empty holds no text \(no text 1\)"):
        chosen(cls, tmp_path / "empty", batch_of([]))


@pytest.mark.parametrize("cls", [PerplexitySelection, Dsir])
def test_an_empty_corpus_is_no_fault(cls: type[Selection], reference: Path) -> None:
    assert chosen(cls, reference, batch_of([])) == ([], Counter())


def test_the_fingerprint_follows_the_contents_of_the_reference(reference: Path) -> None:
    def fingerprint() -> str:
        return PerplexitySelection(
            PerplexitySelection.Config.model_validate({"reference": str(reference)})
        ).fingerprint()

    before = fingerprint()
    assert fingerprint() == before
    (reference / "0.txt").write_text("other text")
    assert fingerprint() != before


# --- DSIR


def test_log_ratios_by_hand() -> None:
    ratios = log_ratios(np.array([4, 3, 2, 1]), np.array([10, 20, 30, 40]))
    assert ratios == pytest.approx([1.386294, 0.405465, -0.405465, -1.386294], abs=1e-5)
    assert np.array([2, 1, 0, 0]) @ ratios == pytest.approx(3.178054, abs=1e-5)
    assert np.array([0, 0, 1, 2]) @ ratios == pytest.approx(-3.178054, abs=1e-5)


@given(st.lists(st.text("abc", min_size=1, max_size=3), max_size=30), st.integers(2, 50))
def test_features_are_one_a_word_and_one_a_pair_and_do_not_change(given_words: list[str], buckets: int) -> None:
    features = Features(buckets).of(given_words)
    assert len(features) == max(0, 2 * len(given_words) - 1)
    assert all(0 <= feature < buckets for feature in features.tolist())
    assert Features(buckets).of(given_words).tolist() == features.tolist()


def test_pairs_are_told_apart_by_their_order() -> None:
    features = Features(1 << 40)
    assert features.of(["a", "b"])[2] != features.of(["b", "a"])[2]
    assert features.of(["a", "b", "a", "b"])[4] == features.of(["a", "b"])[2]


def test_features_fill_the_buckets_evenly() -> None:
    counts = np.bincount(Features(100).of([f"word{n}" for n in range(50_000)]), minlength=100)
    assert ((counts - counts.mean()) ** 2 / counts.mean()).sum() < 150  # chi squared, 99 degrees of freedom: p = .0007


def test_the_chance_of_resampling_is_the_weight(reference: Path) -> None:
    """Gumbel top-1 of weights 1 : 2 : 4 chooses each in proportion; 4000 draws, 4 standard errors."""
    logs = np.log([1.0, 2.0, 4.0])
    wins: Counter[int] = Counter()
    for seed in range(4000):
        cleaner = Dsir(Dsir.Config.model_validate({"reference": str(reference), "seed": seed}))
        wins[int(np.argmax(cleaner.final_scores(logs)))] += 1
    for place, share in enumerate((1 / 7, 2 / 7, 4 / 7)):
        assert abs(wins[place] / 4000 - share) < 4 * math.sqrt(share * (1 - share) / 4000)


def test_the_same_seed_chooses_the_same_and_another_one_others(reference: Path) -> None:
    texts = written("law", 200, 6, 5)
    one, again, other = (chosen(Dsir, reference, batch_of(texts), keep=0.2, seed=seed)[0] for seed in (1, 1, 2))
    assert one == again
    assert one != other
