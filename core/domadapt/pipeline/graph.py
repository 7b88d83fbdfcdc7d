"""The stage graph of a recipe: which stages there are, what decides each result, and what each needs.

Building it is quick: keys follow from the recipe, the components and the inputs' fingerprints, without
importing an engine.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, cast

from domadapt.artifacts import MANIFEST, Artifact, Checkpoint, Corpus, Role, Scorecard, Sweep, TokenStore
from domadapt.builtin.executors import missing_packages
from domadapt.components import Benchmark, Cleaner, Component, EvalRequest, Evaluator, Merger, Side, Source, Stage
from domadapt.errors import DataError, MissingError, RecipeError
from domadapt.pipeline import work
from domadapt.pipeline.benchmarks import TaskFile, benchmark_files
from domadapt.pipeline.fingerprints import cache_folder, digest_files
from domadapt.pipeline.keys import component_identity, effective_options, key_of
from domadapt.pipeline.law import LAW, add_law
from domadapt.recipe.check import Choice, ResolvedRecipe
from domadapt.recipe.resolved import PERPLEXITY, PROBES
from domadapt.recipe.schema import Recipe
from domadapt.recipe.sweeps import SweepPlan
from domadapt_registry import Registry

Work = Callable[[Stage, Mapping[str, Any], Path], dict[str, Any]]

CONTROL = "control."
"""Labels of control arms begin with it."""
DOMAIN_PROMPT = "domain_prompt"
"""The control arm that is the instruct model with `eval.domain_prompt` before every item."""
SWEEP = "sweep"
"""The stage that scores merge candidates, and the kind of its artifact."""

STAGE_VERSIONS = {"corpus": 1, "tokens": 1, "train": 1, "law": 1, "sweep": 1, "merge": 2, "eval": 1, "report": 1}
"""Raised when the core's part of a stage's work gives another result for the same input."""


@dataclass(frozen=True)
class Node:
    """One stage. inputs: role -> name of another node or of a model given from outside.

    by: who does the work, with versions.  options: everything else that decides the result.
    """

    name: str
    kind: str
    by: Sequence[str]
    options: Mapping[str, Any]
    inputs: Mapping[str, str]
    handle: Callable[[Path], Artifact]
    work: Work
    components: Sequence[Component] = ()


@dataclass
class Graph:
    """All stages of a run in an order in which each follows its inputs, and the models given from outside."""

    recipe: Recipe
    nodes: dict[str, Node] = field(default_factory=dict)
    models: dict[str, Checkpoint] = field(default_factory=dict)
    keys: dict[str, str] = field(default_factory=dict)
    parts: dict[str, dict[str, Any]] = field(default_factory=dict)
    tasks: dict[str, Side] = field(default_factory=dict)

    def add(self, node: Node) -> None:
        """Add a stage whose inputs are there already, and compute its key."""
        inputs = {role: self.keys.get(name) or self.models[name].digest for role, name in node.inputs.items()}
        stage = f"{node.kind}:{STAGE_VERSIONS[node.kind]}"
        parts = {"stage": stage, "by": list(node.by), "options": dict(node.options), "inputs": inputs}
        self.nodes[node.name], self.parts[node.name], self.keys[node.name] = node, parts, key_of(parts)

    def labels(self) -> list[str]:
        """Labels of all models that are scored: base, instruct, cpt, merges."""
        return [n.removeprefix("model.") for n in self.models if n != "model.cpt"] + ["cpt", *self.merges()]

    def merges(self) -> list[str]:
        """Labels of the merges."""
        return [n.removeprefix("merge.") for n in self.nodes if n.startswith("merge.")]

    def source_of(self, label: str) -> str:
        """Name of the node or given model behind a label."""
        if label == "cpt":
            return "train" if "train" in self.nodes else "model.cpt"
        return f"model.{label}" if f"model.{label}" in self.models else f"merge.{label}"


def build_graph(resolved: ResolvedRecipe, registry: Registry) -> Graph:
    """The graph of a checked recipe. Raises MissingError when a model or a source is not there."""
    graph = Graph(resolved.recipe)
    _add_models(graph, registry)
    _add_corpora(graph, resolved)
    if "model.cpt" not in graph.models:
        add_training(graph, resolved, law=add_law(graph, resolved))
    _add_merges(graph, resolved)
    if resolved.sweep is not None:
        _add_sweep(graph, resolved, resolved.sweep)
    _add_controls(graph, resolved)
    _add_evaluations(graph, resolved)
    return graph


def _add_models(graph: Graph, registry: Registry) -> None:
    recipe = graph.recipe
    given: list[tuple[Role, str | None, str | None]] = [
        ("base", recipe.model.base, recipe.model.revision),
        ("instruct", recipe.model.instruct, recipe.model.instruct_revision),
        ("cpt", recipe.train.checkpoint, None),
    ]
    for role, ref, revision in given:
        if ref is None:
            continue
        full = f"{ref}@{revision}" if revision else ref
        folder = registry.hook.adapt_resolve_model(ref=full, cache=cache_folder())
        if folder is None:
            raise RecipeError(
                f"model {ref!r}: neither builtin:NAME, nor a folder (./DIR), nor a hub id (org/name), "
                "and no plugin knows it"
            )
        graph.models[f"model.{role}"] = Checkpoint(folder, role=role, digest=model_digest(folder))


MODEL_FILES = (".safetensors", ".json", ".jinja", ".model", ".txt")


def model_digest(folder: Path) -> str:
    """A digest of what makes a model: weights, configuration, tokenizer; a README beside them changes nothing."""
    return digest_files([folder / name for name in model_files(f.name for f in folder.iterdir())])


def model_files(names: Iterable[str]) -> list[str]:
    """Those of the names in a model's folder that count for its digest, sorted."""
    return sorted(n for n in names if n.endswith(MODEL_FILES) and "/" not in n and n != MANIFEST)


