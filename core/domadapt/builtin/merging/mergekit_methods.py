"""Merge methods through mergekit 0.1.5: linear, slerp, task arithmetic, TIES, DARE.

mergekit accepts misspelt and missing parameters in silence, reaches for the hub when a path looks like
`a/b`, and draws the donor of config and tokenizer at random when no base model is given. So options are
validated here, paths are absolute, the model card is off, a base model and a seed are always given, and
only tensors are merged: tokenizer, chat template and generation config are added by the engine.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import Field

from domadapt.artifacts import Checkpoint
from domadapt.components import Merger, Options, Stage, WeightedCheckpoint
from domadapt.errors import StageError

OUTPUT = "lm_head.weight"


class ParentDensities(Options):
    """A density of its own for each parent."""

    instruct: float = Field(gt=0, le=1)
    """Share of the instruct model's task vector that is kept."""
    cpt: float = Field(gt=0, le=1)
    """Share of the CPT model's task vector that is kept."""


Density = Annotated[float, Field(gt=0, le=1)] | ParentDensities


class NoOptions(Options):
    """A method without options of its own."""


class TaskVectorOptions(Options):
    """Options of methods that add weighted task vectors to the ancestor."""

    scale: float = Field(1.0, gt=0)
    """Factor of the merged task vector (lambda in Ilharco et al. 2023 and Yadav et al. 2023)."""
    normalize: bool = False
    """Whether the weighted sum is divided by the sum of the weights."""


class TiesOptions(TaskVectorOptions):
    """Options of `ties`."""

    density: Density
    """Share of each task vector that is kept by magnitude, one number or one a parent. No default: mergekit's
    own, 1.0, is TIES without trimming. Llama-3-SEC: cpt 0.75, instruct 1.0."""
    normalize: bool = True
    """Whether each entry is divided by the weights of the parents that agree on its sign."""


class DareOptions(TaskVectorOptions):
    """Options of `dare_ties` and `dare_linear`."""

    density: Density
    """Share of each task vector that is kept at random. No default: at 1.0 nothing is dropped."""


class MergekitMerger(Merger):
    """Runs one method of mergekit on the CPU, in fp32, and stores the parents' type."""

    def merge(
        self, ancestor: Checkpoint, models: Sequence[WeightedCheckpoint], out: Path, stage: Stage
    ) -> dict[str, Any]:
        """Merge by mergekit's own configuration, which is kept as `mergekit_config.yml`."""
        import yaml

        os.environ.setdefault("HF_HUB_OFFLINE", "1")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # mergekit 0.1.5 looks up numpy.core at import
            from mergekit.config import MergeConfiguration
            from mergekit.merge import MergeOptions, run_merge

        from domadapt.builtin.training.torch_loop import stored_dtype

        _check_shapes(stage, ancestor, models)
        dtype = str(stored_dtype(models[0].checkpoint)).removeprefix("torch.")
        recipe = {**self.recipe(ancestor, models), "dtype": "float32", "out_dtype": dtype}
        options = MergeOptions(
            quiet=True,
            write_model_card=False,
            copy_tokenizer=False,
            random_seed=stage.seed,
            lazy_unpickle=False,
            low_cpu_memory=False,
            device="cpu",
        )
        try:
            run_merge(MergeConfiguration.model_validate(recipe), str(out), options)
        except (RuntimeError, ValueError) as error:  # its own refusals; a full disk is the engine's to tell
            raise StageError(f"{stage.name}: mergekit could not merge ({error})") from error
        named = yaml.safe_dump(_with_roles(recipe, ancestor, models), sort_keys=False)
        (out / "mergekit_config.yml").write_text(named)
        return {"method": self.name, "dtype": dtype, "mergekit": named}

    def recipe(self, ancestor: Checkpoint, models: Sequence[WeightedCheckpoint]) -> dict[str, Any]:
        """mergekit's configuration of this merge, without types."""
        weighted = [{"model": _path(m.checkpoint), "parameters": self.parameters(m)} for m in models]
        base = _path(ancestor) if self.uses_ancestor else _path(models[0].checkpoint)
        return {"merge_method": self.name, "base_model": base, "models": weighted, "parameters": self.shared()}

    def parameters(self, model: WeightedCheckpoint) -> dict[str, Any]:
        """mergekit's parameters of one parent."""
        parameters: dict[str, Any] = {"weight": model.weight}
        density = getattr(self.config, "density", None)
        if density is not None:
            parameters["density"] = density if isinstance(density, float) else getattr(density, model.checkpoint.role)
        return parameters

    def shared(self) -> dict[str, Any]:
        """mergekit's parameters of the whole merge."""
        return {"normalize": self.config.normalize, "lambda": self.config.scale}


