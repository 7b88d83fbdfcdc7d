"""The corpus stage: every document is accounted for, no group is on both sides of a split."""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt.artifacts import SPLITS, Corpus, document_schema
from domadapt.builtin.corpora.batches import Document, record_batches
from domadapt.components import Cleaner, Reject, Source, Stage
from domadapt.errors import DataError, StageError
from domadapt.pipeline import shards as shards_module
from domadapt.pipeline.corpus import assign_splits, build_corpus
from domadapt.pipeline.store import publish

Rows = Sequence[tuple[str, str] | None]
"""(text, group) of each document, or None for one that cannot be read."""


class Listed(Source):
    """Documents given in the code."""

    name = "listed"

    def __init__(self, rows: Rows, split: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.rows, self.split = rows, split or {}

    def fingerprint(self) -> str:
        return "listed"

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        def documents() -> Iterator[Document]:
            for number, row in enumerate(self.rows):
                if row is None:
                    reject("unreadable", f"row {number}")
                else:
                    meta = {"split": self.split[row[1]]} if row[1] in self.split else {}
                    yield Document(f"d{number}", row[0], row[1], "", meta)

        yield from record_batches(documents(), self.name)


class Dropping(Cleaner):
    """Drops what a rule says, by the rule's reason."""

    name = "dropping"

    def __init__(self, rule: Callable[[str], str | None]) -> None:
        super().__init__()
        self.rule = rule

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        reasons = [self.rule(text) for text in batch["text"].to_pylist()]
        kept = batch.filter(pa.array([reason is None for reason in reasons], pa.bool_()))
        return kept, Counter(reason for reason in reasons if reason is not None)


def stage(seed: int = 1) -> Stage:
    return Stage("corpus.domain", "0" * 16, seed, "test", lambda *_: {}, Path("unused"))


def build(out: Path, *sources: Source | tuple[Source, int | None], seed: int = 1, **wanted: Any) -> dict[str, Any]:
    pairs = [s if isinstance(s, tuple) else (s, None) for s in sources]
    cleaners = wanted.pop("cleaners", [])
    settings = {"holdout": 0.2, "holdout_documents": 200, **wanted}
    return build_corpus(pairs, cleaners, out=out, stage=stage(seed), **settings)


def rows_of(folder: Path) -> dict[str, list[dict[str, Any]]]:
    return {
        split: [row for file in sorted((folder / split).glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
        for split in SPLITS
    }


def check_funnel(funnel: list[dict[str, Any]]) -> None:
    for step, following in zip(funnel, [*funnel[1:], None], strict=True):
        assert step["in"] == step["kept"] + sum(step["dropped"].values())
        if following is not None:
            assert following["in"] == step["kept"]


TEN = [(f"text {i}", f"g{i}") for i in range(10)]

documents = st.lists(
    st.none() | st.tuples(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), st.sampled_from("abcdefgh")),
    max_size=60,
)


@settings(max_examples=60, deadline=None)
@given(st.lists(documents, min_size=1, max_size=3), st.integers(1, 6), st.integers(0, 99), st.integers(1, 4))
def test_documents_in_are_kept_plus_dropped_at_every_step_for_any_source_and_cleaner(
    sources: list[list[tuple[str, str] | None]], modulus: int, seed: int, most_held: int
) -> None:
    short = Dropping(lambda t: "short" if len(t) < 2 else None)
    some = Dropping(lambda t: f"rest {len(t) % modulus}" if len(t) % modulus == 1 else None)
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder)
        try:
            facts = build(
                out,
                *(Listed(rows) for rows in sources),
                seed=seed,
                cleaners=[short, some],
                holdout_documents=most_held,
            )
        except DataError:
            left = {
                r[1]
                for rows in sources
                for r in rows
                if r is not None and short.rule(r[0]) is None and some.rule(r[0]) is None
            }
            assert len(left) < 3
            return
        rows = rows_of(out)
        assert sorted(p.name for p in out.iterdir()) == sorted(SPLITS)
    check_funnel(facts["funnel"])
    assert facts["funnel"][0]["in"] == sum(map(len, sources))
    assert facts["funnel"][0]["dropped"].get("unreadable", 0) == sum(r is None for rows in sources for r in rows)
    assert facts["funnel"][-1]["kept"] == sum(facts["documents"].values())
    assert facts["documents"] == {split: len(found) for split, found in rows.items()}
    assert facts["bytes"] == {split: sum(len(r["text"].encode()) for r in rows[split]) for split in SPLITS}
    assert max(len(rows["selection"]), len(rows["report"])) <= most_held
    assert all(rows[split] for split in SPLITS)
    of_group: dict[str, set[str]] = {}
    for split, found in rows.items():
        for row in found:
            of_group.setdefault(row["group"], set()).add(split)
    assert all(len(splits) == 1 for splits in of_group.values())


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_split(tmp_path: Path) -> None:
    rows = [(f"text {i}", f"g{i}") for i in range(50)]
    for name, seed in (("one", 1), ("again", 1), ("other", 2)):
        build(tmp_path / name, Listed(rows), seed=seed)
    digests = {
        name: {f.relative_to(tmp_path / name): f.read_bytes() for f in (tmp_path / name).rglob("*.parquet")}
        for name in ("one", "again", "other")
    }
    assert digests["one"] == digests["again"]
    assert digests["one"] != digests["other"]


def test_the_split_of_a_group_does_not_depend_on_the_order_of_documents(tmp_path: Path) -> None:
    rows = [(f"text {i}", f"g{i}") for i in range(50)]
    build(tmp_path / "one", Listed(rows))
    build(tmp_path / "reversed", Listed(rows[::-1]))

    def held(name: str) -> dict[str, set[str]]:
        return {split: {r["group"] for r in found} for split, found in rows_of(tmp_path / name).items()}

    assert held("one") == held("reversed")


def test_held_out_splits_get_their_share_of_the_groups(tmp_path: Path) -> None:
    facts = build(tmp_path, Listed([(f"text {i}", f"g{i}") for i in range(100)]), holdout=0.05)
    assert facts["groups"] == {"train": 90, "selection": 5, "report": 5}


def test_documents_keep_their_order_within_a_split(tmp_path: Path) -> None:
    build(tmp_path, Listed([(f"{i:03d}", f"g{i}") for i in range(100)]))
    for found in rows_of(tmp_path).values():
        texts = [row["text"] for row in found]
        assert texts == sorted(texts)


def test_pinned_groups_stay_where_their_source_put_them(tmp_path: Path) -> None:
    build(tmp_path, Listed(TEN, {"g3": "report", "g4": "train", "g5": "selection"}))
    rows = rows_of(tmp_path)
    assert [r["group"] for r in rows["report"]] == ["g3"]  # a pinned split is not filled up
    assert [r["group"] for r in rows["selection"]] == ["g5"]
    assert len(rows["train"]) == 8


def test_with_one_split_pinned_the_other_is_drawn_from_the_free_groups(tmp_path: Path) -> None:
    build(tmp_path, Listed(TEN, {"g3": "report"}))
    rows = rows_of(tmp_path)
    assert [r["group"] for r in rows["report"]] == ["g3"]
    assert len(rows["selection"]) == 2  # 20 % of the nine that are free
    assert len(rows["train"]) == 7


def test_a_group_pinned_to_two_splits_is_an_error(tmp_path: Path) -> None:
    one, other = Listed(TEN, {"g3": "report"}), Listed(TEN, {"g3": "train"})
    with pytest.raises(DataError, match=r"corpus\.domain: group 'g3' is pinned to two splits"):
        build(tmp_path, one, other)


@pytest.mark.parametrize("num_groups", [1, 2])
def test_too_few_groups_are_an_error_that_says_how_many_there_must_be(tmp_path: Path, num_groups: int) -> None:
    rows = [(f"text {i}", f"g{i % num_groups}") for i in range(20)]
    with pytest.raises(DataError, match=f"{num_groups} groups of documents, but .* need 3"):
        build(tmp_path, Listed(rows))


def test_three_groups_are_enough(tmp_path: Path) -> None:
    facts = build(tmp_path, Listed([(f"text {i}", f"g{i % 3}") for i in range(20)]))
    assert facts["groups"] == dict.fromkeys(SPLITS, 1)


def test_nothing_left_is_an_error_that_says_why(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no document left of 11 read \(short 10, unreadable 1\)"):
        build(tmp_path, Listed([*TEN, None]), cleaners=[Dropping(lambda t: "short")])
    with pytest.raises(DataError, match="the sources are empty"):
        build(tmp_path / "empty", Listed([]))


def test_no_more_documents_are_taken_than_asked_and_the_next_source_follows(tmp_path: Path) -> None:
    facts = build(tmp_path, (Listed([(f"a{i}", f"a{i}") for i in range(600)]), 300), (Listed(TEN), 4))
    assert facts["funnel"][0] == {"step": "read", "in": 304, "kept": 304, "dropped": {}}
    texts = {r["text"] for found in rows_of(tmp_path).values() for r in found}
    assert texts == {*(f"a{i}" for i in range(300)), *(f"text {i}" for i in range(4))}


def test_sources_of_one_component_are_told_apart_by_the_names_that_the_recipe_gives_them(tmp_path: Path) -> None:
    one, two = (Listed([(f"{letter} text", f"{letter}{n}") for n in range(20)]) for letter in "ab")
    facts = build(tmp_path, one, two, names=["first", "second"])
    assert [account["source"] for account in facts["sources"]] == ["first", "second"]
    rows = [row for rows in rows_of(tmp_path).values() for row in rows]
    assert {(row["group"][0], row["source"]) for row in rows} == {("a", "first"), ("b", "second")}


def test_rejected_documents_are_listed_by_reason_with_a_few_examples(tmp_path: Path) -> None:
    facts = build(tmp_path, Listed([*TEN, *[None] * 9]))
    assert facts["rejected_examples"] == {"unreadable": [f"row {i}" for i in range(10, 15)]}
    assert facts["funnel"][0]["dropped"] == {"unreadable": 9}


def test_documents_beyond_the_held_out_number_are_counted(tmp_path: Path) -> None:
    facts = build(tmp_path, Listed([(f"{i}", f"g{i % 3}") for i in range(30)]), holdout_documents=4)
    assert facts["documents"] == {"train": 10, "selection": 4, "report": 4}
    assert facts["funnel"][-1] == {
        "step": "holdout",
        "in": 30,
        "kept": 18,
        "dropped": {"beyond 4 held-out documents": 12},
    }


@pytest.mark.parametrize(
    ("wanted", "told"),
    [
        ({"holdout": 0.2}, "documents of 4 groups .* fewer than 6 .* raise corpus.holdout or add sources"),
        ({"holdout": 0.4, "holdout_documents": 5}, "documents of 5 groups .* raise corpus.holdout_documents or add"),
        ({"holdout": 0.3}, None),
    ],
)
def test_too_few_held_out_groups_for_a_verdict_are_told_at_once(
    tmp_path: Path, wanted: dict[str, Any], told: str | None
) -> None:
    said: list[str] = []
    speaking = replace(stage(), emit=lambda kind, data: said.append(data["message"]) if kind == "warning" else None)
    source = Listed([(f"text {i}", f"g{i}") for i in range(20)])
    build_corpus([(source, None)], [], out=tmp_path, stage=speaking, **{"holdout_documents": 200, **wanted})
    assert len(said) == (told is not None)
    if told is not None:
        assert re.search(told, said[0])


class WrongColumns(Listed):
    """A source of a pack that forgot a column."""

    name = "wrong"

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        for batch in super().read(reject):
            yield batch.drop_columns(["license"])


class WrongType(Listed):
    """A source whose ids are numbers."""

    name = "numbers"

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        for batch in super().read(reject):
            yield batch.set_column(0, "id", pa.array(range(batch.num_rows), pa.int64()))


@pytest.mark.parametrize("source", [WrongColumns(TEN), WrongType(TEN)], ids=["dropped column", "int for string"])
def test_a_source_with_other_columns_is_named_with_what_it_gave(tmp_path: Path, source: Source) -> None:
    with pytest.raises(StageError, match=f"corpus.domain: source {source.name} gave columns"):
        build(tmp_path, source)


class Losing(Cleaner):
    """Loses a document and says nothing."""

    name = "losing"

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        return batch.slice(1), {}


def test_a_cleaner_whose_numbers_do_not_add_up_is_named(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="cleaner losing: 10 documents in, 9 out and 0 dropped"):
        build(tmp_path, Listed(TEN), cleaners=[Losing()])


def test_shards_are_of_bounded_size_and_lose_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards_module, "SHARD_BYTES", 2000)
    facts = build(tmp_path, Listed([(f"{i:04d}" * 20, f"g{i}") for i in range(1000)]))
    shards = sorted((tmp_path / "train").glob("*.parquet"))
    assert len(shards) > 1
    assert [f.name for f in shards] == [f"documents-{i:05d}.parquet" for i in range(len(shards))]
    texts = [r["text"] for found in rows_of(tmp_path).values() for r in found]
    assert sorted(texts) == sorted(f"{i:04d}" * 20 for i in range(1000))
    assert facts["documents"]["train"] == sum(pq.read_metadata(f).num_rows for f in shards)


def test_a_corpus_opens_with_the_datasets_library_and_through_its_handle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_OFFLINE", True)
    out = tmp_path / "corpus"
    facts = build(out.with_name("work"), Listed(TEN))
    publish(out.with_name("work"), out, {"kind": "corpus", "facts": facts})
    files = {split: str(out / split / "*.parquet") for split in SPLITS}
    loaded = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "cache"))
    for split in SPLITS:
        batches = list(Corpus(out).batches(split))
        assert all(batch.schema.equals(document_schema()) for batch in batches)
        assert [row["text"] for row in loaded[split]] == [t for b in batches for t in b["text"].to_pylist()]
        assert loaded[split].column_names == document_schema().names


