"""One rank of a training, seen from inside: where it is, what it says, when it is to stop, and its end.

job folder: stop            its presence: save and end              parent -> first rank
            events.jsonl    progress, held-out losses, checkpoints  first rank -> parent
            rank-N.pid      host and process                        ranks -> parent
            error-N.json    why a rank gave up                      ranks -> parent
"""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from domadapt.builtin.launching.places import Place, read_place
from domadapt.errors import FAILED, OK, AdaptError

STOP, EVENTS = "stop", "events.jsonl"
PARENT_PIPE = "DOMADAPT_PARENT_PIPE"
"""Set where standard input is a pipe that the parent holds: its end is the parent's."""


class Rank:
    """This process among the ranks of a job."""

    def __init__(self, folder: Path, place: Place) -> None:
        self.folder, self.place = folder, place
        self._asked = False
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            signal.signal(number, self._ask)

    def _ask(self, *_: object) -> None:
        self._asked = True

    def stop_requested(self) -> bool:
        """Whether this rank was asked to stop, by a signal or, the first one, by its parent. Ranks agree elsewhere."""
        return self._asked or (self.place.is_first and (self.folder / STOP).exists())

    def say(self, kind: str, **data: Any) -> None:
        """One line for the parent, from the first rank: an event of the stage, or progress (done, total, unit)."""
        if self.place.is_first:
            with (self.folder / EVENTS).open("a") as file:
                file.write(json.dumps({"kind": kind, **data}) + "\n")


def serve(folder: Path, work: Callable[[Rank], None]) -> int:
    """Do this rank's part; the code that the process ends with.

    folder: of the job.  work: what to do; what it raises is written down for the parent.
    """
    place = read_place(os.environ)
    assert place is not None, "a rank is started by torchrun, srun or run_ranks"
    os.environ.update(place.as_environment())
    if os.getpgrp() != os.getpid():
        os.setpgid(0, 0)  # what this rank starts can be ended with it
    rank = Rank(folder, place)
    mine = folder / f"rank-{place.rank}.pid"
    mine.write_text(f"{socket.gethostname()} {os.getpid()}")
    if os.environ.get(PARENT_PIPE):
        threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        work(rank)
    except BaseException as error:
        kind = type(error).__name__ if isinstance(error, AdaptError) else ""
        told = str(error) if kind else traceback.format_exc()
        (folder / f"error-{place.rank}.json").write_text(json.dumps({"kind": kind, "message": told}))
        traceback.print_exc()
        return FAILED
    mine.unlink()
    return OK


def _end_with_parent() -> None:
    """End this process, and all it has started, when the parent lets go of our standard input."""
    while os.read(0, 1):
        pass
    os.killpg(0, signal.SIGKILL)
