"""Who works on shards: what is missing, and Slurm's scripts with what they do."""

from __future__ import annotations

import importlib
import os
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domadapt.builtin import executors
from domadapt.builtin.executors import missing_packages, open_executor
from domadapt.builtin.executors.processes import ProcessExecutor
from domadapt.components import Stage
from domadapt.errors import MissingError, StageError
from domadapt.pipeline.sharding import Task, is_done
from domadapt.recipe.schema import CorpusRecipe

HERE = Path(__file__).parent


def recipe(**settings: Any) -> CorpusRecipe:
    return CorpusRecipe.model_validate({"domain": [{"source": "files"}], **settings})


def test_one_process_does_all_unless_workers_are_asked_for() -> None:
    assert open_executor(recipe()) is None
    executor = open_executor(recipe(workers=3))
    assert isinstance(executor, ProcessExecutor)
    assert executor.workers == 3


@pytest.mark.parametrize(("executor", "package"), [("ray", "ray"), ("slurm", "datatrove")])
def test_an_executor_that_is_not_installed_is_told_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, executor: str, package: str
) -> None:
    monkeypatch.setattr(executors, "find_spec", lambda name: None)
    assert missing_packages(recipe()) == []
    assert missing_packages(recipe(executor=executor, slurm={"partition": "cpu"})) == [
        f"corpus executor '{executor}' needs {package}, which is not installed: pip install 'domadapt[{package}]'"
    ]


def test_slurm_wants_a_partition() -> None:
    with pytest.raises(ValueError, match=r"set slurm\.partition"):
        recipe(executor="slurm")


@pytest.fixture
def stage(tmp_path: Path) -> Stage:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    return Stage("corpus.domain", "0" * 16, 1, "test", lambda *_: {}, scratch)


def tasks_of(stage: Stage, number: int, work: Callable[[Path, Path], None]) -> list[Task]:
    folder = stage.scratch / "shards"
    folder.mkdir(exist_ok=True)
    tasks = []
    for shard in range(number):
        (folder / f"{shard:03d}.given").write_text(f"shard {shard}")
        tasks.append(Task(work, folder / f"{shard:03d}.given", folder / f"{shard:03d}"))
    return tasks


