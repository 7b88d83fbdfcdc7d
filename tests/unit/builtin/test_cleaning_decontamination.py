"""Planted leaks of benchmark items are found, clean documents stay, and what was found is written down."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt.artifacts import Corpus, document_schema
from domadapt.builtin.cleaning.benchmark_items import Item, benchmark_items
from domadapt.builtin.cleaning.decontamination import FILE, Decontamination, FoundItems, found_items
from domadapt.builtin.cleaning.words import folded_words
from domadapt.components import Benchmark, Stage
from domadapt.pipeline.store import publish

TASKS = Path(__file__).parents[3] / "core" / "domadapt" / "builtin" / "evaluating" / "tasks"


def batch_of(*texts: str) -> pa.RecordBatch:
    names = [f"d{i}" for i in range(len(texts))]
    columns = [names, list(texts), ["web"] * len(texts), [""] * len(texts), names, ["{}"] * len(texts)]
    return pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], schema=document_schema())


def looking_for(*texts: str | Sequence[str], **options: Any) -> Decontamination:
    """For items of the given texts (several texts of an item in a list)."""
    cleaner = Decontamination(Decontamination.Config.model_validate(options))
    each = [[text] if isinstance(text, str) else text for text in texts]
    cleaner.add_items([Item("task", f"i{n}", [folded_words(text) for text in one]) for n, one in enumerate(each)])
    return cleaner


def found(cleaner: Decontamination, *texts: str) -> list[bool]:
    kept = set(cleaner.clean(batch_of(*texts))[0]["id"].to_pylist())
    return [f"d{i}" not in kept for i in range(len(texts))]


def words(count: int, seed: int) -> list[str]:
    draw = random.Random(seed)
    return [f"w{draw.randrange(10**6)}" for _ in range(count)]


LONG = words(30, 1)


def test_thirteen_words_of_an_item_are_found_and_twelve_are_not() -> None:
    cleaner = looking_for(" ".join(LONG))
    around = " ".join(words(50, 2))
    assert found(
        cleaner,
        f"{around} {' '.join(LONG[5:18])} {around}",
        f"{around} {' '.join(LONG[5:17])} {around}",
        around,
        "",
    ) == [True, False, False, False]


def test_case_punctuation_and_line_breaks_hide_nothing() -> None:
    text = "-- " + ",\n".join(word.upper() for word in LONG) + "!"
    assert found(looking_for(" ".join(LONG)), text) == [True]


def test_an_item_of_fewer_than_thirteen_words_is_found_by_eight() -> None:
    cleaner = looking_for(" ".join(LONG[:12]))
    assert found(cleaner, " ".join(LONG[:8]), " ".join(LONG[:7]), " ".join(LONG[3:11])) == [True, False, True]


def test_a_short_choice_beside_a_long_question_is_not_looked_for() -> None:
    cleaner = looking_for([" ".join(LONG), "the company did not pay any dividends in the year"])
    assert found(cleaner, "In 2019 the company did not pay any dividends in the year.") == [False]


def test_items_too_short_to_be_looked_for_are_counted() -> None:
    cleaner = looking_for("only three words", " ".join(LONG))
    assert found(cleaner, "only three words") == [False]
    assert cleaner_facts(cleaner)["tasks"]["task"] == {"items": 2, "searchable": 1, "found": 0}


def cleaner_facts(cleaner: Decontamination) -> dict[str, Any]:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        return cleaner.finish(Path(folder))


def test_the_wording_that_a_tasks_items_share_is_no_leak_but_their_own_words_are() -> None:
    wording = " ".join(words(20, 3))
    own = [" ".join(words(20, 100 + n)) for n in range(40)]
    cleaner = looking_for(*(f"{wording} {text}" for text in own))
    assert found(cleaner, wording, own[7], f"{wording} and more") == [False, True, False]


def test_a_passage_that_many_items_share_is_looked_for() -> None:
    passage = " ".join(words(60, 4))
    cleaner = looking_for(*([passage, " ".join(words(15, 200 + n))] for n in range(40)))
    assert found(cleaner, passage) == [True]
    assert cleaner_facts(cleaner)["tasks"]["task"]["found"] == 40


def test_with_a_share_a_phrase_is_no_leak_but_most_of_the_item_is() -> None:
    cleaner = looking_for(" ".join(LONG), share=0.5)
    assert found(cleaner, " ".join(LONG[:20]), " ".join(LONG[:21]), " ".join(LONG)) == [False, True, True]


def test_a_run_that_stands_in_more_documents_than_allowed_is_a_phrase_and_the_rest_of_the_item_is_not(
    tmp_path: Path,
) -> None:
    cleaner = looking_for(" ".join(LONG), most_documents=3)
    phrase, own = " ".join(LONG[:15]), " ".join(LONG[10:])
    texts = [phrase, f"x {phrase}", f"{phrase} y {phrase}", f"z {phrase} {phrase}", own, "nothing"]
    assert cleaner.surveys == 1
    cleaner.survey(batch_of(*texts), 0)
    assert found(cleaner, *texts) == [False, False, False, False, True, False]
    assert cleaner.finish(tmp_path)["phrases"] == 3
    cleaner = looking_for(" ".join(LONG), most_documents=4)
    cleaner.survey(batch_of(*texts), 0)
    assert found(cleaner, *texts) == [True, True, True, True, True, False]
    assert looking_for(" ".join(LONG)).surveys == 0


def test_without_drop_documents_stay_and_items_are_marked_all_the_same(tmp_path: Path) -> None:
    cleaner = looking_for(" ".join(LONG), " ".join(words(30, 5)), drop=False)
    assert found(cleaner, " ".join(LONG), "x " + " ".join(LONG), "nothing") == [False, False, False]
    facts = cleaner.finish(tmp_path)
    lines = [json.loads(line) for line in (tmp_path / FILE).read_text().splitlines()]
    assert lines == [{"task": "task", "item": "i0", "documents": 2, "first": "web:d0"}]
    assert facts == {"tasks": {"task": {"items": 2, "searchable": 2, "found": 1}}, "documents": {"web": 2},
                     "unchecked": [], "dropped": False}  # fmt: skip


@settings(max_examples=200)
@given(
    st.lists(st.lists(st.sampled_from("abcdef"), min_size=4, max_size=12), min_size=1, max_size=5),
    st.lists(st.sampled_from("abcdefxyz"), max_size=60),
)
def test_exactly_the_items_that_share_a_run_of_words_are_found(items: list[list[str]], document: list[str]) -> None:
    """Against a plain search, with runs of 5 words and of 4 in items of 4."""
    cleaner = looking_for(*(" ".join(item) for item in items), words=5, short_words=4, drop=False)
    cleaner.clean(batch_of(" ".join(document)))
    runs = {n: {tuple(document[i : i + n]) for i in range(len(document) - n + 1)} for n in (4, 5)}

    def shares(item: list[str]) -> bool:
        n = 5 if len(item) >= 5 else 4
        return any(tuple(item[i : i + n]) in runs[n] for i in range(len(item) - n + 1))

    assert sorted(cleaner._found) == [number for number, item in enumerate(items) if shares(item)]


def test_planted_leaks_of_a_real_benchmark_are_found_and_nothing_else(tmp_path: Path) -> None:
    """The core's own benchmark in the core's own text: recall and precision 1 at the recipe's parameters."""
    from domadapt.builtin.corpora.general import GeneralSample

    stage = Stage("corpus.domain", "0" * 16, 1, "test", lambda *_: {}, tmp_path)
    cleaner = Decontamination()
    cleaner.prepare(stage, [Benchmark("instruct_format", "", TASKS)])
    texts = [text for batch in GeneralSample().read(lambda *_: None) for text in batch["text"].to_pylist()][:600]
    draw, leaks = random.Random(1), []
    items = benchmark_items(Benchmark("instruct_format", "", TASKS), tmp_path, 8)
    rows = [json.loads(line) for line in (TASKS / "instruct_format.jsonl").read_text().splitlines()]
    assert len(items) == len(rows)
    for number in range(0, 600, 3):
        item = number // 3
        leaked = max(items[item].texts, key=len)
        place = draw.randrange(len(texts[number]) + 1)
        texts[number] = f"{texts[number][:place]}\n{' '.join(leaked).capitalize()}.\n{texts[number][place:]}"
        leaks.append((number, items[item].name))
    dropped = [number for number, gone in enumerate(found(cleaner, *texts)) if gone]
    assert dropped == [number for number, _ in leaks]
    marked = {cleaner._items[item].name for item in cleaner._found}
    assert {name for _, name in leaks} <= marked


