"""The files of a benchmark: its YAML with all that it includes, its functions, and its data.

Task files are lm-eval's. They are read here without running any `!function` of theirs and without importing lm-eval,
so that keys can be computed quickly.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

from domadapt.components import Benchmark
from domadapt.errors import DataError

_FUNCTION = re.compile(r"!function\s+['\"]?([\w.]+)\.\w+")
_SIBLING = re.compile(r"^\s*(?:from\s+\.?([\w.]+)\s+import|import\s+([\w.]+))", re.MULTILINE)


class Function(str):
    """What a `!function` tag names, "module.function", not looked up."""

    __slots__ = ()


@cache
def _loader() -> Any:
    """The class that reads a task YAML without running its `!function` tags."""
    import yaml

    class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
        """Not yaml's own, which would have the constructors too."""

    Loader.add_constructor("!function", lambda loader, node: Function(node.value))
    Loader.add_multi_constructor("!", lambda loader, suffix, node: None)
    return Loader


@dataclass(frozen=True)
class TaskFile(Benchmark):
    """A benchmark that is more than its folder and its name.

    file: its YAML, where that has another name than the task.  changes: what a group changes in the task.
    data: a local copy of its data, a folder.
    """

    file: Path | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    data: Path | None = None


def with_data(benchmark: Benchmark, data: Path) -> TaskFile:
    """The same benchmark on a local copy of its data."""
    changes = benchmark.changes if isinstance(benchmark, TaskFile) else {}
    return TaskFile(
        benchmark.name,
        benchmark.title,
        benchmark.path,
        benchmark.evaluator,
        benchmark.version,
        task_file(benchmark),
        changes,
        data,
    )


def task_file(benchmark: Benchmark) -> Path:
    """The YAML of a benchmark."""
    own = benchmark.file if isinstance(benchmark, TaskFile) else None
    return own or benchmark.path / f"{benchmark.name}.yaml"


def read_yaml(file: Path) -> dict[str, Any]:
    """One YAML file over what it includes. Raises DataError when it cannot be read or includes itself."""
    merged: dict[str, Any] = {}
    for part in reversed(_chain(file, ())):
        merged.update({key: value for key, value in _read_one(part).items() if key not in ("include", "task_list")})
    return merged


def _chain(file: Path, above: tuple[Path, ...]) -> list[Path]:
    """The file and all that it includes, what goes first in front."""
    if file in above:
        raise DataError(f"{file}: includes itself")
    named = _read_one(file).get("include") or []
    included = [named] if isinstance(named, str) else named
    chain = [file]
    for name in reversed(included):  # of several, the last one counts most
        chain += _chain(file.parent / name, (*above, file))
    return chain


@lru_cache(maxsize=4096)
def _parsed(file: Path, state: tuple[int, int]) -> dict[str, Any]:
    import yaml

    task = yaml.load(file.read_bytes(), _loader())  # noqa: S506 - a SafeLoader
    if not isinstance(task, dict):
        raise DataError(f"{file}: holds no mapping (key: value)")
    return task


def _read_one(file: Path) -> dict[str, Any]:
    import yaml

    try:
        stat = file.stat()
        return _parsed(file, (stat.st_mtime_ns, stat.st_size))
    except (OSError, yaml.YAMLError) as error:
        raise DataError(f"{file} cannot be read ({error})") from error


def read_task(benchmark: Benchmark) -> dict[str, Any]:
    """The task as its YAML and its group say. Raises DataError when it cannot be read."""
    try:
        task = read_yaml(task_file(benchmark))
    except DataError as error:
        raise DataError(f"benchmark {benchmark.name}: {error}") from error
    if "task" not in task:
        raise DataError(f"benchmark {benchmark.name}: {task_file(benchmark)} has no key 'task'")
    return {**task, **(benchmark.changes if isinstance(benchmark, TaskFile) else {})}


def fixes_zero_shot(benchmark: Benchmark) -> bool:
    """Whether the task says itself that it takes no solved examples, which a setting for all tasks leaves alone."""
    return read_task(benchmark).get("num_fewshot") == 0


def data_files(benchmark: Benchmark) -> dict[str, str]:
    """Absolute path of each split's data file that the YAML itself names. Raises DataError for one that is missing."""
    named = (read_task(benchmark).get("dataset_kwargs") or {}).get("data_files") or {}
    file = task_file(benchmark)
    if file != benchmark.path / f"{benchmark.name}.yaml":
        return {}  # not a pack's own: addresses on the network
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


def code_files(benchmark: Benchmark) -> list[Path]:
    """The YAML, all that it includes, and the modules whose functions these name, with the modules beside them."""
    found: dict[Path, None] = {}
    for file in _chain(task_file(benchmark), ()):
        found.setdefault(file)
        for match in _FUNCTION.finditer(file.read_text(encoding="utf-8")):
            _add_module(found, file.parent, match[1])
    return list(found)


def _add_module(found: dict[Path, None], folder: Path, module: str) -> None:
    path = folder / f"{module.replace('.', '/')}.py"
    if path in found or not path.is_file():
        return
    found.setdefault(path)
    for match in _SIBLING.finditer(path.read_text(encoding="utf-8")):
        _add_module(found, folder, match[1] or match[2])


def benchmark_files(benchmark: Benchmark) -> list[Path]:
    """Everything on this machine that decides what the benchmark asks: code and data.

    Raises MissingError when a local copy of its data is wanted and is not there.
    """
    from domadapt.builtin.evaluating.local_data import local_files

    return [*code_files(benchmark), *_own_data(benchmark, local_files(benchmark))]


def _own_data(benchmark: Benchmark, local: list[Path] | None) -> Iterator[Path]:
    if local is not None:
        yield from local
    else:
        yield from (Path(path) for path in data_files(benchmark).values())
