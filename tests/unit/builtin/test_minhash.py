"""Near-duplicates: the arithmetic of MinHash, the same bits by both routes, and who stays."""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domadapt.artifacts import document_schema
from domadapt.builtin.cleaning.duplicates import MinHashDuplicates, MinHashOptions
from domadapt.builtin.cleaning.minhash import arithmetic, arrays, clusters
from domadapt.builtin.cleaning.minhash.clusters import NearDuplicates
from domadapt.builtin.cleaning.minhash.compiled import FEW, KERNELS, SMALLEST, CompiledIndex, Signer
from domadapt.builtin.object_code import KernelModule, NoKernels

BANDS, ROWS = 14, 8
ANY_CANDIDATE = 1e-9
"""A threshold that drops every candidate."""

unicode_texts = st.lists(
    st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0x1FFFF))
    | st.text("aB1_é .,\nİßΣ中\U00020001\U00030000\U0001f600\U000e0101"),
    max_size=12,
)


def clean(cleaner: MinHashDuplicates, *texts: str) -> tuple[list[str], Mapping[str, int]]:
    names = [f"d{i}" for i in range(len(texts))]
    columns = [names, list(texts), ["test"] * len(texts), [""] * len(texts), names, ["{}"] * len(texts)]
    arrays_ = [pa.array(c, pa.string()) for c in columns]
    batch, dropped = cleaner.clean(pa.RecordBatch.from_arrays(arrays_, schema=document_schema()))
    assert batch.num_rows + sum(dropped.values()) == len(texts)
    return batch["text"].to_pylist(), dropped


def words(count: int, seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(f"w{draw.randrange(10**6)}" for _ in range(count))


def shingles_by_re(text: str, number: int) -> list[tuple[str, ...]]:
    """The definition: words of `\\w+` in lower case, character by character, `number` in a row."""
    lower = "".join(c.lower() if len(c.lower()) == 1 else c for c in text)
    found = re.findall(r"\w+", lower)
    return [tuple(found[i : i + number]) for i in range(max(1, len(found) - number + 1))]


@settings(deadline=None)
@given(unicode_texts, st.integers(1, 7))
@example(["One, two!", "one TWO", "", "!", "a b c d e f", "\u0130\u0131"], 5)
def test_shingles_are_equal_where_their_words_are(texts: list[str], number: int) -> None:
    hashes: dict[tuple[str, ...], int] = {}
    for text in texts:
        wanted, found = shingles_by_re(text, number), arrays.shingles(text, number).tolist()
        assert len(found) == len(wanted)
        for shingle, value in zip(wanted, found, strict=True):
            assert hashes.setdefault(shingle, value) == value
    assert len(set(hashes.values())) == len(hashes)


@settings(deadline=None)
@given(unicode_texts, st.integers(1, 7), st.integers(1, 20), st.integers(1, 3))
def test_kernels_and_array_operators_give_the_same_signatures(
    texts: list[str], number: int, hashes: int, threads: int
) -> None:
    signer = Signer(KERNELS.load(), number, hashes, threads)
    column = pa.array(texts, pa.string())
    assert np.array_equal(signer.sign(column), arrays.sign(texts, number, hashes))
    assert np.array_equal(signer.sign(column[1:]), arrays.sign(texts[1:], number, hashes))


def test_long_documents_and_threads_give_the_same_signatures() -> None:
    texts = [words(10**4, 1), "", *(words(50, i) for i in range(400)), words(3 * 10**4, 2)]
    column = pa.array(texts)
    assert column.nbytes > 3 * FEW
    one, three = (Signer(KERNELS.load(), 5, 112, threads).sign(column) for threads in (1, 3))
    assert np.array_equal(one, three)
    assert np.array_equal(one, arrays.sign(texts, 5, 112))


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 3), st.floats(0.01, 1), st.integers(1, 300))
def test_both_indexes_find_the_same_documents(seed: int, bands: int, rows: int, threshold: float, size: int) -> None:
    """Signatures of few different values, so that buckets are full and candidates are often refused."""
    least = arithmetic.least_agreeing(bands * rows, threshold)
    one, other = arrays.ArrayIndex(bands, rows, least), CompiledIndex(KERNELS.load(), bands, rows, least)
    draw = np.random.default_rng(seed)
    for _ in range(2):
        signatures = draw.integers(0, 3, (size, bands * rows)).astype(np.uint32)
        assert np.array_equal(one.find(signatures), other.find(signatures))