def _identity(choice: Choice) -> str:
    provider = choice.provider
    return component_identity(choice.cls, provider.distribution, provider.editable)


def _options(choice: Choice) -> dict[str, Any]:
    return effective_options(choice.config)


def _add_corpora(graph: Graph, resolved: ResolvedRecipe) -> None:
    recipe = graph.recipe.corpus
    benchmarks = [one for several in resolved.benchmarks.values() for one in several]
    cleaning = _cleaning_options(resolved.cleaners, benchmarks)
    compares = any(_cleaner(choice).across_corpora for choice in resolved.cleaners)
    for side, choices in resolved.sources.items():
        if not choices:
            continue
        sources = [cast(Source, c.cls(c.config)) for c in choices]
        takes = list(resolved.takes[side])
        names = _names(resolved, side)
        options = {
            "sources": [
                {
                    "options": _content_options(c),
                    "content": _fingerprint(s, f"corpus.{side}.{number}"),
                    "take": t,
                    **({"name": names[number]} if names else {}),
                }
                for number, (c, s, t) in enumerate(zip(choices, sources, takes, strict=True))
            ],
            **cleaning,
            "holdout": recipe.holdout,
            "holdout_documents": recipe.holdout_documents,
            "max_reject_rate": recipe.max_reject_rate,
            "seed": graph.recipe.seed,
        }
        earlier = "corpus.domain" if compares and side != "domain" else None
        graph.add(
            Node(
                f"corpus.{side}",
                "corpus",
                [_identity(c) for c in [*choices, *resolved.cleaners]],
                options,
                {earlier: earlier} if earlier in graph.nodes else {},
                Corpus,
                work.corpus(choices, takes, resolved.cleaners, recipe, benchmarks, names),
                sources,
            )
        )


def _names(resolved: ResolvedRecipe, side: Side) -> list[str]:
    """What the sources of a side are called, where the recipe gives one of them a name."""
    entries = getattr(resolved.recipe.corpus, side)
    if not any(entry.name for entry in entries):
        return []
    return [entry.name or choice.cls.name for entry, choice in zip(entries, resolved.sources[side], strict=True)]


def _cleaning_options(choices: Sequence[Choice], benchmarks: Sequence[Benchmark]) -> dict[str, Any]:
    """What decides the cleaning: options, the files that steps learn from, the benchmarks kept out of the corpus."""
    decisive: dict[str, Any] = {"clean": [_options(c) for c in choices]}
    # a cleaner is made only where it says more than its options: its making may import what it works with
    learning = [c for c in choices if _cleaner(c).fingerprint is not Cleaner.fingerprint]
    if learning:
        decisive["references"] = [_reference(c) for c in learning]
    if any(_cleaner(choice).reads_benchmarks for choice in choices):
        names = [benchmark.name for benchmark in benchmarks]
        decisive["benchmarks"] = dict(zip(names, _contents(benchmarks), strict=True))
    return decisive


