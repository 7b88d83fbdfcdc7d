"""Shards by processes of this machine. A process that is killed is replaced and its shard begun anew."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from domadapt.builtin.corpora.workers import parse_in_workers
from domadapt.components import Reject, Stage
from domadapt.errors import StageError
from domadapt.pipeline.sharding import Task, attempt

SECONDS, MEMORY = 10**8, 1 << 50
"""No limits: those of parsing hold within the tasks."""


class ProcessExecutor:
    """So many processes at a time."""

    def __init__(self, workers: int) -> None:
        self.workers = workers

    def run(self, tasks: Iterable[Task], stage: Stage) -> Iterator[Task]:
        """See `Executor`."""

        def lost(reason: str, where: str) -> None:
            raise StageError(
                f"{stage.name}: {where}: {reason}, three times; when it was the kernel for want of memory, set "
                "corpus.workers to a smaller number and run the same command to continue"
            )

        named = ((f"shard {task.out.name}", task) for task in tasks)
        yield from parse_in_workers(do, named, lost, workers=self.workers, seconds=SECONDS, memory=MEMORY)


def do(task: Task, reject: Reject) -> Iterator[Task]:
    """A task in a worker."""
    attempt(task)
    yield task
