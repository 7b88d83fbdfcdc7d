"""Parsers that do what no parser should, for the tests of worker processes."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from domadapt.components import Reject


def parse(given: Any, reject: Reject) -> Iterator[str]:
    """Yield twice what a document says, or do what it asks for between the two."""
    name, deed = given
    yield f"{name} begins"
    if deed in DEEDS:
        DEEDS[deed](name, reject)
    yield f"{name} ends"


def echo(given: Any, reject: Reject) -> Iterator[Any]:
    """Results and rejections as they are given: ("reject", reason) or anything else."""
    for one in given:
        if isinstance(one, tuple):
            reject(one[1], "here")
        else:
            yield one


def large(count: int, reject: Reject) -> Iterator[bytes]:
    """Results of a megabyte each."""
    for number in range(count):
        yield bytes([number % 256]) * (1 << 20)


def die_once(marker: str, reject: Reject) -> Iterator[str]:
    """Be killed from outside the first time."""
    yield "one"
    yield "two"
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    yield "three"


def whose(given: Any, reject: Reject) -> Iterator[tuple[int, str]]:
    """The process that works, and where."""
    yield os.getpid(), os.getcwd()


def _crash(name: str, reject: Reject) -> None:
    ctypes.string_at(0)


def _raise(name: str, reject: Reject) -> None:
    raise ValueError(f"cannot read {name}")


def _eat(name: str, reject: Reject) -> None:
    held = [bytearray(64 << 20) for _ in range(1000)]
    print(len(held))


def _compute(name: str, reject: Reject) -> None:
    while True:
        pass


def _sleep(name: str, reject: Reject) -> None:
    time.sleep(3600)


def _leave(name: str, reject: Reject) -> None:
    os._exit(3)


def _stop(name: str, reject: Reject) -> None:
    raise KeyboardInterrupt


def _killed(name: str, reject: Reject) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _deep(name: str, reject: Reject) -> None:
    _deep(name, reject)


def _chatter(name: str, reject: Reject) -> None:
    print("a parser that prints" * 1000)
    sys.stdout.flush()
    os.write(1, b"and writes to the descriptor")


def _refuse(name: str, reject: Reject) -> None:
    reject("damaged", name)


DEEDS = {
    "crash": _crash,
    "raise": _raise,
    "eat": _eat,
    "compute": _compute,
    "sleep": _sleep,
    "leave": _leave,
    "stop": _stop,
    "killed": _killed,
    "deep": _deep,
    "chatter": _chatter,
    "refuse": _refuse,
}