def _cleaner(choice: Choice) -> type[Cleaner]:
    return cast(type[Cleaner], choice.cls)


def _reference(choice: Choice) -> str:
    try:
        return _cleaner(choice)(choice.config).fingerprint()
    except MissingError as error:
        raise MissingError(f"corpus.clean (step {choice.name}): {error}") from error


def _fingerprint(source: Source, place: str) -> str:
    try:
        return source.fingerprint()
    except MissingError as error:
        raise MissingError(f"{place} (source {source.name}): {error}") from error


def _content_options(choice: Choice) -> dict[str, Any]:
    """A source's options without the paths of its files: its fingerprint stands for what lies there."""
    return {name: value for name, value in _options(choice).items() if name != "path"}


def add_training(
    graph: Graph, resolved: ResolvedRecipe, label: str = "", *, law: bool = False, sampled: float | None = None
) -> None:
    """Add the tokens and the training of a recipe.

    label: what their names end in.  law: whether the stage `law` decides the mixture.  sampled: share of the text that
    is used, None for all of it.
    """
    recipe = resolved.recipe
    # small runs of a law have no past
    mix = recipe.mix.model_copy(update={"earlier": []}) if label else recipe.mix
    samples_per_step, num_samples = training_size(recipe)
    corpora = {f"corpus.{side}": f"corpus.{side}" for side in resolved.sources if f"corpus.{side}" in graph.nodes}
    options: dict[str, Any] = {
        "mix": mix.model_dump(mode="json", exclude={"tokens", "options"}),
        "mixer": _options(resolved.mixer),
        "num_samples": num_samples,
        "samples_per_step": samples_per_step if num_samples is None or mix.schedule or mix.earlier else None,
        "seed": recipe.seed,
    }
    if recipe.train.objective == "sft":
        options["objective"] = "sft"
    if sampled is not None:
        options["sampled"] = sampled
    graph.add(
        Node(
            f"tokens{label}",
            "tokens",
            [_identity(resolved.mixer)],
            options,
            {**corpora, "tokenizer": f"model.{recipe.model.start}", **({LAW: LAW} if law else {})},
            TokenStore,
            work.tokens(
                resolved.mixer,
                mix,
                num_samples,
                samples_per_step,
                recipe.train.objective,
                recipe.corpus,
                sampled,
            ),
        )
    )
    backend = resolved.backend
    graph.add(
        Node(
            f"train{label}",
            "train",
            [_identity(backend)],
            {
                "settings": recipe.train.model_dump(
                    mode="json", exclude={"steps", "checkpoint", "options", "checkpoint_every", "situation"}
                ),
                "backend": _options(backend),
                "seed": recipe.seed,
            },
            {"start": f"model.{recipe.model.start}", "tokens": f"tokens{label}"},
            lambda path: Checkpoint(path, role="cpt"),
            work.training(backend, recipe.train, samples_per_step, _probe(resolved), recipe.launch),
            [backend.cls(backend.config)],
        )
    )


def _probe(resolved: ResolvedRecipe) -> tuple[Choice, EvalRequest] | None:
    """What the model in training is scored on, and by whom: the first items of the first domain benchmark.

    The task does not count in the key of the training, unlike the number of items: its lines name what was
    scored, and another task must not repeat a month of training that gives the same weights.
    """
    items = resolved.recipe.train.probe_items
    for task in resolved.tasks.get("domain", ()):
        evaluator = resolved.evaluators[task.benchmark.evaluator]
        if items and not cast(type[Evaluator], evaluator.cls).reads_corpus:
            request = task.request(resolved.recipe.eval)
            return evaluator, replace(request, limit=min(items, request.limit or items))
    return None


def training_size(recipe: Recipe) -> tuple[int, int | None]:
    """(windows of an optimizer step, windows in total or None for one pass over the domain)."""
    per_step = recipe.train.batch_tokens // recipe.mix.seq_len
    if not per_step:
        raise RecipeError(
            f"train.batch_tokens={recipe.train.batch_tokens} is less than one window of "
            f"mix.seq_len={recipe.mix.seq_len} tokens"
        )
    if recipe.train.steps is not None:
        return per_step, recipe.train.steps * per_step
    if recipe.mix.tokens is not None:
        steps = recipe.mix.tokens // (per_step * recipe.mix.seq_len)
        if not steps:
            raise RecipeError(
                f"mix.tokens={recipe.mix.tokens} is less than one step of {per_step * recipe.mix.seq_len} tokens"
            )
        return per_step, steps * per_step
    return per_step, None


