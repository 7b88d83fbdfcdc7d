"""The benchmark: reproducible, fair to length and words, apart from the sample corpus, and readable by lm-eval."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from domadapt_medical.benchmarks import BENCHMARKS
from domadapt_medical.benchmarks.make import DATA, MAX_CHARACTERS, make
from domadapt_medical.sample.source import SampleOptions, SampleSource


@pytest.fixture(scope="module")
def items() -> list[dict[str, Any]]:
    return [json.loads(line) for line in DATA.read_text("utf-8").splitlines()]


def test_the_data_are_reproduced_byte_for_byte(tmp_path: Path) -> None:
    assert make(tmp_path / "again.jsonl") == 240
    assert (tmp_path / "again.jsonl").read_bytes() == DATA.read_bytes()


def test_items_have_four_different_choices_and_fit(items: list[dict[str, Any]]) -> None:
    assert len({item["item"] for item in items}) == len(items)
    assert len({item["cluster"] for item in items}) > 100
    for item in items:
        assert len(set(item["choices"])) == 4
        assert 0 <= item["answer"] < 4
        assert max(len(item["context"]) + 1 + len(choice) for choice in item["choices"]) <= MAX_CHARACTERS


def test_neither_position_nor_length_gives_the_answer_away(items: list[dict[str, Any]]) -> None:
    def share(guesses: list[int]) -> float:
        return sum(guess == int(item["answer"]) for guess, item in zip(guesses, items, strict=True)) / len(items)

    lengths = [[len(choice) for choice in item["choices"]] for item in items]
    # chance is 0.25, its standard error 0.028
    for position in range(4):
        assert 0.15 < share([position] * len(items)) < 0.35
    assert all(len(set(row)) == 1 for row in lengths)
    for item in items:
        assert len({tuple(sorted(choice.removesuffix(".").split())) for choice in item["choices"]}) == 1


def test_no_item_is_part_of_the_sample_corpus(items: list[dict[str, Any]]) -> None:
    source = SampleSource(SampleOptions())
    text = "\n".join(row["text"] for batch in source.read(lambda *_: None) for row in batch.to_pylist())
    for item in items:
        assert f"{item['context']} {item['choices'][item['answer']]}" not in text
    shared = sum(item["context"] in text for item in items)
    assert shared <= 0.03 * len(items), "passages without numbers or names may recur by chance, not often"


def test_the_task_file_names_its_data_beside_it() -> None:
    benchmark = BENCHMARKS[0]
    file = benchmark.path / f"{benchmark.name}.yaml"
    task = yaml.safe_load(file.read_text("utf-8"))
    assert task["task"] == benchmark.name
    assert (benchmark.path / task["dataset_kwargs"]["data_files"]["test"]) == DATA
    assert [metric["metric"] for metric in task["metric_list"]] == ["acc", "acc_norm"]
