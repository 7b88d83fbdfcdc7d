"""One rank of a torch training: `python -m domadapt.builtin.training.torch_worker job.json`."""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

from domadapt.builtin.launching.places import Place
from domadapt.builtin.training.jobs import TorchJob, read_job
from domadapt.builtin.training.rank import Rank, serve
from domadapt.builtin.training.torch_ranks import RESULT
from domadapt.components import Stage


def main(file: str) -> int:
    """Do this rank's part; the code to end with."""
    job = read_job(Path(file))
    return serve(job.folder, lambda rank: train(job, rank))


def train(job: TorchJob, rank: Rank, store: Any = None) -> None:
    """The part of a rank that the first one hears through files; the first rank leaves the facts."""
    stage = Stage(
        name="train",
        key=job.key,
        seed=job.seed,
        component="torch",
        work=lambda *_: {},
        scratch=job.scratch,
        emit=lambda kind, data: rank.say(kind, **data),
        stop_requested=rank.stop_requested,
    )
    facts = part(job, stage, rank.place, store)
    if rank.place.is_first:
        (job.folder / RESULT).write_text(json.dumps({"facts": facts, "measured": stage.measured}))


def part(job: TorchJob, stage: Stage, place: Place, store: Any = None) -> dict[str, Any]:
    """Join the other ranks and train; the facts on the first rank.

    store: where the ranks meet, None for where the environment says.
    """
    import torch
    import torch.distributed as dist

    from domadapt.builtin.training.peers import Peers
    from domadapt.builtin.training.torch_run import TorchRun

    torch.set_num_threads(job.options.threads)
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", place.local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    # numbers that ranks tell each other lie on the CPU, whatever the model is on
    dist.init_process_group(
        "cpu:gloo,cuda:nccl" if cuda else "gloo",
        store=store,
        rank=place.rank,
        world_size=place.world_size,
        timeout=timedelta(seconds=job.options.timeout),
    )
    torch.manual_seed(job.seed)
    run = TorchRun(job.request, job.out, stage, job.options, Peers(place.rank, place.world_size, device))
    run.resume(job.resume)
    run.fit()
    facts = run.finish()
    dist.barrier()
    dist.destroy_process_group()
    return facts


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