def _add_merges(graph: Graph, resolved: ResolvedRecipe) -> None:
    general = "model.instruct" if "model.instruct" in graph.models else "model.base"
    weight = graph.recipe.merge.share
    for label, choice in resolved.mergers.items():
        weighted = {} if cast(type[Merger], choice.cls).ignores_weight else {"weight": weight}
        graph.add(
            Node(
                f"merge.{label}",
                "merge",
                [_identity(choice)],
                {"options": _options(choice), **weighted, "seed": graph.recipe.seed},
                {"ancestor": "model.base", "instruct": general, "cpt": graph.source_of("cpt")},
                lambda path: Checkpoint(path, role="merged"),
                # names reach the README alone, which is no part of the model: they count in no key
                work.merging(choice, weight, _public_names(graph.recipe)),
                [choice.cls(choice.config)],
            )
        )


def _add_sweep(graph: Graph, resolved: ResolvedRecipe, plan: SweepPlan) -> None:
    """One stage that scores all candidates, and a merge for each that becomes a model."""
    general = "model.instruct" if "model.instruct" in graph.models else "model.base"
    inputs = {"ancestor": "model.base", "instruct": general, "cpt": graph.source_of("cpt")}
    methods = [m.choice for m in plan.methods]
    by = [_identity(choice) for choice in methods]
    perplexity, probes = resolved.evaluators[PERPLEXITY], resolved.evaluators[PROBES]
    asks = cast(Evaluator, probes.cls(probes.config)).fingerprint()
    settings = graph.recipe.eval
    graph.add(
        Node(
            SWEEP,
            SWEEP,
            [*by, _identity(perplexity), _identity(probes)],
            {
                **plan.decisive(),
                "perplexity": _options(perplexity),
                "probes": {"options": _options(probes), "asks": asks},
                "limit": settings.limit,
                "batch_tokens": settings.batch_tokens,
                "seed": graph.recipe.seed,
            },
            {**inputs, "corpus.domain": "corpus.domain", "corpus.general": "corpus.general"},
            Sweep,
            work.sweeping(plan, perplexity, probes, settings),
            [choice.cls(choice.config) for choice in methods],
        )
    )
    for rank, label in enumerate(plan.labels()):
        graph.add(
            Node(
                f"merge.{label}",
                "merge",
                by,
                {"select_by": plan.select_by, "rank": rank, "seed": graph.recipe.seed},
                {**inputs, SWEEP: SWEEP},
                lambda path: Checkpoint(path, role="merged"),
                work.merging_chosen(plan, rank, _public_names(graph.recipe)),
            )
        )


def _public_names(recipe: Recipe) -> dict[str, str]:
    """What the parents are called where a name means the same everywhere: ids on the hub, built-in models."""
    given = {"base": recipe.model.base, "instruct": recipe.model.instruct, "cpt": recipe.train.checkpoint}
    return {role: ref for role, ref in given.items() if ref is not None and is_public(ref)}


def is_public(ref: str) -> bool:
    """Whether a model reference names no path of one machine."""
    return not ref.startswith((".", "/", "~")) and not Path(ref).exists()


_CONTROL_MERGES = {"self_merge": "instruct", "residual": "ancestor"}
"""Control arms that are merges, and who stands in the place of the CPT model."""


def _add_controls(graph: Graph, resolved: ResolvedRecipe) -> None:
    """The control arms that the recipe asks for: merges with nothing new in them, the instruct model with a prompt."""
    asked = graph.recipe.eval.controls
    merged = next((n for n in graph.nodes if n.startswith("merge.")), None)
    for control in asked:
        if control in _CONTROL_MERGES and merged is not None:
            like = graph.nodes[merged]
            inputs = {**like.inputs, "cpt": like.inputs[_CONTROL_MERGES[control]]}
            name = f"merge.{CONTROL}{control}"
            graph.add(replace(like, name=name, inputs=inputs, handle=lambda path: Checkpoint(path, role="control")))
        elif control == DOMAIN_PROMPT:
            instruct = graph.models.get("model.instruct", graph.models["model.base"])
            graph.models[f"model.{CONTROL}{control}"] = replace(instruct, role="control")


@dataclass(frozen=True)
class _Task:
    """What every model is scored on, and what of it decides the score."""

    request: EvalRequest
    evaluator: Choice
    options: Mapping[str, Any]


