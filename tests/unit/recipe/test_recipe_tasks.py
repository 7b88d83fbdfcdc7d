"""Tasks of a recipe: names and mappings, groups taken apart, labels, local data, what is refused."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from domadapt.components import Benchmark, Evaluator, Options
from domadapt.errors import RecipeError
from domadapt.pipeline.benchmarks import TaskFile
from domadapt.recipe.check import resolve
from domadapt.recipe.load import load_recipe
from domadapt.recipe.lock import lock_text
from domadapt.recipe.resolved import ResolvedRecipe

HEAD = "version: 1\nextends: starter\ndomain: law\n"


@pytest.fixture
def check(check: Any, registry: Any, tmp_path: Path) -> Any:
    """As in the other tests, with an evaluator that knows tasks and a group, and has a choice of engines."""

    class Knowing(Evaluator):
        """Knows two tasks and a group of them."""

        name = "lm_eval"

        class Config(Options):
            engine: Literal["auto", "fast", "lm_eval"] = "auto"
            """Who computes."""

        @classmethod
        def find_tasks(cls, name: str) -> Sequence[Benchmark]:
            groups = {"bar_exam": ["torts", "contracts"], "torts": ["torts"], "contracts": ["contracts"]}
            return [Benchmark(task, task, tmp_path) for task in groups.get(name, [])]

        @classmethod
        def task_names(cls) -> Sequence[str]:
            return ["bar_exam", "contracts", "torts"]

        def evaluate(self, model: Any, request: Any, out: Path, stage: Any) -> list[Any]:
            return []

    registry._components["evaluator"]["lm_eval"] = Knowing
    for name in ("law.statutes", "mmlu", "torts", "contracts"):
        (tmp_path / f"{name}.yaml").write_text(f"task: {name}\n")
    return check


def labels(resolved: ResolvedRecipe) -> dict[str, list[str]]:
    return {side: [task.label for task in tasks] for side, tasks in resolved.tasks.items()}


def refused(check: Any, text: str, *overrides: str) -> str:
    with pytest.raises(RecipeError) as caught:
        check(text, *overrides)
    return str(caught.value)


def test_an_entry_is_a_name_or_a_mapping_and_one_may_stand_without_a_list(check: Any) -> None:
    text = HEAD + "eval: {domain: {task: law.statutes, limit: 2K}, general: [torts, {task: mmlu, prompt: Hm}]}\n"
    resolved = check(text)
    assert labels(resolved) == {"domain": ["law.statutes"], "general": ["torts", "mmlu"]}
    assert resolved.tasks["domain"][0].entry.limit == 2000
    assert labels(check(HEAD + "eval: {general: torts}\n"))["general"] == ["torts"]


def test_a_group_is_its_tasks(check: Any) -> None:
    resolved = check(HEAD + "eval: {general: [bar_exam, mmlu]}\n")
    assert labels(resolved)["general"] == ["torts", "contracts", "mmlu"]
    assert [task.entry.task for task in resolved.tasks["general"]] == ["bar_exam", "bar_exam", "mmlu"]


def test_one_task_may_stand_beside_itself_with_another_number_of_examples(check: Any) -> None:
    text = HEAD + "eval: {general: [mmlu, {task: mmlu, num_fewshot: 0}, {task: mmlu, num_fewshot: 5}]}\n"
    assert labels(check(text))["general"] == ["mmlu", "mmlu@0", "mmlu@5"]


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        (
            "[mmlu, {task: mmlu, limit: 5}]",
            "eval.general.1.task: 'mmlu' is named twice; remove one, or give one of them",
        ),
        ("[bar_exam, torts]", "eval.general.1: 'torts' is named twice"),
        ("[torts, bar_exam]", "eval.general.1: 'torts' (part of 'bar_exam') is named twice"),
        ("[{task: mmlu, num_fewshot: 5}, {task: mmlu, num_fewshot: 5, prompt: x}]", "'mmlu@5' is named twice"),
        ("[{task: law.statutes, num_fewshot: 3}]", "task 'law.statutes' is listed under eval.domain too"),
        ("[{task: mmlu, num_fewshots: 3}]", "unknown key 'eval.general.0.num_fewshots'; did you mean 'num_fewshot'?"),
        ("[{task: mmlu, apply_chat_template: true}]", "did you mean 'chat_template'?"),
        ("[{limit: 3}]", "missing key 'eval.general.0.task'"),
        ("[{task: mmlu, num_fewshot: -1}]", "eval.general.0.num_fewshot: wanted 0 or more, came -1"),
        ("[{task: mmlu, chat_template: 3}]", "eval.general.0.chat_template: wanted true or false, came 3"),
        ("[3]", "eval.general.0: wanted a mapping (key: value), came 3"),
        ("[tort]", "no task, group or tag of that name; did you mean 'torts'?"),
        ("[{task: bar-exam}]", "did you mean 'bar_exam'?"),
        ("[mmul]", "did you mean 'mmlu'?"),
        ("[files]", "'files' is a source"),
    ],
)
def test_entries_that_cannot_be_meant_are_refused_at_their_places(check: Any, entries: str, said: str) -> None:
    message = refused(check, HEAD + f"eval:\n  general: {entries}\n")
    assert said in message
    assert re.search(r"recipe\.yaml:5:\d+", message)


def test_set_takes_entries_and_changes_one_that_is_a_name_alone(check: Any) -> None:
    resolved = check(HEAD, "eval.general=[{task: mmlu, num_fewshot: 5}, torts]", "eval.general.1.limit=7")
    assert labels(resolved)["general"] == ["mmlu@5", "torts"]
    assert resolved.tasks["general"][1].entry.limit == 7


def test_what_an_entry_says_goes_before_what_is_said_for_all(check: Any) -> None:
    text = HEAD + (
        "eval:\n  limit: 9\n  num_fewshot: 2\n  chat_template: true\n  prompt: All.\n"
        "  general: [torts, {task: mmlu, limit: 3, num_fewshot: 0, chat_template: false, prompt: ''}]\n"
    )
    resolved = check(text)
    one, other = (task.request(resolved.recipe.eval) for task in resolved.tasks["general"])
    assert (one.limit, one.num_fewshot, one.chat_template, one.prompt) == (9, 2, True, "All.")
    assert (other.limit, other.num_fewshot, other.chat_template, other.prompt) == (3, 0, False, "")


def test_a_task_that_takes_no_examples_keeps_to_it_unless_it_is_named(check: Any, tmp_path: Path) -> None:
    text = HEAD + "eval: {num_fewshot: 5, general: [torts, {task: contracts, num_fewshot: 4}, mmlu]}\n"
    for name in ("torts", "contracts"):
        (tmp_path / f"{name}.yaml").write_text(f"task: {name}\nnum_fewshot: 0\n")
    resolved = check(text)
    found = [task.request(resolved.recipe.eval).num_fewshot for task in resolved.tasks["general"]]
    assert found == [None, 4, 5]


def test_local_data_are_the_entrys_own_or_lie_below_the_folder_for_all(check: Any, tmp_path: Path) -> None:
    for folder in ("root/torts", "root/bar_exam", "own"):
        (tmp_path / folder).mkdir(parents=True)
    root = tmp_path / "root"
    text = (
        HEAD + f"eval: {{data_dir: {root}, general: [bar_exam, mmlu, {{task: law.bar, data_dir: {tmp_path}/own}}]}}\n"
    )
    (tmp_path / "law.bar.yaml").write_text("task: law.bar\n")
    text = text.replace("law.bar", "law.statutes") + "\n"
    resolved = check(text, "eval.domain=[]")
    data = [b.data if isinstance(b, TaskFile) else None for b in resolved.benchmarks["general"]]
    assert data == [root / "torts", root / "bar_exam", None, tmp_path / "own"]


def test_the_engine_reaches_the_evaluator_and_a_misspelt_one_is_told_once(check: Any) -> None:
    resolved = check(HEAD + "eval: {engine: lm_eval}\n")
    assert resolved.evaluators["lm_eval"].config.engine == "lm_eval"
    message = refused(check, HEAD + "eval: {engine: lmeval}\n")
    assert message.count("eval.engine: 'lmeval' is not one of auto, fast, lm_eval; did you mean 'lm_eval'?") == 1
    assert "1 problem," in message


def test_a_lock_file_keeps_entries_short_and_resolves_to_the_same_tasks(
    check: Any, registry: Any, tmp_path: Path
) -> None:
    resolved = check(HEAD + "eval: {general: [torts, {task: mmlu, num_fewshot: 5, prompt: 'a: b'}]}\n")
    (tmp_path / "lock.yaml").write_text(lock_text(resolved, {}))
    assert yaml.safe_load((tmp_path / "lock.yaml").read_text())["eval"]["general"] == [
        "torts",
        {"task": "mmlu", "num_fewshot": 5, "prompt": "a: b"},
    ]
    again = resolve(load_recipe(registry, path=tmp_path / "lock.yaml"))
    assert [replace(task.benchmark) for task in again.tasks["general"]] == [
        task.benchmark for task in resolved.tasks["general"]
    ]
    assert labels(again) == labels(resolved)
