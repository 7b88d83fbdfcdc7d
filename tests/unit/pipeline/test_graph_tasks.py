"""Tasks in the graph: each pair of a model and a task is a stage whose key has all that decides the score."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest

from domadapt import components, hookimpl, hookspecs
from domadapt.builtin import PLUGINS
from domadapt.components import Benchmark, DomainPack
from domadapt.errors import MissingError
from domadapt.pipeline.graph import Graph, build_graph
from domadapt.recipe.check import resolve
from domadapt.recipe.load import load_recipe
from domadapt.testing.models import write_tiny_model
from domadapt_registry import Registry

RECIPE = """
version: 1
domain: law
model: {{base: {folder}/base}}
corpus: {{domain: [{{source: files, options: {{path: {folder}/texts}}}}]}}
mix: {{seq_len: 16, replay: 0}}
train: {{batch_tokens: 64, steps: 4}}
merge: {{methods: []}}
eval: {{perplexity: false, probes: false, domain: [{{task: arc_easy, data_dir: {folder}/arc}}]}}
"""

Build = Callable[..., Graph]


class LawPack:
    """A plugin with a domain and a benchmark in two files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @hookimpl
    def adapt_register_domains(self) -> list[DomainPack]:
        return [DomainPack("law", "Law", self.folder)]

    @hookimpl
    def adapt_register_benchmarks(self) -> list[Benchmark]:
        return [Benchmark("orders", "Orders", self.folder)]


@pytest.fixture
def build(tmp_path: Path) -> Build:
    write_tiny_model(tmp_path / "base")
    for name, text in {
        "texts/a.txt": "text",
        "arc/ARC-Easy-Test.jsonl": '{"id": 1}',
        "orders.yaml": "include: common.yaml\ntask: orders\nprocess_docs: !function docs.drop\n",
        "common.yaml": "dataset_path: json\ndataset_kwargs: {data_files: {test: orders.jsonl}}\ntest_split: test\n",
        "docs.py": "from shared import drop\n",
        "shared.py": "def drop(dataset): return dataset\n",
        "orders.jsonl": "{}\n",
    }.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    plugins = [*PLUGINS, ("law", cast(ModuleType, LawPack(tmp_path)))]
    registry = Registry.discover(hookspecs, builtin=plugins, entry_points=(), names=vars(components))

    def build(*overrides: str) -> Graph:
        (tmp_path / "recipe.yaml").write_text(textwrap.dedent(RECIPE.format(folder=tmp_path)))
        return build_graph(resolve(load_recipe(registry, path=tmp_path / "recipe.yaml", overrides=overrides)), registry)

    return build


def evaluations(graph: Graph) -> dict[str, str]:
    return {name: key for name, key in graph.keys.items() if name.startswith("eval.")}


def test_each_model_and_task_is_a_stage_and_a_group_is_its_tasks(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (
        "HF_HUB_OFFLINE",
        "HF_DATASETS_OFFLINE",
    ):  # the group's data are the hub's; nothing is asked of it here
        monkeypatch.delenv(name)
    graph = build("eval.general=[ai2_arc]", "eval.domain=[orders]")
    names = [f"eval.{model}.{task}" for model in ("base", "cpt") for task in ("orders", "arc_challenge", "arc_easy")]
    assert list(evaluations(graph)) == names
    assert graph.tasks == {"orders": "domain", "arc_challenge": "general", "arc_easy": "general"}


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("eval.domain.0.num_fewshot=0", False),
        ("eval.num_fewshot=2", False),
        ("eval.domain.0.limit=3", False),
        ("eval.prompt=Hm", False),
        ("eval.chat_template=true", False),
        ("eval.engine=lm_eval", True),
        ("eval.general=[orders]", True),
    ],
)
def test_a_key_has_all_that_decides_a_score_and_the_engine_does_not(build: Build, override: str, same: bool) -> None:
    before = evaluations(build())
    after = evaluations(build(override))
    assert (before.items() <= after.items()) == same
    assert same or not set(before.values()) & set(after.values())


@pytest.mark.parametrize("name", ["orders.yaml", "common.yaml", "docs.py", "shared.py", "orders.jsonl"])
def test_every_file_of_a_benchmark_counts_in_its_key_alone(build: Build, tmp_path: Path, name: str) -> None:
    before = evaluations(build("eval.general=[orders]"))
    with (tmp_path / name).open("a") as file:
        file.write("\n# changed\n" if name != "orders.jsonl" else "{}\n")
    after = evaluations(build("eval.general=[orders]"))
    assert {task for task in before if before[task] != after[task]} == {"eval.base.orders", "eval.cpt.orders"}


def test_contents_of_local_data_count_and_their_place_and_neighbours_do_not(build: Build, tmp_path: Path) -> None:
    before = evaluations(build())
    (tmp_path / "arc" / "README.md").write_text("About")
    (tmp_path / "arc").rename(tmp_path / "moved")
    moved = f"eval.domain.0.data_dir={tmp_path}/moved"
    assert evaluations(build(moved)) == before
    (tmp_path / "moved" / "ARC-Easy-Test.jsonl").write_text(json.dumps({"id": 2}))
    assert not set(evaluations(build(moved)).values()) & set(before.values())


def test_data_that_are_not_there_are_said_before_anything_runs(build: Build, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"benchmark arc_easy: data_dir .*nowhere is not a folder"):
        build(f"eval.domain.0.data_dir={tmp_path}/nowhere")


def test_all_tasks_that_miss_their_data_are_said_at_once(build: Build, tmp_path: Path) -> None:
    (tmp_path / "mmlu").mkdir()
    for subject in ("anatomy", "virology"):
        (tmp_path / "mmlu" / f"{subject}_test.csv").write_text("Q,a,b,c,d,A\n")
    with pytest.raises(MissingError) as caught:
        build(f"eval.general=[{{task: mmlu, data_dir: {tmp_path}/mmlu}}]")
    lines = str(caught.value).splitlines()
    assert "benchmark mmlu_abstract_algebra: no file of its 'test' split" in lines[0]
    assert lines[5:] == ["and 50 more benchmarks miss their data"]
