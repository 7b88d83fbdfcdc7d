"""The pack's benchmark: reproducible, about companies of its own, with answers evenly spread."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from domadapt_sec.benchmarks import BENCHMARKS
from domadapt_sec.benchmarks.make import NUM_CHOICES, NUM_ITEMS, encoded
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
