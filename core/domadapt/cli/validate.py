"""`adapt validate`: check recipes without running anything."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from domadapt.recipe.resolved import ResolvedRecipe


@click.command("validate")
@click.argument("recipes", nargs=-1, metavar="[RECIPE]...")
@click.option(
    "--domain", "-d", metavar="DOMAIN", help="Domain of packaged recipes; alone: check that domain's starter recipe."
)
@click.option(
    "--set", "-s", "overrides", multiple=True, metavar="KEY=VALUE", help="Override a value, e.g. train.lr=2e-5."
)
@click.option("--merge", "-m", "merge", multiple=True, metavar="METHOD", help="Merge method, instead of the recipe's.")
def command(recipes: tuple[str, ...], domain: str | None, overrides: tuple[str, ...], merge: tuple[str, ...]) -> None:
    """Check recipes: files, or names of packaged recipes.

    Every mistake of every recipe is listed, with its place and what was probably meant; then the exit code
    is 2. Nothing is run, read or downloaded.
    """
    from domadapt.cli.frame import open_registry
    from domadapt.errors import RecipeError
    from domadapt.recipe.check import resolve
    from domadapt.recipe.load import load_recipe

    registry = open_registry()
    failures: list[str] = []
    for recipe in recipes or (None,):
        path = Path(recipe) if recipe is not None else None
        try:
            loaded = load_recipe(registry, domain=domain, path=path, overrides=overrides, merge=merge)
            resolved = resolve(loaded)
        except RecipeError as error:
            failures.append(str(error))
        else:
            click.echo(_chosen(recipe or f"{domain}/{resolved.loaded.path.stem}", resolved))
    if failures:
        raise RecipeError("\n\n".join(failures))


def _chosen(label: str, resolved: ResolvedRecipe) -> str:
    """One line: the recipe is right, and these components would do the work."""

    def names(found: Iterable[str]) -> str:
        return ", ".join(found) or "none"

    parts = [
        *(
            f"{side} {names(entry.name or entry.source for entry in getattr(resolved.recipe.corpus, side))}"
            for side in resolved.sources
        ),
        f"clean {names(choice.name for choice in resolved.cleaners)}",
        f"mix {resolved.mixer.name}",
        f"train {resolved.backend.name}",
        f"merge {names(resolved.mergers) if resolved.sweep is None else resolved.sweep.told()}",
        f"evaluate {names(resolved.evaluators)}",
    ]
    return f"ok  {label}  {' | '.join(parts)}"
