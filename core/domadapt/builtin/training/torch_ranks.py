"""The torch backend on several ranks: who they are, and what the parent does while they train."""

from __future__ import annotations

import json
import shutil
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.builtin.training.following import leaders
from domadapt.builtin.training.jobs import TorchJob, write_job
from domadapt.builtin.training.ranks import run_ranks
from domadapt.components import Stage, TrainRequest
from domadapt.errors import MissingError

if TYPE_CHECKING:
    from domadapt.builtin.training.torch_loop import TorchOptions
    from domadapt.recipe.schema import Launch

WORKER = "domadapt.builtin.training.torch_worker"
JOB, RESULT = "job.json", "result.json"


def num_ranks(options: TorchOptions, launch: Launch | None) -> int:
    """How many ranks train. Raises MissingError when this machine has fewer GPUs than ranks were asked for."""
    import torch

    if leaders:
        return leaders[0].place.world_size
    gpus = torch.cuda.device_count()
    told = options.num_processes or (launch.gpus_per_node if launch is not None else None)
    if launch is not None and (launch.nodes > 1 or launch.executor == "slurm"):
        return launch.nodes * (told or gpus or 1)
    if told and told > gpus > 0:
        raise MissingError(f"train.options.num_processes is {told}, but this machine has {gpus} GPUs; a rank needs one")
    return told or gpus or 1


def train_on_ranks(
    request: TrainRequest, out: Path, stage: Stage, options: TorchOptions, newest: Path | None, ranks: int
) -> dict[str, Any]:
    """Train on several ranks; return the facts that the first one stated.

    Raises what a rank raised, StageError for one that died or said nothing for too long.
    """
    for old in stage.scratch.glob("attempt-*"):
        shutil.rmtree(old, ignore_errors=True)
    folder = stage.scratch / f"attempt-{uuid.uuid4().hex[:8]}"
    folder.mkdir(parents=True)
    job = TorchJob(request, options, out, folder, stage.scratch, stage.key, stage.seed, newest)
    write_job(job, folder / JOB)
    if leaders:
        return leaders[0].train(job, folder / JOB, stage)
    run_ranks(WORKER, [str(folder / JOB)], ranks, folder, stage, options.timeout, request.launch)
    said: dict[str, Any] = json.loads((folder / RESULT).read_bytes())
    stage.measured.update(said["measured"])
    facts: dict[str, Any] = said["facts"]
    return facts
