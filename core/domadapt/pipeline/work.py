"""What each kind of stage does: build its component and hand it the inputs. Engines are imported in here, late."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, cast

from domadapt.artifacts import TOKENIZER_FILES, Checkpoint, Corpus, TokenStore
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
from domadapt.pipeline.corpus import build_corpus
from domadapt.recipe.check import Choice
from domadapt.recipe.schema import CorpusRecipe, EvalRecipe, Mix, Train

Work = Callable[[Stage, Mapping[str, Any], Path], dict[str, Any]]


def corpus(
    sources: Sequence[Choice], takes: Sequence[int | None], cleaners: Sequence[Choice], recipe: CorpusRecipe
) -> Work:
    """Read, clean and split the documents of one side."""

    def run(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        return build_corpus(
            [(cast(Source, c.cls(c.config)), take) for c, take in zip(sources, takes, strict=True)],
            [cast(Cleaner, c.cls(c.config)) for c in cleaners],
            holdout=recipe.holdout,
            holdout_documents=recipe.holdout_documents,
            out=out,
            stage=stage,
        )

    return run


def tokens(mixer: Choice, mix: Mix, num_samples: int | None, samples_per_step: int) -> Work:
    """Tokenise, pack and order."""

    def run(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        from domadapt.builtin.tokens.build import build_tokens

        corpora = cast(
            Mapping[Side, Corpus],
            {role.removeprefix("corpus."): i for role, i in inputs.items() if role.startswith("corpus.")},
        )
        return build_tokens(
            corpora,
            inputs["tokenizer"],
            cast(Mixer, mixer.cls(mixer.config)),
            mix,
            num_samples=num_samples,
            samples_per_step=samples_per_step,
            out=out,
            stage=stage,
        )

    return run


def training(backend: Choice, settings: Train, samples_per_step: int) -> Work:
    """Train as many whole steps as the token store has windows for."""

    def run(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        store: TokenStore = inputs["tokens"]
        steps = len(store.order()) // samples_per_step
        request = TrainRequest(inputs["start"], store, settings, steps, samples_per_step)
        return cast(TrainingBackend, backend.cls(backend.config)).train(request, out, stage)

    return run


def merging(method: Choice, weight: float) -> Work:
    """Merge instruct and CPT, then give the result what a chat model needs from the instruct model."""

    def run(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        instruct, cpt = inputs["instruct"], inputs["cpt"]
        models = [WeightedCheckpoint(instruct, 1 - weight), WeightedCheckpoint(cpt, weight)]
        _check_one_vocabulary(stage, instruct, cpt)
        facts = cast(Merger, method.cls(method.config)).merge(inputs["ancestor"], models, out, stage)
        for name in (*TOKENIZER_FILES, "generation_config.json"):
            (out / name).unlink(missing_ok=True)
            if (instruct.path / name).is_file():
                shutil.copyfile(instruct.path / name, out / name)
        _check_finite(stage, out)
        return {"weight": weight, **facts}

    return run


def _check_one_vocabulary(stage: Stage, instruct: Checkpoint, cpt: Checkpoint) -> None:
    sizes = {c.role: json.loads((c.path / "config.json").read_bytes()).get("vocab_size") for c in (instruct, cpt)}
    if len(set(sizes.values())) > 1:
        raise StageError(
            f"{stage.name}: the parents' vocabularies differ ({sizes}); merge checkpoints of one tokenizer"
        )


def _check_finite(stage: Stage, folder: Path) -> None:
    import torch
    from safetensors import safe_open

    files = sorted(folder.glob("*.safetensors"))
    if not files:
        raise StageError(f"{stage.name}: the merge wrote no *.safetensors")
    for file in files:
        with safe_open(file, framework="pt") as tensors:
            for name in tensors.keys():  # noqa: SIM118 - not a mapping
                if not bool(torch.isfinite(tensors.get_tensor(name)).all()):
                    raise StageError(
                        f"{stage.name}: {name} has values that are not finite; check the parents and the weights"
                    )


def evaluation(evaluator: Choice, task: str, side: Side, benchmark: Benchmark | None, recipe: EvalRecipe) -> Work:
    """Score one model on one task."""

    def run(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        request = EvalRequest(task, side, benchmark, inputs.get("corpus"), recipe.limit, recipe.batch_tokens)
        rows = cast(Evaluator, evaluator.cls(evaluator.config)).evaluate(inputs["model"], request, out, stage)
        text = json.dumps({"rows": [asdict(row) for row in rows]}, indent=1, sort_keys=True)
        (out / "scores.json").write_text(text + "\n")
        return {"task": task}

    return run
