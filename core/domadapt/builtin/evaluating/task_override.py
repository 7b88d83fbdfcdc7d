"""The YAML that lm-eval is given for a benchmark: it includes the benchmark's own and says what is different here.

lm-eval sees the folder of this one file, so its index of 14 thousand files is never built.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domadapt.builtin.evaluating.local_data import LOAD, data_override
from domadapt.components import Benchmark
from domadapt.pipeline.benchmarks import TaskFile, data_files, read_task, task_file


@dataclass(frozen=True)
class Override:
    """What was written. task: its name.  output_type: as in the YAML, "" where code of its own decides.

    local: whether its data lie on this machine.  note: what is not as the task says, for the protocol.
    """

    task: str
    output_type: str
    local: bool
    note: str


class _Function(str):
    __slots__ = ()


def _dump(task: dict[str, Any]) -> str:
    import yaml

    class Dumper(yaml.SafeDumper):
        """Not yaml's own, which would have the representer too."""

    Dumper.add_representer(_Function, lambda dumper, name: dumper.represent_scalar("!function", str(name)))
    return yaml.dump(task, Dumper=Dumper, sort_keys=False, allow_unicode=True)


def write_override(benchmark: Benchmark, folder: Path, num_fewshot: int | None = None) -> Override:
    """Write a YAML into `folder` that is the benchmark's with its data and the number of solved examples.

    num_fewshot: None for the benchmark's own. Raises DataError when the YAML or a data file is missing or unfit.
    """
    task = read_task(benchmark)
    changes = benchmark.changes if isinstance(benchmark, TaskFile) else {}
    # a tag or group of that name is not wanted here, and would hide the task
    override: dict[str, Any] = {
        "include": str(task_file(benchmark).resolve()),
        **changes,
        "task": task["task"],
        "tag": None,
    }
    if num_fewshot is not None:
        override["num_fewshot"] = num_fewshot
    shots = num_fewshot if num_fewshot is not None else int(task.get("num_fewshot") or 0)
    data = benchmark.data if isinstance(benchmark, TaskFile) else None
    note, local = "", True
    if data is not None:
        changed, note = data_override(task, data.resolve(), benchmark.name, shots)
        override |= changed
        if "custom_dataset" not in task:
            override["custom_dataset"] = _Function(LOAD)
    elif files := data_files(benchmark):
        override["dataset_kwargs"] = {**task["dataset_kwargs"], "data_files": files}
    else:
        local = "custom_dataset" in task
    text = _dump(override)
    for old in folder.glob("*.yaml"):  # of an earlier attempt with another benchmark
        old.unlink()
    (folder / "task.yaml").write_text(text, encoding="utf-8")
    output_type = "" if "class" in task else str(task.get("output_type", "generate_until"))
    return Override(str(task["task"]), output_type, local, note)
