"""Cleaning steps against examples, laws and the arithmetic of MinHash."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domadapt.artifacts import document_schema
from domadapt.builtin.cleaning.duplicates import ExactDuplicates, MinHashDuplicates, MinHashOptions
from domadapt.builtin.cleaning.text import MinLength, MinLengthOptions, Normalize, NormalizeOptions
from domadapt.components import Cleaner


def batch_of(texts: Sequence[str]) -> pa.RecordBatch:
    names = [f"d{i}" for i in range(len(texts))]
    columns = [names, list(texts), ["test"] * len(texts), [""] * len(texts), names, ["{}"] * len(texts)]
    return pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], schema=document_schema())


def clean(cleaner: Cleaner, *texts: str) -> tuple[list[str], Mapping[str, int]]:
    batch, dropped = cleaner.clean(batch_of(texts))
    assert batch.schema.equals(document_schema())
    assert batch.num_rows + sum(dropped.values()) == len(texts)
    return batch["text"].to_pylist(), dropped


def normalized(text: str, form: str = "NFC") -> str:
    kept, _ = clean(Normalize(NormalizeOptions.model_validate({"form": form})), text)
    return kept[0] if kept else ""


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("a\r\nb\rc", "a\nb\nc"),
        ("cafe\u0301", "café"),
        ("a\u00a0b", "a b"),
        ("a\u200bb\ufeffc\x00d\x07e\x9ff", "abcdef"),
        ("a  \t\nb", "a\nb"),
        ("Net sales      1,234    5,678", "Net sales      1,234    5,678"),
        ("a\n\n\n\n\nb", "a\n\nb"),
        ("a\n \n\t\n \nb", "a\n\nb"),
        ("\n\n  first\nlast\n\n", "  first\nlast"),
        ("ﬁne", "ﬁne"),
        ("a\tb", "a\tb"),
        ("a\u2028b\u2029c\x85d\x0be", "a\nb\nc\nd\ne"),
        ("end of page\x0cnext page", "end of page\nnext page"),
        ("e\u200b\u0301", "é"),
    ],
)
def test_normalize_examples(text: str, wanted: str) -> None:
    assert normalized(text) == wanted


def test_nfkc_unfolds_ligatures_and_widths() -> None:
    assert normalized("ﬁne ＡＢ", "NFKC") == "fine AB"


def test_normalize_drops_what_is_empty_afterwards_and_counts_it() -> None:
    assert clean(Normalize(), "a", " \n\t\n", "\u200b", "b") == (["a", "b"], {"empty": 2})


@given(st.text(st.characters(exclude_categories=["Cs"])), st.sampled_from(["NFC", "NFKC"]))
@example("a\u00a0\u200b\nb", "NFC")
@example("e\u200b\u0301", "NFC")
@example("\x85\r\u0301\n\n \n\nx", "NFKC")
@example("a\n\n\u00a8\n\n\nb", "NFKC")
def test_normalizing_twice_changes_nothing_more(text: str, form: str) -> None:
    once = normalized(text, form)
    assert normalized(once, form) == once


def test_other_columns_stay_with_their_document() -> None:
    batch, _ = Normalize().clean(batch_of(["", "b ", "", "d "]))
    assert batch["id"].to_pylist() == ["d1", "d3"]
    assert batch["text"].to_pylist() == ["b", "d"]


def test_min_length_counts_characters_not_bytes() -> None:
    kept, dropped = clean(MinLength(MinLengthOptions(characters=4)), "abcd", "abc", "äöüß", "äöü")
    assert kept == ["abcd", "äöüß"]
    assert dropped == {"under 4 characters": 2}


def test_of_exact_duplicates_the_first_stays_across_batches() -> None:
    cleaner = ExactDuplicates()
    assert clean(cleaner, "One two", "three", "one  TWO\n") == (["One two", "three"], {"duplicate": 1})
    assert clean(cleaner, "three ", "four") == (["four"], {"duplicate": 1})


def test_documents_that_differ_in_one_word_are_no_exact_duplicates() -> None:
    assert clean(ExactDuplicates(), "one two", "one too") == (["one two", "one too"], {"duplicate": 0})


@given(st.lists(st.sampled_from(["a b", "A  b", "ab", "c", " c\n", "d"])))
def test_exact_duplicates_leave_each_word_sequence_once(texts: list[str]) -> None:
    first: dict[str, str] = {}
    for text in texts:
        first.setdefault(" ".join(text.lower().split()), text)
    assert clean(ExactDuplicates(), *texts)[0] == list(first.values())


def words(count: int, seed: int) -> str:
    draw = random.Random(seed)
    return " ".join(f"w{draw.randrange(10**6)}" for _ in range(count))


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


def test_the_same_documents_give_the_same_result_in_every_run() -> None:
    texts = [words(50, i % 20) + f" {i}" for i in range(60)]
    assert clean(MinHashDuplicates(), *texts) == clean(MinHashDuplicates(), *texts)


def jaccard(a: set[str], b: set[str]) -> float:
    return len(a & b) / len(a | b)


def test_word_five_grams_of_two_ten_word_texts_have_jaccard_five_sevenths() -> None:
    cleaner = MinHashDuplicates(MinHashOptions(words=5, bands=500, rows=8, threshold=0.01))
    a, b = (set(cleaner._shingles(t)) for t in ("a b c d e f g h i j", "a b c d e f g h i z"))
    assert (len(a), len(b), len(a & b)) == (6, 6, 5)
    assert jaccard(a, b) == 5 / 7

    import rensa

    hashes = 4000
    one, other = rensa.RMinHash.from_token_sets([sorted(a), sorted(b)], num_perm=hashes, seed=42)
    deviation = math.sqrt(5 / 7 * 2 / 7 / hashes)
    assert abs(one.jaccard(other) - 5 / 7) < 4 * deviation


def pair(shared: int, each: int, seed: int) -> tuple[list[str], list[str]]:
    """Two shingle sets with `shared` in common and `each` of their own: Jaccard shared / (shared + 2 each)."""
    draw = random.Random(seed)
    tokens = [f"{draw.getrandbits(60):x}" for _ in range(shared + 2 * each)]
    return tokens[: shared + each], tokens[:shared] + tokens[shared + each :]


@pytest.mark.parametrize(("shared", "each"), [(60, 30), (60, 20), (70, 15), (75, 12), (80, 10)])
def test_candidates_are_found_with_the_probability_of_the_formula(shared: int, each: int) -> None:
    """P = 1 - (1 - s^8)^14: .0533 at s=.5, .2111 at .6, .5645 at .7, .9235 at .8; 400 pairs, 4 standard errors."""
    s, pairs = shared / (shared + 2 * each), 400
    wanted = 1 - (1 - s**8) ** 14
    found = 0
    for number in range(pairs):
        sets = dict(zip("01", pair(shared, each, 1000 + number), strict=True))
        cleaner = MinHashDuplicates(MinHashOptions(threshold=1e-9))  # every candidate is dropped
        cleaner._shingles = sets.__getitem__  # type: ignore[method-assign]
        found += clean(cleaner, "0", "1")[1]["near-duplicate"]
    assert abs(found / pairs - wanted) < 4 * math.sqrt(wanted * (1 - wanted) / pairs) + 1e-9


def test_candidates_below_the_threshold_are_kept() -> None:
    sets = dict(zip("01", pair(60, 20, 7), strict=True))  # Jaccard .6
    for threshold, dropped in ((0.4, 1), (0.8, 0)):
        cleaner = MinHashDuplicates(MinHashOptions(bands=56, rows=2, threshold=threshold))
        cleaner._shingles = sets.__getitem__  # type: ignore[method-assign]
        assert clean(cleaner, "0", "1")[1] == {"near-duplicate": dropped}
