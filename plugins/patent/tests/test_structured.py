"""The benchmarks out of the structure of patents: reproducible, with one right answer, not answered by their form."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from domadapt_patent.benchmarks.make import known_runs, runs
from domadapt_patent.benchmarks.structured import HERE, NUM_ITEMS, SECTIONS, TASKS, encode, fictional, items, main
from domadapt_patent.redbook.patent import Patent
from domadapt_patent.sample.source import weekly_files

Item = dict[str, Any]


@pytest.fixture(scope="module")
def patents() -> list[Patent]:
    return fictional()


@pytest.fixture(scope="module")
def known() -> frozenset[tuple[str, ...]]:
    return known_runs()


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def shipped(task: str) -> list[Item]:
    return [json.loads(line) for line in (HERE / f"{task}.jsonl").read_text(encoding="utf-8").splitlines()]


def test_files_are_reproduced_byte_for_byte(
    task: str, patents: list[Patent], known: frozenset[tuple[str, ...]]
) -> None:
    assert encode(task, patents, known) == (HERE / f"{task}.jsonl").read_bytes(), (
        "run `python -m domadapt_patent.benchmarks.structured` and review the difference"
    )


def test_items_are_complete_short_and_of_one_patent_each(task: str) -> None:
    found = shipped(task)
    assert len(found) == NUM_ITEMS
    assert len({item["item"] for item in found}) == len({item["cluster"] for item in found}) == len(found)
    for item in found:
        assert set(item) == {"item", "cluster", "prompt", "choices", "answer"}
        assert len(set(item["choices"])) == len(item["choices"]) == (8 if task == "patent_cpc_section" else 4)
        assert item["prompt"] == item["prompt"].strip()
        assert max(len(item["prompt"]) + len(choice) for choice in item["choices"]) < 620


def test_no_item_shares_13_words_in_a_row_with_the_sample_corpus(task: str, known: frozenset[tuple[str, ...]]) -> None:
    for item in shipped(task):
        assert known.isdisjoint(runs(f"{item['prompt']} {item['choices'][item['answer']]}")), item["item"]


def test_the_answer_is_not_given_away_by_its_place_or_length(task: str) -> None:
    found = shipped(task)
    assert max(Counter(item["answer"] for item in found).values()) < 0.35 * len(found)
    if task != "patent_cpc_section":
        for extreme in (min, max):
            right = sum(extreme(item["choices"], key=len) == item["choices"][item["answer"]] for item in found)
            assert right < 0.35 * len(found)


def test_a_section_is_that_of_all_symbols(patents: list[Patent]) -> None:
    by_id = {patent.id: patent for patent in patents}
    for item in shipped("patent_cpc_section"):
        assert {symbol[0] for symbol in by_id[item["cluster"]].meta["cpc"]} == {"ABCDEFGH"[item["answer"]]}
        assert item["choices"] == list(SECTIONS)


def test_an_abstract_is_that_of_the_claim_and_the_others_are_other_patents(patents: list[Patent]) -> None:
    by_id = {patent.id: patent for patent in patents}
    for item in shipped("patent_claim_abstract"):
        patent = by_id[item["cluster"]]
        assert patent.abstract[0].startswith(item["choices"][item["answer"]])
        assert sum(patent.abstract[0].startswith(choice) for choice in item["choices"]) == 1
        assert item["prompt"].startswith(" ".join(patent.claims[0].text.split())[:40])


def test_a_passage_prints_the_sign_with_the_right_part_alone() -> None:
    for item in shipped("patent_sign_cloze"):
        printed = [choice in item["prompt"] for choice in item["choices"]]
        assert printed.index(True) == item["answer"]
        assert sum(printed) == 1
        names = [re.sub(r" \d+$", "", choice) for choice in item["choices"]]
        assert all(re.search(rf"\b{name} \d", item["prompt"]) for name in names)


def test_files_of_the_office_make_items_too(tmp_path: Path) -> None:
    (tmp_path / "week.xml").write_bytes(b"".join(weekly_files(40, "a test")))
    main(tmp_path / "tasks", [tmp_path / "week.xml"])
    for task in TASKS:
        assert (tmp_path / "tasks" / f"{task}.yaml").is_file()
        assert len((tmp_path / "tasks" / f"{task}.jsonl").read_bytes().splitlines()) > 10


def test_patents_without_structure_make_no_items() -> None:
    bare = Patent("XX1", "Lamp", (), ("A lamp.",), "", (), "x", {})
    assert [items(task, [bare]) for task in TASKS] == [[], [], []]
