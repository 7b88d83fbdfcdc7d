"""Cleaning steps against examples and laws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domadapt.artifacts import document_schema
from domadapt.builtin.cleaning.duplicates import ExactDuplicates
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
