"""The accounts of a corpus: seen = kept + duplicates + dropped, by source and in all, and steps that look twice."""

from __future__ import annotations

import json
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt.artifacts import SPLITS
from domadapt.builtin.cleaning.boilerplate import BoilerplateLines
from domadapt.builtin.cleaning.duplicates import ExactDuplicates, MinHashDuplicates
from domadapt.builtin.cleaning.pii import Pii
from domadapt.builtin.cleaning.text import MinLength, MinLengthOptions
from domadapt.builtin.corpora.batches import Document, record_batches
from domadapt.components import Benchmark, Cleaner, Reject, Source, Stage
from domadapt.errors import DataError, StageError
from domadapt.pipeline.accounts import Accounts
from domadapt.pipeline.corpus import build_corpus

Rows = Sequence[tuple[str, str] | None]
"""(text, licence) of each document, or None for one that cannot be read."""


class Given(Source):
    """Documents given in the code, three in a batch."""

    def __init__(self, name: str, rows: Rows) -> None:
        super().__init__()
        self.name, self.rows = name, rows  # type: ignore[misc]

    def fingerprint(self) -> str:
        return "given"

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        for start in range(0, len(self.rows), 3):
            documents = []
            for number, row in enumerate(self.rows[start : start + 3], start):
                if row is None:
                    reject("unreadable", f"{self.name} {number}")
                else:
                    documents.append(Document(f"d{number}", row[0], f"{self.name}{number}", row[1], {}))
            yield from record_batches(documents, self.name)


def build(out: Path, sources: Sequence[Source], cleaners: Sequence[Cleaner] = (), **wanted: Any) -> dict[str, Any]:
    stage = Stage("corpus.domain", "0" * 16, 1, "test", lambda *_: {}, Path("unused"))
    settings = {"holdout": 0.2, "holdout_documents": 200, **wanted}
    return build_corpus([(s, None) for s in sources], cleaners, out=out, stage=stage, **settings)


def rows_of(folder: Path) -> list[dict[str, Any]]:
    files = [file for split in SPLITS for file in sorted((folder / split).glob("*.parquet"))]
    return [row for file in files for row in pq.read_table(file).to_pylist()]


words = st.sampled_from(["alpha", "beta", "gamma", "delta", "a", "b"])
rows = st.lists(st.none() | st.tuples(st.lists(words, max_size=5).map(" ".join), st.sampled_from(["CC0", "", "MIT"])))


@settings(max_examples=50, deadline=None)
@given(st.lists(rows, min_size=1, max_size=4), st.integers(1, 3))
def test_seen_is_kept_plus_duplicates_plus_dropped_for_every_source_and_in_all(
    sources: list[list[tuple[str, str] | None]], most_held: int
) -> None:
    cleaners = [MinLength(MinLengthOptions(characters=3)), BoilerplateLines(), ExactDuplicates(), Pii()]
    with tempfile.TemporaryDirectory() as folder:
        try:
            facts = build(
                Path(folder),
                [Given(f"s{number}", given_rows) for number, given_rows in enumerate(sources)],
                cleaners,
                holdout_documents=most_held,
            )
        except DataError:
            return
        stored = rows_of(Path(folder))
        assert sorted(path.name for path in Path(folder).iterdir()) == sorted(SPLITS)
    funnel, accounts = facts["funnel"], facts["sources"]
    assert [account["source"] for account in accounts] == [f"s{number}" for number in range(len(sources))]
    for account, given_rows in zip(accounts, sources, strict=True):
        assert account["seen"] == len(given_rows)
        assert account["seen"] == account["kept"] + account["duplicates"] + account["dropped"]
        assert account["kept"] == sum(row["source"] == account["source"] for row in stored)
        assert account["kept"] == sum(account["documents"].values())
        assert account["reasons"].get("read", {}).get("unreadable", 0) == sum(row is None for row in given_rows)
        assert sum(one["bytes"] for one in account["licenses"].values()) == account["bytes"].get("train", 0)
    assert sum(account["seen"] for account in accounts) == funnel[0]["in"]
    assert sum(account["kept"] for account in accounts) == funnel[-1]["kept"] == len(stored)
    assert sum(account["bytes"].get("train", 0) for account in accounts) == facts["bytes"]["train"]
    assert sum(account["share"] for account in accounts) == pytest.approx(1)
    distinct = {text.lower() for text in (row["text"] for row in stored)}
    assert len(distinct) == len(stored)


def test_the_accounts_of_two_sources_by_hand(tmp_path: Path) -> None:
    one = Given("one", [*[(f"text number {i}", "CC0") for i in range(8)], None, ("x", "CC0")])
    two = Given("two", [("text number 3", "MIT"), ("text number 5", "MIT"), *[(f"other {i}", "") for i in range(8)]])
    facts = build(tmp_path, [one, two], [MinLength(MinLengthOptions(characters=3)), ExactDuplicates()])
    first, second = facts["sources"]
    assert (first["seen"], first["kept"], first["duplicates"], first["dropped"]) == (10, 8, 0, 2)
    assert (second["seen"], second["kept"], second["duplicates"], second["dropped"]) == (10, 8, 2, 0)
    assert first["reasons"] == {"read": {"unreadable": 1}, "min_length": {"under 3 characters": 1}}
    assert second["reasons"] == {"dedup.exact": {"duplicate": 2}}
    assert set(first["licenses"]) == {"CC0"}
    assert set(second["licenses"]) == {""}
    assert first["share"] == pytest.approx(first["bytes"]["train"] / facts["bytes"]["train"])


