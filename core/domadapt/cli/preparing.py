"""From what was typed to a run that can be planned or executed: registry, recipe, graph, folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

import rich_click as click

from domadapt.cli.frame import open_registry
from domadapt.components import Tracker
from domadapt.errors import MissingError
from domadapt.pipeline.engine import Run
from domadapt.recipe.check import ResolvedRecipe

F = TypeVar("F", bound=Callable[..., Any])


def runs_folder() -> Path:
    """Where runs lie: $ADAPT_RUNS, else ./runs."""
    return Path(os.environ.get("ADAPT_RUNS") or "runs")


def recipe_options(command: F) -> F:
    """The arguments that choose a recipe, the same for every command that takes one."""
    decorators = [
        click.argument("recipe", required=False, type=click.Path(path_type=Path)),
        click.option("--domain", "-d", metavar="DOMAIN", help="Domain pack; alone it runs the pack's starter recipe."),
        click.option(
            "--merge",
            "-m",
            "merge",
            multiple=True,
            metavar="METHOD",
            help="Merge method instead of the recipe's; again to compare several.",
        ),
        click.option(
            "--set",
            "-s",
            "overrides",
            multiple=True,
            metavar="KEY=VALUE",
            help="Change one value of the recipe, e.g. train.lr=1e-4.",
        ),
        click.option("--name", "-n", metavar="NAME", help="Name of the run: its folder under runs/."),
    ]
    for decorator in reversed(decorators):
        command = decorator(command)
    return command


@dataclass(frozen=True)
class Prepared:
    """A run ready to be planned or executed."""

    run: Run
    resolved: ResolvedRecipe
    name: str
    told: str = ""
    """What becomes of a training that was stopped with another mixture."""


def prepare(
    recipe: Path | None,
    domain: str | None,
    merge: Sequence[str],
    overrides: Sequence[str],
    name: str | None,
    *,
    anew: bool = False,
) -> Prepared:
    """Load and check everything, run nothing. Raises AdaptError with all that is wrong.

    anew: whether the training begins anew, whatever the run's folder has of it.
    """
    return made_ready(choose(recipe, domain, merge, overrides, name), anew=anew)


def choose(
    recipe: Path | None, domain: str | None, merge: Sequence[str], overrides: Sequence[str], name: str | None
) -> ResolvedRecipe:
    """Load a recipe and choose its components; neither models nor documents need to be there."""
    from domadapt.recipe.check import resolve
    from domadapt.recipe.load import load_recipe

    named = [f"name={json.dumps(name)}"] if name is not None else []
    loaded = load_recipe(open_registry(), domain=domain, path=recipe, overrides=[*overrides, *named], merge=merge)
    return resolve(loaded)


def made_ready(resolved: ResolvedRecipe, *, anew: bool = False) -> Prepared:
    """The run of a chosen recipe, with its models found and its documents' digests taken.

    A training that was stopped goes on with a changed mixture, unless it is to begin anew.
    """
    from domadapt.pipeline.earlier import with_earlier
    from domadapt.pipeline.graph import build_graph, check_requirements
    from domadapt.pipeline.reporting import add_report
    from domadapt.pipeline.store import Store

    registry = resolved.loaded.registry
    called = resolved.recipe.name or resolved.recipe.domain
    graph, told = build_graph(resolved, registry), ""
    if not anew:
        completed, told = with_earlier(resolved, graph, Store(runs_folder() / ".store"), runs_folder() / called)
        if completed is not resolved:
            resolved, graph = completed, build_graph(completed, registry)
    check_requirements(graph)
    add_report(graph, resolved, called)
    trackers = [cast("type[Tracker]", choice.cls)(choice.config) for choice in resolved.trackers]
    if missing := [f"track: {what}" for tracker in trackers for what in tracker.requirements()]:
        raise MissingError("\n".join(missing))
    run = Run(graph, registry, runs_folder(), called, resolved.recipe.seed, trackers)
    return Prepared(run, resolved, called, told)
