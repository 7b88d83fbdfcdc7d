"""What each kind of stage does: build its component and hand it the inputs. Engines are imported in here, late."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal, cast

from domadapt.artifacts import Checkpoint, Corpus, TokenStore
from domadapt.components import (
    Benchmark,
    Cleaner,
    EvalRequest,
    Evaluator,
    Merger,
    Mixer,
    Side,
    Source,
    Stage,
    TrainingBackend,
    TrainRequest,
    WeightedCheckpoint,
)
from domadapt.errors import StageError
from domadapt.pipeline.continuing import take_over
from domadapt.pipeline.corpus import build_corpus
from domadapt.pipeline.sampled import SampledCorpus
from domadapt.recipe.check import Choice
from domadapt.recipe.mix import Mix
from domadapt.recipe.schema import CorpusRecipe, EvalRecipe, Launch, Train
from domadapt.recipe.sweeps import SweepPlan

Work = Callable[[Stage, Mapping[str, Any], Path], dict[str, Any]]


def corpus(
    sources: Sequence[Choice],
    takes: Sequence[int | None],
    cleaners: Sequence[Choice],
    recipe: CorpusRecipe,
    benchmarks: Sequence[Benchmark] = (),
    names: Sequence[str] = (),
) -> Work:
    """Read, clean and split the documents of one side. benchmarks: those of the recipe.  names: of the sources."""

    def run(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        from domadapt.builtin.executors import open_executor

        return build_corpus(
            [(cast(Source, c.cls(c.config)), take) for c, take in zip(sources, takes, strict=True)],
            [cast(Cleaner, c.cls(c.config)) for c in cleaners],
            holdout=recipe.holdout,
            holdout_documents=recipe.holdout_documents,
            out=out,
            stage=stage,
            benchmarks=benchmarks,
            earlier=inputs.get("corpus.domain"),
            max_reject_rate=recipe.max_reject_rate,
            executor=open_executor(recipe),
            names=names,
        )

    return run


def tokens(
    mixer: Choice,
    mix: Mix,
    num_samples: int | None,
    samples_per_step: int,
    objective: Literal["clm", "sft"] = "clm",
    workers: CorpusRecipe | None = None,
    sampled: float | None = None,
) -> Work:
    """Tokenise, pack and order. An input `law` decides the mixture.

    workers: who works on shards, None for this process.  sampled: share of the text that is used.
    """

    def run(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        from domadapt.builtin.executors import open_executor
        from domadapt.builtin.tokens.build import build_tokens

        corpora = cast(
            Mapping[Side, Corpus],
            {role.removeprefix("corpus."): i for role, i in inputs.items() if role.startswith("corpus.")},
        )
        samples = {
            side: SampledCorpus(corpus.path, sampled, stage.scratch / f"sampled-{side}")
            for side, corpus in corpora.items()
            if sampled is not None
        }
        advised = {"replay": inputs["law"].data["advice"]["replay"]} if "law" in inputs else {}
        facts = build_tokens(
            samples or corpora,
            inputs["tokenizer"],
            cast(Mixer, mixer.cls(mixer.config)),
            mix.model_copy(update=advised),
            num_samples=num_samples,
            samples_per_step=samples_per_step,
            out=out,
            stage=stage,
            objective=objective,
            executor=None if workers is None else open_executor(workers),
        )
        return {**facts, "sampled": {side: c.achieved for side, c in samples.items()}} if samples else facts

    return run


def training(
    backend: Choice, settings: Train, samples_per_step: int, probe: tuple[Choice, EvalRequest] | None, launch: Launch
) -> Work:
    """Train as many whole steps as the token store has windows for. probe: what to score the live model on."""

    def run(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        store: TokenStore = inputs["tokens"]
        steps = len(store.order()) // samples_per_step
        request = TrainRequest(inputs["start"], store, settings, steps, samples_per_step, launch=launch)
        if probe is not None:
            by, asked = probe
            request = replace(request, probe=asked, evaluator=cast(Evaluator, by.cls(by.config)))
        take_over(request, backend.config, stage)
        return cast(TrainingBackend, backend.cls(backend.config)).train(request, out, stage)

    return run


def merging(method: Choice, weight: float, names: Mapping[str, str] | None = None, *, try_it: bool = True) -> Work:
    """Merge instruct and CPT, then give the result what a chat model needs from the instruct model.

    names: what the parents are called, by role, for the model card.  try_it: whether the merged model is loaded and
    asked something, which imports torch and transformers.
    """

    def run(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        from domadapt.builtin.merging import aftercare, guards

        parents = {"base": inputs["ancestor"], "instruct": inputs["instruct"], "cpt": inputs["cpt"]}
        merger = cast(Merger, method.cls(method.config))
        guards.check_parents(stage, parents, out, uses_ancestor=merger.uses_ancestor)
        models = [WeightedCheckpoint(parents["instruct"], 1 - weight), WeightedCheckpoint(parents["cpt"], weight)]
        facts = merger.merge(parents["base"], models, out, stage)
        aftercare.adopt_tokenizer(parents["instruct"].path, out)
        if not any(out.glob("*.safetensors")):
            raise StageError(f"{stage.name}: the merge wrote no *.safetensors")
        if facts.pop("finite", None) is not True:
            guards.check_finite(stage, out, "the merged model")
        aftercare.write_card(out, method.name, names or {}, facts)
        shown: dict[str, Any] = {} if merger.ignores_weight else {"weight": weight}
        if (density := method.config.model_dump(exclude_unset=True).get("density")) is not None:
            shown["density"] = density
        tried = {"checks": aftercare.check_merged(stage, Checkpoint(out, role="merged"))} if try_it else {}
        return {**shown, **facts, **tried}

    return run


def sweeping(plan: SweepPlan, perplexity: Choice, probes: Choice, settings: EvalRecipe) -> Work:
    """Score all merge candidates in memory on the selection split."""

    def run(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        from domadapt.builtin.merging.search.live import Scorer
        from domadapt.builtin.merging.search.sweeping import sweep

        scorer = Scorer(
            cast(Evaluator, perplexity.cls(perplexity.config)),
            cast(Evaluator, probes.cls(probes.config)),
            {"domain": inputs["corpus.domain"], "general": inputs["corpus.general"]},
            settings.limit,
            settings.batch_tokens,
        )
        parents = {"base": inputs["ancestor"], "instruct": inputs["instruct"], "cpt": inputs["cpt"]}
        return sweep(plan, parents, scorer, out, stage)

    return run


def merging_chosen(plan: SweepPlan, rank: int, names: Mapping[str, str]) -> Work:
    """Merge the candidate of a sweep that has this rank, as any other merge."""

    def run(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        from domadapt.report.sweep import chosen

        candidate = chosen(inputs["sweep"].data, plan.select_by, rank)
        method = next(m.choice for m in plan.methods if m.label == candidate["label_of_method"])
        config = type(method.config).model_validate(candidate["options"])
        facts = merging(replace(method, config=config), candidate["share"], names)(stage, inputs, out)
        shown = {key: candidate[key] for key in ("method", "weight", "density") if candidate[key] is not None}
        if candidate["weight"] is None:
            facts.pop("weight", None)
        return {**facts, **shown, "candidate": candidate["number"], "arguments": candidate["arguments"]}

    return run


def evaluation(evaluator: Choice, request: EvalRequest) -> Work:
    """Score one model on one task. request: without the corpus, which is an input."""

    def run(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        asked = replace(request, corpus=inputs.get("corpus"))
        rows = cast(Evaluator, evaluator.cls(evaluator.config)).evaluate(inputs["model"], asked, out, stage)
        text = json.dumps({"rows": [asdict(row) for row in rows]}, indent=1, sort_keys=True)
        (out / "scores.json").write_text(text + "\n")
        return {"task": request.task}

    return run
