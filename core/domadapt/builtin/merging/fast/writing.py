"""A checkpoint written while it is made: every tensor's place is known before the first byte is.

Headers first, then ranges of tensors in any order and from any thread, each with one positioned write. Nothing of
the output is held in memory. (Writing through a memory map would save one copy of the bytes, about a tenth of a
second a gigabyte, and end the process without a word when the disk is full.)
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.builtin.merging.fast.checkpoint import CODES, INDEX, ONE_FILE, STORED

if TYPE_CHECKING:
    from numpy.typing import NDArray

DRAINED = 16 << 20
"""Bytes of a file between two drainings."""
CACHED = 0.1
"""Share of the memory from which Linux writes pages back by itself (vm.dirty_background_ratio)."""
BYTES = {**{name: dtype.itemsize for name, dtype in STORED.items()}, "BOOL": 1, "U8": 1, "I8": 1}


@dataclass(frozen=True)
class Planned:
    """A tensor to be written: its name, type as in a header, shape, bytes, and the parent's file it comes from."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    num_bytes: int
    parent_file: str


class Draining:
    """What is written goes to the disk while more is written, and out of the page cache.

    A few pages are used again and again instead of ever new ones, which have to be found, cleared and, once there are
    many, waited for: eight gigabytes took 4 s this way and 13 s without. It all happens in a thread of its own.
    """

    def __init__(self) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="drain")
        self._since: dict[int, int] = {}
        self._jobs: list[Future[None]] = []

    def wrote(self, descriptor: int, num_bytes: int) -> None:
        """Some bytes were written. Threads may come at once: at worst a file is drained a little late."""
        since = self._since.get(descriptor, 0) + num_bytes
        if since < DRAINED:
            self._since[descriptor] = since
            return
        self._since[descriptor] = 0
        self._jobs.append(self._pool.submit(_drain, descriptor))

    def finish(self) -> None:
        """Wait for what was begun. Raises OSError when the disk failed."""
        for job in self._jobs:
            job.result()

    def close(self) -> None:
        """End the thread, before the files are closed."""
        self._pool.shutdown(cancel_futures=True)


def _drain(descriptor: int) -> None:
    os.fdatasync(descriptor)
    os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)


def draining_of(num_bytes: int) -> Draining | None:
    """Draining where so many bytes would not stay in the page cache anyway and the system has it, else None."""
    if not (hasattr(os, "posix_fadvise") and hasattr(os, "fdatasync")):
        return None
    return Draining() if num_bytes > CACHED * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") else None


class Writer:
    """The weights of one output folder.

    tensors: all of them.  max_shard_bytes: where a file is full; None keeps the parent's division into files.
    draining: what is told of every write, if anything is.
    """

    def __init__(
        self,
        folder: Path,
        tensors: Sequence[Planned],
        max_shard_bytes: int | None = None,
        draining: Draining | None = None,
    ) -> None:
        self.folder, self._draining = folder, draining
        shards = _by_size(tensors, max_shard_bytes) if max_shard_bytes else _by_parent(tensors)
        self.files = [
            ONE_FILE if len(shards) == 1 else f"model-{number:05d}-of-{len(shards):05d}.safetensors"
            for number in range(1, len(shards) + 1)
        ]
        self._places: dict[str, tuple[int, int, int]] = {}
        self._open: list[int] = []
        folder.mkdir(parents=True, exist_ok=True)
        try:
            for file, shard in zip(self.files, shards, strict=True):
                self._begin(folder / file, shard)
        except BaseException:
            self.close()
            raise
        self._weight_map = {t.name: file for file, shard in zip(self.files, shards, strict=True) for t in shard}
        self.num_bytes = sum(tensor.num_bytes for tensor in tensors)

    def _begin(self, path: Path, shard: Sequence[Planned]) -> None:
        header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
        at = 0
        # wide types first, so that every tensor is aligned to its type
        ordered = sorted(shard, key=lambda t: -BYTES.get(t.dtype, 8))
        for tensor in ordered:
            header[tensor.name] = {
                "dtype": tensor.dtype,
                "shape": list(tensor.shape),
                "data_offsets": [at, at + tensor.num_bytes],
            }
            at += tensor.num_bytes
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % 8)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | getattr(os, "O_CLOEXEC", 0), 0o666)
        self._open.append(descriptor)
        _write(descriptor, len(text).to_bytes(8, "little") + text, 0)
        os.ftruncate(descriptor, 8 + len(text) + at)
        for tensor in ordered:
            first, _ = header[tensor.name]["data_offsets"]
            self._places[tensor.name] = (descriptor, 8 + len(text) + first, tensor.num_bytes)

    def write(self, name: str, entries: NDArray[Any], first: int) -> None:
        """Write entries of a tensor in its stored type, from entry `first` on. Raises OSError when the disk is full."""
        descriptor, start, num_bytes = self._places[name]
        assert first * entries.itemsize + entries.nbytes <= num_bytes, name
        _write(descriptor, entries.view("u1").data, start + first * entries.itemsize)
        if self._draining is not None:
            self._draining.wrote(descriptor, entries.nbytes)

    def finish(self) -> None:
        """Write the index, when there is more than one file."""
        if len(self.files) > 1:
            index = {"metadata": {"total_size": self.num_bytes}, "weight_map": dict(sorted(self._weight_map.items()))}
            (self.folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")

    def close(self) -> None:
        """Close the files."""
        while self._open:
            os.close(self._open.pop())


def write_config(folder: Path, config: Mapping[str, Any], dtype: str, has_output: bool) -> None:
    """Write a parent's config.json with the type of the merged weights.

    has_output: whether the output layer is stored; then the model is not tied, whatever that parent is.
    """
    changed = dict(config)
    if has_output and changed.get("tie_word_embeddings"):
        changed["tie_word_embeddings"] = False
    changed |= {key: dtype for key in ("dtype", "torch_dtype") if key in config} or {"dtype": dtype}
    (folder / "config.json").write_text(json.dumps(changed, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def planned_bytes(shape: Sequence[int], dtype: str) -> int:
    """Bytes of a merged tensor."""
    return math.prod(shape) * STORED[CODES[dtype]].itemsize


def _by_parent(tensors: Sequence[Planned]) -> list[list[Planned]]:
    files: dict[str, list[Planned]] = {}
    for tensor in tensors:
        files.setdefault(tensor.parent_file, []).append(tensor)
    return [files[file] for file in sorted(files)]


def _by_size(tensors: Sequence[Planned], limit: int) -> list[list[Planned]]:
    shards: list[list[Planned]] = [[]]
    size = 0
    for tensor in tensors:
        if shards[-1] and size + tensor.num_bytes > limit:
            shards.append([])
            size = 0
        shards[-1].append(tensor)
        size += tensor.num_bytes
    return shards


def _write(descriptor: int, data: bytes | memoryview, at: int) -> None:
    view = memoryview(data)
    while view:
        done = os.pwrite(descriptor, view, at)
        view, at = view[done:], at + done
