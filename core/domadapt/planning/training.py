"""What a recipe trains, as far as its cost depends on it. Read from the recipe alone."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from domadapt.planning.layout import Batch
from domadapt.planning.memory import Layout, Recompute
from domadapt.planning.process import Pass
from domadapt.planning.shapes import ModelShape
from domadapt.recipe.mixtures import num_steps, windows_per_step

if TYPE_CHECKING:
    from pydantic import BaseModel

    from domadapt.recipe.schema import Recipe

COPIES = 3
"""Checkpoints for resuming on disk at once: two are kept while the next is written."""


@dataclass(frozen=True)
class Training:
    """A training and what becomes of it.

    tokens: in all, None for one pass over documents that nobody counted yet.  replay: share of general tokens.
    autocast: whether products are bf16.  recompute: whether activations are.
    splits_model: whether the backend can divide a model over devices by tensor and pipeline parallelism; else it
    shares out weights and optimizer over data-parallel ranks, of which a machine without GPU has `processes`.
    tensor, pipeline, distributed_optimizer: what the recipe sets of a layout.
    adapters: whether adapters are trained in the place of the weights.
    num_models: models that are written, the CPT model and the merges.
    """

    shape: ModelShape
    batch: Batch
    tokens: int | None
    replay: float
    autocast: bool
    recompute: bool
    splits_model: bool
    tensor: int
    pipeline: int
    num_models: int
    distributed_optimizer: bool = True
    processes: int = 1
    adapters: bool = False

    @property
    def steps(self) -> int | None:
        """Optimizer steps."""
        return None if self.tokens is None else self.tokens // (self.batch.samples * self.batch.seq_len)

    def layout(self, num_devices: int) -> Layout | None:
        """The recipe's own layout on so many devices, None when it does not divide them or the batch."""
        ranks = self.tensor * self.pipeline
        data, rest = divmod(num_devices, ranks)
        if rest or not data or self.batch.samples % (data * self.batch.micro_batch):
            return None
        recompute: Recompute = "full" if self.recompute else "selective"
        micro_batches = self.batch.samples // (data * self.batch.micro_batch)
        return Layout(
            self.tensor,
            self.pipeline,
            data,
            self.batch.micro_batch,
            micro_batches,
            distributed_optimizer=self.distributed_optimizer,
            recompute=recompute,
        )

    def one_pass(self, ranks: int) -> Pass:
        """A forward and backward pass of one of several ranks that share a step's windows."""
        micro_batch = min(self.batch.micro_batch, max(1, self.batch.samples // ranks))
        accumulates = self.batch.samples // ranks > micro_batch
        return Pass(self.batch.seq_len, micro_batch, self.autocast, self.recompute, accumulates)


def training_of(recipe: Recipe, options: BaseModel, shape: ModelShape) -> Training:
    """The training of a recipe. options: of its backend."""
    from domadapt.planning.mixture import mean_replay

    samples, steps = windows_per_step(recipe), num_steps(recipe)
    return Training(
        shape=shape,
        batch=Batch(recipe.mix.seq_len, samples, min(recipe.train.micro_batch, samples)),
        tokens=None if steps is None else steps * samples * recipe.mix.seq_len,
        replay=mean_replay(recipe),
        autocast=recipe.train.precision == "bf16",
        recompute=getattr(options, "gradient_checkpointing", False),
        splits_model=hasattr(options, "tensor_parallel"),
        tensor=getattr(options, "tensor_parallel", 1),
        pipeline=getattr(options, "pipeline_parallel", 1),
        num_models=1 + len(recipe.merge.methods),
        distributed_optimizer=getattr(options, "distributed_optimizer", True),
        processes=getattr(options, "num_processes", None) or 1,
        adapters=bool(getattr(options, "lora_rank", 0)),
    )
