"""The files of a token store: windows in Megatron's `.bin/.idx`, and where the pieces of documents lie in them.

Written as they come, in blocks; what is kept in memory does not grow with the corpus. The index is Megatron's format
written here, since its own writer takes one window at a time and imports torch.
"""

from __future__ import annotations

import struct
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from domadapt.builtin.tokens.packing import shortened

HEADER = b"MMIDIDX\x00\x00"
TYPES = {"uint16": 8, "int32": 4}
"""Megatron's numbers of the types that ids are stored in."""
TAIL_ROWS = 4096


def write_index(file: Path, num_windows: int, seq_len: int, dtype: np.dtype) -> None:
    """The `.idx` of windows that are a sequence and a document each.

    Source: Megatron-Core 0.16, datasets/indexed_dataset.py, _IndexWriter.
    """
    with file.open("wb") as out:
        out.write(HEADER + struct.pack("<QBQQ", 1, TYPES[dtype.name], num_windows, num_windows + 1))
        np.full(num_windows, seq_len, np.int32).tofile(out)
        (np.arange(num_windows, dtype=np.int64) * (seq_len * dtype.itemsize)).tofile(out)
        np.arange(num_windows + 1, dtype=np.int64).tofile(out)


class PieceFile:
    """A `.npy` of int64 [n, 2] that grows: the pieces of packed documents (`PieceSink`)."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("w+b")
        self._rows = 0
        self._begin = self._write_header()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._write_header()
        self._file.close()

    def add(self, rows: np.ndarray) -> None:
        """See `PieceSink`."""
        self._file.write(np.ascontiguousarray(rows, "<i8").tobytes())
        self._rows += len(rows)

    def cut(self, end: int) -> None:
        """See `PieceSink`. Reads back from the end only as far as pieces start behind `end`."""
        while self._rows:
            first = max(0, self._rows - TAIL_ROWS)
            self._file.seek(self._begin + 16 * first)
            rows = np.frombuffer(self._file.read(), "<i8").reshape(-1, 2)
            kept = shortened(rows, end)
            self._file.seek(self._begin + 16 * first)
            self._file.truncate()
            self._rows = first
            self.add(kept)
            if len(kept):
                return

    def _write_header(self) -> int:
        """numpy leaves room in a header for a number of rows that grows. Returns where the rows begin."""
        self._file.seek(0)
        shape = {"descr": "<i8", "fortran_order": False, "shape": (self._rows, 2)}
        np.lib.format.write_array_header_1_0(self._file, shape)
        at = self._file.tell()
        self._file.seek(0, 2)
        return at