@pytest.mark.parametrize("cleaner", [ExactDuplicates, MinHashDuplicates])
def test_of_duplicates_across_sources_the_earlier_source_is_kept(tmp_path: Path, cleaner: type[Cleaner]) -> None:
    texts = [" ".join(f"w{i}x{j}" for j in range(40)) for i in range(12)]
    first = Given("first", [(text, "") for text in texts])
    second = Given("second", [(text.upper(), "") for text in texts])
    facts = build(tmp_path / "a", [first, second], [cleaner()])
    assert [account["kept"] for account in facts["sources"]] == [12, 0]
    facts = build(tmp_path / "b", [second, first], [cleaner()])
    assert [(account["source"], account["kept"]) for account in facts["sources"]] == [("second", 12), ("first", 0)]
    assert facts["sources"][1]["duplicates"] == 12


class CountsTwice(Cleaner):
    """Wants to see everything twice before it keeps the documents whose text is as long as most."""

    name = "twice"
    surveys = 2

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[str]] = [[], []]
        self.got: list[str] = []

    def survey(self, batch: pa.RecordBatch, number: int) -> None:
        if number == 0:
            assert not self.seen[1]
        self.seen[number] += batch["id"].to_pylist()

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        self.got += batch["id"].to_pylist()
        return batch.slice(1), {"first of its batch": 1}


def test_a_step_with_surveys_sees_every_document_in_order_before_it_decides(tmp_path: Path) -> None:
    cleaners = [CountsTwice(), CountsTwice()]
    sources = [Given("one", [(f"text {i}", "") for i in range(7)]), Given("two", [(f"more {i}", "") for i in range(5)])]
    facts = build(tmp_path, sources, cleaners)
    for cleaner in cleaners:
        assert cleaner.seen[0] == cleaner.seen[1] == cleaner.got
    assert [step["kept"] for step in facts["funnel"][:3]] == [12, 7, 3]  # batches of 3, 3, 1 and 3, 2
    assert [account["kept"] for account in facts["sources"]] == [2, 1]


class Stating(Cleaner):
    """Has facts and a file of its own, and wants to know the benchmarks."""

    name = "stating"

    def prepare(self, stage: Stage, benchmarks: Sequence[Benchmark]) -> None:
        self.tally = Counter({"benchmarks": len(benchmarks)})

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        return batch, {}

    def finish(self, out: Path) -> dict[str, Any]:
        (out / "stated.jsonl").write_text("{}\n")
        return {"said": 1}


def test_a_cleaner_may_prepare_count_and_leave_files_and_facts(tmp_path: Path) -> None:
    benchmark = Benchmark("task", "A task", tmp_path)
    facts = build(tmp_path / "out", [Given("one", [(f"text {i}", "") for i in range(9)])], [Stating()],
                  benchmarks=[benchmark])  # fmt: skip
    assert facts["steps"] == {"stating": {"said": 1}}
    assert facts["funnel"][1] == {"step": "stating", "in": 9, "kept": 9, "dropped": {}, "tally": {"benchmarks": 1}}
    assert (tmp_path / "out" / "stated.jsonl").exists()
    assert json.dumps(facts)


def booked(*lines: tuple[int, int, int, int, dict[str, int]]) -> Accounts:
    accounts = Accounts(["one", "two"], ["step"])
    for line in lines:
        accounts.book(*line)
    return accounts


RIGHT = [
    (0, 0, 5, 4, {"bad": 1}), (0, 1, 4, 3, {"duplicate": 1}), (0, 2, 3, 3, {}),
    (1, 0, 2, 2, {}), (1, 1, 2, 2, {}), (1, 2, 2, 1, {"surplus": 1}),
]  # fmt: skip


def test_books_that_add_up_are_closed() -> None:
    booked(*RIGHT).close(4, "corpus.domain")


@pytest.mark.parametrize("spoiled", range(len(RIGHT)))
@pytest.mark.parametrize("what", ["a document more came in", "a drop was not written down", "a batch is missing"])
def test_books_in_which_anything_is_missing_are_refused(spoiled: int, what: str) -> None:
    lines = list(RIGHT)
    source, step, num_in, kept, dropped = lines[spoiled]
    if what == "a batch is missing":
        lines.pop(spoiled)
    elif what == "a document more came in":
        lines[spoiled] = (source, step, num_in + 1, kept, dropped)
    else:
        lines[spoiled] = (source, step, num_in, kept - 1, dropped)
    with pytest.raises(StageError, match=r"corpus\.domain: "):
        booked(*lines).close(4, "corpus.domain")


def test_books_that_differ_from_the_disk_are_refused() -> None:
    with pytest.raises(StageError, match=r"4 documents were kept, but 3 lie in the shards"):
        booked(*RIGHT).close(3, "corpus.domain")


@pytest.mark.parametrize(("bad", "told"), [(5, False), (6, True)])
def test_a_source_that_could_hardly_be_read_is_named_with_the_reason(tmp_path: Path, bad: int, told: bool) -> None:
    said: list[str] = []
    stage = Stage("corpus.domain", "0" * 16, 1, "test", lambda *_: {}, tmp_path,
                  emit=lambda kind, data: said.append(data["message"]) if kind == "warning" else None)  # fmt: skip
    source = Given("poor", [*[(f"text {i}", "") for i in range(5)], *[None] * bad])
    build_corpus([(source, None)], [], holdout=0.2, holdout_documents=9, out=tmp_path / "out", stage=stage)
    hits = [message for message in said if message.startswith("source poor: 6 of 11 documents could not be read")]
    assert bool(hits) is told
    assert all("unreadable 6" in message for message in hits)
