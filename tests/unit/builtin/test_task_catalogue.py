"""lm-eval's own tasks by name: as its index has them, without building it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, cast

import pytest
import yaml

from domadapt.builtin.evaluating.catalogue import catalogue, read_catalogue, scan
from domadapt.errors import DataError
from domadapt.pipeline.benchmarks import Function, code_files, read_task


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of tasks with everything that makes names hard."""
    tasks = {
        "one/plain.yaml": {"task": "first", "tag": ["odd", "small"]},
        "one/template": {"output_type": "multiple_choice", "tag": "small", "num_fewshot": 4},
        "one/second_file.yaml": {"include": "template", "task": "second", "num_fewshot": 2},
        "one/_base.yaml": {"output_type": "generate_until"},
        "two/zz_again.yaml": {"task": "first", "tag": "never"},
        "two/group.yaml": {
            "group": "all",
            "num_fewshot": 7,
            "task": [
                "first",
                {"task": "second", "doc_to_text": "Q"},
                {"group": "inner", "task": ["small"], "num_fewshot": 1},
                {"group": "named", "num_fewshot": 3},
            ],
        },
        "two/named.yaml": {"group": "named", "task": ["third"], "metadata": {"version": 1}},
        "two/third.yaml": {"task": "third", "class": "!function x.Y"},
        "two/round.yaml": {"group": "round", "task": ["round"]},
        "two/lost.yaml": {"group": "lost", "task": ["nowhere"]},
        "__pycache__/ghost.yaml": {"task": "ghost"},
    }
    folder = tmp_path / "tasks"
    for name, task in tasks.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(yaml.safe_dump(task))
    (folder / "two" / "broken.yaml").write_text("a: [b")
    return folder


def test_names_are_those_in_the_files_and_the_first_file_of_a_name_counts(folder: Path) -> None:
    found = scan(folder, "1")
    assert dict(found.tasks) == {"first": "one/plain.yaml", "second": "one/second_file.yaml", "third": "two/third.yaml"}
    assert set(found.groups) == {"all", "named", "round", "lost"}
    assert {tag: list(names) for tag, names in found.tags.items()} == {"odd": ["first"], "small": ["first", "second"]}


def test_a_group_is_its_tasks_each_once_with_what_the_group_changes(folder: Path) -> None:
    tasks = scan(folder, "1").find("all")
    assert [task.name for task in tasks] == ["first", "second", "third"]
    assert [task.changes for task in tasks] == [
        {"num_fewshot": 7},
        {"num_fewshot": 7, "doc_to_text": "Q"},
        {"num_fewshot": 3},
    ]
    assert read_task(tasks[1]) | {"task": "second"} == {
        "task": "second",
        "output_type": "multiple_choice",
        "tag": "small",
        "num_fewshot": 7,
        "doc_to_text": "Q",
    }


def test_a_tag_is_its_tasks_by_name_and_an_unknown_name_is_nothing(folder: Path) -> None:
    assert [task.name for task in scan(folder, "1").find("small")] == ["first", "second"]
    assert scan(folder, "1").find("ghost") == []


def test_groups_that_lead_nowhere_are_said(folder: Path) -> None:
    with pytest.raises(DataError, match="group round contains itself"):
        scan(folder, "1").find("round")
    with pytest.raises(DataError, match="group lost has a member without a task file of its own: nowhere"):
        scan(folder, "1").find("lost")


