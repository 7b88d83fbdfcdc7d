"""Benchmarks through lm-eval: local data, functions beside the YAML, items and clusters kept."""

from __future__ import annotations

import copy
import json
import shutil
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from domadapt.artifacts import Checkpoint, ScoreRow
from domadapt.builtin.evaluating.lm_eval_tasks import LmEval, LmEvalOptions
from domadapt.builtin.evaluating.models import loaded
from domadapt.builtin.evaluating.task_override import write_override
from domadapt.components import Benchmark, EvalRequest, LiveModel, Stage
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
    model: Checkpoint | LiveModel, bench: Benchmark | None, out: Path, stage: Stage, **changes: Any
) -> tuple[list[ScoreRow], dict[str, list[Any]]]:
    engine = changes.pop("engine", "auto")
    request = replace(EvalRequest("evenness", "domain", bench, None, None, 256), **changes)
    out.mkdir(exist_ok=True)
    rows = LmEval(LmEvalOptions(engine=engine)).evaluate(model, request, out, stage)
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
    assert write_override(bench, tmp_path).task == "evenness"
    override = yaml.safe_load((tmp_path / "task.yaml").read_text())
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


def items_of(out: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (out / "items.jsonl").read_text().splitlines()]


def test_both_engines_and_a_live_model_give_the_same_answers(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    bench = benchmark(tmp_path / "b")
    found = [
        evaluate(tiny_model, bench, tmp_path / engine, make_stage("eval"), engine=engine)
        for engine in ("fast", "lm_eval")
    ]
    live = LiveModel(*loaded(tiny_model))
    found.append(evaluate(live, bench, tmp_path / "live", make_stage("eval")))
    assert found[0] == found[1] == found[2]
    assert items_of(tmp_path / "fast") == items_of(tmp_path / "lm_eval") == items_of(tmp_path / "live")


def test_each_item_tells_what_was_asked_wanted_and_given(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    _, samples = evaluate(tiny_model, benchmark(tmp_path / "b"), tmp_path / "out", make_stage("eval"))
    told = items_of(tmp_path / "out")
    assert [line["item"] for line in told] == samples["item"]
    assert [line["prompt"].strip() for line in told] == [item["question"] for item in ITEMS]
    assert [line["wanted"] for line in told] == [item["options"][item["gold"]] for item in ITEMS]
    assert [float(line["given"] == line["wanted"]) for line in told] == samples["value"]


def test_long_texts_of_items_are_cut_the_prompt_at_its_beginning(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    long = [{**item, "question": "x" * 900 + item["question"]} for item in ITEMS[:1]]
    evaluate(tiny_model, benchmark(tmp_path / "b", long), tmp_path / "out", make_stage("eval"))
    (line,) = items_of(tmp_path / "out")
    assert len(line["prompt"]) == 600
    assert line["prompt"].strip().endswith("Is 0 even?")


SHOTS = TASK.replace(
    "test_split: test", "test_split: test\n    fewshot_split: dev\n    fewshot_config: {sampler: first_n}"
).replace("items.jsonl}", "items.jsonl, dev: data/dev.jsonl}")


def with_examples(folder: Path, task: str = SHOTS) -> Benchmark:
    bench = benchmark(folder, task=task)
    rows = [{**item, "question": f"Was {item['item']} even?"} for item in ITEMS]
    (folder / "data" / "dev.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return bench


@pytest.mark.parametrize("own", ["", "num_fewshot: 0", "num_fewshot: 3"])
def test_solved_examples_stand_before_each_item_whatever_the_task_says_itself(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage, own: str
) -> None:
    bench = with_examples(tmp_path / "b", textwrap.dedent(SHOTS) + own)
    rows, _ = evaluate(tiny_model, bench, tmp_path / "out", make_stage("eval"), num_fewshot=2)
    assert items_of(tmp_path / "out")[1]["prompt"].strip() == "Was q0 even?  yes\n\nWas q1 even?  no\n\nIs 1 even?"
    assert ", 2-shot" in rows[0].protocol
    rows, _ = evaluate(tiny_model, bench, tmp_path / "own", make_stage("eval"))
    assert (", 3-shot" if "3" in own else ", zero-shot") in rows[0].protocol


def test_a_prompt_stands_before_the_items_and_their_examples(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    bench = with_examples(tmp_path / "b")
    asked: dict[str, Any] = {"num_fewshot": 1, "prompt": "Think of numbers."}
    rows, _ = evaluate(tiny_model, bench, tmp_path / "out", make_stage("eval"), **asked)
    assert items_of(tmp_path / "out")[0]["prompt"].startswith("Think of numbers.\n\nWas q0 even?")
    assert "with a prompt" in rows[0].protocol


TEMPLATE = (
    "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<me>{% endif %}"
)


def test_items_go_through_the_models_own_chat_template(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    network, tokenizer = loaded(tiny_model)
    talking = copy.deepcopy(tokenizer)
    talking.chat_template = TEMPLATE
    asked: dict[str, Any] = {"num_fewshot": 1, "prompt": "Be brief.", "chat_template": True}
    bench = with_examples(tmp_path / "b")
    rows, _ = evaluate(LiveModel(network, talking), bench, tmp_path / "out", make_stage("eval"), **asked)
    prompt = items_of(tmp_path / "out")[0]["prompt"]
    assert prompt == "<system>Be brief.<user>Was q0 even? <assistant>yes<user>Is 0 even? <me>"
    assert "chat template" in rows[0].protocol


def test_a_model_without_a_chat_template_is_refused_in_one_sentence(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    silent = Checkpoint(shutil.copytree(tiny_model.path, tmp_path / "silent"))
    config = json.loads((silent.path / "tokenizer_config.json").read_text())
    config.pop("chat_template", None)
    (silent.path / "tokenizer_config.json").write_text(json.dumps(config))
    (silent.path / "chat_template.jinja").unlink(missing_ok=True)
    bench = benchmark(tmp_path / "b")
    with pytest.raises(DataError, match=r"silent has no chat template, which eval\.chat_template asks for; set it to"):
        evaluate(silent, bench, tmp_path / "out", make_stage("eval"), chat_template=True)


GENERATED = """
    task: evenness
    dataset_path: json
    dataset_kwargs: {data_files: {test: data/items.jsonl}}
    output_type: generate_until
    test_split: test
    doc_to_text: "{{question}}"
    doc_to_target: "{{options[gold]}}"
    generation_kwargs: {until: ["?"], do_sample: false, max_gen_toks: 8}
    metric_list:
      - {metric: exact_match, aggregation: mean, higher_is_better: true}
    filter_list:
      - {name: whole, filter: [{function: take_first}]}
      - name: anything
        filter:
          - {function: regex, regex_pattern: "(nothing like it)", fallback: "yes"}
          - {function: take_first}
"""


def test_filters_are_scored_apart_and_metrics_carry_their_names(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    bench = benchmark(tmp_path / "b", task=GENERATED)
    rows, samples = evaluate(tiny_model, bench, tmp_path / "out", make_stage("eval"))
    assert [row.metric for row in rows] == ["exact_match,whole", "exact_match,anything"]
    assert [row.n for row in rows] == [8, 8]
    # the second filter answers "yes" to everything, which is right for the even half
    assert [row.value for row in rows] == [0.0, 0.5]
    assert samples["metric"] == ["exact_match,whole"] * 8 + ["exact_match,anything"] * 8
    assert samples["value"][8:] == [1.0, 0.0] * 4
    told = items_of(tmp_path / "out")
    assert len(told) == 8
    assert told[0]["wanted"] == "yes"
    assert told[0]["given"] != "yes"


def test_a_model_of_few_positions_keeps_half_of_them_for_the_question(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    bench = benchmark(tmp_path / "b", ITEMS[:2], task=GENERATED.replace("max_gen_toks: 8", "max_gen_toks: 100"))
    rows, _ = evaluate(tiny_model, bench, tmp_path / "out", make_stage("eval"))
    assert "answers of at most 32 tokens" in rows[0].protocol


def test_the_fast_engine_refuses_what_it_cannot_score(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    bench = benchmark(tmp_path / "b", task=GENERATED)
    said = r"eval\.engine is fast, which scores .*; this task is generate_until; set eval\.engine: auto"
    with pytest.raises(StageError, match=said):
        evaluate(tiny_model, bench, tmp_path / "out", make_stage("eval"), engine="fast")


def test_names_of_items_that_do_not_tell_them_apart_give_way_to_numbers(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    alike = [{**item, "item": "the same"} for item in ITEMS]
    _, samples = evaluate(tiny_model, benchmark(tmp_path / "b", alike), tmp_path / "out", make_stage("eval"))
    assert samples["item"] == [str(number) for number in range(8)]


def test_choices_that_stand_in_the_prompt_are_told_as_such(
    tmp_path: Path, tiny_model: Checkpoint, make_stage: MakeStage
) -> None:
    rows = [{"starts": ["Odd numbers", "Even numbers"], "end": f"divide by {n}.", "gold": n % 2} for n in range(4)]
    task = (
        TASK.replace('"{{question}} "', "gold")
        .replace('"{{options}}"', "starts")
        .replace("gold\n    metric", "end\n    metric")
    )
    task = task.replace("doc_to_target: gold", "doc_to_target: end")
    _, samples = evaluate(tiny_model, benchmark(tmp_path / "b", rows, task), tmp_path / "out", make_stage("eval"))
    told = items_of(tmp_path / "out")
    assert [line["wanted"] for line in told] == [row["starts"][row["gold"]] for row in rows]
    assert [float(line["wanted"] == line["given"]) for line in told] == samples["value"]
    assert [line["prompt"] for line in told] == [f"… {row['end']}" for row in rows]
