"""Mixtures that cannot be, found before anything is read: names, stages, shares that do not add up.

What depends on how much text there is (epochs, repeats) shows when it is counted, in the tokens stage.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING

from domadapt.recipe.mix import Mix, MixEarlier, MixSource, MixStage
from domadapt.recipe.schema import CorpusSource, Recipe
from domadapt.recipe.tree import Location, Node, dotted

if TYPE_CHECKING:
    from domadapt.components import Side

Found = Iterator[tuple[Location, str]]


def asks_general(mix: Mix) -> bool:
    """Whether any stage of the training reads general text."""
    stages = [mix.share if stage.replay is None else stage.replay for stage in mix.schedule] or [mix.share]
    return any(max(asked) if isinstance(asked, list) else asked for asked in stages)


def windows_per_step(recipe: Recipe) -> int:
    """Windows of an optimizer step, one at least: a recipe with less is refused where the run is built."""
    return max(1, recipe.train.batch_tokens // recipe.mix.seq_len)


def num_steps(recipe: Recipe) -> int | None:
    """Optimizer steps of the training, None for one pass over the domain."""
    train, mix = recipe.train, recipe.mix
    if train.steps is not None or mix.tokens is None:
        return train.steps
    return mix.tokens // (windows_per_step(recipe) * mix.seq_len)


def mixture_problems(recipe: Recipe, root: Node) -> Found:
    """What is wrong with the section `mix` beside the recipe's corpora and training."""
    if recipe.train.checkpoint is not None:
        return
    yield from _names(recipe)
    yield from _shares(recipe)
    yield from _stages(recipe)
    yield from _earlier(recipe.mix.earlier, num_steps(recipe))
    if recipe.mix.replay == "law":
        yield from _law(recipe.mix)


def source_names(recipe: Recipe) -> dict[Side, list[str]]:
    """Names of the sources of each side, each once."""
    sides: dict[Side, list[CorpusSource]] = {"domain": recipe.corpus.domain, "general": recipe.corpus.general}
    return {side: list(dict.fromkeys(e.name or e.source for e in entries)) for side, entries in sides.items()}


def _named(mix: Mix) -> Iterator[tuple[Location, str]]:
    for name in mix.sources:
        yield ("mix", "sources", name), name
    for number, stage in enumerate(mix.schedule):
        for name in stage.weights:
            yield ("mix", "schedule", number, "weights", name), name