def test_a_catalogue_is_read_once_and_again_when_it_is_damaged_or_of_another_folder(
    folder: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    first = read_catalogue(folder, "1", cache)
    (file,) = cache.iterdir()
    kept = json.loads(file.read_text())
    file.write_text(json.dumps({**kept, "tasks": {"kept": "kept.yaml"}}))
    assert read_catalogue(folder, "1", cache).names() != first.names()
    for damaged in ("", "[]", json.dumps({**kept, "state": "elsewhere"}), json.dumps({"state": kept["state"]})):
        file.write_text(damaged)
        assert read_catalogue(folder, "1", cache) == first


def test_a_catalogue_without_a_cache_to_write_to_is_read_all_the_same(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    assert read_catalogue(folder, "1", tmp_path / "file" / "cache").find("first")


def test_the_installed_tasks_are_found_with_all_that_they_include() -> None:
    known = catalogue()
    (arc,) = known.find("arc_easy")
    assert (arc.file or Path()).name == "arc_easy.yaml"
    (harder,) = known.find("arc_challenge")
    assert [file.name for file in code_files(harder)] == ["arc_challenge.yaml", "arc_easy.yaml"]
    assert read_task(harder)["dataset_name"] == "ARC-Challenge"
    assert read_task(harder)["output_type"] == "multiple_choice"
    (medqa,) = known.find("medqa_4options")
    assert [file.name for file in code_files(medqa)] == ["medqa.yaml", "preprocess_medqa.py"]
    mmlu = known.find("mmlu")
    assert len(mmlu) == 57
    assert {task.name for task in known.find("mmlu_stem")} < {task.name for task in mmlu}
    assert [task.name for task in known.find("ai2_arc")] == ["arc_challenge", "arc_easy"]
    assert arc.version.startswith("lm_eval ")


def test_a_catalogue_in_the_cache_is_read_without_lm_eval_and_in_no_time(tmp_path: Path) -> None:
    code = (
        "import sys, time\n"
        "from domadapt.builtin.evaluating.catalogue import catalogue\n"
        "began = time.perf_counter(); found = catalogue().find('mmlu')\n"
        "print(len(found), time.perf_counter() - began, [m for m in ('lm_eval', 'torch', 'datasets', 'numpy') "
        "if m in sys.modules])"
    )
    catalogue()
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert shown[0] == "57"
    assert float(shown[1]) < 1
    assert shown[2:] == ["[]"]


@pytest.mark.slow
def test_the_catalogue_has_the_names_of_lm_evals_own_index() -> None:
    from lm_eval.tasks import TaskManager

    theirs, ours = TaskManager(), catalogue()
    assert set(ours.groups) == set(theirs.all_groups)
    assert set(ours.tasks) == set(theirs.all_subtasks)
    own_tags = set(ours.tags) - set(ours.tasks) - set(ours.groups)
    assert own_tags == set(theirs.all_tags)
    for name, entry in theirs.task_index.items():
        if name in own_tags:
            assert set(ours.tags[name]) == entry.tags
        elif name in ours.tasks:
            assert Path(ours.folder) / ours.tasks[name] == entry.yaml_path
    broken = {"flan_held_in", "t0_eval"}  # lm-eval 0.4.13 cannot load them either
    for name in {*ours.groups, *ours.tags} - broken:
        assert ours.find(name), name
    for name in broken:
        with pytest.raises(DataError, match="without a task file of its own"):
            ours.find(name)


class _Loaded:
    """Stands for lm-eval's task: its settings, without its data."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.settings, self.task_name = config, config["task"]


@pytest.mark.slow
def test_groups_have_the_tasks_and_settings_that_lm_eval_gives_them(monkeypatch: pytest.MonkeyPatch) -> None:
    from lm_eval.api.task import Task
    from lm_eval.tasks import TaskManager, _factory

    Task.register(_Loaded)
    monkeypatch.setattr(_factory, "ConfigurableTask", _Loaded)
    manager = TaskManager()
    for name in ("mmlu", "pythia", "multimedqa", "mmlu_continuation", "lm_syneval", "mmlusr"):
        loaded = manager.load([name])["tasks"]
        found = {task.name: task for task in catalogue().find(name)}
        assert set(found) == set(loaded), name
        for task, theirs in loaded.items():
            ours = {k: v for k, v in read_task(found[task]).items() if isinstance(v, str | int | float)}
            ours = {k: v for k, v in ours.items() if not isinstance(v, Function) and k not in ("tag", "group")}
            assert {k: cast(Any, theirs).settings.get(k) for k in ours} == ours, task
