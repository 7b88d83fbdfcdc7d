"""The megatron training backend: the same training as torch's, on Megatron-Core, over any number of ranks.

Tensor, pipeline and data parallelism divide a model and a batch that one GPU cannot hold. Data, order, schedule and
results are the torch backend's; what differs is where each sum is made. Without CUDA the ranks are CPU processes that
speak over gloo: slower than the torch backend, for tests and for trying a layout before it is paid for.
"""

from __future__ import annotations

import json
import math
import shutil
import uuid
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from domadapt.artifacts import TOKENIZER_FILES
from domadapt.components import NO_EFFECT, Options, Stage, TrainingBackend, TrainRequest

if TYPE_CHECKING:
    from domadapt.builtin.training.megatron.job import Job
    from domadapt.builtin.training.megatron.layout import Layout
    from domadapt.recipe.schema import Launch

WORKER = "domadapt.builtin.training.megatron.worker"


class MegatronOptions(Options):
    """Options of the megatron backend. A layout changes the last bits of a result only, so a training may go on in
    another one: it is not part of what the result depends on."""

    tensor_parallel: int = Field(1, ge=1, json_schema_extra=NO_EFFECT)
    """Ranks that share every layer; divides the model's key-value heads. On GPUs keep it within one machine."""
    pipeline_parallel: int = Field(1, ge=1, json_schema_extra=NO_EFFECT)
    """Ranks that have the layers one after the other; divides the number of layers."""
    data_parallel: int | None = Field(None, ge=1, json_schema_extra=NO_EFFECT)
    """Copies of the model, which share a step's samples. Default: as many as the GPUs allow; 1 on a CPU."""
    distributed_optimizer: bool = Field(True, json_schema_extra=NO_EFFECT)
    """Whether data-parallel ranks divide the optimizer's state among them (ZeRO-1) instead of each having all of it."""
    async_save: bool = Field(True, json_schema_extra=NO_EFFECT)
    """Whether training goes on while a checkpoint is written."""
    gradient_checkpointing: bool = Field(False, json_schema_extra=NO_EFFECT)
    """Recompute activations in the backward pass: about a third more time for much less memory."""
    threads: int = Field(2, ge=1)
    """CPU threads of a rank. Fixed, not taken from the machine: another number gives other last bits."""
    timeout: float = Field(1800.0, gt=0, json_schema_extra=NO_EFFECT)
    """Seconds without a sign of life after which ranks are ended; the same command continues."""


class MegatronBackend(TrainingBackend):
    """Training of Llama-family models with Megatron-Core over tensor-, pipeline- and data-parallel ranks."""

    name: ClassVar[str] = "megatron"
    Config: ClassVar[type[Options]] = MegatronOptions
    caveat: ClassVar[str] = "run on CPUs only so far: on GPUs, and with Transformer Engine, it has never run"

    def train(self, request: TrainRequest, out: Path, stage: Stage) -> dict[str, Any]:
        """Train from `request.start`, or continue from the newest checkpoint of an interrupted attempt."""
        from domadapt.builtin.training.megatron.job import RESULT
        from domadapt.builtin.training.megatron.layout import check_division, check_family
        from domadapt.builtin.training.ranks import run_ranks
        from domadapt.builtin.training.torch_run import check_vocabulary

        layout = layout_of(self.config, request.launch)
        check_division(check_family(request.start.path, request.tokens.facts["seq_len"]), layout)
        check_vocabulary(request)
        job = _job(request, layout, self.config, out, stage)
        folder = Path(job.folder)
        run_ranks(WORKER, [str(job.write())], layout.world, folder, stage, job.timeout, request.launch)
        facts: dict[str, Any] = json.loads((folder / RESULT).read_bytes())
        stage.measured.update(facts.pop("measured"))
        return {**facts, **_finish(request, out, stage), "threads": self.config.threads}


def layout_of(options: MegatronOptions, launch: Launch | None) -> Layout:
    """The layout of the ranks, with as many copies of the model as the GPUs of all machines allow.

    Raises MissingError when it does not fit these GPUs.
    """
    import torch

    from domadapt.builtin.training.megatron.layout import Layout
    from domadapt.errors import MissingError

    gpus, nodes = torch.cuda.device_count(), 1
    if launch is not None:
        gpus = gpus if launch.gpus_per_node is None else launch.gpus_per_node
        nodes = launch.nodes
    ranks = options.tensor_parallel * options.pipeline_parallel
    layout = Layout(options.tensor_parallel, options.pipeline_parallel, options.data_parallel or 1)
    if options.data_parallel is None:
        layout = Layout(options.tensor_parallel, options.pipeline_parallel, max(1, gpus * nodes // ranks))
    if gpus and layout.world > gpus * nodes:
        raise MissingError(
            f"train: the layout has {layout.world} ranks, {gpus * nodes} GPUs are there; make it smaller"
        )
    if layout.world % nodes:
        raise MissingError(f"train: {layout.world} ranks cannot be divided evenly among {nodes} machines")
    return layout


def _job(request: TrainRequest, layout: Layout, options: MegatronOptions, out: Path, stage: Stage) -> Job:
    from domadapt.builtin.training.checkpoints import STATE, check_made_with, decisive, newest_checkpoint
    from domadapt.builtin.training.megatron.job import Job
    from domadapt.builtin.training.torch_loop import stored_dtype

    for old in stage.scratch.glob("attempt-*"):
        shutil.rmtree(old)
    folder = stage.scratch / f"attempt-{uuid.uuid4().hex[:8]}"
    folder.mkdir()
    resume, made_with = newest_checkpoint(stage), decisive(request, stage.seed)
    if resume is not None:
        check_made_with(resume, json.loads((resume / STATE).read_bytes())["made_with"], made_with)
    return Job(
        folder=str(folder),
        scratch=str(stage.scratch),
        out=str(out),
        start=str(request.start.path),
        tokens=str(request.tokens.path),
        settings=request.settings.model_dump(mode="json", by_alias=True),
        made_with=made_with,
        num_steps=request.num_steps,
        samples_per_step=request.samples_per_step,
        layout=asdict(layout),
        distributed_optimizer=options.distributed_optimizer,
        async_save=options.async_save,
        recompute=options.gradient_checkpointing,
        threads=options.threads,
        timeout=options.timeout,
        resume=None if resume is None else str(resume),
        stored_dtype=str(stored_dtype(request.start)).removeprefix("torch."),
    )


def _finish(request: TrainRequest, out: Path, stage: Stage) -> dict[str, Any]:
    """Put beside the weights what a Hugging Face folder needs, and the curves of the training."""
    from domadapt.builtin.models.weights import tensor_shapes
    from domadapt.builtin.training.megatron.curves import METRICS
    from domadapt.builtin.training.probing import stability_facts

    for name in (*TOKENIZER_FILES, "generation_config.json"):
        source = request.start.path / name
        if source.is_file():
            shutil.copyfile(source, out / name)
    metrics = out / "training" / METRICS
    metrics.parent.mkdir()
    shutil.copyfile(stage.scratch / METRICS, metrics)
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    parameters = sum(math.prod(shape) for shape in tensor_shapes(out).values())
    return {"parameters": parameters, "stability": stability_facts(lines)}
