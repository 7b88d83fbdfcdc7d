"""The ranks of a training, seen by what starts them: nobody is left behind, nothing hangs.

A rank is a process of a module that calls `rank.serve`. On this machine one rank is a plain child, several are started
by torchrun; elsewhere `launching` knows the command. Signals that ask a job to stop are ignored between this process
and the ranks: Slurm sends them to every process, and one that dies of it could not save. The first rank is told to stop
by the file `stop`. A rank that dies ends the others at once, and ranks that say nothing for too long are ended.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import domadapt.errors
from domadapt.builtin.training.rank import EVENTS, PARENT_PIPE, STOP
from domadapt.components import Stage
from domadapt.errors import AdaptError, MissingError, StageError

if TYPE_CHECKING:
    from domadapt.recipe.schema import Launch

LOG, TORCHRUN = "ranks.log", "torchrun"
GRACE_SECONDS = 5.0
POLL_SECONDS = 0.05
_LOST = re.compile(r"Connection (closed|reset)|Broken pipe|recvValue|got 0 bytes|remote process exited|Timed out", re.I)
"""What a rank says that misses another one."""
_PEER_GONE = ("Connection closed by peer", "Connection reset by peer", "DistBackendError", "Broken pipe")


def run_ranks(
    module: str,
    arguments: Sequence[str],
    num_ranks: int,
    folder: Path,
    stage: Stage,
    silence: float,
    launch: Launch | None = None,
) -> None:
    """Run `python -m module arguments` on `num_ranks` ranks until all are done.

    folder: of this attempt, empty but for the job; with several machines one that all of them see.
    silence: most seconds without a line from the first rank.  launch: None for this machine.
    Raises what a rank wrote into its error file, StageError for one that died otherwise or said nothing for so long,
    MissingError when memory ends, OSError when the disk is full.
    """
    here = launch is None or (launch.nodes == 1 and launch.executor != "slurm")
    program = ["-m", module, *arguments]
    with (folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            _command_here(num_ranks, folder, program) if here else _command_there(launch, num_ranks, program),
            stdin=subprocess.PIPE if here else subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=_environment(num_ranks) if here else None,
            start_new_session=True,
            preexec_fn=_hear_nothing if here else None,
        )
        listener = _Listener(process, folder, stage, silence)
        try:
            listener.listen()
        finally:
            _end(process, folder, 0.0 if here or launch is None else launch.options.grace)
    if process.returncode != 0:
        raise why(stage.name, folder, process.returncode, listener.dead)


def _hear_nothing() -> None:
    """In the child, before it runs; ranks listen again."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _command_here(num_ranks: int, folder: Path, program: Sequence[str]) -> list[str]:
    if num_ranks == 1:
        return [sys.executable, *program]
    return [
        *(sys.executable, "-m", "torch.distributed.run"),
        *("--nproc-per-node", str(num_ranks), "--max-restarts", "0", "--log-dir", str(folder / TORCHRUN)),
        # of this machine alone, whatever its name resolves to
        *("--rdzv-backend", "c10d", "--rdzv-endpoint", "127.0.0.1:0", "--local-addr", "127.0.0.1"),
        *("--shutdown-timeout", str(int(GRACE_SECONDS)), "--signals-to-handle", "SIGQUIT"),
        *program,
    ]


def _command_there(launch: Launch | None, num_ranks: int, program: Sequence[str]) -> list[str]:
    from domadapt.builtin.launching.commands import rank_command

    assert launch is not None
    return rank_command(launch, num_ranks // launch.nodes, program)


def _environment(num_ranks: int) -> dict[str, str]:
    environment = {**os.environ, PARENT_PIPE: "1"}
    if num_ranks == 1:
        alone = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "LOCAL_WORLD_SIZE": "1"}
        environment.update(alone, MASTER_ADDR="127.0.0.1", MASTER_PORT="0")
    environment.setdefault("OMP_NUM_THREADS", "1")
    environment.setdefault("GLOO_SOCKET_IFNAME", "lo0" if sys.platform == "darwin" else "lo")
    return environment


