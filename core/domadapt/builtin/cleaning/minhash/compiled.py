"""MinHash by compiled kernels, the documents of a batch divided among threads.

About 150,000 documents of 1.6 kB a second and core from text to signatures; looking them up is done by one thread,
several hundred thousand a second. 310 bytes a kept document stay in memory at 14 bands of 8 hashes: a byte of each
hash, and 8 bytes in the table of each band, of which a quarter to a half is empty.
"""

from __future__ import annotations

import itertools
import os
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.builtin.cleaning.minhash import arithmetic
from domadapt.builtin.cleaning.minhash.arithmetic import BLOCK, CHUNK_BITS, KNOWN
from domadapt.builtin.object_code import Kernel, KernelModule

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pyarrow as pa
    from numpy.typing import NDArray

PACKAGE = "domadapt.builtin.cleaning.minhash"
KERNELS = KernelModule("minhash", f"{PACKAGE}.kernels", uses=(f"{PACKAGE}.arithmetic", "domadapt.builtin.views"))
FEW = 64 << 10
"""Bytes of text below which another thread does not pay."""
MOST_FULL = 0.75
"""Share of a table's entries beyond which it grows."""
GROWTH = 1.5
SMALLEST = 1 << 12


class Signer:
    """Signatures of documents. words: of a shingle.  threads: None for one a core."""

    def __init__(self, kernels: Mapping[str, Kernel], words: int, hashes: int, threads: int | None = None) -> None:
        self._sign, self._words, self._hashes = kernels["sign"], words, hashes
        self._folded = arithmetic.folded()
        self._factors, self._summands = arithmetic.coefficients(hashes)
        self._threads = threads or _cores()
        self._pool = ThreadPoolExecutor(self._threads) if self._threads > 1 else None

    def sign(self, texts: pa.StringArray) -> NDArray[np.uint32]:
        """Signatures, uint32 [documents, hashes]. texts: a column of a record batch, without nulls."""
        rows = np.empty((len(texts), self._hashes), np.uint32)
        if not len(texts):
            return rows
        _, offsets, data = texts.buffers()
        starts = np.frombuffer(offsets, np.int32)[texts.offset : texts.offset + len(texts) + 1].astype(np.int64)
        address = data.address if data is not None else 0  # a column of nothing but "" may have no data
        parts = self._parts(starts)
        # np.empty: a part of the scratch memory for each thread
        scratch = np.empty((len(parts), self._words + BLOCK), np.uint64)

        def one(part: int) -> None:
            first, last = parts[part]
            self._sign(
                address, at(starts), first, last, at(self._folded), KNOWN, self._words, self._hashes,
                at(self._factors), at(self._summands), at(rows), at(scratch[part]),
            )  # fmt: skip

        if self._pool is None or len(parts) == 1:
            for part in range(len(parts)):
                one(part)
        else:
            list(self._pool.map(one, range(len(parts))))
        return rows

    def _parts(self, starts: NDArray[np.int64]) -> list[tuple[int, int]]:
        """Ranges of documents with about the same amount of text, one a thread."""
        size = int(starts[-1] - starts[0])
        number = max(1, min(self._threads, size // FEW))
        cuts = np.searchsorted(starts, starts[0] + size * np.arange(1, number) // number).tolist()
        edges = [0, *cuts, len(starts) - 1]
        return [(first, last) for first, last in itertools.pairwise(edges) if first < last]


class CompiledIndex:
    """The documents kept so far, found by the keys of their bands. least: bytes of hashes that must agree."""

    def __init__(self, kernels: Mapping[str, Kernel], bands: int, rows: int, least: int) -> None:
        self._find, self._move = kernels["find"], kernels["move"]
        self._bands, self._rows, self._least = bands, rows, least
        self._tables = [np.zeros(SMALLEST, np.uint64) for _ in range(bands)]
        self._chunks: list[NDArray[np.uint8]] = []
        self._kept = np.zeros(1, np.int64)
        self._scratch = np.empty(12 * bands + bands * rows + 8, np.uint8)

    @property
    def num_bytes(self) -> int:
        """Memory it takes."""
        return sum(table.nbytes for table in self._tables) + sum(chunk.nbytes for chunk in self._chunks)

    def find(self, rows: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Of each document the first kept one that is near, -1 when there is none: then it is kept.

        rows: signatures, uint32 [documents, hashes].
        """
        found = np.empty(len(rows), np.int64)
        for start in range(0, len(rows), SMALLEST):  # room is made for all, kept or not
            part = rows[start : start + SMALLEST]
            self._make_room(int(self._kept[0]) + len(part))
            tables = np.array([at(table) for table in self._tables], np.int64)
            sizes = np.array([len(table) for table in self._tables], np.int64)
            chunks = np.array([at(chunk) for chunk in self._chunks], np.int64)
            self._find(
                at(part), len(part), self._bands, self._rows, self._least, at(tables), at(sizes), at(chunks),
                at(self._kept), at(self._scratch), at(found[start:]),
            )  # fmt: skip
        return found

    def _make_room(self, documents: int) -> None:
        hashes = self._bands * self._rows
        while len(self._chunks) << CHUNK_BITS < documents:
            self._chunks.append(np.empty((1 << CHUNK_BITS, hashes), np.uint8))
        for band, table in enumerate(self._tables):
            if documents > MOST_FULL * len(table):
                larger = np.zeros(int(GROWTH * len(table)) + 2 * SMALLEST, np.uint64)
                self._move(at(table), len(table), at(larger), len(larger))
                self._tables[band] = larger


def at(array: NDArray[Any]) -> int:
    """The address of an array that the caller keeps."""
    assert array.flags.c_contiguous
    return int(array.__array_interface__["data"][0])


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
