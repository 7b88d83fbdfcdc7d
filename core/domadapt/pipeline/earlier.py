"""A training that was stopped and is asked for with another mixture: the one it had becomes `mix.earlier`.

The run's folder knows what the training was (recipe.lock.yaml), the store how far it came. Where nothing but the
mixture changed since, the recipe is completed by what the training had until then: the same command goes on where it
stopped, a third one after another change too, and the new lock file alone repeats all of it. `pipeline.continuing` then
finds the checkpoint. The price: what a command does depends on what the run's folder holds, which is said; `--fresh`
looks at nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from domadapt.artifacts import TokenStore
from domadapt.components import Side
from domadapt.pipeline.continuing import Training, newest_step
from domadapt.pipeline.graph import Graph, training_size
from domadapt.pipeline.store import Store
from domadapt.recipe.mix import Mix, MixEarlier
from domadapt.recipe.mixtures import source_names
from domadapt.recipe.resolved import ResolvedRecipe
from domadapt.recipe.schema import Recipe
from domadapt.recipe.tree import Node, Origin, node_of

LOCK = "recipe.lock.yaml"
ORIGIN = Origin("the training before it was stopped")


@dataclass(frozen=True)
class Before:
    """What a run's folder trained last. keys: of its stages."""

    recipe: Recipe
    keys: Mapping[str, str]
    models: Mapping[str, str]

    @property
    def earlier(self) -> list[MixEarlier]:
        """The mixtures it had before its last one."""
        return self.recipe.mix.earlier


def with_earlier(resolved: ResolvedRecipe, graph: Graph, store: Store, folder: Path) -> tuple[ResolvedRecipe, str]:
    """The recipe with the mixtures that its training had before, and a sentence about it, "" where there is none.

    graph: of the recipe as it is.  folder: of the run.
    """
    recipe, before = resolved.recipe, _read(folder / LOCK)
    if before is None or "train" not in graph.nodes or "train" not in before.keys:
        return resolved, ""
    if recipe.mix.earlier not in ([], before.earlier):
        return resolved, ""  # it has a past of its own
    steps = _steps(before.recipe, before.keys, store)
    now = _steps(recipe, graph.keys, None) or steps  # one pass over the domain, as before
    if _mixture(recipe.mix) == _mixture(before.recipe.mix) and now == steps:
        same = before.earlier and not _changes(resolved, graph, before, 0, steps or 1, now or 1)
        return (_completed(resolved, before.earlier) if same else resolved), ""
    last = None if steps is None else _as_earlier(before, store, steps)
    if last is None or steps is None or now is None:
        return resolved, ""
    if store.find("train", before.keys["train"]) is not None:
        return resolved, ""  # it was not stopped: this is another training
    stopped = newest_step(store.scratch_path("train", before.keys["train"]))
    stopped = stopped or (before.earlier[-1].until_step if before.earlier else 0)
    if not stopped:
        return resolved, ""
    reasons = _changes(resolved, graph, before, stopped, steps, now) + _unlike(resolved, before)
    if training_size(recipe)[1] is None:
        reasons.append("the number of steps, which is one pass over the domain in the new mixture: set train.steps")
    elif now <= stopped:
        reasons.append(f"the number of steps, now {now}")
    if reasons:
        return resolved, (
            f"the training that was stopped at step {stopped} cannot go on with the changed mixture and begins anew: "
            f"changed were also {'; '.join(reasons)}"
        )
    earlier = list(before.earlier)
    if not earlier or stopped > earlier[-1].until_step:
        earlier.append(last.model_copy(update={"until_step": stopped}))
    if _mixture(earlier[-1]) == _mixture(recipe.mix) and earlier[-1].steps == now:
        earlier.pop()  # nothing was trained with the mixture between
    told = f"the training goes on at step {stopped} of {now} with the changed mixture; --fresh begins anew"
    return _completed(resolved, earlier), told


def _read(lock: Path) -> Before | None:
    """The lock file of a run, None where there is none that can be read."""
    import yaml
    from pydantic import ValidationError

    try:
        data = yaml.safe_load(lock.read_bytes())
        record = data.pop("resolved")
        recipe = Recipe.model_validate(data, by_alias=True, by_name=False)
        return Before(recipe, dict(record["stages"]), dict(record["models"]))
    except (OSError, ValidationError, yaml.YAMLError, AttributeError, KeyError, TypeError, ValueError):
        return None  # of another version, or not ours: what it trained cannot be gone on with