def _names(recipe: Recipe) -> Found:
    sources = source_names(recipe)
    known = {name for names in sources.values() for name in names}
    known |= {f"{side}.{name}" for side, names in sources.items() for name in names}
    there = ", ".join(dict.fromkeys(name for names in sources.values() for name in names))
    for place, name in _named(recipe.mix):
        if recipe.train.objective == "sft":
            yield (
                place,
                f"{dotted(place)}: train.objective sft does not tell the sources of a side apart; remove it",
            )
        elif name not in known:
            near = difflib.get_close_matches(name, sorted(known), 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            yield place, f"{dotted(place)}: the recipe's corpora have no source '{name}' (there are {there}){hint}"


def _shares(recipe: Recipe) -> Found:
    """Shares of a side that cannot add up to one, whatever the sizes are."""
    mix = recipe.mix
    for side, names in source_names(recipe).items():
        asked = {name: mix.sources.get(name) or mix.sources.get(f"{side}.{name}") for name in names}
        fixed = {name: one.share for name, one in asked.items() if one is not None and one.share is not None}
        total, text = sum(fixed.values()), ", ".join(f"{name} {share:g}" for name, share in fixed.items())
        if total > 1 + 1e-9:
            yield ("mix", "sources"), f"mix.sources: shares of {side} text come to {total:g} ({text}); at most 1"
        elif fixed and len(fixed) == len(names) and total < 1 - 1e-6:
            yield (
                ("mix", "sources"),
                f"mix.sources: every source of {side} text has a share, and they come to {total:g} ({text}); let them "
                "add up to 1, or one source have none, which then gets the rest",
            )
        weighted = [name for name, one in asked.items() if one is not None and one.weight is not None]
        if weighted and (bare := [name for name, one in asked.items() if not _says_how_much(one)]):
            yield (
                ("mix", "sources"),
                f"mix.sources: of {side} text {', '.join(weighted)} has a weight and {', '.join(bare)} nothing; give "
                "each of them a weight, a share or epochs: a weight cannot be compared with a size",
            )
    for number, stage in enumerate(mix.schedule):
        if stage.weights and not any(stage.weights.values()):
            place: Location = ("mix", "schedule", number, "weights")
            yield place, f"{dotted(place)}: all weights are 0; give the sources that are to be read more"


def _says_how_much(source: MixSource | None) -> bool:
    return source is not None and {source.weight, source.share, source.epochs} != {None}


def _stages(recipe: Recipe) -> Found:
    schedule, steps = recipe.mix.schedule, num_steps(recipe)
    for number, stage in enumerate(schedule):
        place: Location = ("mix", "schedule", number)
        last, ends = number == len(schedule) - 1, stage.until is not None or stage.until_step is not None
        if last and ends:
            yield place, f"{dotted(place)}: the last stage has no end; remove it, or add a stage behind"
        if not last and not ends:
            yield place, f"{dotted(place)}: a stage before the last one has an end; set until or until_step"
        if stage.until_step is not None and steps is None:
            text = f"{dotted(place)}.until_step: the number of steps of the training must be known; set train.steps"
            yield (*place, "until_step"), f"{text}, or say until as a share of it"
        elif stage.until_step is not None and steps is not None and stage.until_step >= steps:
            text = (
                f"{dotted(place)}.until_step: {stage.until_step} is not before the end, the training has {steps} steps"
            )
            yield (*place, "until_step"), text
    for number, (one, two) in enumerate(pairwise(schedule)):
        first, second = _end(one, steps), _end(two, steps)
        if first is not None and second is not None and first[1] == second[1] and second[0] <= first[0]:
            place = ("mix", "schedule", number + 1)
            text = f"{dotted(place)}: it ends at {_told(two)}, where the stage before ends at {_told(one)}"
            yield place, f"{text}; put the stages in order"


def _end(stage: MixStage, steps: int | None) -> tuple[float, str] | None:
    """Where a stage ends, and in what: steps where their number is known."""
    if stage.until_step is not None:
        return stage.until_step, "steps"
    if stage.until is None:
        return None
    return (stage.until, "share") if steps is None else (stage.until * steps, "steps")


def _told(stage: MixStage) -> str:
    return f"{stage.until:g}" if stage.until is not None else f"step {stage.until_step}"


def _earlier(earlier: list[MixEarlier], steps: int | None) -> Found:
    ends = [0, *(one.until_step for one in earlier)]
    for number, (first, second) in enumerate(pairwise(ends)):
        place: Location = ("mix", "earlier", number)
        if second <= first or second > earlier[number].steps:
            text = f"{dotted(place)}: until_step is {second}, behind step {first} of {earlier[number].steps}"
            yield place, f"{text} is wanted"
    if earlier and steps is not None and ends[-1] >= steps:
        text = f"mix.earlier: the training was stopped at step {ends[-1]} and has {steps} now; set more steps"
        yield ("mix", "earlier"), text


def _law(mix: Mix) -> Found:
    for number, stage in enumerate(mix.schedule):
        place: Location = ("mix", "schedule", number)
        if stage.replay is not None:
            text = (
                "a law chooses one share for the whole training (mix.replay: law); remove the stage's, or give a number"
            )
            yield (*place, "replay"), f"{dotted(place)}.replay: {text} as mix.replay"
        if stage.until_step is not None:
            text = "the small runs of a law (mix.replay: law) are shorter; say until as a share of the training"
            yield (*place, "until_step"), f"{dotted(place)}.until_step: {text}"