def test_items_are_named_as_the_evaluator_names_them(tmp_path: Path) -> None:
    (tmp_path / "quiz.yaml").write_text(
        "task: quiz\ndataset_path: json\ndataset_kwargs: {data_files: {test: quiz.jsonl}}\ntest_split: test\n"
        "output_type: multiple_choice\ndoc_to_text: '{{q}}'\ndoc_to_choice: '{{c}}'\ndoc_to_target: a\n"
    )
    rows = [
        {"q": " ".join(LONG), "c": ["yes", "no"], "a": 0},
        {"q": "Which three words of these", "c": ["one two three four", "five six"], "a": 0},
        {"q": "too short", "c": ["a", "b"], "a": 1},
    ]
    (tmp_path / "quiz.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    items = benchmark_items(Benchmark("quiz", "", tmp_path), tmp_path / "scratch", 8)
    assert [item.name for item in items] == ["0", "1", "2"]
    assert [[" ".join(text) for text in item.texts] for item in items] == [
        [" ".join(LONG)],
        ["which three words of these one two three four"],
        [],
    ]


def test_benchmarks_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    said: list[str] = []
    stage = Stage("corpus.domain", "0" * 16, 1, "test", lambda *_: {}, tmp_path,
                  emit=lambda kind, data: said.append(f"{kind}: {data['message']}"))  # fmt: skip
    cleaner = Decontamination()
    cleaner.prepare(stage, [Benchmark("other", "", tmp_path, evaluator="own")])
    assert said == ["warning: decontaminate: items of other cannot be read and are not looked for"]
    assert cleaner.finish(tmp_path)["unchecked"] == ["other"]
    Decontamination().prepare(stage, [])
    assert "no benchmark whose items" in said[-1]


@pytest.mark.parametrize("text", ["\ufffd" * 50, "\x00", "a" * 100_000, " ".join(["w"] * 1000)])
def test_odd_documents_are_no_leaks(text: str) -> None:
    assert found(looking_for(" ".join(LONG)), text) == [False]


def test_what_was_found_is_read_back_from_finished_corpora_by_benchmark(tmp_path: Path) -> None:
    corpora = []
    for number, leaked in enumerate(([LONG], [LONG, words(30, 6)])):
        work = tmp_path / f"{number}.partial"
        work.mkdir()
        cleaner = looking_for(" ".join(words(30, 6)), " ".join(LONG))
        found(cleaner, *map(" ".join, leaked))
        facts = {"steps": {"decontaminate": cleaner.finish(work)}}
        publish(work, tmp_path / str(number), {"kind": "corpus", "facts": facts})
        corpora.append(Corpus(tmp_path / str(number)))
    assert found_items(corpora[:1]) == {"task": FoundItems(frozenset({"i1"}), True)}
    assert found_items(corpora) == {"task": FoundItems(frozenset({"i0", "i1"}), True)}
    work = tmp_path / "clean.partial"
    work.mkdir()
    cleaner = looking_for(" ".join(LONG), drop=False)
    publish(work, tmp_path / "clean", {"kind": "corpus", "facts": {"steps": {"decontaminate": cleaner.finish(work)}}})
    clean = Corpus(tmp_path / "clean")
    assert found_items([clean]) == {"task": FoundItems(frozenset(), False)}
    assert found_items([*corpora, clean])["task"].dropped is False
    work.mkdir()
    publish(work, tmp_path / "without", {"kind": "corpus", "facts": {}})
    assert found_items([Corpus(tmp_path / "without")]) == {}