class _Listener:
    """Relays what the first rank says, passes a stop request on, and watches for deaths and silence."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path, stage: Stage, silence: float) -> None:
        self.process, self.folder, self.stage, self.silence = process, folder, stage, silence
        self.read, self.heard = 0, time.monotonic()
        self.dead: int | None = None

    def listen(self) -> None:
        """Until what was started has ended, or a rank died and the others did not follow."""
        now, ended = time.monotonic(), None
        while self.process.poll() is None:
            self._relay()
            if self.stage.stop_requested():
                (self.folder / STOP).touch()
            before, now = now, time.monotonic()
            if now - before > GRACE_SECONDS:  # this process was paused, and the ranks perhaps with it
                self.heard = now
            if now - self.heard > self.silence:
                raise StageError(
                    f"{self.stage.name}: the ranks said nothing for {self.silence:.0f} s and were ended; run the same "
                    "command to continue from the last checkpoint, or set train.options.timeout if they were busy"
                )
            # the rank that died first is known a moment after the others miss it
            self.dead = _dead(self.folder) if self.dead is None else self.dead
            if ended is None and (self.dead is not None or any(self.folder.glob("error-*.json"))):
                ended = now
            if ended is not None and now - ended > GRACE_SECONDS:
                break
            time.sleep(POLL_SECONDS)
        self._relay()

    def _relay(self) -> None:
        try:
            with (self.folder / EVENTS).open("rb") as file:
                file.seek(self.read)
                text = file.read()
        except FileNotFoundError:
            return
        whole = text[: text.rfind(b"\n") + 1]
        self.read += len(whole)
        for line in whole.splitlines():
            self.heard = time.monotonic()
            _tell(self.stage, json.loads(line))


def _tell(stage: Stage, line: Mapping[str, Any]) -> None:
    said = {key: value for key, value in line.items() if key != "kind"}
    if line["kind"] == "progress":
        stage.progress(said.pop("done"), said.pop("total"), said.pop("unit"), **said)
    elif line["kind"] != "alive":
        stage.event(line["kind"], **said)


def _pids(folder: Path) -> dict[int, int]:
    """Processes of this machine's ranks that have started and not ended well: then they take their file away."""
    found = {}
    for file in sorted(folder.glob("rank-*.pid")):
        with contextlib.suppress(ValueError, FileNotFoundError):  # being written, or taken away
            host, pid = file.read_text().split()
            if host == socket.gethostname():
                found[int(file.stem.removeprefix("rank-"))] = int(pid)
    return found


def _dead(folder: Path) -> int | None:
    """The first of this machine's ranks that is gone without a word."""
    pids = _pids(folder)
    return next((n for n in pids if not _alive(pids[n]) and not (folder / f"error-{n}.json").exists()), None)


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _end(process: subprocess.Popen[bytes], folder: Path, patience: float) -> None:
    """End whatever still runs of a job: the ranks with all they started, then what started them."""
    if process.stdin is not None:
        process.stdin.close()
    if process.poll() is None and patience:  # srun and torchrun end the ranks of other machines
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(patience)
    # a rank leads a group of all it has started, which may live on without it
    for pid in (*_pids(folder).values(), *([process.pid] if process.poll() is None else [])):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)
    process.wait()


def why(stage: str, folder: Path, code: int, dead: int | None) -> Exception:
    """The error that ended a job: the first one of ours that a rank wrote, or else its death.

    code: of what started the ranks.  dead: the rank that was gone without a word first, if one was.
    """
    written = [json.loads(file.read_bytes()) for file in sorted(folder.glob("error-*.json"))]
    for error in written:
        if error["kind"]:
            cls = getattr(domadapt.errors, error["kind"])
            assert issubclass(cls, AdaptError)
            ours: AdaptError = cls(error["message"])
            return ours
    log = (folder / LOG).read_text(errors="replace")
    told = "\n".join(error["message"] for error in written) or log
    if "No space left on device" in told:
        return OSError(errno.ENOSPC, "No space left on device", str(folder))
    if "out of memory" in told or "can't allocate memory" in told:
        return MissingError(
            f"{stage}: the memory is full: lower train.micro_batch, set train.options.gradient_checkpointing=true, or "
            "divide the model among more ranks. Checkpoints are as they were"
        )
    if code < 0 and not (folder / TORCHRUN).exists():
        return _death(stage, 0, -code)
    if dead is not None and all(_LOST.search(error["message"]) for error in written):
        found = re.search(rf"rank\s*: {dead} .*\n\s*exitcode\s*: -(\d+)", log)
        return _death(stage, dead, int(found[1]) if found else None)
    told = next((e["message"] for e in written if not _LOST.search(e["message"])), told)
    last = (told.strip().splitlines() or ["it wrote nothing"])[-1]
    return StageError(f"{stage}: a rank failed with exit code {code}: {last} (all of it: {folder / LOG})")


def _death(stage: str, rank: int, number: int | None) -> StageError:
    how = f" by signal {number} ({signal.Signals(number).name})" if number else ""
    return StageError(
        f"{stage}: rank {rank} was ended{how}, and the others with it; run the same command to continue from the last "
        "checkpoint"
    )
