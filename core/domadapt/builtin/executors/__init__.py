"""Who works on the shards of a corpus: processes of this machine, a Ray cluster, Slurm jobs."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from domadapt.pipeline.sharding import Executor
    from domadapt.recipe.schema import CorpusRecipe

NEEDS = {"ray": "ray", "slurm": "datatrove"}
"""Packages by executor; an extra of the same name installs each."""


def missing_packages(recipe: CorpusRecipe) -> list[str]:
    """What is not installed for the recipe's executor, in one sentence."""
    package = NEEDS.get(recipe.executor)
    if package is None or find_spec(package) is not None:
        return []
    return [
        f"corpus executor {recipe.executor!r} needs {package}, which is not installed: "
        f"pip install 'domadapt[{package}]'"
    ]


def open_executor(recipe: CorpusRecipe) -> Executor | None:
    """The executor that a recipe asks for; None when one process does all."""
    if recipe.executor == "ray":
        from domadapt.builtin.executors.ray_tasks import RayExecutor

        return RayExecutor(recipe.workers)
    if recipe.executor == "slurm":
        from domadapt.builtin.executors.slurm_jobs import SlurmExecutor

        return SlurmExecutor(recipe.workers, recipe.slurm)
    if recipe.workers is None:
        return None
    from domadapt.builtin.executors.processes import ProcessExecutor

    return ProcessExecutor(recipe.workers)
