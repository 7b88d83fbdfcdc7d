"""Several machines without a scheduler: the first one works, the others wait until it has a training to share.

Every machine runs the same `adapt launch`. The others hold a connection to the first and start their part of the ranks
when told; when the connection ends, so do they, so a first machine that dies leaves nobody waiting. What they start is
what the first machine says: as with torchrun itself, the machines must be on a network of their own.
"""

from __future__ import annotations

import contextlib
import json
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from domadapt.errors import FAILED, MissingError, StageError
from domadapt.recipe.schema import Launch

PATIENCE = 600.0
"""Seconds within which all machines must have been started."""
VARIABLES = ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK")
_HANDED_ON = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)


@dataclass(frozen=True)
class Machine:
    """One of the machines of a launch: its number, and where the first one is."""

    number: int
    address: str
    port: int


def this_machine(launch: Launch, environment: Mapping[str, str]) -> Machine:
    """Which of `launch.nodes` machines this is, from MASTER_ADDR, MASTER_PORT and NODE_RANK.

    Raises MissingError when they are not set, or are none of these machines.
    """
    missing = [name for name in VARIABLES if not environment.get(name)]
    if missing:
        raise MissingError(
            f"launch.nodes is {launch.nodes}: {', '.join(missing)} not set; "
            "`adapt launch --print` shows the command of each machine"
        )
    number, port = environment["NODE_RANK"], environment["MASTER_PORT"]
    if not number.isdecimal() or int(number) >= launch.nodes:
        raise MissingError(f"NODE_RANK is {number!r}; wanted 0 to {launch.nodes - 1} (launch.nodes)")
    if not port.isdecimal() or not 0 < int(port) < 65535:
        raise MissingError(f"MASTER_PORT is {port!r}; wanted a port, of which the next one is free too")
    return Machine(int(number), environment["MASTER_ADDR"], int(port))


class Meeting:
    """The first machine's side: knows who has come, and tells them what to start."""

    def __init__(self, machine: Machine, num_others: int) -> None:
        self._num_others = num_others
        self._others: list[socket.socket] = []
        self._all_here = threading.Event()
        # beside the port at which the ranks themselves meet
        self._server = socket.create_server(("", machine.port + 1))
        threading.Thread(target=self._welcome, daemon=True).start()

    def _welcome(self) -> None:
        with contextlib.suppress(OSError):  # closed: nobody is awaited any more
            while len(self._others) < self._num_others:
                connection, _ = self._server.accept()
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
                self._others.append(connection)
            self._all_here.set()

    def announce(self, program: Sequence[str]) -> None:
        """Tell all other machines to start their part. Raises StageError when they do not come."""
        if not self._all_here.wait(PATIENCE):
            raise StageError(
                f"{len(self._others)} of {self._num_others} other machines came within {PATIENCE:.0f} s; "
                "start `adapt launch` on each, `adapt launch --print` shows how"
            )
        self._send({"program": list(program)})

    def close(self, code: int) -> None:
        """Let the others go, with the code to end with."""
        with contextlib.suppress(OSError):
            self._send({"end": code})
        for connection in self._others:
            connection.close()
        self._server.close()

    def _send(self, message: Mapping[str, object]) -> None:
        line = json.dumps(message).encode() + b"\n"
        for connection in self._others:
            connection.sendall(line)


_open: list[Meeting] = []
"""The meeting that this process leads, if it does: a training's stage knows nothing of how it was launched."""


@contextlib.contextmanager
def leading(machine: Machine, num_others: int) -> Iterator[Meeting]:
    """Lead a meeting for as long as the run works. The caller closes it with a code; else the others end with 1."""
    meeting = Meeting(machine, num_others)
    _open.append(meeting)
    try:
        yield meeting
    finally:
        _open.remove(meeting)
        meeting.close(FAILED)


def announce(program: Sequence[str]) -> None:
    """Tell the other machines to start their ranks. Raises MissingError when this process leads no meeting."""
    if not _open:
        raise MissingError("a training on several machines is started with `adapt launch`, not with `adapt run`")
    _open[-1].announce(program)


def join(machine: Machine, torchrun: Sequence[str]) -> int:
    """The other machines' side: start what the first one says, until it lets go. Returns the code to end with.

    torchrun: the command that the programs are appended to.
    Raises MissingError when the first machine does not answer.
    """
    code = FAILED
    with _connected(machine) as connection, connection.makefile("r") as lines:
        for line in lines:
            message = json.loads(line)
            if "end" in message:
                return int(message["end"])
            code = _run([*torchrun, *message["program"]])
    print("adapt launch: the first machine went away", file=sys.stderr)
    return code or FAILED


def _connected(machine: Machine) -> socket.socket:
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            connection = socket.create_connection((machine.address, machine.port + 1), timeout=10)
        except OSError as error:
            if time.monotonic() > deadline:
                raise MissingError(
                    f"the first machine ({machine.address}:{machine.port + 1}) does not answer: {error}"
                ) from error
            time.sleep(1)
        else:
            connection.settimeout(None)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return connection


def _run(command: Sequence[str]) -> int:
    """Run a command to its end, signals handed on to it."""
    with subprocess.Popen(command) as process:
        before = {n: signal.signal(n, lambda number, _: process.send_signal(number)) for n in _HANDED_ON}
        try:
            return process.wait()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
