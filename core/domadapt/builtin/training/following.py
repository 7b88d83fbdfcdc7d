"""`adapt run` started once a rank, by torchrun or srun: the first rank works and speaks, the others help it train.

The others wait until the first has a training to share, do their part, and wait again; when it ends, so do they.
Corpora, merges and evaluations are the first rank's alone.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.builtin.launching.places import Place
from domadapt.errors import OK

if TYPE_CHECKING:
    from domadapt.builtin.training.jobs import TorchJob
    from domadapt.components import Stage

_PATIENCE = timedelta(days=365)
_END = b"end"


class Leader:
    """The first rank's side. place: this process among the ranks."""

    def __init__(self, place: Place) -> None:
        self.place, self.store, self.number = place, _store(place), 0

    def train(self, job: TorchJob, file: Path, stage: Stage) -> dict[str, Any]:
        """Share a job with the other ranks, do the first one's part; return the facts."""
        from domadapt.builtin.training.torch_worker import part

        self.store.set(f"adapt/{self.number}", str(file))
        self.number += 1
        return part(job, stage, self.place, _of_job(self.store, self.number))

    def end(self) -> None:
        """Let the other ranks go."""
        self.store.set(f"adapt/{self.number}", _END)


leaders: list[Leader] = []
"""The one of this process, if it is the first rank of several: a training's stage knows nothing of how it was begun."""


@contextlib.contextmanager
def leading(place: Place) -> Iterator[None]:
    """Lead the other ranks for as long as the run works."""
    leader = Leader(place)
    leaders.append(leader)
    try:
        yield
        leader.end()
    finally:
        leaders.remove(leader)


def follow(place: Place) -> int:
    """Do this rank's part of every training of the first rank; the code to end with."""
    from domadapt.builtin.training.jobs import read_job
    from domadapt.builtin.training.rank import serve
    from domadapt.builtin.training.torch_worker import train

    store, number = _store(place), 0
    while True:
        key = f"adapt/{number}"
        store.wait([key], _PATIENCE)
        if (said := store.get(key)) == _END:
            return OK
        number += 1
        job, meeting = read_job(Path(said.decode())), _of_job(store, number)
        code = serve(job.folder, partial(train, job, store=meeting))
        for sent in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(sent, signal.SIG_DFL)  # a rank that only waits ends at once
        if code:
            return code


def _store(place: Place) -> Any:
    """Where the ranks meet: at torchrun's own store, or at one of the first rank."""
    from torch.distributed import rendezvous

    os.environ.update(place.as_environment())
    return next(rendezvous("env://", place.rank, place.world_size, timeout=timedelta(minutes=30)))[0]


def _of_job(store: Any, number: int) -> Any:
    from torch.distributed import PrefixStore

    return PrefixStore(f"job/{number}", store)