class Linear(MergekitMerger):
    """Weighted mean of the weights (Wortsman et al. 2022, arXiv 2203.05482)."""

    name: ClassVar[str] = "linear"
    Config: ClassVar[type[Options]] = NoOptions

    def shared(self) -> dict[str, Any]:
        """Shares sum to 1 already; normalising changes nothing."""
        return {"normalize": True}


class Slerp(MergekitMerger):
    """Spherical interpolation between instruct (0) and CPT (1), tensor by tensor (Shoemake 1985)."""

    name: ClassVar[str] = "slerp"
    Config: ClassVar[type[Options]] = NoOptions

    def recipe(self, ancestor: Checkpoint, models: Sequence[WeightedCheckpoint]) -> dict[str, Any]:
        """Both parents, the instruct model as mergekit's base, t = share of the CPT model."""
        instruct, cpt = models
        paths = [{"model": _path(m.checkpoint)} for m in models]
        return {
            "merge_method": self.name,
            "base_model": _path(instruct.checkpoint),
            "models": paths,
            "parameters": {"t": cpt.weight},
        }


class TaskArithmetic(MergekitMerger):
    """Weighted sum of task vectors on the ancestor (Ilharco et al. 2023, arXiv 2212.04089)."""

    name: ClassVar[str] = "task_arithmetic"
    Config: ClassVar[type[Options]] = TaskVectorOptions
    uses_ancestor: ClassVar[bool] = True


class Ties(MergekitMerger):
    """Trim, elect signs, disjoint merge (Yadav et al. 2023, arXiv 2306.01708), trimmed tensor by tensor."""

    name: ClassVar[str] = "ties"
    Config: ClassVar[type[Options]] = TiesOptions
    uses_ancestor: ClassVar[bool] = True


class DareTies(MergekitMerger):
    """Random dropping with rescaling, then TIES' sign election (Yu et al. 2024, arXiv 2311.03099)."""

    name: ClassVar[str] = "dare_ties"
    Config: ClassVar[type[Options]] = DareOptions
    uses_ancestor: ClassVar[bool] = True


class DareLinear(MergekitMerger):
    """Random dropping with rescaling, then a weighted sum (Yu et al. 2024, arXiv 2311.03099)."""

    name: ClassVar[str] = "dare_linear"
    Config: ClassVar[type[Options]] = DareOptions
    uses_ancestor: ClassVar[bool] = True


def _check_shapes(stage: Stage, ancestor: Checkpoint, models: Sequence[WeightedCheckpoint]) -> None:
    """The same tensors of the same shapes in all parents; mergekit's own message names neither."""
    from domadapt.builtin.models.weights import tensor_shapes

    first = models[0].checkpoint
    wanted = tensor_shapes(first.path)
    for other in (ancestor, *(m.checkpoint for m in models[1:])):
        shapes = tensor_shapes(other.path)
        for name in sorted({*wanted, *shapes} - {OUTPUT}):  # a tied output layer is not stored
            if wanted.get(name) != shapes.get(name):
                raise StageError(
                    f"{stage.name}: {name} is {_shape(wanted.get(name))} in the {first.role} model and "
                    f"{_shape(shapes.get(name))} in the {other.role} model; merge checkpoints of one architecture"
                )


def _shape(shape: tuple[int, ...] | None) -> str:
    return "missing" if shape is None else f"of shape {list(shape)}"


def _path(checkpoint: Checkpoint) -> str:
    return str(checkpoint.path.resolve())


def _with_roles(recipe: dict[str, Any], ancestor: Checkpoint, models: Sequence[WeightedCheckpoint]) -> dict[str, Any]:
    """The same configuration with roles for paths: a manifest holds no path of one machine."""
    roles = {_path(ancestor): "base", **{_path(m.checkpoint): m.checkpoint.role for m in models}}
    models_named = [{**m, "model": roles[m["model"]]} for m in recipe["models"]]
    return {**recipe, "base_model": roles[recipe["base_model"]], "models": models_named}


MERGERS = (Linear, Slerp, TaskArithmetic, Ties, DareTies, DareLinear)
