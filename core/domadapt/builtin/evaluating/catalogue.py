"""Find any of lm-eval's own tasks, groups and tags by name without building its index.

Its TaskManager reads 14 thousand YAML files at every start (6 to 12 s). Here they are read once for an installed
version (2.2 s, 4 s from a cold disk) and kept as JSON in the cache folder (0.01 s to read); nothing of lm-eval is
imported. A slow test compares the names with TaskManager's own.
"""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from domadapt.errors import DataError, MissingError
from domadapt.pipeline.benchmarks import TaskFile, read_yaml
from domadapt.pipeline.fingerprints import cache_folder

_IGNORED = ("__pycache__", ".ipynb_checkpoints")
_GROUP_KEYS = frozenset({"group", "group_alias", "task", "aggregate_metric_list", "metadata", "include"})
"""What describes a group itself; every other key of it changes its tasks."""


@dataclass(frozen=True)
class Catalogue:
    """lm-eval's tasks by name. Paths are relative to its folder of tasks.

    tasks, groups: name -> YAML file.  tags: name -> names of the tasks that carry it.
    """

    version: str
    folder: str
    tasks: Mapping[str, str]
    groups: Mapping[str, str]
    tags: Mapping[str, Sequence[str]]

    def names(self) -> list[str]:
        """Every name a recipe may write."""
        return sorted({*self.tasks, *self.groups, *self.tags})

    def find(self, name: str) -> list[TaskFile]:
        """The task of a name, or the tasks of a group or a tag, each once; none for an unknown name.

        Raises DataError for a group with a member that has no task file.
        """
        found: dict[str, TaskFile] = {}
        for task in self._find(name, {}, ()):
            found.setdefault(task.name, task)
        return list(found.values())

    def _find(self, name: str, changes: Mapping[str, Any], above: tuple[str, ...]) -> Iterator[TaskFile]:
        # as TaskManager resolves a name: a task hides a group of its name, both hide a tag
        if name in self.tasks:
            file = Path(self.folder) / self.tasks[name]
            kept = {key: value for key, value in changes.items() if key != "task"}
            title = f"lm-eval's {name}"
            yield TaskFile(name, title, file.parent, version=f"lm_eval {self.version}", file=file, changes=kept)
        elif name in self.groups:
            if name in above:
                raise DataError(f"lm-eval's group {name} contains itself")
            group = read_yaml(Path(self.folder) / self.groups[name])
            yield from self._members(name, group, changes, (*above, name))
        else:
            for task in sorted(self.tags.get(name, ())):
                yield from self._find(task, changes, above)

    def _members(
        self, name: str, group: Mapping[str, Any], changes: Mapping[str, Any], above: tuple[str, ...]
    ) -> Iterator[TaskFile]:
        """The tasks of a group. Its changes go to all of them; those of whoever names the group count more."""
        changes = {**{key: value for key, value in group.items() if key not in _GROUP_KEYS}, **changes}
        members = group.get("task")
        for member in members if isinstance(members, list) else []:
            own = dict(member) if isinstance(member, Mapping) else {"task": member}
            inner = own.pop("group", None)
            if inner is not None and inner in self.groups:
                yield from self._find(inner, {**changes, **own}, above)
            elif inner is not None:
                yield from self._members(f"{name}::{inner}", own, changes, above)
            elif any(own.get("task") in known for known in (self.tasks, self.groups, self.tags)):
                yield from self._find(own["task"], {**changes, **own}, above)
            else:
                # flan_held_in and t0_eval of 0.4.13 define tasks inside themselves, which it cannot load either
                raise DataError(f"lm-eval's group {name} has a member without a task file of its own: {_short(own)}")


def _short(member: Mapping[str, Any]) -> str:
    return str(member.get("task") or dict(member))[:80]


@cache
def catalogue() -> Catalogue:
    """The tasks of the installed lm-eval. Raises MissingError when it is not installed."""
    found = importlib.util.find_spec("lm_eval")  # a top-level name: nothing is imported
    if found is None or found.origin is None:
        raise MissingError("tasks of lm-eval need lm-eval, which is not installed: pip install lm-eval")
    folder = Path(found.origin).parent / "tasks"
    return read_catalogue(folder, version("lm_eval"), cache_folder())


def read_catalogue(folder: Path, version: str, cache: Path) -> Catalogue:
    """The catalogue of a folder of tasks, from the cache where it has been read before."""
    file = cache / f"lm-eval-{version}.json"
    state = f"{folder}:{folder.stat().st_mtime_ns}"
    try:
        kept = json.loads(file.read_bytes())
        if kept.pop("state") == state:
            return Catalogue(**kept)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        kept = None  # never read before, or damaged: it is read anew and written again
    made = scan(folder, version)
    _write(file, json.dumps({"state": state, **asdict(made)}, sort_keys=True))
    return made


def scan(folder: Path, version: str) -> Catalogue:
    """Read all task files below a folder. What lm-eval's own index skips (no name, unreadable) is skipped here."""
    tasks: dict[str, str] = {}
    groups: dict[str, str] = {}
    tags: dict[str, list[str]] = {}
    taken: set[str] = set()
    for path in sorted(_yaml_files(folder)):
        try:
            task = read_yaml(Path(path))
        except DataError:
            continue
        is_group = "group" in task and "class" not in task
        name = task.get("group" if is_group else "task")
        if not isinstance(name, str) or name in taken:
            continue
        taken.add(name)
        relative = os.path.relpath(path, folder)
        (groups if is_group else tasks)[name] = relative
        if not is_group:
            carried = task.get("tag") or []
            for tag in [carried] if isinstance(carried, str) else carried:
                tags.setdefault(tag, []).append(name)
    return Catalogue(version, str(folder), tasks, groups, tags)


def _yaml_files(folder: Path) -> Iterator[str]:
    for root, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if name not in _IGNORED]
        yield from (f"{root}/{name}" for name in files if name.endswith(".yaml"))


def _write(file: Path, text: str) -> None:
    """Write at once or not at all; without a writable cache folder the files are read at every start."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent)
        with os.fdopen(handle, "w", encoding="utf-8") as out:
            out.write(text)
        os.replace(name, file)
    except OSError:
        return
