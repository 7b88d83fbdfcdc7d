"""The files of a benchmark: its YAML and the data the YAML names, relative to itself."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from domadapt.components import Benchmark
from domadapt.errors import DataError


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
    absolute = {}
    for split, name in named.items():
        path = (benchmark.path / name).resolve()
        if not path.is_file():
            raise DataError(f"benchmark {benchmark.name}: data file {path} is missing")
        absolute[split] = str(path)
    return absolute


def benchmark_files(benchmark: Benchmark) -> list[Path]:
    """Everything that decides what the benchmark asks."""
    return [benchmark.path / f"{benchmark.name}.yaml", *(Path(p) for p in data_files(benchmark).values())]