def test_fifty_flipped_bits_in_a_shard_are_all_noticed_on_reading_or_harmless(tmp_path: Path) -> None:
    import random

    out, draw = tmp_path / "corpus", random.Random(0)
    build(out.with_name("work"), Listed([(f"{draw.random()}", f"g{i}") for i in range(300)]))
    publish(out.with_name("work"), out, {"kind": "corpus", "facts": {}})
    corpus = Corpus(out)
    file = corpus.files("train/")[0]
    whole, rows = file.read_bytes(), [b.to_pylist() for b in corpus.batches("train")]
    noticed = 0
    for _ in range(50):
        damaged = bytearray(whole)
        damaged[draw.randrange(len(whole))] ^= 1 << draw.randrange(8)
        file.write_bytes(damaged)
        try:
            assert [b.to_pylist() for b in corpus.batches("train")] == rows
        except (OSError, pa.ArrowException):
            noticed += 1
    assert noticed > 25


@given(st.dictionaries(st.text(max_size=4), st.sampled_from(["", "", "", *SPLITS]), max_size=40), st.floats(0.01, 0.49))
def test_every_group_gets_one_split_and_no_split_is_empty(groups: dict[str, str], holdout: float) -> None:
    free = [g for g, pinned in groups.items() if not pinned]
    missing = [s for s in SPLITS if s not in groups.values()]
    try:
        splits = assign_splits(groups, holdout, seed=1, where="corpus.domain")
    except DataError:
        assert len(free) < len(missing)
        return
    assert set(splits) == set(groups)
    assert all(splits[g] == pinned for g, pinned in groups.items() if pinned)
    assert set(splits.values()) == set(SPLITS)


def test_meta_is_json_in_every_row(tmp_path: Path) -> None:
    build(tmp_path, Listed(TEN, {"g1": "train"}))
    metas = [json.loads(r["meta"]) for found in rows_of(tmp_path).values() for r in found]
    assert sum(m == {"split": "train"} for m in metas) == 1


def test_a_held_out_split_that_is_full_takes_no_further_group() -> None:
    groups = {f"g{n}": "" for n in range(40)}
    splits = assign_splits(groups, 0.25, seed=1, where="corpus.domain", sizes=dict.fromkeys(groups, 10), most_held=30)
    assert {split: sum(s == split for s in splits.values()) for split in SPLITS} == {
        "train": 34,
        "selection": 3,
        "report": 3,
    }
