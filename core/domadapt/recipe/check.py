"""Check a loaded recipe against the schema and the installed components, all mistakes at once."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import ValidationError

from domadapt.recipe.choosing import Chooser
from domadapt.recipe.consistency import contradictions, secrets
from domadapt.recipe.load import LoadedRecipe
from domadapt.recipe.merges import with_merges
from domadapt.recipe.problems import Problem, recipe_error
from domadapt.recipe.resolved import PROBES, SIDES, Choice, ResolvedRecipe
from domadapt.recipe.schema import Recipe
from domadapt.recipe.sweeps import SweepChooser, flattened
from domadapt.recipe.tasks import TaskChoice
from domadapt.recipe.tree import dotted
from domadapt.recipe.wording import schema_problems

if TYPE_CHECKING:
    from domadapt.components import Side

__all__ = ["Choice", "ResolvedRecipe", "resolve"]


def resolve(loaded: LoadedRecipe) -> ResolvedRecipe:
    """Choose all components and validate all values. Imports no engine, reads no data.

    Raises RecipeError that lists every problem with its place.
    """
    registry = loaded.registry
    root, found_in_merges = with_merges(loaded.root, registry)
    loaded = replace(loaded, root=root, problems=[*loaded.problems, *found_in_merges])
    recipe, problems = _validated(loaded)
    flat = flattened(loaded.root)
    chooser = Chooser(flat.root, registry)
    sources = {side: chooser.sources(side) for side in SIDES}
    cleaners, mixer, backend = chooser.cleaners(), chooser.mixer(), chooser.backend()
    trackers = chooser.trackers()
    mergers = chooser.mergers()
    sweeps = SweepChooser(loaded.root, flat, registry)
    sweep = sweeps.plan(mergers, recipe.merge if recipe is not None else None)
    tasks = chooser.tasks()
    evaluators = chooser.evaluators(sweeping=sweep is not None)
    found = [*loaded.problems, *problems, *chooser.problems, *sweeps.problems, *secrets(loaded.root)]
    if recipe is not None:
        found += contradictions(recipe, loaded.root)
        found += _gates(recipe, loaded, sweep.labels() if sweep else list(mergers), tasks)
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
        mergers={} if sweep else mergers,
        tasks=tasks,
        evaluators=evaluators,
        trackers=trackers,
        sweep=sweep,
    )


def _gates(
    recipe: Recipe, loaded: LoadedRecipe, merges: Sequence[str], tasks: Mapping[Side, Sequence[TaskChoice]]
) -> Iterator[Problem]:
    """Gates that cannot be read, or name a model or a task that the run does not have."""
    from domadapt.report.gates import check_gate

    labels = ["base", *(["instruct"] if recipe.model.instruct else []), "cpt", *merges]
    labels += [f"control.{name}" for name in recipe.eval.controls]
    sides: dict[str, str] = {}
    for side in SIDES:
        if recipe.eval.perplexity and getattr(recipe.corpus, side):
            sides[f"bits_per_byte.{side}"] = side
    sides |= {task.label: side for side, chosen in tasks.items() for task in chosen}
    sides |= {PROBES: "general"} if recipe.eval.probes else {}
    for index, gate in enumerate(recipe.eval.fail_if):
        if (sentence := check_gate(gate, labels, sides)) is not None:
            place, node = loaded.root.deepest(("eval", "fail_if", index))
            yield Problem(node.origin, f"{dotted(place)}: {sentence}")


def _validated(loaded: LoadedRecipe) -> tuple[Recipe | None, list[Problem]]:
    """The recipe by the schema alone, or what is wrong with it."""
    try:
        # by_name=False: a recipe writes `from`, the Python name of that field is no key
        return Recipe.model_validate(loaded.plain(), by_alias=True, by_name=False), []
    except ValidationError as error:
        return None, schema_problems(error, loaded.root)
