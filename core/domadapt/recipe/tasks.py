"""The tasks of a recipe: entries of `eval.domain` and `eval.general` looked up, groups taken apart, labels given."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from pydantic import ValidationError

from domadapt.components import Benchmark, EvalRequest, Side
from domadapt.errors import AdaptError
from domadapt.pipeline.benchmarks import fixes_zero_shot, with_data
from domadapt.recipe.problems import MOST_PROBLEMS, Problem, nearest
from domadapt.recipe.schema import EvalRecipe, EvalTask
from domadapt.recipe.tree import Location, Node, dotted

if TYPE_CHECKING:
    from domadapt_registry import Registry

SIDES: tuple[Side, ...] = ("domain", "general")


@runtime_checkable
class KnowsTasks(Protocol):
    """An evaluator class that brings tasks of its own, beside the benchmarks that plugins register."""

    @classmethod
    def find_tasks(cls, name: str) -> Sequence[Benchmark]:
        """The task of this name, or the tasks of this group; none when it is unknown."""

    @classmethod
    def task_names(cls) -> Sequence[str]:
        """All names that `find_tasks` knows."""


@dataclass(frozen=True)
class TaskChoice:
    """A task that a recipe selected.

    label: its name in scores, NAME or NAME@SHOTS.  benchmark: with its local data, where there is any.
    entry: what the recipe says about this task alone.
    """

    label: str
    side: Side
    benchmark: Benchmark
    entry: EvalTask

    def request(self, recipe: EvalRecipe) -> EvalRequest:
        """What to score: the entry's own settings over those of `eval`. Raises DataError for an unreadable task."""
        entry, shots = self.entry, self.entry.num_fewshot
        if shots is None and recipe.num_fewshot is not None and not fixes_zero_shot(self.benchmark):
            shots = recipe.num_fewshot
        return EvalRequest(
            task=self.label,
            side=self.side,
            benchmark=self.benchmark,
            corpus=None,
            limit=entry.limit or recipe.limit,
            batch_tokens=recipe.batch_tokens,
            num_fewshot=shots,
            chat_template=recipe.chat_template if entry.chat_template is None else entry.chat_template,
            prompt=recipe.prompt if entry.prompt is None else entry.prompt,
        )


class TaskChooser:
    """Looks up the tasks of one recipe. `problems` grows; what has a problem is left out of the results.

    places: where the first task of each evaluator is named.
    """

    def __init__(self, root: Node, registry: Registry, problems: list[Problem]) -> None:
        self._root, self._registry, self.problems = root, registry, problems
        self.places: dict[str, Location] = {}
        self._sides: dict[str, Side] = {}
        self._labels: set[str] = set()

    def tasks(self, side: Side) -> list[TaskChoice]:
        """The tasks of one side, groups taken apart, in the recipe's order."""
        chosen: list[TaskChoice] = []
        for place, node in self._entries(("eval", side)):
            try:
                entry = EvalTask.model_validate({"task": node.value} if isinstance(node.value, str) else node.plain())
            except ValidationError:
                continue  # the schema says what is wrong
            named: Location = (*place, "task") if isinstance(node.value, dict) else place
            benchmarks = self._find(entry.task, named)
            names = [benchmark.name for benchmark in benchmarks or ()] or [entry.task]
            fresh = {name for name in names if self._is_new(name, entry, side, named)}
            for benchmark in benchmarks or ():
                if benchmark.name in fresh:
                    self.places.setdefault(benchmark.evaluator, named)
                    benchmark = self._with_data(benchmark, entry)
                    chosen.append(TaskChoice(_label(benchmark.name, entry), side, benchmark, entry))
        return chosen

    def _entries(self, at: Location) -> Iterator[tuple[Location, Node]]:
        """The entries of a list, or the one that stands instead of a list."""
        node = self._root.at(at)
        if node is None:
            return
        if isinstance(node.value, (str, dict)):
            yield at, node
        for index, entry in enumerate(node.value if isinstance(node.value, list) else ()):
            yield (*at, index), entry

    def _is_new(self, name: str, entry: EvalTask, side: Side, place: Location) -> bool:
        """Whether a task may be listed here; otherwise it becomes a problem."""
        label = _label(name, entry)
        part = "" if name == entry.task else f" (part of '{entry.task}')"
        other = self._sides.setdefault(name, side)
        if other != side:
            message = f"task '{name}'{part} is listed under eval.{other} too; a task belongs to one side of the ledger"
        elif label in self._labels:
            message = f"'{label}'{part} is named twice; remove one, or give one of them another num_fewshot"
        else:
            self._labels.add(label)
            return True
        self._problem(place, message)
        return False

    def _find(self, name: str, place: Location) -> Sequence[Benchmark] | None:
        """What a name stands for; None, with a problem, for an unknown one."""
        if len(self.problems) > MOST_PROBLEMS:
            return None
        registered = self._registry.names("benchmark")
        try:
            return [self._registry.find("benchmark", name)]
        except LookupError as error:
            sentence = str(error)
        if name in registered:  # claimed by two plugins
            self._problem(place, sentence)
            return None
        known = [cls for cls in self._evaluators() if isinstance(cls, KnowsTasks)]
        try:
            for cls in known:
                if found := cls.find_tasks(name):
                    return found
            if known:
                guess = nearest(name, _alike(name, [*registered, *(n for cls in known for n in cls.task_names())]))
                meant = f"; did you mean '{guess}'?" if guess else "; `adapt plugins` lists those of the plugins"
                sentence = f"there is no benchmark '{name}', and no task, group or tag of that name{meant}"
        except AdaptError as error:
            sentence = str(error)
        self._problem(place, sentence + self._other_kind(name))
        return None

    def _evaluators(self) -> Iterator[type]:
        for name in self._registry.names("evaluator"):
            with contextlib.suppress(LookupError):  # claimed twice: said where it is needed
                yield self._registry.find("evaluator", name)

    def _other_kind(self, name: str) -> str:
        kinds = ("source", "cleaner", "mixer", "backend", "merger", "evaluator", "domain")
        other = next((kind for kind in kinds if name in self._registry.names(kind)), None)
        return f" ('{name}' is {'an' if other[0] in 'aeiou' else 'a'} {other})" if other else ""

    def _with_data(self, benchmark: Benchmark, entry: EvalTask) -> Benchmark:
        """The benchmark on the local copy that the entry, or `eval.data_dir`, has for it."""
        if entry.data_dir is not None:
            return with_data(benchmark, Path(entry.data_dir).expanduser())
        root = self._root.at(("eval", "data_dir"))
        if root is not None and isinstance(root.value, str):
            for name in dict.fromkeys((benchmark.name, entry.task)):
                if (folder := Path(root.value).expanduser() / name).is_dir():
                    return with_data(benchmark, folder)
        return benchmark

    def _problem(self, place: Location, message: str) -> None:
        existing, node = self._root.deepest(place)
        self.problems.append(Problem(node.origin, f"{dotted(existing)}: {message}"))


def _label(name: str, entry: EvalTask) -> str:
    return name if entry.num_fewshot is None else f"{name}@{entry.num_fewshot}"


def _alike(name: str, known: Sequence[str]) -> list[str]:
    """Names that may be meant: comparing with all 15 thousand takes half a second."""
    return [other for other in known if other[:1] == name[:1] and abs(len(other) - len(name)) <= 4]
