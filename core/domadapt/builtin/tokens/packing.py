"""Packing: documents of token ids into windows of seq_len.

`concat` cuts one long stream: no padding, documents span windows, the tokens after the last full window
are dropped (or padded, for held-out text). `best_fit` keeps documents whole where they fit (Ding et al.
2024, arXiv 2404.10830) and pads the rest. Both say where every document piece lies, so that positions and
attention can stop at its borders.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import numpy as np


@dataclass
class Packing:
    """What packing did: pieces are (start in the stream of windows, length) of documents or their parts."""

    pieces: list[tuple[int, int]] = field(default_factory=list)
    num_windows: int = 0
    num_tokens: int = 0
    padding: int = 0
    dropped: int = 0


def pack(
    documents: Iterable[np.ndarray],
    seq_len: int,
    how: Literal["concat", "best_fit"],
    *,
    pad_id: int,
    pad_last: bool,
    packing: Packing,
) -> Iterator[np.ndarray]:
    """Yield windows [seq_len] and fill in `packing` on the way.

    documents: token ids of each, begin and end tokens included.  pad_last: whether concat keeps the tokens
    after the last full window by padding them.
    """
    packer = (
        _concat(documents, seq_len, pad_id, pad_last, packing)
        if how == "concat"
        else _best_fit(documents, seq_len, pad_id, packing)
    )
    for window in packer:
        packing.num_windows += 1
        yield window


def _concat(
    documents: Iterable[np.ndarray], seq_len: int, pad_id: int, pad_last: bool, packing: Packing
) -> Iterator[np.ndarray]:
    waiting: list[np.ndarray] = []
    num_waiting = start = 0
    for ids in documents:
        packing.pieces.append((start, len(ids)))
        start += len(ids)
        waiting.append(ids)
        num_waiting += len(ids)
        if num_waiting >= seq_len:
            stream = np.concatenate(waiting)
            full = len(stream) // seq_len
            yield from stream[: full * seq_len].reshape(full, seq_len)
            waiting, num_waiting = [stream[full * seq_len :]], len(stream) - full * seq_len
    packing.num_tokens = start
    if not num_waiting:
        return
    if pad_last:
        packing.padding = seq_len - num_waiting
        yield np.concatenate([*waiting, np.full(packing.padding, pad_id, waiting[0].dtype)])
    else:
        packing.dropped = num_waiting
        packing.num_tokens -= num_waiting
        end = packing.num_tokens
        packing.pieces[:] = [(s, min(n, end - s)) for s, n in packing.pieces if s < end]


BLOCK_DOCUMENTS = 4096


def _best_fit(documents: Iterable[np.ndarray], seq_len: int, pad_id: int, packing: Packing) -> Iterator[np.ndarray]:
    block: list[np.ndarray] = []
    for ids in documents:
        block += [ids[i : i + seq_len] for i in range(0, len(ids), seq_len)]
        if len(block) >= BLOCK_DOCUMENTS:
            yield from _fit_block(block, seq_len, pad_id, packing)
            block = []
    yield from _fit_block(block, seq_len, pad_id, packing)


def _fit_block(block: list[np.ndarray], seq_len: int, pad_id: int, packing: Packing) -> Iterator[np.ndarray]:
    """Best fit decreasing: each piece goes where the least room stays; windows in order of their first piece."""
    windows: list[list[np.ndarray]] = []
    room: list[tuple[int, int]] = []  # (room left, window), sorted
    for piece in sorted(block, key=len, reverse=True):
        at = bisect.bisect_left(room, (len(piece), -1))
        if at == len(room):
            windows.append([piece])
            bisect.insort(room, (seq_len - len(piece), len(windows) - 1))
        else:
            left, window = room.pop(at)
            windows[window].append(piece)
            bisect.insort(room, (left - len(piece), window))
    for pieces in windows:
        at = packing.num_windows * seq_len
        for piece in pieces:
            packing.pieces.append((at, len(piece)))
            at += len(piece)
            packing.num_tokens += len(piece)
        padding = seq_len - sum(map(len, pieces))
        packing.padding += padding
        yield np.concatenate([*pieces, np.full(padding, pad_id, pieces[0].dtype)])