def _same_texts(graph: Graph, before: Before) -> bool:
    texts = {name: key for name, key in graph.keys.items() if name.startswith("corpus.")}
    return texts == {name: key for name, key in before.keys.items() if name.startswith("corpus.")}


def _steps(recipe: Recipe, keys: Mapping[str, str], store: Store | None) -> int | None:
    """Optimizer steps of a training; of one pass over the domain they are known where its tokens are made."""
    per_step, samples = training_size(recipe)
    if samples is None and store is not None:
        tokens = store.find("tokens", keys.get("tokens", ""))
        samples = None if tokens is None else len(TokenStore(tokens).order())
    return None if samples is None else samples // per_step


def _as_earlier(before: Before, store: Store, steps: int) -> MixEarlier | None:
    """The mixture that the training had; None where a law was to choose it and has not."""
    mix = before.recipe.mix
    replay: Any = mix.replay
    if replay == "law":
        from domadapt.pipeline.law import LAW, LawAdvice

        made = store.find(LAW, before.keys.get(LAW, ""))
        if made is None:
            return None
        replay = LawAdvice(made).data["advice"]["replay"]
    return MixEarlier(until_step=steps, steps=steps, **{**_mixture(mix), "replay": replay})


MIXTURE = ("replay", "sources", "temperature", "schedule")
"""Keys of `mix` that may change while a training is stopped."""
PACKED = ("seq_len", "packing", "mixer")
"""Keys of `mix` that make other windows, or another order of them."""


def _mixture(mix: Mix | MixEarlier) -> dict[str, Any]:
    return {name: getattr(mix, name) for name in MIXTURE}


def _changes(resolved: ResolvedRecipe, graph: Graph, before: Before, until: int, steps: int, now: int) -> list[str]:
    """What of the training other than its mixture was changed."""
    from pydantic import ValidationError

    recipe, backend = resolved.recipe, resolved.backend
    if recipe.train.backend != before.recipe.train.backend:
        return ["train.backend"]
    if not _same_texts(graph, before):
        return ["the corpora"]
    try:
        options = backend.cls.Config.model_validate(before.recipe.train.options)
    except ValidationError:
        return ["train.options"]  # those of another version
    start = graph.models[f"model.{recipe.model.start}"]
    one = Training.of(
        recipe.train,
        backend.config,
        start=start.digest,
        steps=now,
        samples_per_step=training_size(recipe)[0],
        seed=recipe.seed,
    )
    two = Training.of(
        before.recipe.train,
        options,
        start=before.models.get(before.recipe.model.start, "").removeprefix("sha256:"),
        steps=steps,
        samples_per_step=training_size(before.recipe)[0],
        seed=before.recipe.seed,
    )
    return one.changes(two, until, start)


def _unlike(resolved: ResolvedRecipe, before: Before) -> list[str]:
    """What makes other windows than those that were trained on."""
    mix, had = resolved.recipe.mix, before.recipe.mix
    found = [f"mix.{name}" for name in PACKED if getattr(mix, name) != getattr(had, name)]
    if mix.mixer == had.mixer and resolved.mixer.config.model_dump(mode="json", by_alias=True) != had.options:
        found.append("mix.options")
    found += [
        f"the sources of {side} text that mix tells apart now: it was packed as a whole, so name those that may be "
        "weighed from the start"
        for side, names in source_names(resolved.recipe).items()
        if names and _apart(mix, side, names) and not _apart(had, side, names)
    ]
    return found


def _apart(mix: Mix, side: Side, names: list[str]) -> bool:
    """Whether the sources of a side are parts of their own."""
    from domadapt.builtin.tokens.mixture import parts_of

    return parts_of(side, names, mix)[0].source is not None


def _completed(resolved: ResolvedRecipe, earlier: list[MixEarlier]) -> ResolvedRecipe:
    """The recipe with `mix.earlier`, which the lock file shows as what it is."""
    mix = resolved.recipe.mix.model_copy(update={"earlier": earlier})
    root = resolved.loaded.root
    assert isinstance(root.value, dict)
    section = root.value.get("mix", Node({}, ORIGIN))
    values = section.value if isinstance(section.value, dict) else {}
    told = node_of([one.model_dump(mode="json") for one in earlier], ORIGIN)
    root = Node({**root.value, "mix": Node({**values, "earlier": told}, section.origin)}, root.origin)
    return replace(
        resolved,
        recipe=resolved.recipe.model_copy(update={"mix": mix}),
        loaded=replace(resolved.loaded, root=root),
    )
