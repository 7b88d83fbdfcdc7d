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

from domadapt.artifacts import SPLITS, Corpus
from domadapt.builtin.cleaning.boilerplate import BoilerplateLines
from domadapt.builtin.cleaning.duplicates import ExactDuplicates, MinHashDuplicates
from domadapt.builtin.cleaning.pii import Pii
from domadapt.builtin.cleaning.repetition import Repetition
from domadapt.builtin.cleaning.text import MinLength, MinLengthOptions
from domadapt.builtin.cleaning.web_rules import FineWeb
from domadapt.builtin.corpora.batches import Document, record_batches
from domadapt.components import Benchmark, Cleaner, Reject, Source, Stage
from domadapt.errors import DataError, StageError
from domadapt.pipeline.accounts import Accounts
from domadapt.pipeline.corpus import build_corpus
from domadapt.pipeline.store import publish

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


@pytest.mark.parametrize("cls", [Repetition, FineWeb])
def test_a_document_that_repeats_itself_is_no_duplicate(tmp_path: Path, cls: type[Cleaner]) -> None:
    line = "This line of the document is said again and again, word by word, until nobody listens."
    rows = [(f"{line}\n\n" * 9 + f"{i}.", "") for i in range(5)]
    good = [(f"Only one line {i}, which says what it says and is done with it.", "") for i in range(9)]
    (account,) = build(tmp_path, [Given("one", [*rows, *good])], [cls()])["sources"]
    assert (account["kept"], account["duplicates"], account["dropped"]) == (9, 0, 5)


# sources that could hardly be read (faults F33)


@pytest.mark.parametrize(("bad", "most", "refused"), [(5, 0.5, False), (6, 0.5, True), (6, 0.6, False), (1, 0.0, True)])
def test_a_source_that_rejects_more_than_allowed_is_refused_with_the_reasons(
    tmp_path: Path, bad: int, most: float, refused: bool
) -> None:
    source = Given("poor", [*[(f"text {i}", "") for i in range(5)], *[None] * bad])
    if not refused:
        assert build(tmp_path, [source], max_reject_rate=most)["documents"]["train"]
        return
    said = (
        rf"corpus\.domain: source poor could not read {bad} of {5 + bad} documents \(unreadable {bad}; for example "
        rf"poor \d+\), and corpus\.max_reject_rate allows {most:.0%}; mend the source or its options, or raise"
    )
    with pytest.raises(DataError, match=said):
        build(tmp_path, [source], max_reject_rate=most)


def test_one_bad_source_among_good_ones_is_refused_before_the_next_one_is_read(tmp_path: Path) -> None:
    class Unread(Given):
        def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
            raise AssertionError("it was read")

    good = Given("good", [(f"text {i}", "") for i in range(100)])
    with pytest.raises(DataError, match="source poor could not read 2 of 3"):
        build(tmp_path, [good, Given("poor", [None, None, ("x", "")]), Unread("last", [])], max_reject_rate=0.5)


class Picky(Given):
    """Finds mostly what is no document, and some twice."""

    passes_over = frozenset({"attachment"})

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        for number in range(40):
            reject("attachment" if number % 2 else "duplicate article", f"part {number}")
        yield from super().read(reject)


def test_what_a_source_passes_over_and_duplicates_are_no_failures(tmp_path: Path) -> None:
    rows = [*[(f"text {i}", "") for i in range(6)], None]
    facts = build(tmp_path / "a", [Picky("picky", rows)], max_reject_rate=0.2)
    (account,) = facts["sources"]
    assert (account["seen"], account["kept"], account["duplicates"], account["dropped"]) == (47, 6, 20, 21)
    with pytest.raises(DataError, match="could not read 1 of 7 documents"):
        build(tmp_path / "b", [Picky("picky", rows)], max_reject_rate=0.1)


def test_a_source_of_which_nothing_was_taken_is_told(tmp_path: Path) -> None:
    said: list[str] = []
    stage = Stage("corpus.domain", "0" * 16, 1, "test", lambda *_: {}, tmp_path,
                  emit=lambda kind, data: said.append(data["message"]) if kind == "warning" else None)  # fmt: skip
    sources = [(Picky("picky", []), None), (Given("good", [(f"text {i}", "") for i in range(90)]), None)]
    build_corpus(sources, [], holdout=0.2, holdout_documents=9, out=tmp_path / "out", stage=stage, max_reject_rate=0.0)
    assert "source picky: none of 40 documents was taken (duplicate article 20, attachment 20)" in said


