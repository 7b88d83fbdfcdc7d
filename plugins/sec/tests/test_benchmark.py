"""The pack's benchmark: reproducible, about companies of its own, with answers evenly spread."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from domadapt_sec.benchmarks import BENCHMARKS
from domadapt_sec.benchmarks.make import NUM_CHOICES, NUM_ITEMS, SEED, encoded
from domadapt_sec.benchmarks.structured import encoded as encoded_structured
from domadapt_sec.sample_company import companies

FOLDER = BENCHMARKS[0].path


@pytest.fixture(scope="module")
def items() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (FOLDER / "sec_continuation.jsonl").read_bytes().splitlines()]


def test_the_shipped_file_is_made_byte_for_byte() -> None:
    assert encoded() == (FOLDER / "sec_continuation.jsonl").read_bytes()


def test_no_seed_of_the_sample_source_emits_a_company_of_the_benchmark(items: list[dict[str, Any]]) -> None:
    asked = {item["company"] for item in items}
    assert not asked & {company.name for seed in range(4) for company in companies(seed, 300)}


def test_answers_are_spread_evenly_and_choices_differ(items: list[dict[str, Any]]) -> None:
    assert len(items) == NUM_ITEMS
    counts = Counter(item["answer"] for item in items)
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(len(set(item["choices"])) == NUM_CHOICES for item in items)


def test_neither_the_longest_nor_the_shortest_choice_is_right_more_often_than_by_chance(
    items: list[dict[str, Any]],
) -> None:
    longest = sum(len(item["choices"][item["answer"]]) == max(map(len, item["choices"])) for item in items)
    shortest = sum(len(item["choices"][item["answer"]]) == min(map(len, item["choices"])) for item in items)
    ties = sum(len(set(map(len, item["choices"]))) < NUM_CHOICES for item in items)
    assert max(longest, shortest) - ties <= 0.33 * len(items)
    true = [len(item["choices"][item["answer"]]) for item in items]
    all_choices = [len(choice) for item in items for choice in item["choices"]]
    assert abs(sum(true) / len(true) - sum(all_choices) / len(all_choices)) < 0.75


def test_items_of_one_company_share_a_cluster_and_fit_a_small_window(items: list[dict[str, Any]]) -> None:
    clusters = {item["cluster"]: item["company"] for item in items}
    assert len(clusters) >= 100
    assert len({item["item"] for item in items}) == len(items)
    assert all(clusters[item["cluster"]] == item["company"] for item in items)
    assert max(len(item["passage"]) + max(map(len, item["choices"])) for item in items) < 560


def test_the_task_file_names_its_data_relative_to_itself() -> None:
    benchmark = BENCHMARKS[0]
    task = yaml.safe_load((benchmark.path / f"{benchmark.name}.yaml").read_text())
    assert task["task"] == benchmark.name
    assert not Path(task["dataset_kwargs"]["data_files"]["test"]).is_absolute()
    assert (benchmark.path / task["dataset_kwargs"]["data_files"]["test"]).is_file()


@pytest.fixture(scope="module", params=["sec_items", "sec_tables"])
def structured_items(request: pytest.FixtureRequest) -> list[dict[str, Any]]:
    assert encoded_structured(request.param) == (FOLDER / f"{request.param}.jsonl").read_bytes()
    return [json.loads(line) for line in (FOLDER / f"{request.param}.jsonl").read_bytes().splitlines()]


def test_structured_items_are_made_byte_for_byte_with_even_answers(structured_items: list[dict[str, Any]]) -> None:
    counts = Counter(item["answer"] for item in structured_items)
    assert len(structured_items) == 200
    assert max(counts.values()) - min(counts.values()) <= 1
    assert all(len(set(item["choices"])) == NUM_CHOICES for item in structured_items)
    assert len({item["prompt"] for item in structured_items}) == 200
    assert max(len(item["prompt"]) for item in structured_items) < 560


def test_structured_items_are_about_companies_that_the_sample_never_emits(
    structured_items: list[dict[str, Any]],
) -> None:
    reserved = {str(company.cik) for company in companies(SEED, 126, True)}
    asked = {item["cluster"] for item in structured_items}
    assert asked <= reserved
    assert len(asked) > 50
    assert not asked & {str(company.cik) for seed in range(4) for company in companies(seed, 300)}


def test_the_number_asked_for_stands_where_the_question_says() -> None:
    for line in (FOLDER / "sec_tables.jsonl").read_text().splitlines():
        item = json.loads(line)
        table, _, question = item["prompt"].partition("\n\n")
        header, *rows = [row.split("\t") for row in table.split("\n")[1:]]
        cells = {f"{row[0]}, {name}:": row[n] for row in rows for n, name in enumerate(header[1:], start=1)}
        assert item["choices"][item["answer"]] == cells[question]
        assert set(item["choices"]) <= {cell for row in rows for cell in row[1:]}


def test_all_items_of_a_10k_are_asked_for_about_as_often() -> None:
    right: Counter[str] = Counter()
    for line in (FOLDER / "sec_items.jsonl").read_text().splitlines():
        item = json.loads(line)
        right[item["choices"][item["answer"]]] += 1
    assert len(right) >= 8
    assert max(right.values()) <= 40
