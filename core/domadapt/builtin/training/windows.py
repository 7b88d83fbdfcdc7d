"""Training batches from a token store: which windows a step takes, their labels, document positions."""

from __future__ import annotations

from functools import cached_property

import numpy as np

from domadapt.artifacts import Split, TokenStore

IGNORE = -100


class WindowReader:
    """Reads windows of a token store by sample number. State is one integer, so resuming costs nothing."""

    def __init__(self, tokens: TokenStore) -> None:
        self._tokens = tokens
        self._order = tokens.order()
        self._parts = [part["name"] for part in tokens.plan["parts"]]
        self._train = [tokens.windows("train", part) for part in self._parts]
        self._answers = [answers(tokens, "train", part) for part in self._parts]
        self.seq_len: int = tokens.facts["seq_len"]

    @property
    def num_samples(self) -> int:
        """Windows in training order, repeats counted."""
        return len(self._order)

    def samples(self, first: int, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Samples first .. first + count - 1 as int64 [count, seq_len]: ids, labels, positions.

        labels are the ids with IGNORE on padding (the model shifts them), and on all but answers where the tokens are
        those of conversations; positions restart at 0 with each document.
        """
        rows = [self._row(int(part), int(window)) for part, window in self._order[first : first + count]]
        ids, labels, positions = (np.stack(column) for column in zip(*rows, strict=True))
        return ids, labels, positions

    def consumed(self, first: int, count: int) -> dict[str, int]:
        """How many of the samples first .. first + count - 1 are of each part."""
        counts = np.bincount(self._order[first : first + count, 0], minlength=len(self._parts))
        return dict(zip(self._parts, counts.tolist(), strict=True))

    def _row(self, part: int, window: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        ids = self._train[part][window].astype(np.int64)
        positions, is_scored = self._pieces[part].positions(window)
        if (marks := self._answers[part]) is not None:
            is_scored = marks[window]
        return ids, np.where(is_scored, ids, IGNORE), positions

    @cached_property
    def _pieces(self) -> list[Pieces]:
        return [Pieces(self._tokens, "train", part) for part in self._parts]


class Pieces:
    """Where documents lie in the windows of one part of one split."""

    def __init__(self, tokens: TokenStore, split: Split, part: str) -> None:
        pieces = np.load(tokens.path / split / f"{part}.documents.npy", mmap_mode="r", allow_pickle=False)
        self._starts, self._ends = pieces[:, 0], pieces[:, 0] + pieces[:, 1]
        self._seq_len: int = tokens.facts["seq_len"]

    def positions(self, window: int) -> tuple[np.ndarray, np.ndarray]:
        """Position of each token in its document piece, from 0, and whether it is text (not padding)."""
        at = np.arange(window * self._seq_len, (window + 1) * self._seq_len)
        piece = np.searchsorted(self._starts, at, side="right") - 1
        is_text = at < self._ends[piece]
        # a document that goes on from the window before starts at this window's first token
        starts = np.maximum(self._starts[piece], at[0])
        # padding counts on from the end of the last piece, as a piece of its own
        return at - np.where(is_text, starts, self._ends[piece]), is_text


def held_out(tokens: TokenStore, split: Split, part: str, count: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first `count` held-out windows of a part: ids, labels and positions, int64 [n, seq_len]."""
    windows = tokens.windows(split, part)[:count].astype(np.int64)
    if not len(windows):
        return windows, windows, windows
    pieces = Pieces(tokens, split, part)
    positions, is_text = (np.stack(c) for c in zip(*map(pieces.positions, range(len(windows))), strict=True))
    if (marks := answers(tokens, split, part)) is not None:
        is_text = marks[:count]
    return windows, np.where(is_text, windows, IGNORE), positions


def answers(tokens: TokenStore, split: Split, part: str) -> np.ndarray | None:
    """Which tokens of a part are answers, bool [num_windows, seq_len]; None where all text is scored."""
    file, seq_len = tokens.path / split / f"{part}.answers.bin", tokens.facts["seq_len"]
    if not file.is_file():
        return None
    if not file.stat().st_size:
        return np.empty((0, seq_len), bool)
    return np.memmap(file, dtype=bool, mode="r").reshape(-1, seq_len)
