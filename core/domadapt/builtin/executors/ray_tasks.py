"""Shards by tasks of a Ray cluster: the one that RAY_ADDRESS names, else this machine.

Every machine needs adapt and its packs installed and the folder of runs at the same path. A worker or a machine that
is lost costs its shards and no more: Ray gives them to others.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from domadapt.components import Stage
from domadapt.errors import MissingError, StageError
from domadapt.pipeline.sharding import Task, attempt

RETRIES = 3
"""How often a shard is given to another worker."""
PATIENCE = 1.0
"""Seconds of waiting before the run may be interrupted."""


class RayExecutor:
    """Tasks of one CPU each. workers: most at a time; None for the CPUs of the cluster."""

    def __init__(self, workers: int | None) -> None:
        self.workers = workers

    def run(self, tasks: Iterable[Task], stage: Stage) -> Iterator[Task]:
        """See `Executor`."""
        ray = _connected(self.workers)
        remote = ray.remote(num_cpus=1, max_retries=RETRIES)(attempt)
        most = self.workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        given: deque[tuple[Task, Any]] = deque()
        for task in tasks:
            given.append((task, remote.remote(task)))
            # those that are done wait for the turn of theirs; no more than as many again
            while len(given) >= 2 * most or _running(ray, given) >= most:
                yield _first(ray, given, stage)
        while given:
            yield _first(ray, given, stage)


def _running(ray: Any, given: deque[tuple[Task, Any]]) -> int:
    return len(ray.wait([ref for _, ref in given], num_returns=len(given), timeout=0)[1])


def _first(ray: Any, given: deque[tuple[Task, Any]], stage: Stage) -> Task:
    """The first task when it is done."""
    task, reference = given.popleft()
    waited = 0
    while not ray.wait([reference], timeout=PATIENCE)[0]:
        waited += 1
        stage.progress(waited, waited, f"seconds waited for shard {task.out.name}")
    try:
        ray.get(reference)
    except ray.exceptions.RayError as error:
        raise StageError(
            f"{stage.name}: Ray lost the worker on shard {task.out.name} {RETRIES + 1} times "
            f"({str(error).splitlines()[0]}); run the same command to continue"
        ) from error
    return task


def _connected(workers: int | None) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    import ray

    if ray.is_initialized():
        return ray
    address = os.environ.get("RAY_ADDRESS")
    own = {} if address else {"num_cpus": workers, "include_dashboard": False}
    try:
        ray.init(address=address or "local", log_to_driver=False, configure_logging=False, **own)
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise MissingError(f"corpus executor 'ray' finds no cluster ({str(error).splitlines()[0]})") from error
    return ray
