"""Packing: documents of token ids into windows of seq_len.

`concat` cuts one long stream: no padding, documents span windows, the tokens after the last full window are dropped (or
padded, for held-out text). The others end a window where a document would have to be cut without need and pad the rest:
`greedy` takes documents in their order, `best_fit` puts each where the least room stays (Ding et al. 2024, arXiv
2404.10830), `none` gives each document a window of its own and loses what is beyond it. All say where every piece of a
document lies, so that positions and attention can stop at its borders, and count what the choice costs.

Documents come in blocks, (ids of all in a row, length of each): nothing here is done token by token.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np

How = Literal["concat", "greedy", "best_fit", "none"]
Block = tuple[np.ndarray, np.ndarray]
BLOCK_DOCUMENTS = 4096
"""Pieces that best fit chooses among."""


class PieceSink(Protocol):
    """Takes where the pieces of documents lie: rows of (start in the stream of windows, length)."""

    def add(self, rows: np.ndarray) -> None:
        """Append rows, int64 [n, 2], which start behind those before them."""

    def cut(self, end: int) -> None:
        """Nothing lies at `end` or behind it: drop pieces that start there, shorten the one that goes on there."""


class PieceList:
    """Pieces in memory."""

    def __init__(self) -> None:
        self._parts: list[np.ndarray] = []

    def add(self, rows: np.ndarray) -> None:
        """See `PieceSink`."""
        self._parts.append(np.asarray(rows, np.int64).reshape(-1, 2))

    def cut(self, end: int) -> None:
        """See `PieceSink`."""
        self._parts = [shortened(self.rows(), end)]

    def rows(self) -> np.ndarray:
        """All of them, int64 [n, 2]."""
        return np.concatenate([np.empty((0, 2), np.int64), *self._parts])


def shortened(rows: np.ndarray, end: int) -> np.ndarray:
    """The pieces before `end`; the last one ends there at the latest."""
    kept: np.ndarray = rows[: np.searchsorted(rows[:, 0], end)].copy()
    if len(kept):
        kept[-1, 1] = min(kept[-1, 1], end - kept[-1, 0])
    return kept


@dataclass
class Packing:
    """What packing did. Counts are tokens unless they say otherwise.

    documents: given.  num_tokens: of documents, in windows.  padding: the rest of the windows.
    dropped: after the last full window (concat).  truncated: beyond a document's window (none).
    cut: documents whose tokens lie in more than one window.
    """

    documents: int = 0
    num_windows: int = 0
    num_tokens: int = 0
    padding: int = 0
    dropped: int = 0
    truncated: int = 0
    cut: int = 0
    pieces: PieceSink = field(default_factory=PieceList, compare=False)


def pack(
    blocks: Iterable[Block], seq_len: int, how: How, *, pad_id: int, pad_last: bool, packing: Packing
) -> Iterator[np.ndarray]:
    """Yield windows, [n, seq_len] at a time, and fill in `packing` on the way.

    blocks: token ids of documents, begin and end tokens included.  pad_last: whether concat keeps the tokens
    after the last full window by padding them.
    """
    if how == "concat":
        yield from _concat(blocks, seq_len, pad_id, pad_last, packing)
        return
    documents = _documents(blocks, seq_len, how, packing)
    if how == "greedy":
        windows = _greedy(documents, seq_len)
    elif how == "best_fit":
        windows = _best_fit(documents, seq_len)
    else:
        windows = _one_each(documents, seq_len, packing)
    for pieces in windows:
        yield _window(pieces, seq_len, pad_id, packing)


def _concat(
    blocks: Iterable[Block], seq_len: int, pad_id: int, pad_last: bool, packing: Packing
) -> Iterator[np.ndarray]:
    rest: np.ndarray | None = None
    for ids, lengths in blocks:
        ends = packing.num_tokens + np.cumsum(lengths, dtype=np.int64)
        starts = ends - lengths
        packing.pieces.add(np.stack([starts, lengths], 1))
        packing.documents += len(lengths)
        packing.cut += int((starts // seq_len != (ends - 1) // seq_len).sum())
        packing.num_tokens += len(ids)
        stream = ids if rest is None or not len(rest) else np.concatenate([rest, ids])
        full = len(stream) // seq_len
        rest = stream[full * seq_len :].copy()
        if full:
            packing.num_windows += full
            yield stream[: full * seq_len].reshape(full, seq_len)
    if rest is None or not len(rest):
        return
    if pad_last:
        packing.num_windows += 1
        packing.padding = seq_len - len(rest)
        yield np.concatenate([rest, np.full(packing.padding, pad_id, rest.dtype)])[None]
    else:
        packing.dropped = len(rest)
        packing.num_tokens -= len(rest)
        packing.pieces.cut(packing.num_tokens)


def _documents(blocks: Iterable[Block], seq_len: int, how: How, packing: Packing) -> Iterator[np.ndarray]:
    for ids, lengths in blocks:
        packing.documents += len(lengths)
        if how != "none":
            packing.cut += int((lengths > seq_len).sum())
        end = 0
        for length in lengths.tolist():
            start, end = end, end + length
            yield ids[start:end]


def _one_each(documents: Iterable[np.ndarray], seq_len: int, packing: Packing) -> Iterator[Sequence[np.ndarray]]:
    for ids in documents:
        packing.truncated += max(0, len(ids) - seq_len)
        yield [ids[:seq_len]]


def _greedy(documents: Iterable[np.ndarray], seq_len: int) -> Iterator[Sequence[np.ndarray]]:
    """In order: a document that does not fit any more begins the next window; only longer ones are cut."""
    window: list[np.ndarray] = []
    room = seq_len
    for ids in documents:
        for piece in _cut(ids, seq_len):
            if len(piece) > room:
                yield window
                window, room = [], seq_len
            window.append(piece)
            room -= len(piece)
    if window:
        yield window


def _best_fit(documents: Iterable[np.ndarray], seq_len: int) -> Iterator[Sequence[np.ndarray]]:
    block: list[np.ndarray] = []
    for ids in documents:
        block += _cut(ids, seq_len)
        if len(block) >= BLOCK_DOCUMENTS:
            yield from _fit_block(block, seq_len)
            block = []
    yield from _fit_block(block, seq_len)


def _cut(ids: np.ndarray, seq_len: int) -> list[np.ndarray]:
    return [ids[i : i + seq_len] for i in range(0, len(ids), seq_len)]


def _fit_block(block: list[np.ndarray], seq_len: int) -> list[list[np.ndarray]]:
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
    return windows


def _window(pieces: Sequence[np.ndarray], seq_len: int, pad_id: int, packing: Packing) -> np.ndarray:
    lengths = np.array([len(piece) for piece in pieces], np.int64)
    ends = np.cumsum(lengths)
    packing.pieces.add(np.stack([packing.num_windows * seq_len + ends - lengths, lengths], 1))
    text = int(ends[-1])
    packing.num_windows += 1
    packing.num_tokens += text
    packing.padding += seq_len - text
    return np.concatenate([*pieces, np.full(seq_len - text, pad_id, pieces[0].dtype)])[None]


def blocks_of(documents: Iterable[np.ndarray], most: int = 4096) -> Iterator[Block]:
    """Single documents as blocks of at most so many."""
    waiting: list[np.ndarray] = []
    for ids in documents:
        waiting.append(ids)
        if len(waiting) == most:
            yield _block(waiting)
            waiting = []
    if waiting:
        yield _block(waiting)


def _block(documents: list[np.ndarray]) -> Block:
    return np.concatenate(documents), np.array([len(ids) for ids in documents], np.int64)


def audit(packing: Packing, seq_len: int) -> dict[str, Any]:
    """The audit of one part: where the slots of its windows went, and what of its documents is not in them."""
    return {
        "documents": packing.documents,
        "windows": packing.num_windows,
        "slots": packing.num_windows * seq_len,
        "tokens": packing.num_tokens,
        "padding": packing.padding,
        "dropped": packing.dropped,
        "truncated": packing.truncated,
        "cut_documents": packing.cut,
    }
