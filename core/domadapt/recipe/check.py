"""Check a loaded recipe against the schema and the installed components, all mistakes at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import ValidationError

from domadapt.recipe.choosing import Chooser
from domadapt.recipe.consistency import contradictions, secrets
from domadapt.recipe.load import LoadedRecipe
from domadapt.recipe.problems import Problem, recipe_error
from domadapt.recipe.resolved import SIDES, Choice, ResolvedRecipe
from domadapt.recipe.schema import Recipe
from domadapt.recipe.wording import schema_problems

if TYPE_CHECKING:
    from domadapt_registry import Registry

__all__ = ["Choice", "ResolvedRecipe", "resolve"]


def resolve(loaded: LoadedRecipe, registry: Registry) -> ResolvedRecipe:
    """Choose all components and validate all values. Imports no engine, reads no data.

    Raises RecipeError that lists every problem with its place.
    """
    recipe, problems = _validated(loaded)
    chooser = Chooser(loaded.root, registry)
    sources = {side: chooser.sources(side) for side in SIDES}
    cleaners, mixer, backend = chooser.cleaners(), chooser.mixer(), chooser.backend()
    mergers = chooser.mergers()
    benchmarks = {side: chooser.benchmarks(side) for side in SIDES}
    evaluators = chooser.evaluators(benchmarks)
    found = [*loaded.problems, *problems, *chooser.problems, *secrets(loaded.root)]
    if recipe is not None:
        found += contradictions(recipe, loaded.root)
    if found or recipe is None or mixer is None or backend is None:
        raise recipe_error(loaded.document.label, found, loaded.document)
    takes = {
        "domain": [entry.take for entry in recipe.corpus.domain],
        "general": [entry.take for entry in recipe.corpus.general],
    }
    return ResolvedRecipe(
        loaded=loaded,
        recipe=recipe,
        sources=sources,
        takes={side: takes[side] for side in SIDES},
        cleaners=cleaners,
        mixer=mixer,
        backend=backend,
        mergers=mergers,
        benchmarks=benchmarks,
        evaluators=evaluators,
    )


def _validated(loaded: LoadedRecipe) -> tuple[Recipe | None, list[Problem]]:
    """The recipe by the schema alone, or what is wrong with it."""
    try:
        # by_name=False: a recipe writes `from`, the Python name of that field is no key
        return Recipe.model_validate(loaded.plain(), by_alias=True, by_name=False), []
    except ValidationError as error:
        return None, schema_problems(error, loaded.root)
