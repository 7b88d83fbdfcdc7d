"""Packing keeps every token exactly once, and says the truth about where documents lie."""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt.builtin.tokens import files
from domadapt.builtin.tokens import packing as packing_module
from domadapt.builtin.tokens.packing import How, Packing, PieceList, audit, blocks_of, pack

PAD = 0
fixed = settings(derandomize=True, deadline=None)


def documents_of(lengths: list[int]) -> list[np.ndarray]:
    """Documents whose tokens are all different numbers from 1 on."""
    ends = np.cumsum(lengths)
    return [np.arange(end - n + 1, end + 1, dtype=np.int32) for n, end in zip(lengths, ends, strict=True)]


def packed(lengths: list[int], seq_len: int, how: How, pad_last: bool = False) -> tuple[np.ndarray, Packing]:
    packing = Packing()
    blocks = blocks_of(documents_of(lengths), 7)
    found = list(pack(blocks, seq_len, how, pad_id=PAD, pad_last=pad_last, packing=packing))
    assert all(windows.shape[1:] == (seq_len,) and windows.dtype == np.int32 for windows in found)
    return np.concatenate([np.empty((0, seq_len), np.int32), *found]), packing


def pieces_of(packing: Packing) -> list[tuple[int, int]]:
    assert isinstance(packing.pieces, PieceList)
    return [(start, length) for start, length in packing.pieces.rows().tolist()]


def test_concat_cuts_one_stream_and_drops_the_rest() -> None:
    windows, packing = packed([3, 4, 2], 4, "concat")
    assert windows.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert pieces_of(packing) == [(0, 3), (3, 4), (7, 1)]
    assert packing == Packing(documents=3, num_windows=2, num_tokens=8, padding=0, dropped=1, cut=2)


def test_concat_drops_the_pieces_of_documents_that_are_dropped() -> None:
    windows, packing = packed([4, 2, 1], 4, "concat")
    assert windows.tolist() == [[1, 2, 3, 4]]
    assert pieces_of(packing) == [(0, 4)]
    assert packing == Packing(documents=3, num_windows=1, num_tokens=4, padding=0, dropped=3)


def test_concat_with_padding_keeps_the_rest() -> None:
    windows, packing = packed([3, 4, 2], 4, "concat", pad_last=True)
    assert windows.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8], [9, 0, 0, 0]]
    assert pieces_of(packing) == [(0, 3), (3, 4), (7, 2)]
    assert packing == Packing(documents=3, num_windows=3, num_tokens=9, padding=3, dropped=0, cut=2)


def test_best_fit_keeps_documents_whole_where_they_fit() -> None:
    # lengths 5 (cut into 4 + 1), 2, 3, 1 in windows of 4; by size: 4 | 3 + 1 | 2 + 1
    windows, packing = packed([5, 2, 3, 1], 4, "best_fit")
    assert windows.tolist() == [[1, 2, 3, 4], [8, 9, 10, 5], [6, 7, 11, 0]]
    assert pieces_of(packing) == [(0, 4), (4, 3), (7, 1), (8, 2), (10, 1)]
    assert packing == Packing(documents=4, num_windows=3, num_tokens=11, padding=1, dropped=0, cut=1)


def test_greedy_takes_documents_in_order_and_begins_a_window_where_one_does_not_fit() -> None:
    windows, packing = packed([5, 2, 3, 1], 4, "greedy")
    assert windows.tolist() == [[1, 2, 3, 4], [5, 6, 7, 0], [8, 9, 10, 11]]
    assert pieces_of(packing) == [(0, 4), (4, 1), (5, 2), (8, 3), (11, 1)]
    assert packing == Packing(documents=4, num_windows=3, num_tokens=11, padding=1, cut=1)


def test_no_packing_gives_each_document_a_window_and_drops_what_is_beyond_it() -> None:
    windows, packing = packed([5, 2, 4], 4, "none")
    assert windows.tolist() == [[1, 2, 3, 4], [6, 7, 0, 0], [8, 9, 10, 11]]
    assert pieces_of(packing) == [(0, 4), (4, 2), (8, 4)]
    assert packing == Packing(documents=3, num_windows=3, num_tokens=10, padding=2, truncated=1)


def test_the_audit_says_where_positions_went() -> None:
    _, packing = packed([5, 2, 4], 4, "none")
    assert audit(packing, 4) == {
        "documents": 3, "windows": 3, "slots": 12, "tokens": 10, "padding": 2, "dropped": 0, "truncated": 1,
        "cut_documents": 0,
    }  # fmt: skip


def test_best_fit_puts_a_piece_where_the_least_room_stays() -> None:
    # windows of 10 hold 7 and 6; the 3 fits in both and goes to the 7
    windows, _ = packed([7, 6, 3], 10, "best_fit")
    assert [np.count_nonzero(w) for w in windows] == [10, 6]


def test_nothing_packs_into_nothing() -> None:
    for how in ("concat", "greedy", "best_fit", "none"):
        windows, packing = packed([], 4, how)
        assert len(windows) == 0
        assert packing == Packing()


lengths = st.lists(st.integers(1, 30), max_size=60)


