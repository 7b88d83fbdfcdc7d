"""The process in which documents are parsed: `python -m domadapt.builtin.corpora.worker`, started by `workers`.

It speaks pickles, each after its length in 8 bytes, over stdin and stdout. First come the module path and the limits,
then inputs, each the folder to work in, a function and a value. It answers with ("item", result),
("reject", (reason, where)), ("failed", (kind, message)) or ("unusable", message) for a function that cannot be
imported, and at the end of each input with ("done", None). Every answer is sent at once, so that a crash loses none. It
ends when stdin does.
"""

from __future__ import annotations

import os
import pickle
import resource
import signal
import sys
import time
from collections.abc import Callable
from typing import IO, Any

LENGTH = 8
EVERY = 0.1
"""Seconds."""
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
Write = Callable[[str, Any], None]


def main() -> None:
    """Answer until there is nothing more to read."""
    source, sink = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(2, 1)  # whatever a parser prints must not get between the answers
    for number in STOPPING:
        # they reach the whole group; a worker that obeyed would look like a crash. Our end is that of stdin.
        signal.signal(number, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    sys.path[:], seconds, memory = pickle.loads(_read(source))  # noqa: S301 - from our own process
    limits = _Limits(seconds, memory)
    try:
        while message := _read(source):
            limits.renew()
            write = _writer(sink, limits)
            try:
                folder, parse, value = pickle.loads(message)  # noqa: S301 - from our own process
                os.chdir(folder)
            except Exception as error:
                write("unusable", f"{type(error).__name__}: {error}")
                continue
            answer(parse, value, write)
    except BrokenPipeError:
        os._exit(0)  # nobody is there any more


def answer(parse: Any, value: Any, write: Write) -> None:
    """Parse one input and write down everything that comes of it."""
    try:
        for result in parse(value, lambda reason, where: write("reject", (reason, where))):
            write("item", result)
    except BrokenPipeError:
        raise
    except MemoryError:
        write("failed", ("memory", "MemoryError"))
    except Exception as error:  # whatever a parser raises on what it was never made for
        write("failed", ("error", f"{type(error).__name__}: {str(error)[:200]}"))
    write("done", None)


def _writer(sink: IO[bytes], limits: _Limits) -> Write:
    """Sends answers; each one gives the next its CPU time."""

    def write(kind: str, what: Any) -> None:
        data = pickle.dumps((kind, what), pickle.HIGHEST_PROTOCOL)
        sink.write(len(data).to_bytes(LENGTH, "little") + data)
        sink.flush()
        limits.renew_time()

    return write


class _Limits:
    """What the next result may take beyond what has been taken. Renewed ten times a second at most: it costs 30 us."""

    def __init__(self, seconds: int, memory: int) -> None:
        self._seconds, self._memory = seconds, memory
        self._memory_set = self._time_set = -1.0

    def renew(self) -> None:
        """Before an input: time and memory."""
        self.renew_time()
        if time.monotonic() - self._memory_set > EVERY:
            _limit_memory(self._memory)
            self._memory_set = time.monotonic()

    def renew_time(self) -> None:
        """After a result: time."""
        if time.monotonic() - self._time_set > EVERY:
            _limit_time(self._seconds)
            self._time_set = time.monotonic()


def _read(source: IO[bytes]) -> bytes:
    """One message, empty at the end."""
    return source.read(int.from_bytes(source.read(LENGTH), "little"))


def _limit_time(seconds: int) -> None:
    """Let the kernel end this process when it has computed so long from now on."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, hard))


def _limit_memory(memory: int) -> None:
    """Let allocations beyond so many bytes more than there are now fail. Without /proc there is no limit."""
    try:
        with open("/proc/self/statm") as statm:
            now = int(statm.read().split()[0]) * resource.getpagesize()
    except OSError:
        return
    resource.setrlimit(resource.RLIMIT_AS, (now + memory, resource.getrlimit(resource.RLIMIT_AS)[1]))


if __name__ == "__main__":
    main()
