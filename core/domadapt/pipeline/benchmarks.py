"""The files of a benchmark: its YAML and the data the YAML names, relative to itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

from domadapt.components import Benchmark
from domadapt.errors import DataError

_FUNCTION = re.compile(r"!function\s+([\w.]+)\.\w+")


class _AnyTag(yaml.SafeLoader):
    """Reads a task YAML without running its `!function` tags."""


_AnyTag.add_multi_constructor("!", lambda loader, suffix, node: None)


def read_task(benchmark: Benchmark) -> dict[str, Any]:
    """The task as its YAML says. Raises DataError when it cannot be read."""
    file = benchmark.path / f"{benchmark.name}.yaml"
    try:
        task = yaml.load(file.read_text(encoding="utf-8"), _AnyTag)  # noqa: S506 - a SafeLoader
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"benchmark {benchmark.name}: {file} cannot be read ({error})") from error
    if not isinstance(task, dict) or "task" not in task:
        raise DataError(f"benchmark {benchmark.name}: {file} has no key 'task'")
    return task


def data_files(benchmark: Benchmark) -> dict[str, str]:
    """Absolute path of each split's data file. Raises DataError for one that is missing."""
    named = (read_task(benchmark).get("dataset_kwargs") or {}).get("data_files") or {}
    if not isinstance(named, dict) or not all(isinstance(name, str) for name in named.values()):
        raise DataError(
            f"benchmark {benchmark.name}: dataset_kwargs.data_files in {benchmark.name}.yaml must give one file "
            f"a split (test: FILE), not {named!r}"
        )
    absolute = {}
    for split, name in named.items():
        path = (benchmark.path / name).resolve()
        if not path.is_file():
            raise DataError(f"benchmark {benchmark.name}: data file {path} is missing")
        absolute[split] = str(path)
    return absolute


def benchmark_files(benchmark: Benchmark) -> list[Path]:
    """Everything that decides what the benchmark asks: its YAML, data, and the functions and YAML that it names."""
    file = benchmark.path / f"{benchmark.name}.yaml"
    data = [Path(p) for p in data_files(benchmark).values()]
    modules = {f"{m[1].replace('.', '/')}.py" for m in _FUNCTION.finditer(file.read_text(encoding="utf-8"))}
    include = read_task(benchmark).get("include")
    beside = [benchmark.path / name for name in sorted({*modules, *([include] if include else [])})]
    return [file, *data, *(f for f in beside if f.is_file())]
