"""What the mixture of a training means in tokens and passes, before anything is tokenised.

Tokens of each source follow from the recipe where weights and shares say them all. Passes, and shares by size, need
sizes: those of tokens that the store has of the same corpora, else the bytes of built corpora at an assumed number a
token. Where the corpora are not built they are not known.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from domadapt.artifacts import Corpus, TokenStore
from domadapt.errors import DataError
from domadapt.planning.figures import Figure, How, billions
from domadapt.recipe.mixtures import num_steps, source_names, windows_per_step

if TYPE_CHECKING:
    from domadapt.builtin.mixing.targets import Span, Stretch
    from domadapt.builtin.tokens.mixture import Part
    from domadapt.components import MixRequest, Side
    from domadapt.pipeline.engine import Run
    from domadapt.recipe.mix import Mix, MixEarlier
    from domadapt.recipe.schema import Recipe

BYTES_A_TOKEN = 4.0
"""English text by the tokenizers of current models; other languages have fewer."""
WORTH = 4.0
"""Passes up to which repeated text is nearly as good as new (Muennighoff et al. 2023, arXiv 2305.16264)."""


@dataclass(frozen=True)
class Sizes:
    """Training tokens of each side by source.  how, told: how they are known."""

    sides: Mapping[Side, Mapping[str, float]]
    how: How
    told: str = ""


def sizes_of(run: Run) -> Sizes | None:
    """The sizes of a run's corpora as its store has them; None where one is not built."""
    found: dict[Side, Mapping[str, float]] = {}
    keys = {name: key for name, key in run.graph.keys.items() if name.startswith("corpus.")}
    for name, key in keys.items():
        made = run.store.find("corpus", key)
        if made is None:
            return None
        size = Counter[str]()
        for source in Corpus(made).facts["sources"]:
            size[source["source"]] += source["bytes"].get("train", 0)
        found[cast("Side", name.removeprefix("corpus."))] = size
    rates = _bytes_a_token(run, keys, found)
    sides = {
        side: {name: size / rates.get(side, BYTES_A_TOKEN) for name, size in of_side.items()}
        for side, of_side in found.items()
    }
    return Sizes(sides, "measured") if rates else Sizes(sides, "assumed", f" at {BYTES_A_TOKEN:g} bytes a token")


def _bytes_a_token(run: Run, keys: Mapping[str, str], sizes: Mapping[Side, Mapping[str, float]]) -> dict[Side, float]:
    """Of each side, as tokens that were made of the same corpora have it; none where there are no such tokens."""
    tokenizer = run.graph.parts["tokens"]["inputs"]["tokenizer"] if "tokens" in run.graph.parts else ""
    for kind, key, path in run.store.entries():
        if kind != "tokens" or run.store.find(kind, key) is None:
            continue
        store = TokenStore(path)
        inputs = store.manifest["inputs"]
        if "sampled" in store.facts or inputs.get("tokenizer") != tokenizer or keys.items() - inputs.items():
            continue
        tokens = Counter[str]()
        for part in store.plan["parts"]:
            packed = part["packing"]
            tokens[part["side"]] += packed["slots"] - packed["padding"]
        if all(tokens[side] for side in sizes):
            return {side: sum(of_side.values()) / tokens[side] for side, of_side in sizes.items()}
    return {}


def mean_replay(recipe: Recipe) -> float:
    """Share of general tokens over the training."""
    from domadapt.builtin.mixing.targets import stretches
    from domadapt.builtin.tokens.mixture import Part

    steps = num_steps(recipe)
    mix = _of_sides(recipe.mix)
    if steps is None and (mix.earlier or any(stage.until_step for stage in mix.schedule)):
        return mix.share
    sides = [Part("domain", "domain"), Part("general", "general")]
    found = stretches(_request(sides, {"domain": 1, "general": 1}, mix, steps or 10**6))
    return sum(one.asked("general", one.first, one.last) for one in found) / (steps or 10**6)


def _of_sides(mix: Mix) -> Mix:
    """A mixture without a word about sources."""

    def plain(one: Mix | MixEarlier) -> dict[str, Any]:
        stages = [stage.model_copy(update={"weights": {}}) for stage in one.schedule]
        return {"sources": {}, "temperature": 1.0, "schedule": stages}

    earlier = [one.model_copy(update=plain(one)) for one in mix.earlier]
    return mix.model_copy(update={**plain(mix), "earlier": earlier})


def _request(parts: list[Part], windows: Mapping[str, int], mix: Mix, steps: int, per_step: int = 1) -> MixRequest:
    from domadapt.builtin.tokens.mixture import request_of

    return request_of(parts, windows, mix, steps * per_step, per_step, 0)


