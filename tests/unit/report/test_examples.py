"""Answers side by side, and items that changed between models."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from domadapt.errors import DataError
from domadapt.report.build import report_data
from domadapt.report.examples import ALL_CHANGED, MAX_GIVEN, clipped
from domadapt.report.page import render_page


def card_file(results: Any, label: str, task: str, name: str) -> Path:
    model = next(m for m in results.models if m.label == label)
    return Path(model.scorecards[task].path / name)


def test_changed_items_are_those_of_the_samples(make_run: Any) -> None:
    results = make_run(2)
    data = report_data(results)
    chosen = data["verdict"]["chosen_merge"]
    task = next(t for t in data["changed_items"] if t["task"] == "mmlu")
    rights: dict[str, list[bool]] = {}
    for label in ("instruct", "cpt", chosen):
        model = next(m for m in results.models if m.label == label)
        rights[label] = [v == 1 for v in model.scorecards["mmlu"].samples("acc")["value"].to_pylist()]
    for count in task["counts"]:
        pairs = list(zip(rights["instruct"], rights[count["model"]], strict=True))
        assert (count["lost"], count["gained"]) == (pairs.count((True, False)), pairs.count((False, True)))
    assert [c["model"] for c in task["counts"]] == ["cpt", chosen]
    for item in task["items"]:
        number = int(item["item"].removeprefix("mmlu-"))
        assert {o["model"]: o["right"] for o in item["outcomes"]} == {m: own[number] for m, own in rights.items()}
        assert item["wanted"] == f"statement {number % 4}"
        assert len({o["right"] for o in item["outcomes"]}) == 2
        for outcome in item["outcomes"]:
            assert (outcome["given"] == item["wanted"]) == outcome["right"]


def test_examples_are_few_whatever_the_number_of_tasks(sweep_data: Mapping[str, Any]) -> None:
    tasks = sweep_data["changed_items"]
    assert len(tasks) > 8
    assert sum(len(task["items"]) for task in tasks) <= ALL_CHANGED


def test_without_texts_the_items_are_still_named(make_run: Any) -> None:
    results = make_run(1)
    for model in results.models:
        (model.scorecards["mmlu"].path / "items.jsonl").unlink()
    data = report_data(results)
    task = next(t for t in data["changed_items"] if t["task"] == "mmlu")
    assert task["items"]
    assert {item["prompt"] for item in task["items"]} == {""}
    assert task["items"][0]["item"] in render_page(data)


def test_answers_of_each_stage_stand_beside_each_other(default_data: Mapping[str, Any]) -> None:
    (task,) = default_data["answers"]
    assert task["task"] == "probes"
    assert len(task["prompts"]) == 8
    chosen = default_data["verdict"]["chosen_merge"]
    for prompt in task["prompts"]:
        models = [answer["model"] for answer in prompt["answers"]]
        assert models == ["base", "instruct", "control.domain_prompt", "cpt", chosen]
        assert [answer["ended"] for answer in prompt["answers"]] == [False, True, True, True, True]
        assert all(f"As {answer['model']}," in answer["answer"] for answer in prompt["answers"])
    html = render_page(default_data)
    assert html.count("<small>cut off</small>") == 8
    assert html.count('<details class="prompt" open>') == 3


def test_many_prompts_are_thinned_evenly(make_run: Any) -> None:
    results = make_run(0)
    for model in results.models:
        lines = [{"item": f"p{i}", "prompt": f"prompt {i}", "answer": "yes", "ended": True} for i in range(100)]
        file = card_file(results, model.label, "probes", "answers.jsonl")
        file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (task,) = report_data(results)["answers"]
    assert [p["item"] for p in task["prompts"]] == [f"p{i}" for i in range(0, 100, 9)]


@pytest.mark.parametrize(("name", "task"), [("answers.jsonl", "probes"), ("items.jsonl", "mmlu")])
def test_a_damaged_line_is_named(make_run: Any, name: str, task: str) -> None:
    results = make_run(0)
    file = card_file(results, "cpt", task, name)
    file.write_text('{"item": "mm', encoding="utf-8")
    with pytest.raises(DataError, match=rf"{name}:1: a JSON object with item.* was wanted"):
        report_data(results)


def test_long_texts_keep_both_ends() -> None:
    text = "".join(f"{i:04d} " for i in range(200))
    short = clipped(text, MAX_GIVEN)
    assert len(short) <= MAX_GIVEN
    assert short.startswith("0000 0001")
    assert short.endswith("0199")
    assert clipped(None, 10) == ""
    assert clipped(["a", 1], 20) == '["a", 1]'
