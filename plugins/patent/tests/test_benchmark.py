"""The benchmark: reproducible, well formed, and not answered by its form."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from domadapt.components import Benchmark
from domadapt_patent.benchmarks import BENCHMARKS
from domadapt_patent.benchmarks.make import FILE, disturbed, encode
from domadapt_patent.sample.source import SampleSource


@pytest.fixture(scope="module")
def items() -> list[dict[str, Any]]:
    return [json.loads(line) for line in FILE.read_text(encoding="utf-8").splitlines()]


def test_the_file_is_reproduced_byte_for_byte() -> None:
    assert encode() == FILE.read_bytes(), "run `python -m domadapt_patent.benchmarks.make` and review the difference"


def test_items_are_complete_and_short(items: list[dict[str, Any]]) -> None:
    assert 200 <= len(items) <= 300
    assert len({item["item"] for item in items}) == len(items)
    assert len({(item["prompt"], item["choices"][item["answer"]]) for item in items}) == len(items)
    for item in items:
        assert set(item) == {"item", "cluster", "prompt", "choices", "answer"}
        assert len(set(item["choices"])) == 4
        assert item["answer"] in range(4)
        assert max(len(item["prompt"]) + len(choice) for choice in item["choices"]) < 560
        assert item["prompt"] == item["prompt"].strip()


def test_the_answer_is_not_given_away_by_its_place(items: list[dict[str, Any]]) -> None:
    places = Counter(item["answer"] for item in items)
    assert max(places.values()) < 0.35 * len(items)


def test_all_choices_of_an_item_have_the_same_words_and_the_same_mark_at_the_end(items: list[dict[str, Any]]) -> None:
    for item in items:
        assert len({len(choice) for choice in item["choices"]}) == 1
        parted = [re.fullmatch(r"(.*?)(; and|[.;,:]?)", choice) for choice in item["choices"]]
        assert len({part and (tuple(sorted(part[1].split())), part[2]) for part in parted}) == 1, item["item"]


def test_half_of_the_items_come_from_claims_and_no_patent_gives_more_than_two(items: list[dict[str, Any]]) -> None:
    kinds = Counter(item["item"].split("-")[0] for item in items)
    assert kinds == {"claim": len(items) // 2, "description": len(items) // 2}
    assert max(Counter(item["cluster"] for item in items).values()) <= 2


def test_a_disturbed_ending_exchanges_two_neighbouring_pairs_and_keeps_its_mark() -> None:
    versions = disturbed("one two three four five six seven; and", random.Random(0))
    assert sorted(versions) == [
        "one two five six three four seven; and",
        "one two three four seven five six; and",
        "three four one two five six seven; and",
    ]


def test_pairs_of_one_form_are_not_exchanged_as_lists_read_as_well_in_another_order() -> None:
    assert disturbed("7 s, 29 s and 51", random.Random(0)) == ["7 s, and 51 29 s"]
    assert disturbed("the lever, the spring", random.Random(0)) == []


def test_no_item_shares_13_words_in_a_row_with_the_sample_corpus(items: list[dict[str, Any]]) -> None:
    def runs(text: str) -> set[str]:
        words = re.findall(r"\w+", text.lower())
        return {" ".join(words[i : i + 13]) for i in range(len(words) - 12)}

    batches = SampleSource().read(lambda reason, where: pytest.fail(reason))
    corpus = set().union(*(runs(text) for batch in batches for text in batch.column("text").to_pylist()))
    for item in items:
        assert corpus.isdisjoint(runs(f"{item['prompt']} {item['choices'][item['answer']]}")), item["item"]


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda benchmark: benchmark.name)
def test_the_task_names_the_file_beside_it(benchmark: Benchmark) -> None:
    task = yaml.safe_load((benchmark.path / f"{benchmark.name}.yaml").read_text(encoding="utf-8"))
    assert task["task"] == benchmark.name
    assert (benchmark.path / task["dataset_kwargs"]["data_files"]["test"]).is_file()
    assert [metric["metric"] for metric in task["metric_list"]] == ["acc", "acc_norm"]


def test_lm_eval_runs_the_tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import warnings

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    (tmp_path / "task").mkdir()
    true: dict[str, set[str]] = {}
    sizes: dict[str, int] = {}
    for benchmark in BENCHMARKS:
        task = yaml.safe_load((benchmark.path / f"{benchmark.name}.yaml").read_text(encoding="utf-8"))
        data = benchmark.path / task["dataset_kwargs"]["data_files"]["test"]
        task["dataset_kwargs"] = {"data_files": {"test": str(data)}, "cache_dir": str(tmp_path / "cache")}
        (tmp_path / "task" / f"{benchmark.name}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")
        lines = [json.loads(line) for line in data.read_text(encoding="utf-8").splitlines()]
        sizes[benchmark.name] = len(lines)
        for item in lines:
            true.setdefault(item["prompt"], set()).add(" " + item["choices"][item["answer"]])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other people's packages
        from lm_eval import simple_evaluate
        from lm_eval.api.model import LM
        from lm_eval.tasks import TaskManager

        class Oracle(LM):  # type: ignore[misc]
            """Prefers the true ending, which it knows from the items."""

            def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
                return [(0.0 if r.args[1] in true[r.args[0]] else -9.0, False) for r in requests]

            def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
                raise NotImplementedError

            def generate_until(self, requests: list[Any]) -> list[str]:
                raise NotImplementedError

        manager = TaskManager(include_path=[str(tmp_path / "task")], include_defaults=False)
        results = simple_evaluate(model=Oracle(), tasks=list(sizes), task_manager=manager, bootstrap_iters=0)
    for name, size in sizes.items():
        assert results["results"][name]["acc,none"] == 1.0
        assert results["n-samples"][name]["effective"] == size