def _tasks(graph: Graph, resolved: ResolvedRecipe) -> Iterator[_Task]:
    recipe = graph.recipe.eval
    for side in resolved.sources:
        if recipe.perplexity and f"corpus.{side}" in graph.nodes:
            request = EvalRequest(f"bits_per_byte.{side}", side, None, None, recipe.limit, recipe.batch_tokens)
            yield _Task(request, resolved.evaluators[PERPLEXITY], {"prompt": ""})
    tasks = [task for several in resolved.tasks.values() for task in several]
    for task, content in zip(tasks, _contents([task.benchmark for task in tasks]), strict=True):
        request = task.request(recipe)
        options = {"benchmark": content, **_protocol(request)}
        yield _Task(request, resolved.evaluators[task.benchmark.evaluator], options)
    if recipe.probes:
        choice = resolved.evaluators[PROBES]
        # last, so that no probe stands for the general side in the verdict
        request = EvalRequest(PROBES, "general", None, None, recipe.limit, recipe.batch_tokens)
        asks = cast(Evaluator, choice.cls(choice.config)).fingerprint()
        yield _Task(request, choice, {"asks": asks, "prompt": ""})


def _contents(benchmarks: Sequence[Benchmark]) -> list[dict[str, Any]]:
    """`_content` of each. Raises MissingError that names the first few that miss their data."""
    contents: list[dict[str, Any]] = []
    missing: list[str] = []
    for benchmark in benchmarks:
        try:
            contents.append(_content(benchmark))
        except MissingError as error:
            missing.append(str(error))
    if missing:
        more = f"\nand {len(missing) - 5} more benchmarks miss their data" if len(missing) > 5 else ""
        raise MissingError("\n".join(missing[:5]) + more)
    return contents


def _content(benchmark: Benchmark) -> dict[str, Any]:
    """What a benchmark asks: its files, and what a group changes in it."""
    content: dict[str, Any] = {"version": benchmark.version, "content": digest_files(benchmark_files(benchmark))}
    changes = benchmark.changes if isinstance(benchmark, TaskFile) else {}
    return {**content, "changes": dict(changes)} if changes else content


def _protocol(request: EvalRequest) -> dict[str, Any]:
    """How its items are put."""
    return {"num_fewshot": request.num_fewshot, "chat_template": request.chat_template, "prompt": request.prompt}


def _add_evaluations(graph: Graph, resolved: ResolvedRecipe) -> None:
    tasks = list(_tasks(graph, resolved))
    graph.tasks = {task.request.task: task.request.side for task in tasks}
    for label in graph.labels():
        for task in tasks:
            _add_evaluation(graph, label, task)


def _add_evaluation(graph: Graph, label: str, task: _Task) -> None:
    request, options = task.request, task.options
    inputs = {"model": graph.source_of(label)}
    if cast(type[Evaluator], task.evaluator.cls).reads_corpus:
        inputs["corpus"] = f"corpus.{request.side}"
    if label == f"{CONTROL}{DOMAIN_PROMPT}":
        request = replace(request, prompt=graph.recipe.eval.domain_prompt)
        options = {**options, "prompt": request.prompt}
    decisive: dict[str, Any] = {
        "options": _options(task.evaluator),
        "task": request.task,
        "side": request.side,
        "limit": request.limit,
        "batch_tokens": request.batch_tokens,
        **options,
    }
    graph.add(
        Node(
            f"eval.{label}.{request.task}",
            "eval",
            [_identity(task.evaluator)],
            decisive,
            inputs,
            Scorecard,
            work.evaluation(task.evaluator, request),
        )
    )


def check_requirements(graph: Graph) -> None:
    """Raises MissingError with what components miss on this machine, DataError for models that do not fit."""
    sizes = {
        name.removeprefix("model."): json.loads((model.path / "config.json").read_bytes()).get("vocab_size")
        for name, model in graph.models.items()
    }
    if len(set(sizes.values())) > 1:
        told = ", ".join(f"{name} {size}" for name, size in sizes.items())
        raise DataError(f"model: the vocabularies differ in size ({told}); base, instruct and CPT must share one")
    missing = missing_packages(graph.recipe.corpus) + [
        f"{node.name}: {what}" for node in graph.nodes.values() for c in node.components for what in c.requirements()
    ]
    if missing:
        raise MissingError("\n".join(missing))
