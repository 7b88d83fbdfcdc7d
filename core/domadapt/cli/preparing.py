"""From what was typed to a run that can be planned or executed: registry, recipe, graph, folder."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

from domadapt.cli.frame import open_registry
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


def prepare(
    recipe: Path | None, domain: str | None, merge: Sequence[str], overrides: Sequence[str], name: str | None
) -> Prepared:
    """Load and check everything, run nothing. Raises AdaptError with all that is wrong."""
    from domadapt.pipeline.graph import build_graph, check_requirements
    from domadapt.pipeline.reporting import add_report
    from domadapt.recipe.check import resolve
    from domadapt.recipe.load import load_recipe

    named = [f"name={json.dumps(name)}"] if name is not None else []
    loaded = load_recipe(open_registry(), domain=domain, path=recipe, overrides=[*overrides, *named], merge=merge)
    registry = loaded.registry
    resolved = resolve(loaded)
    called = resolved.recipe.name or resolved.recipe.domain
    graph = build_graph(resolved, registry)
    check_requirements(graph)
    add_report(graph, resolved, called)
    return Prepared(Run(graph, registry, runs_folder(), called, resolved.recipe.seed), resolved, called)
