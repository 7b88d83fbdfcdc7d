"""The embedded training backend: continual pre-training with torch, in this process or on several local ranks.

A causal language model from a Hugging Face folder, AdamW over fp32 weights (bf16 by autocast), gradient accumulation,
clipping. What is done in which order is in `torch_run`; this module decides where.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from domadapt.artifacts import Checkpoint
from domadapt.components import NO_EFFECT, Options, Stage, TrainingBackend, TrainRequest

if TYPE_CHECKING:
    from pathlib import Path

    import torch


class TorchOptions(Options):
    """Options of the torch backend."""

    num_processes: int | None = Field(None, ge=1, json_schema_extra=NO_EFFECT)
    """Ranks of each machine. They shard the model (FSDP2) and share the windows of a step, which they must divide
    evenly. Another number changes the last bits only: a training may go on with it. Default: one for each GPU; 1 on a
    CPU."""
    threads: int = Field(2, ge=1)
    """CPU threads of a rank. Fixed, not taken from the machine: another number gives other last bits."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: about a third more time for much less memory."""
    compile: bool = False
    """Compile the layers (torch.compile): some minutes at the start, which pay on GPUs; on a CPU it gains 2 %."""
    lora_rank: int = Field(0, ge=0)
    """Train adapters of this rank on all linear layers in the place of the weights (Hu et al. 2021, arXiv 2106.09685);
    they are merged into the weights at the end. 0: all weights are trained."""
    lora_alpha: int = Field(32, ge=1)
    """Scale of the adapters, divided by their rank."""
    max_skips: int = Field(3, ge=0)
    """Steps that may be left out because their gradient is not finite although their loss is. One more ends it."""
    timeout: float = Field(1800.0, gt=0, json_schema_extra=NO_EFFECT)
    """Seconds without a sign of life after which ranks are ended; the same command continues."""


class TorchBackend(TrainingBackend):
    """Training with PyTorch on a CPU, one GPU, or several of one machine."""

    name: ClassVar[str] = "torch"
    Config: ClassVar[type[Options]] = TorchOptions

    def train(self, request: TrainRequest, out: Path, stage: Stage) -> dict[str, Any]:
        """Train from `request.start`, or continue from the newest checkpoint of an interrupted attempt."""
        from domadapt.builtin.training.checkpoints import newest_checkpoint
        from domadapt.builtin.training.torch_ranks import num_ranks, train_on_ranks

        ranks, newest = num_ranks(self.config, request.launch), newest_checkpoint(stage)
        if ranks > 1:
            facts = train_on_ranks(request, out, stage, self.config, newest, ranks)
        else:
            facts = train_here(request, out, stage, self.config, newest)
        return {**facts, "threads": self.config.threads}


def train_here(
    request: TrainRequest, out: Path, stage: Stage, options: TorchOptions, newest: Path | None
) -> dict[str, Any]:
    """Train in this process, and leave its number of threads as it was."""
    import torch

    from domadapt.builtin.training.peers import Peers
    from domadapt.builtin.training.torch_run import TorchRun

    threads = torch.get_num_threads()
    torch.set_num_threads(options.threads)
    torch.manual_seed(stage.seed)
    try:
        run = TorchRun(request, out, stage, options, Peers.alone())
        run.resume(newest)
        run.fit()
        return run.finish()
    finally:  # what follows must compute alike whether training was done in this process or before
        torch.set_num_threads(threads)


def stored_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """The type a checkpoint's weights are stored in, from its config."""
    import torch
    from transformers import AutoConfig

    dtype = AutoConfig.from_pretrained(checkpoint.path).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32
