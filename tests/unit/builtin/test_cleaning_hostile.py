"""Whatever a document holds, every cleaning step accounts for it, in bounded time (faults F26, F27, F29, F32)."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domadapt.artifacts import document_schema
from domadapt.builtin import plugin
from domadapt.builtin.cleaning.benchmark_items import Item
from domadapt.builtin.cleaning.decontamination import Decontamination
from domadapt.builtin.cleaning.selection import Selection
from domadapt.components import Cleaner, Stage

STEPS = {cls.name: cls for cls in plugin.adapt_register_cleaners()}
LEAK = "which of these thirteen words stands in the question that was asked of everybody"


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("reference") / "wanted.txt"
    file.write_text("The court held that the agreement was void. " * 9)
    return file


def make(name: str, reference: Path, **options: Any) -> Cleaner:
    cls = STEPS[name]
    given = {"reference": str(reference)} if issubclass(cls, Selection) else {}
    cleaner = cls(cls.Config.model_validate({**given, **options}))
    cleaner.prepare(Stage("corpus.domain", "0" * 16, 1, "test", lambda *_: {}, reference.parent / "scratch"), [])
    if isinstance(cleaner, Decontamination):
        cleaner.add_items([Item("task", "0", [LEAK.split()])])
    return cleaner


def batch_of(texts: Sequence[str]) -> pa.RecordBatch:
    names = [f"d{i}" for i in range(len(texts))]
    columns = [names, list(texts), ["web"] * len(texts), [""] * len(texts), names, ["{}"] * len(texts)]
    return pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], schema=document_schema())


def accounted(cleaner: Cleaner, *batches: Sequence[str]) -> list[str]:
    """The texts kept; every document of every batch is kept in its order or dropped for a reason."""
    made = [batch_of(batch) for batch in batches]
    for number in range(cleaner.surveys):
        for batch in made:
            cleaner.survey(batch, number)
    kept = []
    for batch in made:
        after, dropped = cleaner.clean(batch)
        assert after.schema.equals(document_schema())
        after.validate(full=True)  # UTF-8, offsets, no nulls
        assert after.num_rows + sum(dropped.values()) == batch.num_rows
        assert all(reason and count >= 0 for reason, count in dropped.items())
        ids, left = batch["id"].to_pylist(), after["id"].to_pylist()
        assert left == [name for name in ids if name in set(left)]
        kept += after["text"].to_pylist()
    assert all(count >= 0 for count in cleaner.tally.values())
    return kept


def escaped(raw: bytes) -> str:
    """Bytes as sources let them through: what is not UTF-8 is replaced, NUL and all else stays."""
    return raw.decode("utf-8", "surrogateescape").encode("utf-8", "replace").decode()


ODD = st.sampled_from(
    ["", " ", "\n", "\n\n\n", "\x00", "\ufffd", "\u200b", "\u202e", "\ufeff", "\x85", "\u2028", "&#0;", "&#xD800;", "{",
     "a", "A\u0301", "ﬁ", "Ã©", "â€™", "�", "212-555-0123", "4111 1111 1111 1111", "a@b.de", "😀", "The ", LEAK]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=80),
    st.binary(max_size=80).map(escaped),
    st.lists(ODD, max_size=40).map("".join),
    st.lists(ODD, max_size=40).map("\n".join),
)


@pytest.mark.parametrize("name", STEPS)
def test_any_text_is_kept_or_dropped_for_a_reason(name: str, reference: Path) -> None:
    @settings(max_examples=60, deadline=None, database=None)
    @given(st.lists(st.lists(TEXTS, min_size=1, max_size=6), max_size=3))  # no batch is empty
    @example([])
    @example([["", "\x00", " \n "], [""]])
    def check(batches: list[list[str]]) -> None:
        accounted(make(name, reference), *batches)

    check()


def monsters() -> Iterator[tuple[str, str]]:
    """A megabyte of what makes a careless pattern or a table of counts explode."""
    for what, unit in {
        "one letter": "a",
        "spaces": " ",
        "line ends": "\n",
        "NULs": "\x00",
        "digits": "7",
        "brackets": "{",
        "dots": ".",
        "words": "word ",
        "lines": "a line of some words\n",
        "ampersands": "&",
        "mojibake": "â€",
        "at signs": "a@",
        "entities": "&amp;",
        "phones": "212-555-",
        "hyphens": "-",
        "blanks and line ends": " \n",
        "accents": "\u0301",
    }.items():
        yield what, (unit * (1_000_000 // len(unit.encode()) + 1))[:1_000_000]


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("what", [what for what, _ in monsters()])
def test_a_megabyte_of_one_thing_costs_seconds_at_most(name: str, what: str, reference: Path) -> None:
    text = dict(monsters())[what]
    cleaner = make(name, reference)
    started = time.process_time()
    accounted(cleaner, [text, "The court held that it was void."])
    assert time.process_time() - started < 10


@pytest.mark.parametrize("name", STEPS)
def test_twice_the_text_costs_about_twice_the_time(name: str, reference: Path) -> None:
    """Hostile text whose cost would be quadratic in a careless pattern: t(4n) / t(n) stays far below 16."""
    text = "212-555-\n a@b&#x1F;{ â€ 4111 1111 \t word word, word.\n-" * 1500

    def seconds(times: int) -> float:
        best = math.inf
        for _ in range(2):
            cleaner = make(name, reference)
            started = time.process_time()
            accounted(cleaner, [text * times])
            best = min(best, time.process_time() - started)
        return best

    seconds(1)
    assert seconds(4) < 9 * max(seconds(1), 0.02)


def test_documents_that_are_empty_or_white_are_dropped_and_counted(reference: Path) -> None:
    kept = accounted(make("normalize", reference), ["", " ", "\n\t \n", "\x00\x00", "\u200b", "text"])
    assert kept == ["text"]