@pytest.fixture
def works(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A module with work for shards that other processes can import too."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "shard_works.py").write_text(WORKS)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])]))
    yield importlib.import_module("shard_works")
    del sys.modules["shard_works"]


WORKS = """

def shout(given, out):
    (out / "made").write_text(given.read_text().upper())

def fail(given, out):
    if given.name.startswith("002"):
        raise ValueError("not this one")
    shout(given, out)
"""

SBATCH = '''#!{python}
"""Runs an array job here, one task after the other, as Slurm would."""
import os, re, subprocess, sys
*options, script = sys.argv[1:]
text = open(script).read()
log = open(os.environ["FAKE_SLURM"] + "/calls", "a")
print("sbatch", *options, file=log)
first, last = map(int, re.search(r"--array=(\\d+)-(\\d+)", text).groups())
offset = re.search(r"RUN_OFFSET=(\\d+)", " ".join(options))
if "merge_stats" in text:
    print("Submitted batch job 8"); sys.exit()
for task in range(first, last + 1):
    if str(task) in os.environ.get("FAKE_SLURM_LOSES", "").split():
        continue
    job = {{**os.environ, "SLURM_ARRAY_TASK_ID": str(task), "SLURM_JOB_ID": "7", "SLURM_NODELIST": "here"}}
    if offset:
        job["RUN_OFFSET"] = offset[1]
    done = subprocess.run(["bash", script], env=job, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout, done.stderr, file=log)
print("Submitted batch job 7")
'''
SRUN = '#!/bin/bash\nwhile [[ "$1" == -* ]]; do [[ "$1" == -n ]] && shift; shift; done\nexec "$@"\n'


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Slurm's commands, which do at once and here what they are asked for."""
    pytest.importorskip("datatrove", reason="datatrove is not installed: pip install 'domadapt[datatrove]'")
    folder = tmp_path / "slurm"
    folder.mkdir()
    commands = {
        "sbatch": SBATCH.format(python=sys.executable),
        "srun": SRUN,
        "squeue": "#!/bin/bash\nexit 1\n",
        "scontrol": "#!/bin/bash\necho here\n",
    }
    for name, text in commands.items():
        (folder / name).write_text(text)
        (folder / name).chmod(stat.S_IRWXU)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_SLURM", str(folder))
    monkeypatch.setattr("domadapt.builtin.executors.slurm_jobs.POLL", 0.01)
    return folder


def test_slurm_jobs_do_every_shard_and_only_what_is_missing(slurm: Path, works: Any, stage: Stage) -> None:
    executor = open_executor(recipe(executor="slurm", workers=3, slurm={"partition": "cpu"}))
    assert executor is not None
    tasks = tasks_of(stage, 7, works.shout)
    assert list(executor.run(iter(tasks), stage)) == tasks
    assert [(task.out / "made").read_text() for task in tasks] == [f"SHARD {n}" for n in range(7)]
    assert (slurm / "calls").read_text().count("RUN_OFFSET") == 1
    more = tasks_of(stage, 9, works.shout)
    assert list(executor.run(more, stage)) == more
    assert all(map(is_done, more))
    assert list(executor.run(more, stage)) == more  # nothing is missing: no job
    assert (slurm / "calls").read_text().count("RUN_OFFSET") == 2


def test_the_script_is_datatroves_with_what_the_recipe_says(slurm: Path, works: Any, stage: Stage) -> None:
    asked = {
        "partition": "cpu",
        "time": "2:00:00",
        "memory_gb": 8,
        "setup": ["module load gcc", "ulimit -n 4096"],
        "sbatch": ["--account=lab", "--exclusive"],
    }
    executor = open_executor(recipe(executor="slurm", workers=2, slurm=asked))
    assert executor is not None
    list(executor.run(tasks_of(stage, 5, works.shout), stage))
    script = (stage.scratch / "slurm-0" / "launch_script.slurm").read_text()
    told = script.replace(str(stage.scratch), "SCRATCH").replace(str(Path(sys.executable).parent), "BIN")
    assert told == (HERE / "corpus_job.slurm").read_text()


def test_shards_that_a_job_loses_are_told_and_the_same_command_does_them(
    slurm: Path, works: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = open_executor(recipe(executor="slurm", workers=3, slurm={"partition": "cpu"}))
    assert executor is not None
    tasks = tasks_of(stage, 7, works.shout)
    monkeypatch.setenv("FAKE_SLURM_LOSES", "1")  # its rank: shards 1 and 4
    with pytest.raises(StageError, match=r"Slurm job 7 has ended and 2 of 7 shards are not done; its logs are in"):
        list(executor.run(tasks, stage))
    assert [is_done(task) for task in tasks] == [True, False, True, True, False, True, True]
    monkeypatch.setenv("FAKE_SLURM_LOSES", "")
    # with another number of workers
    other = open_executor(recipe(executor="slurm", workers=1, slurm={"partition": "cpu"}))
    assert other is not None
    assert list(other.run(tasks, stage)) == tasks
    assert all(map(is_done, tasks))


def test_a_shard_that_fails_in_a_job_is_given_back_without_its_folder(slurm: Path, works: Any, stage: Stage) -> None:
    executor = open_executor(recipe(executor="slurm", slurm={"partition": "cpu"}))
    assert executor is not None
    tasks = tasks_of(stage, 4, works.fail)
    assert list(executor.run(tasks, stage)) == tasks
    assert [is_done(task) for task in tasks] == [True, True, False, True]
    assert "not this one" in tasks[2].error.read_text()


def test_without_sbatch_the_script_waits_for_whoever_has_it(
    slurm: Path, works: Any, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = open_executor(recipe(executor="slurm", workers=2, slurm={"partition": "cpu"}))
    assert executor is not None
    (slurm / "sbatch").rename(slurm / "not-here")
    monkeypatch.setenv("PATH", os.pathsep.join([str(slurm), "/usr/bin", "/bin"]))
    tasks = tasks_of(stage, 3, works.shout)
    script = stage.scratch / "slurm-0" / "launch_script.slurm"
    with pytest.raises(MissingError, match="there is no sbatch on this machine; submit") as raised:
        list(executor.run(tasks, stage))
    assert str(script) in str(raised.value)
    submitted = [str(slurm / "not-here"), "--export=ALL,RUN_OFFSET=0", str(script)]
    subprocess.run(submitted, check=True, capture_output=True)
    assert list(executor.run(tasks, stage)) == tasks
    assert all(map(is_done, tasks))
