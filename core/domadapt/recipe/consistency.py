"""Settings that are right one by one and contradict each other, found before anything is downloaded."""

from __future__ import annotations

import difflib
from collections.abc import Iterator

from domadapt.recipe.mixtures import asks_general, mixture_problems
from domadapt.recipe.problems import SECRET, Problem
from domadapt.recipe.schema import Recipe
from domadapt.recipe.tree import CORE_DEFAULT, Location, Node, dotted


def contradictions(recipe: Recipe, root: Node) -> list[Problem]:
    """What cannot be meant, each with the place of the value that is easiest to change."""

    def at(*location: str | int) -> Node:
        return root.deepest(location)[1]

    return [
        Problem(at(*location).origin, message)
        for check in (_models, _corpus, _amounts, mixture_problems, _schedule, _evaluation, _controls)
        for location, message in check(recipe, root)
    ]


def secrets(root: Node) -> list[Problem]:
    """Values that look like access tokens or passwords; the message does not repeat them."""
    return [
        Problem(
            node.origin,
            f"{dotted(location)}: this looks like an access token or a password, and recipes are copied into the "
            "run's folder; keep it in the environment (HF_TOKEN) and remove it here",
        )
        for location, node in root.scalars()
        if isinstance(node.value, str) and SECRET.search(node.value)
    ]


_Found = Iterator[tuple[Location, str]]


def _models(recipe: Recipe, root: Node) -> _Found:
    model = recipe.model
    if model.start == "instruct" and model.instruct is None:
        yield ("model", "start"), "model.start is instruct, but model.instruct is not given; name the instruct model"
    if model.instruct_revision is not None and model.instruct is None:
        yield ("model", "instruct_revision"), "model.instruct_revision is given without model.instruct"
    for key, reference in (("revision", model.base), ("instruct_revision", model.instruct or "")):
        if getattr(model, key) is not None and reference.startswith(("builtin:", "./", "../", "/", "~")):
            yield ("model", key), f"model.{key} is a commit on the hub, but the model is '{reference}'; remove it"


def _corpus(recipe: Recipe, root: Node) -> _Found:
    if recipe.corpus.general:
        return
    needs, instead = [], []
    if asks_general(recipe.mix) and recipe.train.checkpoint is None:
        if any(stage.replay for stage in recipe.mix.schedule):
            needs.append("mix.schedule has stages with general text")
            instead.append("replay: 0 in every stage")
        else:
            needs.append(f"mix.replay is {recipe.mix.replay}{_by_default(root, 'mix', 'replay')}")
            instead.append("mix.replay: 0")
    if recipe.eval.perplexity:
        needs.append(f"eval.perplexity is true{_by_default(root, 'eval', 'perplexity')}")
        instead.append("eval.perplexity: false")
    if needs:
        text = f"corpus.general is empty, but {' and '.join(needs)}: add a source of general text"
        yield ("corpus", "general"), f"{text}, or set {' and '.join(instead)}"


def _amounts(recipe: Recipe, root: Node) -> _Found:
    mix, train = recipe.mix, recipe.train
    if train.batch_tokens < mix.seq_len:
        text = f"train.batch_tokens ({train.batch_tokens}) is less than one window, mix.seq_len ({mix.seq_len}) tokens"
        yield ("train", "batch_tokens"), text
    if train.steps is None and mix.tokens is not None and mix.tokens < train.batch_tokens:
        text = f"mix.tokens ({mix.tokens}) is less than one step of train.batch_tokens ({train.batch_tokens}) tokens"
        yield ("mix", "tokens"), text
    if train.steps is not None and mix.tokens is not None:
        trained = train.steps * train.batch_tokens
        if abs(trained - mix.tokens) >= train.batch_tokens:
            text = f"train.steps times train.batch_tokens is {trained} tokens, but mix.tokens is {mix.tokens}"
            yield ("train", "steps"), f"{text}; set one of the two"


def _schedule(recipe: Recipe, root: Node) -> _Found:
    train = recipe.train
    phases = {"wsd": ("warmup", "anneal"), "infinite": ("warmup", "cooldown", "anneal")}.get(train.schedule, ())
    taken = sum(getattr(train, phase) for phase in phases)
    if taken > 1:
        names = " + ".join(f"train.{phase} ({getattr(train, phase):g})" for phase in phases)
        yield ("train", phases[-1]), f"{names} are shares of the steps and make {taken:g}; together at most 1"
    if train.schedule == "infinite" and not 0 < train.min_lr <= train.constant_lr:
        text = f"train.min_lr ({train.min_lr:g}): the infinite schedule anneals from train.constant_lr"
        yield (
            ("train", "min_lr"),
            f"{text} ({train.constant_lr:g}) by a constant factor; set a share above 0 up to it",
        )


def _evaluation(recipe: Recipe, root: Node) -> _Found:
    if not (recipe.eval.perplexity or recipe.eval.domain or recipe.eval.general):
        yield (
            ("eval",),
            "nothing would be measured: list tasks in eval.domain and eval.general, or keep eval.perplexity",
        )


CONTROLS = ("self_merge", "residual", "domain_prompt")


def _controls(recipe: Recipe, root: Node) -> _Found:
    for index, name in enumerate(recipe.eval.controls):
        place: Location = ("eval", "controls", index)
        if name not in CONTROLS:
            near = difflib.get_close_matches(name, CONTROLS, 1)
            hint = f"; did you mean '{near[0]}'?" if near else ""
            yield place, f"eval.controls: no control arm '{name}' (there are {', '.join(CONTROLS)}){hint}"
        elif name == "domain_prompt" and not recipe.eval.domain_prompt:
            yield place, "eval.controls has 'domain_prompt', but eval.domain_prompt is empty; say what the prompt is"
        elif name != "domain_prompt" and not recipe.merge.methods:
            yield place, f"eval.controls has '{name}', but merge.methods is empty; nothing is merged"


def _by_default(root: Node, *location: str) -> str:
    node = root.at(location)
    return " (by default)" if node is not None and node.origin.layer == CORE_DEFAULT else ""