def test_tables_grow_and_every_kept_document_is_found_again() -> None:
    index = CompiledIndex(KERNELS.load(), BANDS, ROWS, arithmetic.least_agreeing(BANDS * ROWS, 0.72))
    parts = 20
    draws = [np.random.default_rng(i).integers(0, 1 << 32, (SMALLEST, BANDS * ROWS), np.uint32) for i in range(parts)]
    assert all((index.find(part) == -1).all() for part in draws)
    again = np.concatenate([index.find(part) for part in draws])
    assert np.array_equal(again, np.arange(parts * SMALLEST))


def test_a_kept_document_takes_about_300_bytes() -> None:
    index = CompiledIndex(KERNELS.load(), BANDS, ROWS, arithmetic.least_agreeing(BANDS * ROWS, 0.72))
    documents = 3 << arithmetic.CHUNK_BITS
    draw = np.random.default_rng(0)
    for _ in range(3):
        index.find(draw.integers(0, 1 << 32, (documents // 3, BANDS * ROWS), np.uint32))
    assert index.num_bytes / documents < BANDS * ROWS + 8 * BANDS / 0.5


def families(count: int, seed: int) -> list[str]:
    """Documents and changed copies of them, of copies too, in any order."""
    draw, texts = random.Random(seed), []
    for number in range(count):
        text = words(draw.randrange(3, 120), seed * 10**6 + number).split()
        for _ in range(draw.randrange(1, 4)):
            texts.append(" ".join(text))
            for place in draw.sample(range(len(text)), draw.randrange(0, max(1, len(text) // 20))):
                text[place] = "changed"
    draw.shuffle(texts)
    return texts


def found_in(texts: Sequence[str], sizes: Sequence[int] = (), **settings_: Any) -> list[int]:
    """What is found when texts come in batches of the given sizes, over and over; all at once for none."""
    near, column, start, found = NearDuplicates(5, BANDS, ROWS, 0.72, **settings_), pa.array(texts), 0, []
    for size in itertools.cycle(sizes or [len(texts)]):
        if start >= len(texts):
            assert near.num_kept == found.count(-1)
            return found
        found += near.find(column[start : start + size]).tolist()
        start += size
    raise AssertionError


def test_the_result_depends_neither_on_batches_nor_on_threads_nor_on_the_route(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = families(120, 1)
    wanted = found_in(texts, kernels=False)
    assert 50 < sum(number >= 0 for number in wanted) < len(texts) - 100
    for threads, sizes in ((1, [7]), (2, [100, 1]), (3, [])):
        assert found_in(texts, sizes, threads=threads) == wanted
    # from array operators to kernels in the middle
    monkeypatch.setattr(KernelModule, "is_compiled", lambda self: False)
    monkeypatch.setattr(clusters, "WORTH_COMPILING", pa.array(texts).nbytes // 2)
    loads = []
    load = KernelModule.load
    monkeypatch.setattr(KernelModule, "load", lambda self: loads.append(1) or load(self))
    assert found_in(texts, [10]) == wanted
    assert loads == [1]


def test_without_a_compiler_the_array_operators_do_all(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = families(30, 2)

    def load(self: KernelModule) -> None:
        raise NoKernels("no numba")

    monkeypatch.setattr(KernelModule, "load", load)
    monkeypatch.setattr(clusters, "WORTH_COMPILING", 0)
    assert found_in(texts, [5]) == found_in(texts, kernels=False)


def test_each_duplicate_is_found_with_the_first_kept_document_that_is_near() -> None:
    texts = ["zero", "one one", "zero", words(90, 1), "One, one!", words(90, 1) + " end", "other"]
    assert found_in(texts) == [-1, -1, 0, -1, 1, 2, -1]


def test_of_near_duplicates_the_first_stays_across_batches() -> None:
    text = words(300, 1)
    near = " ".join([*text.split()[:-3], "other", "end", "here"])
    cleaner = MinHashDuplicates()
    assert clean(cleaner, text, words(300, 2)) == ([text, words(300, 2)], {"near-duplicate": 0})
    assert clean(cleaner, near, words(300, 3)) == ([words(300, 3)], {"near-duplicate": 1})


def test_a_near_duplicate_of_a_dropped_document_is_judged_by_the_one_that_stayed() -> None:
    base = words(400, 1).split()
    second = [*base[:-30], *words(30, 2).split()]  # near the first
    third = [*words(60, 3).split(), *second[60:]]  # near the second, not near the first
    kept, _ = clean(MinHashDuplicates(), " ".join(base), " ".join(second), " ".join(third))
    assert kept == [" ".join(base), " ".join(third)]


def test_short_documents_have_one_shingle_and_are_compared_whole() -> None:
    assert clean(MinHashDuplicates(), "one two", "one two", "one three", "One, two!") == (
        ["one two", "one three"],
        {"near-duplicate": 2},
    )


def test_many_short_documents_that_differ_are_all_kept() -> None:
    """One shingle each: signatures of them must not agree in more hashes than chance allows."""
    texts = [f"item {number}" for number in range(3000)]
    assert clean(MinHashDuplicates(MinHashOptions(threshold=0.1)), *texts)[1] == {"near-duplicate": 0}
    rows = arrays.sign(texts, 5, BANDS * ROWS)
    agreeing = (arrays.short(rows[:1500]) == arrays.short(rows[1500:])).sum(axis=1)
    assert agreeing.mean() == pytest.approx(BANDS * ROWS / 256, rel=0.2)
    assert agreeing.max() < 10


def test_word_five_grams_of_two_ten_word_texts_have_jaccard_five_sevenths() -> None:
    one, other = "a b c d e f g h i j", "a b c d e f g h i z"
    a, b = (set(arrays.shingles(text, 5).tolist()) for text in (one, other))
    assert (len(a), len(b), len(a & b)) == (6, 6, 5)
    hashes = 4000
    rows = arrays.sign([one, other], 5, hashes)
    deviation = math.sqrt(5 / 7 * 2 / 7 / hashes)
    assert abs((rows[0] == rows[1]).mean() - 5 / 7) < 4 * deviation


def pair(shared: int, each: int, seed: int) -> tuple[str, str]:
    """Documents with `shared` words in common and `each` of their own: Jaccard shared / (shared + 2 each)."""
    tokens = [f"w{number}" for number in random.Random(seed).sample(range(10**9), shared + 2 * each)]
    return " ".join(tokens[: shared + each]), " ".join(tokens[:shared] + tokens[shared + each :])


@pytest.mark.parametrize(("shared", "each"), [(60, 30), (60, 20), (70, 15), (75, 12), (80, 10), (90, 5)])
def test_candidates_are_found_with_the_probability_of_the_formula(shared: int, each: int) -> None:
    """P = 1 - (1 - s^8)^14: .0533 at s=.5, .2111 at .6, .5645 at .7, .9235 at .8, .9996 at .9; 4 standard errors."""
    s, pairs = shared / (shared + 2 * each), 1500
    wanted = arithmetic.probability(s, BANDS, ROWS)
    texts = [text for number in range(pairs) for text in pair(shared, each, 1000 + number)]
    found = np.array(NearDuplicates(1, BANDS, ROWS, ANY_CANDIDATE).find(pa.array(texts))[1::2] >= 0)
    assert abs(found.mean() - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / pairs) + 1e-9


def test_the_formula_gives_the_published_numbers() -> None:
    found = [round(arithmetic.probability(s, 14, 8), 4) for s in (0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9)]
    assert found == [0.0533, 0.2111, 0.5645, 0.7716, 0.9235, 0.9884, 0.9996]
    assert round(arithmetic.probability(0.8, 16, 8), 3) == 0.947
    assert round(arithmetic.probability(0.8, 25, 10), 4) == 0.9416


def test_the_estimate_of_the_similarity_has_the_deviation_of_independent_hashes() -> None:
    """sqrt(s (1 - s) / k) = .0378 at s = .8 and k = 112; within a tenth of it, over 2,000 pairs."""
    texts = [text for number in range(2000) for text in pair(80, 10, number)]
    rows = Signer(KERNELS.load(), 1, 112).sign(pa.array(texts))
    estimates = (rows[::2] == rows[1::2]).mean(axis=1)
    assert abs(estimates.mean() - 0.8) < 4 * 0.0378 / math.sqrt(2000)
    assert estimates.std() == pytest.approx(0.0378, rel=0.1)
    bytes_ = (arrays.short(rows[::2]) == arrays.short(rows[1::2])).mean(axis=1)
    assert (bytes_.mean() - 1 / 256) / (1 - 1 / 256) == pytest.approx(estimates.mean(), abs=0.002)


def test_candidates_below_the_threshold_are_kept() -> None:
    texts = pair(60, 20, 7)  # Jaccard .6
    for threshold, dropped in ((0.4, 1), (0.8, 0)):
        cleaner = MinHashDuplicates(MinHashOptions(words=1, bands=56, rows=2, threshold=threshold))
        assert clean(cleaner, *texts)[1] == {"near-duplicate": dropped}


def test_a_threshold_of_one_wants_all_hashes_to_agree() -> None:
    assert arithmetic.least_agreeing(112, 1.0) == 112
    assert arithmetic.least_agreeing(112, ANY_CANDIDATE) == 1
    text = words(60, 1)
    assert found_in([text, text.upper()]) == [-1, 0]
