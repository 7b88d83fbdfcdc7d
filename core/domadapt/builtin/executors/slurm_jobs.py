"""Shards by Slurm jobs that datatrove generates: an array job for each phase, a task of it for each rank.

The login node waits for the jobs and does what needs all documents. All machines share the folder of runs and the
environment that adapt is installed in, at the same paths. Where there is no sbatch the script is written all the same:
it can be submitted elsewhere, and the same command goes on when its work is done.
"""

from __future__ import annotations

import pickle
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.components import Stage
from domadapt.errors import Interrupted, MissingError, StageError
from domadapt.pipeline.sharding import Task, attempt, is_done
from domadapt.pipeline.store import remove

if TYPE_CHECKING:
    from domadapt.recipe.schema import CorpusSlurm

POLL = 5.0
"""Seconds between looks at what the jobs have done."""
SCRIPT = "launch_script.slurm"
"""As datatrove calls it."""


class SlurmExecutor:
    """Array jobs. workers: ranks of each, None for as many as there are shards, 1,000 at most."""

    def __init__(self, workers: int | None, options: CorpusSlurm) -> None:
        self.workers, self.options = workers, options

    def run(self, tasks: Iterable[Task], stage: Stage) -> Iterator[Task]:
        """See `Executor`."""
        every = list(tasks)
        if waiting := [task for task in every if not is_done(task)]:
            for task in waiting:  # what earlier attempts left would look like what the job has done
                remove(task.out)
                task.error.unlink(missing_ok=True)
            job = self.job(waiting, stage)
            script = Path(job.logging_dir.resolve_paths(SCRIPT))
            try:
                job.run()
            except FileNotFoundError:
                raise MissingError(
                    f"{stage.name}: there is no sbatch on this machine; submit {script} where there is one "
                    "(sbatch --export=ALL,RUN_OFFSET=0), and run the same command again when its jobs are done"
                ) from None
            except subprocess.CalledProcessError as error:
                raise StageError(f"{stage.name}: sbatch refused {script} (exit code {error.returncode})") from error
            _wait(waiting, str(job.job_id), script.parent, stage)
        yield from every

    def job(self, tasks: Sequence[Task], stage: Stage) -> Any:
        """datatrove's executor for the tasks; it writes its script when it is run."""
        from datatrove.executor.slurm import SlurmPipelineExecutor

        ranks = min(self.workers or 1000, len(tasks))
        folder = _new_folder(stage.scratch.resolve())
        listed = folder / "tasks.pickle"
        listed.write_bytes(pickle.dumps(list(tasks)))
        given = self.options
        return SlurmPipelineExecutor(
            pipeline=[partial(do_rank, str(listed))],
            tasks=ranks,
            time=given.time,
            partition=given.partition,
            mem_per_cpu_gb=given.memory_gb,
            job_name=f"adapt-{stage.name}",
            qos="",
            env_command="; ".join([*given.setup, f"export PATH={Path(sys.executable).parent}:$PATH"]),
            sbatch_args=dict(_option(line) for line in given.sbatch),
            logging_dir=str(folder),
            slurm_logs_folder=str(folder / "logs"),
            mail_type="NONE",
        )


def do_rank(listed: str, data: Any, rank: int, world_size: int) -> None:
    """Every `world_size`-th task from `rank` on. For jobs."""
    tasks: list[Task] = pickle.loads(Path(listed).read_bytes())  # noqa: S301 - our own
    for task in tasks[rank::world_size]:
        attempt(task)


def _new_folder(scratch: Path) -> Path:
    number = 0
    while (folder := scratch / f"slurm-{number}").exists():
        number += 1
    folder.mkdir(parents=True)
    return folder


def _option(line: str) -> tuple[str, str]:
    """A line of options as datatrove takes it: "--qos=high" is qos, high; "--exclusive" is exclusive, ""."""
    name, _, value = line.strip().removeprefix("--").partition("=")
    return name, value


def _wait(tasks: Sequence[Task], job: str, folder: Path, stage: Stage) -> None:
    """Until all tasks are done or have failed. Raises StageError when the job is gone before."""
    open_ = list(tasks)
    try:
        while True:
            gone = not _is_queued(job)  # asked before looking: what it did last is seen
            open_ = [task for task in open_ if not task.out.exists() and not task.error.exists()]
            stage.progress(len(tasks) - len(open_), len(tasks), "shards")
            if not open_:
                return
            if gone:
                raise StageError(
                    f"{stage.name}: Slurm job {job} has ended and {len(open_)} of {len(tasks)} shards are not done; "
                    f"its logs are in {folder / 'logs'}, and the same command goes on with those that are missing"
                )
            time.sleep(POLL)
    except (Interrupted, KeyboardInterrupt):
        subprocess.run(["scancel", job], check=False)
        raise


def _is_queued(job: str) -> bool:
    if shutil.which("squeue") is None:
        return True
    told = subprocess.run(["squeue", "-h", "-j", job], capture_output=True, text=True, check=False)
    return told.returncode == 0 and bool(told.stdout.strip())
