"""Benchmarks through lm-eval: local data, functions beside the YAML, items and clusters kept."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from domadapt.artifacts import Checkpoint, ScoreRow
from domadapt.builtin.evaluating.lm_eval_tasks import LmEval, write_override
from domadapt.builtin.evaluating.models import loaded
from domadapt.components import Benchmark, EvalRequest, Stage
from domadapt.errors import DataError, StageError
from domadapt.pipeline.benchmarks import benchmark_files

MakeStage = Callable[..., Stage]

ITEMS = [
    {"question": f"Is {n} even?", "options": ["yes", "no"], "gold": n % 2, "item": f"q{n}", "cluster": f"p{n // 2}"}
    for n in range(8)
]
TASK = """
    task: evenness
    dataset_path: json
    dataset_kwargs: {data_files: {test: data/items.jsonl}}
    output_type: multiple_choice
    test_split: test
    process_docs: !function docs.keep_odd_questions
    doc_to_text: "{{question}} "
    doc_to_choice: "{{options}}"
    doc_to_target: gold
    metric_list:
      - {metric: acc, aggregation: mean, higher_is_better: true}
    metadata: {version: 2.0}
"""
DOCS = """
    def keep_odd_questions(dataset):
        return dataset
"""


def benchmark(folder: Path, items: list[dict[str, Any]] = ITEMS, task: str = TASK, docs: str = DOCS) -> Benchmark:
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (folder / "evenness.yaml").write_text(textwrap.dedent(task))
    (folder / "docs.py").write_text(textwrap.dedent(docs))
    return Benchmark("evenness", "Even or odd", folder)


@pytest.fixture(autouse=True)
def own_datasets_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "datasets")


def evaluate(
    model: Checkpoint, bench: Benchmark | None, out: Path, stage: Stage, **changes: Any
) -> tuple[list[ScoreRow], dict[str, list[Any]]]:
    request = replace(EvalRequest("evenness", "domain", bench, None, None, 256), **changes)
    out.mkdir(exist_ok=True)
    rows = LmEval().evaluate(model, request, out, stage)
    return rows, pq.read_table(out / "samples.parquet").to_pydict()


def right(checkpoint: Checkpoint, item: dict[str, Any]) -> bool:
    """Whether the model finds the right option likelier, computed with transformers alone."""
    import torch

    network, tokenizer = loaded(checkpoint)
    nats = []
    for option in item["options"]:
        # lm-eval moves the space at the end of the question to the answer
        prompt = tokenizer(item["question"]).input_ids
        answer = tokenizer(f" {option}").input_ids
        ids = torch.tensor([[*prompt, *answer]])
        with torch.no_grad():
            logits = network(ids).logits[0, len(prompt) - 1 : -1].float()
        nats.append(torch.nn.functional.cross_entropy(logits, torch.tensor(answer), reduction="sum").item())
    return nats.index(min(nats)) == item["gold"]


def test_scores_and_samples_are_those_of_the_model_item_by_item(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    rows, samples = evaluate(tiny_model, benchmark(tmp_path / "b"), tmp_path / "out", make_stage("eval"))
    wanted = [right(tiny_model, item) for item in ITEMS]
    assert samples["value"] == [float(value) for value in wanted]
    assert samples["item"] == [item["item"] for item in ITEMS]
    assert samples["cluster"] == [item["cluster"] for item in ITEMS]
    assert samples["weight"] == [1.0] * 8
    assert set(samples["metric"]) == {"acc"}
    (row,) = rows
    assert (row.task, row.metric, row.side, row.n, row.higher_is_better) == ("evenness", "acc", "domain", 8, True)
    assert row.value == pytest.approx(sum(wanted) / 8)
    assert "evenness version 2.0, zero-shot" in row.protocol


def test_functions_beside_the_yaml_are_found_and_run(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    docs = """
        def keep_odd_questions(dataset):
            return dataset.filter(lambda row: row["gold"] == 1)
    """
    bench = benchmark(tmp_path / "b", docs=docs)
    _, samples = evaluate(tiny_model, bench, tmp_path / "out", make_stage("eval"))
    assert samples["item"] == ["q1", "q3", "q5", "q7"]


def test_a_limit_takes_the_first_items(tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage) -> None:
    bench = benchmark(tmp_path / "b")
    _, samples = evaluate(tiny_model, bench, tmp_path / "out", make_stage("eval"), limit=3)
    assert samples["item"] == ["q0", "q1", "q2"]


def test_items_without_names_go_by_their_number_and_are_clusters_of_their_own(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    bare = [{k: v for k, v in item.items() if k not in ("item", "cluster")} for item in ITEMS]
    _, samples = evaluate(tiny_model, benchmark(tmp_path / "b", bare), tmp_path / "out", make_stage("eval"))
    assert samples["item"] == samples["cluster"] == [str(i) for i in range(8)]


def test_changed_data_under_the_same_name_is_read_anew(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    bench = benchmark(tmp_path / "b")
    evaluate(tiny_model, bench, tmp_path / "out", make_stage("eval"))
    (bench.path / "data" / "items.jsonl").write_text("".join(json.dumps(item) + "\n" for item in ITEMS[:4]))
    rows, _ = evaluate(tiny_model, bench, tmp_path / "out", make_stage("eval"))
    assert rows[0].n == 4


def test_the_batch_changes_no_answer(tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage) -> None:
    bench = benchmark(tmp_path / "b")
    found = [
        evaluate(tiny_model, bench, tmp_path / f"out-{n}", make_stage("eval"), batch_tokens=n)[1] for n in (1, 4096)
    ]
    assert found[0] == found[1]


def test_nothing_of_lm_eval_reaches_the_terminal(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage, capfd: pytest.CaptureFixture[str]
) -> None:
    loaded(tiny_model)
    capfd.readouterr()
    evaluate(tiny_model, benchmark(tmp_path / "b"), tmp_path / "out", make_stage("eval"))
    shown = capfd.readouterr()
    assert (shown.out, shown.err) == ("", "")


def test_the_override_names_absolute_data_and_runs_no_code_of_the_yaml(tmp_path: Path) -> None:
    bench = benchmark(tmp_path / "b", docs="raise SystemExit('run while it was only read')")
    assert write_override(bench, tmp_path) == "evenness"
    override = yaml.safe_load((tmp_path / "evenness.yaml").read_text())
    assert override["include"] == str(bench.path / "evenness.yaml")
    assert override["dataset_kwargs"]["data_files"] == {"test": str(bench.path / "data" / "items.jsonl")}


@pytest.mark.parametrize("given", ["data/items.jsonl", "[data/items.jsonl]", "{test: [data/items.jsonl]}"])
def test_data_files_that_are_not_one_a_split_are_refused(tmp_path: Path, given: str) -> None:
    bench = benchmark(tmp_path / "b", task=TASK.replace("{test: data/items.jsonl}", given))
    with pytest.raises(DataError, match=r"benchmark evenness: .*data_files .* must give one file a split"):
        write_override(bench, tmp_path)


def test_the_files_of_a_benchmark_are_its_yaml_its_data_and_what_the_yaml_names(tmp_path: Path) -> None:
    bench = benchmark(tmp_path / "b", task=textwrap.dedent(TASK) + "include: common.yaml\n")
    (bench.path / "common.yaml").write_text("output_type: multiple_choice")
    (bench.path / "unrelated.py").write_text("")
    names = sorted(file.name for file in benchmark_files(bench))
    assert names == ["common.yaml", "docs.py", "evenness.yaml", "items.jsonl"]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda folder: (folder / "data" / "items.jsonl").unlink(), r"data file .*items\.jsonl is missing"),
        (lambda folder: (folder / "evenness.yaml").unlink(), r"evenness\.yaml cannot be read"),
        (lambda folder: (folder / "evenness.yaml").write_text("a: [b"), r"evenness\.yaml cannot be read"),
        (lambda folder: (folder / "evenness.yaml").write_text("just words"), r"evenness\.yaml"),
        (lambda folder: (folder / "evenness.yaml").write_text("dataset_path: json"), r"evenness\.yaml"),
    ],
    ids=["no data", "no yaml", "no YAML at all", "no mapping", "no task name"],
)
def test_a_benchmark_with_something_missing_is_said_in_one_sentence(
    tmp_path: Path, damage: Callable[[Path], object], said: str
) -> None:
    bench = benchmark(tmp_path / "b")
    damage(bench.path)
    with pytest.raises(DataError, match=f"benchmark evenness: .*{said}"):
        write_override(bench, tmp_path)


def test_a_request_without_benchmark_and_one_without_item_scores_are_refused(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    with pytest.raises(StageError, match="no benchmark to run"):
        evaluate(tiny_model, None, tmp_path / "out", make_stage("eval"))
    corpus_level = TASK.replace("metric: acc, aggregation: mean", "metric: mcc, aggregation: matthews_corrcoef")
    with pytest.raises(StageError, match="no metric that is a mean over its items"):
        evaluate(tiny_model, benchmark(tmp_path / "b", task=corpus_level), tmp_path / "out", make_stage("eval"))
