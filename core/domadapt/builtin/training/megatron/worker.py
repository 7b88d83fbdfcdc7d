"""One rank of a Megatron training: `python -m domadapt.builtin.training.megatron.worker job.json`.

A process of its own, so that Megatron's global state never meets the parent's.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import warnings
from datetime import timedelta
from multiprocessing import get_context
from multiprocessing.managers import SyncManager
from pathlib import Path

from domadapt.builtin.training.megatron.job import RESULT, Job
from domadapt.builtin.training.rank import Rank, serve


def main(file: str) -> int:
    """Do this rank's part of a job; the code to end with."""
    job = Job.read(Path(file))
    # with one queue of work a GPU starts what Megatron wants first, and communication overlaps with products
    os.environ.setdefault("CUDA_DEVICE_MAX_CONNECTIONS", "1")
    # Megatron's checkpoint writer would start this process anew, with all of torch, and leave it behind when killed
    queues = SyncManager(ctx=get_context("fork"))
    queues.start(_hear_nothing)
    return serve(Path(job.folder), lambda rank: _train(job, rank, queues))


def _hear_nothing() -> None:
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _train(job: Job, rank: Rank, queues: SyncManager) -> None:
    import torch

    from domadapt.builtin.training.megatron.cpu import cpu_in_place_of_cuda, uncompiled

    cuda = torch.cuda.is_available()
    with warnings.catch_warnings(), contextlib.nullcontext() if cuda else uncompiled():
        warnings.simplefilter("ignore")  # Apex and Transformer Engine are missed at import
        from megatron.core import parallel_state, tensor_parallel
        from megatron.core.dist_checkpointing.strategies import filesystem_async

        from domadapt.builtin.training.megatron.loop import RankRun

    filesystem_async._results_queue = queues.Queue()
    torch.set_num_threads(job.threads)
    device = torch.device("cuda", rank.place.local_rank) if cuda else torch.device("cpu")
    if cuda:
        torch.cuda.set_device(device)
    torch.distributed.init_process_group(
        "nccl" if cuda else "gloo", timeout=timedelta(seconds=job.timeout), device_id=device if cuda else None
    )
    layout = job.ranks
    parallel_state.initialize_model_parallel(layout.tensor, layout.pipeline)
    with contextlib.nullcontext() if cuda else cpu_in_place_of_cuda():
        tensor_parallel.model_parallel_cuda_manual_seed(1234)  # nothing is random, but layers ask for the generator
        facts = RankRun(job, rank, device).run()
    if rank.place.is_first:
        (Path(job.folder) / RESULT).write_text(json.dumps(facts))
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