def check_pieces(windows: np.ndarray, packing: Packing, lengths: list[int], *, whole: bool) -> None:
    """Each piece is a run of consecutive tokens of one document, and pieces cover all text and no padding."""
    stream, seq_len = windows.ravel(), windows.shape[1] if len(windows) else 0
    document_of = np.repeat(np.arange(len(lengths)), lengths)
    covered = np.zeros(len(stream), bool)
    for start, length in pieces_of(packing):
        piece = stream[start : start + length]
        assert length >= 1
        assert len(piece) == length
        assert (piece > 0).all()
        assert (np.diff(piece) == 1).all()
        assert len(set(document_of[piece - 1])) == 1
        assert not covered[start : start + length].any()
        if not whole:
            assert start // seq_len == (start + length - 1) // seq_len
        covered[start : start + length] = True
    assert (covered == (stream > 0)).all()
    starts = [start for start, _ in pieces_of(packing)]
    assert starts == sorted(starts)


@fixed
@given(lengths, st.integers(1, 17), st.booleans())
def test_concat_keeps_every_token_once_in_order_but_the_dropped_ones(
    lengths: list[int], seq_len: int, pad_last: bool
) -> None:
    windows, packing = packed(lengths, seq_len, "concat", pad_last)
    total = sum(lengths)
    text = windows.ravel()[windows.ravel() > 0]
    assert text.tolist() == list(range(1, total - packing.dropped + 1))
    assert packing.num_tokens == len(text)
    assert packing.padding == windows.size - len(text)
    assert packing.num_windows == len(windows)
    assert packing.dropped == (0 if pad_last else total % seq_len)
    assert packing.padding == (-total % seq_len if pad_last else 0)
    check_pieces(windows, packing, lengths, whole=True)


@fixed
@given(lengths, st.integers(1, 17), st.sampled_from([3, 4096]))
def test_best_fit_keeps_every_token_once_and_cuts_only_what_is_longer_than_a_window(
    lengths: list[int], seq_len: int, block: int
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing_module, "BLOCK_DOCUMENTS", block)
        windows, packing = packed(lengths, seq_len, "best_fit")
    text = windows.ravel()[windows.ravel() > 0]
    assert Counter(text.tolist()) == Counter(range(1, sum(lengths) + 1))
    assert (packing.num_tokens, packing.dropped) == (len(text), 0)
    assert packing.padding == windows.size - len(text)
    assert packing.num_windows == len(windows)
    assert len(pieces_of(packing)) == sum(-(-n // seq_len) for n in lengths)
    check_pieces(windows, packing, lengths, whole=False)


@fixed
@given(st.lists(st.integers(1, 16), min_size=1, max_size=60))
def test_best_fit_needs_few_more_windows_than_the_tokens_fill(lengths: list[int]) -> None:
    windows, _ = packed(lengths, 16, "best_fit")
    fewest = max(-(-sum(lengths) // 16), sum(n > 8 for n in lengths))
    # of two windows at most half full, the pieces of one would have fitted into the other
    assert (np.count_nonzero(windows, axis=1) <= 8).sum() <= 1
    assert len(windows) <= 2 * fewest


@fixed
@given(lengths, st.integers(1, 17), st.sampled_from(["greedy", "none"]))
def test_greedy_and_none_keep_the_order_and_account_for_every_token(lengths: list[int], seq_len: int, how: Any) -> None:
    windows, packing = packed(lengths, seq_len, how)
    text = windows.ravel()[windows.ravel() > 0]
    assert (np.diff(text) > 0).all()
    assert packing.num_tokens + packing.truncated == sum(lengths)
    assert packing.num_tokens == len(text)
    assert packing.num_tokens + packing.padding == windows.size
    assert packing.documents == len(lengths)
    assert packing.cut == (sum(n > seq_len for n in lengths) if how == "greedy" else 0)
    check_pieces(windows, packing, lengths, whole=False)


@fixed
@given(st.lists(st.integers(1, 9), max_size=40), st.integers(0, 200), st.integers(1, 5))
def test_pieces_in_a_file_are_those_in_memory(lengths: list[int], end: int, rows: int) -> None:
    starts = np.cumsum([0, *lengths])[:-1]
    given_rows = np.stack([starts, np.array(lengths, np.int64)], 1).astype(np.int64).reshape(-1, 2)
    memory = PieceList()
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "TAIL_ROWS", rows)
        with files.PieceFile(Path(folder) / "pieces.npy") as file:
            for sink in (memory, file):
                for at in range(0, len(given_rows), 3):
                    sink.add(given_rows[at : at + 3])
                sink.cut(end)
        found = np.load(Path(folder) / "pieces.npy", allow_pickle=False)
    assert found.shape[1] == 2
    assert found.tolist() == memory.rows().tolist()


@pytest.mark.parametrize("how", ["concat", "best_fit"])
def test_packing_is_lazy_over_documents(how: Any) -> None:
    taken = 0

    def endless() -> Any:
        nonlocal taken
        while True:
            taken += 1
            yield np.ones(8, np.int32), np.array([8])

    stream = pack(endless(), 8, how, pad_id=PAD, pad_last=False, packing=Packing())
    next(stream)
    assert taken <= packing_module.BLOCK_DOCUMENTS
