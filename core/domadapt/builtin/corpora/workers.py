"""Parse untrusted documents in worker processes with limits, and give the results in the order of the inputs.

A parser that crashes, hangs or eats memory takes its worker with it and nothing else: that input is rejected with a
reason, the worker is replaced, all other inputs are read. What is yielded depends on the inputs alone, not on how many
workers there are or who was quick. Limits are of CPU time, so that a busy machine rejects no more than an idle one; a
limit of waiting ten times as long ends what only sleeps. A worker that somebody else kills (an operator, the kernel
short of memory) is no fault of its input, which is parsed again.

A worker costs a start of Python (0.1 s) and is kept for the next source. Results are pickled: 1 GB/s for texts.
"""

from __future__ import annotations

import atexit
import os
import pickle
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any, TypeVar

from domadapt.components import Reject
from domadapt.errors import StageError

T = TypeVar("T")
Rejecting = Callable[[Any, Reject], Iterable[Any]]

SECONDS = 60
"""CPU time of one document. The slowest of 800 real filings takes 2 s."""
MEMORY = 2 << 30
"""Bytes that a worker may use beside what Python and its imports take."""
PATIENCE = 10
"""How many times its CPU limit a document may be waited for: parsers compute, they do not sleep."""
SLICE = 1.0
"""Seconds of waiting at a time; at most so much counts, so that a machine that was suspended ends no document."""
ATTEMPTS = 3
"""How often an input is given to a worker when workers are killed from outside."""
RETIREMENT = 1000
"""Inputs after which a worker is replaced: what its libraries leak is given back."""
BUFFER = 64 << 20
"""Bytes of results that may wait for the turn of their input."""
WAITING = 64
"""Inputs a worker that may wait for the turn of their results."""
PIPE = 32 << 10
"""Bytes of inputs that may wait in the pipe to a worker; a write must never wait for one that waits to be read."""
WORKER = "domadapt.builtin.corpora.worker"
ParseElsewhere = Callable[[Any, Iterable[tuple[str, Any]], Reject, Mapping[str, Any]], Iterator[Any]]
"""Called with what `parse_in_workers` was given: parse, inputs, reject and the other arguments."""
_elsewhere: ContextVar[ParseElsewhere | None] = ContextVar("elsewhere", default=None)
_LENGTH = 8


@dataclass
class _Task:
    """One input, pickled with its parser, and what came of it so far."""

    where: str
    message: bytes
    results: deque[tuple[str, Any, int]] = field(default_factory=deque)
    """(kind, what, bytes): "item" with a result, "reject" with (reason, where)."""
    received: int = 0
    attempts: int = 0
    skip: int = 0
    """Results to pass over: an earlier attempt gave them."""
    done: bool = False


