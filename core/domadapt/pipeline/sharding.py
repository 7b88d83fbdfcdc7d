"""Work on shards, done exactly once by any number of workers, whoever is killed.

A task reads one file and fills one folder. The folder gets its name when it is whole and carries the digest of the
file, so that a task that was done is not done again and one that was begun is begun anew: by another worker, by another
number of them, in another run. What workers share is a file system and nothing else; who runs them is an executor.
"""

from __future__ import annotations

import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol
from uuid import uuid4

from domadapt import errors
from domadapt.components import Stage
from domadapt.culprits import culprit
from domadapt.pipeline.fingerprints import sha256_file
from domadapt.pipeline.store import fsync_path, remove, write_file

GIVEN = "given.sha256"
"""In a task's folder: the digest of the file that it was made from."""
Work = Callable[[Path, Path], None]
"""(file given, folder to fill); picklable."""


@dataclass(frozen=True)
class Task:
    """One shard's work. given: a whole file.  out: the folder that exists when it is done.  Paths are absolute."""

    work: Work
    given: Path
    out: Path
    folder: str = field(default_factory=os.getcwd)
    """Where relative paths begin, on whatever machine."""
    num_bytes: int = 0
    """Of the text that it works on, for the progress; 0: not known."""

    @property
    def error(self) -> Path:
        """Where is written why it failed."""
        return self.out.with_name(f"{self.out.name}.error")


class Executor(Protocol):
    """Has tasks done somewhere."""

    def run(self, tasks: Iterable[Task], stage: Stage) -> Iterator[Task]:
        """Have tasks done by `attempt`, as many at a time as there are workers; yield each one, in their order.

        Tasks may be taken one by one, since files to work on may still be written, or all at once. A task that ended
        without its folder has failed. Raises StageError when a worker was lost too often.
        """


def attempt(task: Task) -> None:
    """Do a task unless it is done; what it raises is written down beside its folder. For workers."""
    task.error.unlink(missing_ok=True)
    digest = sha256_file(task.given)
    if _made_from(task.out) == digest:
        return
    remove(task.out)  # it was made from something else
    os.chdir(task.folder)
    part = task.out.with_name(f".{task.out.name}.{uuid4().hex}.part")
    part.mkdir(parents=True)
    try:
        task.work(task.given, part)
        (part / GIVEN).write_text(digest)
        for file in part.iterdir():
            fsync_path(file)
        fsync_path(part)
        _put(part, task.out, digest)
    except Exception as error:  # whatever it is, the one who waits for the task must learn of it
        told = {"type": type(error).__name__, "message": str(error), "who": culprit(error, foreign=True)}
        told["trace"] = traceback.format_exc()
        write_file(task.error, json.dumps(told).encode())
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _put(part: Path, out: Path, digest: str) -> None:
    """Give a whole folder its name; another worker may have done the same task meanwhile."""
    try:
        os.rename(part, out)
    except OSError:
        if _made_from(out) != digest:
            raise


def is_done(task: Task) -> bool:
    """Whether its folder is there and was made from the file as it is now."""
    made_from = _made_from(task.out)
    return made_from is not None and made_from == sha256_file(task.given)


def _made_from(out: Path) -> str | None:
    try:
        return (out / GIVEN).read_text()
    except OSError:
        return None


def finished(tasks: Iterable[Task], executor: Executor, stage: Stage) -> Iterator[Task]:
    """Each task when it is done, in their order. Raises what it failed with.

    The progress has a rate and an end where all tasks are known beforehand, with their sizes.
    """
    known = tasks if isinstance(tasks, Sequence) else ()
    whole, done_before = sum(task.num_bytes for task in known), {task.out for task in known if task.out.exists()}
    started, done, worked = time.monotonic(), 0, 0
    for number, task in enumerate(executor.run(tasks, stage), 1):
        if not task.out.exists():
            raise failure(task, stage.name)
        done += task.num_bytes
        if whole:
            worked += 0 if task.out in done_before else task.num_bytes
            rate = worked / 1e6 / max(time.monotonic() - started, 1e-3)
            stage.progress(round(done / 1e6, 1), round(whole / 1e6, 1), "MB", **{"MB/s": float(f"{rate:.3g}")})
        else:
            stage.progress(number, len(known) or number, "shards")
        yield task


def failure(task: Task, where: str) -> errors.AdaptError:
    """Why a task failed: the error of a user, or one that names a fault of ours."""
    try:
        told = json.loads(task.error.read_bytes())
    except (OSError, ValueError):
        return errors.StageError(
            f"{where}: the worker on shard {task.out.name} ended and left neither a result nor a reason; run the same "
            "command to continue"
        )
    kind = getattr(errors, told["type"], None)
    if isinstance(kind, type) and issubclass(kind, errors.AdaptError):
        return kind(told["message"])
    who = f" in {told['who']}" if told.get("who") else ""
    what = f"{told['type']}: {told['message']}"
    return errors.StageError(f"{where}: shard {task.out.name} failed{who} with {what}; the place is in {task.error}")