# one side after the other


def finished(folder: Path, sources: Sequence[Source], cleaners: Sequence[Cleaner], **wanted: Any) -> Corpus:
    work = folder.with_name(f"{folder.name}.partial")
    work.mkdir()
    publish(work, folder, {"kind": "corpus", "facts": build(work, sources, cleaners, **wanted)})
    return Corpus(folder)


def texts_of(corpus: Corpus) -> dict[str, set[str]]:
    return {split: {t for b in corpus.batches(split) for t in b["text"].to_pylist()} for split in SPLITS}


def long_text(number: int) -> str:
    return " ".join(f"w{number}x{j}" for j in range(60))


@pytest.mark.parametrize("cleaner", [ExactDuplicates, MinHashDuplicates])
@pytest.mark.parametrize("change", ["", " and a few words more"])
def test_no_document_of_the_general_corpus_is_one_of_the_domain_in_any_split(
    tmp_path: Path, cleaner: type[Cleaner], change: str
) -> None:
    """Held-out documents of one side are not in the training text of the other: exact copies, and near ones."""
    domain = finished(tmp_path / "domain", [Given("filings", [(long_text(i), "") for i in range(30)])], [cleaner()])
    copies = [(f"{long_text(i).upper()}{change}", "") for i in range(0, 30, 2)]
    own = [(long_text(i), "") for i in range(100, 130)]
    web = Given("web", [*copies, *own, own[3]])
    facts = build(tmp_path / "alone", [web], [cleaner()])
    assert facts["sources"][0]["kept"] == 45
    general = finished(tmp_path / "general", [web], [cleaner()], earlier=domain)
    found = 0 if change and cleaner is ExactDuplicates else 15
    (account,) = general.facts["sources"]
    assert (account["seen"], account["kept"], account["duplicates"]) == (46, 45 - found, 1 + found)
    assert general.facts["funnel"][1]["in"] == 46
    if found:
        assert {t for texts in texts_of(general).values() for t in texts} == {text for text, _ in own}
        assert {t for texts in texts_of(domain).values() for t in texts} == {long_text(i) for i in range(30)}


class KeepsTheRare(Cleaner):
    """Compares documents and decides only when it has seen them all: of equal ones, only the first stays."""

    name = "rare"
    surveys = 1
    across_corpora = True

    def __init__(self) -> None:
        super().__init__()
        self.first: dict[str, int] = {}
        self.surveyed = self.next = 0

    def survey(self, batch: pa.RecordBatch, number: int) -> None:
        for text in batch["text"].to_pylist():
            self.first.setdefault(text, self.surveyed)
            self.surveyed += 1

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        keep = []
        for text in batch["text"].to_pylist():
            keep.append(self.first[text] == self.next)
            self.next += 1
        return batch.filter(pa.array(keep, pa.bool_())), {"duplicate": keep.count(False)}


def test_a_step_that_compares_and_surveys_sees_the_other_corpus_first_too(tmp_path: Path) -> None:
    domain = finished(tmp_path / "domain", [Given("filings", [(f"text {i}", "") for i in range(12)])], [])
    web = Given("web", [(f"text {i}", "") for i in range(8, 20)])
    cleaners = [KeepsTheRare(), Pii()]
    general = finished(tmp_path / "general", [web], cleaners, earlier=domain)
    assert {t for texts in texts_of(general).values() for t in texts} == {f"text {i}" for i in range(12, 20)}
    assert [(step["in"], step["kept"]) for step in general.facts["funnel"]] == [(12, 12), (12, 8), (8, 8), (8, 8)]


def test_a_benchmark_that_stands_in_the_recipe_twice_is_given_once(tmp_path: Path) -> None:
    twice = [Benchmark("task", "A task", tmp_path), Benchmark("other", "", tmp_path), Benchmark("task", "", tmp_path)]
    facts = build(tmp_path / "out", [Given("one", [(f"text {i}", "") for i in range(9)])], [Stating()],
                  benchmarks=twice)  # fmt: skip
    assert facts["funnel"][1]["tally"] == {"benchmarks": 2}


def test_a_step_that_stands_in_the_recipe_twice_states_both_times(tmp_path: Path) -> None:
    facts = build(tmp_path / "out", [Given("one", [(f"text {i}", "") for i in range(9)])], [Stating(), Stating()])
    assert facts["steps"] == {"stating": {"said": 1}, "stating (step 2)": {"said": 1}}