class _Worker:
    """A process that parses one input after the other. `tasks`: the one it is at, and those in its pipe."""

    def __init__(self, seconds: int, memory: int) -> None:
        self.limits = (seconds, memory)
        self.tasks: deque[_Task] = deque()
        self.inputs = 0
        self.patience = 0.0
        self._pending = bytearray()
        self._process = subprocess.Popen(
            [sys.executable, "-m", WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=_environment()
        )
        self._send(_pickled((sys.path, seconds, memory)))

    def has_room(self, task: _Task, ahead: int) -> bool:
        """Whether an input may be given to it now: it is free, or its pipe takes the input and others wait in it."""
        if not self.tasks:
            return True
        waiting = sum(len(one.message) for one in list(self.tasks)[1:])
        return len(self.tasks) < ahead and self.inputs < RETIREMENT and waiting + len(task.message) <= PIPE

    def start(self, task: _Task) -> None:
        """Give it an input. A worker that is dead already shows when its answer is read."""
        if not self.tasks:
            self.patience = self.limits[0] * PATIENCE
        self.tasks.append(task)
        self.inputs += 1
        task.skip = task.received
        self._send(task.message)

    def _send(self, message: bytes) -> None:
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # reading tells how it ended
            self._process.stdin.write(message)
            self._process.stdin.flush()

    def fileno(self) -> int:
        """For selectors: readable when it has something to say or has ended."""
        assert self._process.stdout is not None
        return self._process.stdout.fileno()

    def receive(self) -> Iterator[tuple[str, Any, int]]:
        """What it said since the last time: (kind, what, bytes); kind "ended" when the process is gone."""
        data = os.read(self.fileno(), 1 << 20)
        if not data:
            yield "ended", self._process.wait(), 0
            return
        self._pending += data
        while len(self._pending) >= _LENGTH:
            size = int.from_bytes(self._pending[:_LENGTH], "little")
            if len(self._pending) < _LENGTH + size:
                break
            kind, what = pickle.loads(self._pending[_LENGTH : _LENGTH + size])  # noqa: S301 - from our own worker
            del self._pending[: _LENGTH + size]
            self.patience = self.limits[0] * PATIENCE
            yield kind, what, size

    def kill(self) -> None:
        """End the process at once and take it away."""
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            assert stream is not None
            with suppress(BrokenPipeError):  # what was meant for it is lost with it
                stream.close()


_idle: list[_Worker] = []


@atexit.register
def dismiss_workers() -> None:
    """End the workers that wait for the next source."""
    while _idle:
        _idle.pop().kill()


@contextmanager
def parsing_by(elsewhere: ParseElsewhere | None) -> Iterator[None]:
    """While this lasts, what `parse_in_workers` is asked for is given by somebody else, or by workers again (None)."""
    token = _elsewhere.set(elsewhere)
    try:
        yield
    finally:
        _elsewhere.reset(token)


def parse_in_workers(
    parse: Callable[[T, Reject], Iterable[Any]],
    inputs: Iterable[tuple[str, T]],
    reject: Reject,
    *,
    workers: int | None = None,
    seconds: int = SECONDS,
    memory: int = MEMORY,
    ahead: int = 1,
) -> Iterator[Any]:
    """Everything that `parse(value, reject)` yields for the inputs (where, value), in their order.

    parse: a function of a module, as are its results and values picklable; what it rejects arrives at `reject` in its
    place between the results. When it raises, crashes or passes a limit, the input is rejected and what it had yielded
    before stays: "parser failed", "parser crashed", "over N s of parsing", "over N MB of memory".
    workers: None for one a CPU core, four at most.  seconds: of CPU between two results of an input.  memory: bytes.
    ahead: how many small inputs (32 kB together) one worker may hold, so that it need not wait for the next: for
    documents that take less than a millisecond, not for names of files.
    """
    if (elsewhere := _elsewhere.get()) is not None:
        how = {"workers": workers, "seconds": seconds, "memory": memory, "ahead": ahead}
        yield from elsewhere(parse, inputs, reject, how)
        return
    pool = _Pool(parse, reject, seconds, memory, workers or min(4, os.cpu_count() or 1), ahead)
    try:
        yield from pool.run(iter(inputs))
    finally:
        pool.close()


class _Pool:
    def __init__(self, parse: Rejecting, reject: Reject, seconds: int, memory: int, most: int, ahead: int) -> None:
        self._parse, self._reject, self._limits = parse, reject, (seconds, memory)
        self._most, self._ahead = most, ahead
        self._workers: list[_Worker] = []
        self._queue: deque[_Task] = deque()
        self._buffered = 0

    def run(self, inputs: Iterator[tuple[str, Any]]) -> Iterator[Any]:
        """Results in order; the first input of the queue is always read, the others while there is room."""
        tasks = (_Task(where, _pickled((os.getcwd(), self._parse, value))) for where, value in inputs)
        following = next(tasks, None)
        while following or self._queue:
            while following and (worker := self._free(following)) is not None:
                self._queue.append(following)
                worker.start(following)
                following = next(tasks, None)
            head = self._queue[0]
            yield from self._drained(head)
            if head.done:
                self._queue.popleft()
            else:
                self._listen()

    def _free(self, task: _Task) -> _Worker | None:
        """A worker for one input more, started when there may be one more; none while too much waits."""
        if len(self._queue) >= WAITING * self._most or self._buffered > BUFFER:
            return None
        worker = next((worker for worker in self._workers if not worker.tasks), None)
        if worker is None and len(self._workers) < self._most:
            kept = next((one for one in _idle if one.limits == self._limits), None)
            if kept is not None:
                _idle.remove(kept)
            worker = kept or _Worker(*self._limits)
            self._workers.append(worker)
        if worker is None and self._ahead > 1:
            worker = min(self._workers, key=lambda one: len(one.tasks))
        return worker if worker and worker.has_room(task, self._ahead) else None

    def _drained(self, task: _Task) -> Iterator[Any]:
        while task.results:
            kind, what, size = task.results.popleft()
            self._buffered -= size
            if kind == "item":
                yield what
            else:
                self._reject(*what)

    def _listen(self) -> None:
        """Wait until a worker says something, ends, or has had its time."""
        head = self._queue[0]
        heard = [w for w in self._workers if w.tasks and (w.tasks[0] is head or self._buffered <= BUFFER)]
        with selectors.DefaultSelector() as selector:
            for worker in heard:
                selector.register(worker, selectors.EVENT_READ)
            started = time.monotonic()
            ready = [key.fileobj for key, _ in selector.select(SLICE)]
        waited = min(time.monotonic() - started, 2 * SLICE)
        for worker in heard:
            if worker in ready:
                self._take(worker)
                continue
            worker.patience -= waited
            if worker.patience <= 0:
                self._lose(worker, f"over {self._limits[0]} s of parsing")

    def _take(self, worker: _Worker) -> None:
        for kind, what, size in worker.receive():
            task = worker.tasks[0]
            if kind == "ended":
                self._bury(worker, what)
            elif kind == "unusable":
                worker.kill()
                raise StageError(f"a worker cannot load the parser {self._parse!r}: {what}")
            elif kind == "done":
                task.done, task.message = True, b""
                worker.tasks.popleft()
                if worker.inputs >= RETIREMENT and not worker.tasks:
                    self._workers.remove(worker)
                    worker.kill()
            elif task.skip:
                task.skip -= 1
            else:
                task.received += 1
                self._buffered += size
                if kind == "failed":
                    kind, what = "reject", (self._told(what[0]), f"{task.where}: {what[1]}")
                task.results.append((kind, what, size))

    def _bury(self, worker: _Worker, code: int) -> None:
        """Find out why a worker ended; when somebody killed it, its input goes to another one."""
        task = worker.tasks[0]
        task.attempts += 1
        if code == -signal.SIGKILL and task.attempts < ATTEMPTS:
            self._replace(worker)
        elif code == -signal.SIGXCPU:
            self._lose(worker, f"over {self._limits[0]} s of parsing")
        else:
            self._lose(worker, "worker killed" if code == -signal.SIGKILL else "parser crashed")

    def _lose(self, worker: _Worker, reason: str) -> None:
        """Take a worker away; the input it was at is rejected, those that waited in its pipe go to another one."""
        task = worker.tasks.popleft()
        task.results.append(("reject", (reason, task.where), 0))
        task.done, task.message = True, b""
        self._replace(worker)

    def _replace(self, worker: _Worker) -> None:
        """Take a worker away and give its inputs to a new one."""
        worker.kill()
        self._workers.remove(worker)
        if worker.tasks:
            heir = _Worker(*self._limits)
            self._workers.append(heir)
            for task in worker.tasks:
                heir.start(task)

    def _told(self, kind: str) -> str:
        return f"over {self._limits[1] >> 20} MB of memory" if kind == "memory" else "parser failed"

    def close(self) -> None:
        """Keep the workers that are free for the next source; end those that are at work on what nobody wants."""
        for worker in self._workers:
            if worker.tasks:
                worker.kill()
            else:
                _idle.append(worker)
        self._workers.clear()


def _pickled(message: Any) -> bytes:
    """A message with its length in front."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    return len(data).to_bytes(_LENGTH, "little") + data


def _environment() -> dict[str, str]:
    """One thread a worker: they are many already, and threads' stacks count as memory."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"}
