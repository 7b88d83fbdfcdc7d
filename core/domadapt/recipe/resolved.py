"""A recipe that was checked: every component chosen, every option validated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domadapt.components import Benchmark, Component, Options, Side
from domadapt.recipe.load import LoadedRecipe
from domadapt.recipe.schema import Recipe
from domadapt.recipe.tasks import SIDES, TaskChoice

if TYPE_CHECKING:
    from domadapt.recipe.sweeps import SweepPlan
    from domadapt_registry import Provider

__all__ = ["MERGE_KNOBS", "PERPLEXITY", "PROBES", "SIDES", "Choice", "ResolvedRecipe", "TaskChoice"]

MERGE_KNOBS = ("weight", "density", "engine")
"""Keys of `merge` that also reach every method whose Config has a field of that name."""
PERPLEXITY = "perplexity"
"""The evaluator behind `eval.perplexity`."""
PROBES = "probes"
"""The evaluator behind `eval.probes`."""


@dataclass(frozen=True)
class Choice:
    """A component that a recipe selected, with its validated options.

    kind: as the registry names it ("source").  cls: its class; `cls(config)` makes an instance.
    """

    kind: str
    name: str
    cls: type[Component]
    config: Options
    provider: Provider


@dataclass(frozen=True)
class ResolvedRecipe:
    """A recipe that can be run.

    sources, takes: by side, in the recipe's order; takes: at most so many documents (None: all).
    mergers: by method name, in the recipe's order; none when there is a sweep.
    tasks: by side, in the recipe's order, groups taken apart.
    evaluators: every one that is needed, by name.
    """

    loaded: LoadedRecipe
    recipe: Recipe
    sources: Mapping[Side, Sequence[Choice]]
    takes: Mapping[Side, Sequence[int | None]]
    cleaners: Sequence[Choice]
    mixer: Choice
    backend: Choice
    mergers: Mapping[str, Choice]
    tasks: Mapping[Side, Sequence[TaskChoice]]
    evaluators: Mapping[str, Choice]
    trackers: Sequence[Choice] = ()
    sweep: SweepPlan | None = None

    @property
    def benchmarks(self) -> Mapping[Side, Sequence[Benchmark]]:
        """The benchmarks of the tasks, by side."""
        return {side: [task.benchmark for task in tasks] for side, tasks in self.tasks.items()}