def mixture_figures(recipe: Recipe, sizes: Sizes | None) -> Iterator[Figure]:
    """A line for each part, and one for each stage of a schedule."""
    from domadapt.builtin.mixing.targets import stretches
    from domadapt.builtin.tokens.mixture import Part, parts_of

    mix, steps = recipe.mix, num_steps(recipe)
    if steps is None or mix.replay == "law" or recipe.train.checkpoint is not None:
        return
    names = source_names(recipe) if sizes is None else sizes.sides
    parts = [part for side, sources in names.items() if sources for part in parts_of(side, list(sources), mix)]
    if sizes is None and all(part.source is None for part in parts) and not mix.schedule:
        return
    if sizes is None and not _said(parts, mix):
        mix, parts = _of_sides(mix), [Part(side, side) for side, sources in names.items() if sources]
        text = "shares by size, and passes, are known when the corpora are built (adapt corpus build)"
        yield Figure("mix", "mixture", None, "", text, "recipe")
    tokens = {part.name: _tokens(part, sizes) for part in parts}
    windows = {name: max(1, round(size / mix.seq_len)) for name, size in tokens.items()}
    per_step = windows_per_step(recipe)
    try:
        found = stretches(_request(parts, windows, mix, steps, per_step))
    except DataError as error:
        yield Figure("mix", "mixture", None, "", f"will be refused: {error}", "recipe" if sizes is None else sizes.how)
        return
    for part in parts:
        yield _part(part, found, mix, steps * per_step, tokens[part.name] if sizes else None, sizes)
    stages = [(stretch, stage) for stretch in found for stage in stretch.stages]
    for number, (stretch, stage) in enumerate(stages if len(stages) > 1 else ()):
        yield _stage(number, stretch, stage, parts, per_step, windows if sizes else None, sizes)


def _tokens(part: Part, sizes: Sizes | None) -> float:
    if sizes is None:
        return 1.0
    of_side = sizes.sides[part.side]
    return sum(of_side.values()) if part.source is None else of_side.get(part.source, 0.0)


def _said(parts: list[Part], mix: Mix) -> bool:
    """Whether weights and shares alone say how much there is of each part: not by size, nor in passes."""
    apart = [part for part in parts if part.source is not None]
    for part in apart:
        asked = next((one for name, one in mix.sources.items() if part.goes_by(name)), None)
        alone = sum(other.side == part.side for other in parts) == 1
        if not alone and (asked is None or (asked.weight is None and asked.share is None)):
            return False
    return True


def _part(
    part: Part, found: list[Stretch], mix: Mix, num_samples: int, size: float | None, sizes: Sizes | None
) -> Figure:
    asked = sum(stretch.asked(part.name, stretch.first, stretch.last) for stretch in found)
    tokens = asked * mix.seq_len
    text = f"{billions(tokens)} tokens, {_share(asked / num_samples)}"
    if size is not None and sizes is not None:
        passes = tokens / size if size else 0.0
        warning = _warning(part, found[-1].request, passes)
        text += f": {passes:.3g} passes over {billions(size)} tokens{sizes.told}{warning}"
    return Figure(
        f"mix.{part.name}", f"mix: {part.name}", tokens, "tokens", text, "recipe" if sizes is None else sizes.how
    )


def _share(share: float) -> str:
    return f"{100 * share:.4g} %"


def _warning(part: Part, request: MixRequest, passes: float) -> str:
    from domadapt.builtin.mixing.replay import most_epochs

    most, key = most_epochs(request, part.name)
    if passes > most:
        return f"; more than {key} ({most:g}) allows: add text, ask for less of it, or raise it"
    if passes > WORTH:
        return f"; repeats beyond {WORTH:g} passes add less and less (Muennighoff et al. 2023)"
    return ""


def _stage(
    number: int,
    stretch: Stretch,
    stage: Span,
    parts: list[Part],
    per_step: int,
    windows: Mapping[str, int] | None,
    sizes: Sizes | None,
) -> Figure:
    length = stage.last - stage.first
    asked = {part: stretch.asked(part.name, stage.first, stage.last) for part in parts}
    told = ", ".join(f"{part.name} {_share(count / length)}" for part, count in asked.items())
    text = f"steps {stage.first / per_step:g} to {stage.last / per_step:g}: {told}"
    if stage.subset < 1:
        passes = ", ".join(
            f"{part.name} {count / (stage.subset * windows[part.name]):.3g} times"
            for part, count in asked.items()
            if windows is not None and part.side == "domain" and count
        )
        text += f"; of the domain the first {_share(stage.subset)} of the windows{passes and f', {passes}'}"
    how: How = "recipe" if sizes is None or stage.subset == 1 else sizes.how
    return Figure(f"mix.stage.{number}", f"mix: stage {number + 1}", float(length), "windows", text, how)
