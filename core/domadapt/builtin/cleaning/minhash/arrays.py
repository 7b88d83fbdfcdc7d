"""MinHash by array operators: what the kernels do, bit for bit, where they cannot be had or are not worth compiling.

About 5,000 documents of 1.6 kB a second.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from domadapt.builtin.cleaning.minhash import arithmetic
from domadapt.builtin.cleaning.minhash.arithmetic import (
    BAND,
    BLOCK,
    IDEOGRAPHS,
    KNOWN,
    LETTER,
    MIX_1,
    MIX_2,
    SPREAD,
    WORD,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Bits of every position spread over all."""
    shift = np.uint64(33)
    values = (values ^ (values >> shift)) * MIX_1
    values = (values ^ (values >> shift)) * MIX_2
    return values ^ (values >> shift)


def shingles(text: str, words: int) -> NDArray[np.uint32]:
    """Hashes of a document's shingles in their order, uint32; of a document shorter than one, that of all its words."""
    codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
    beyond = np.where(codes < IDEOGRAPHS, codes, 0)
    letters = np.where(codes < KNOWN, arithmetic.folded()[np.minimum(codes, KNOWN - 1)], beyond)
    inside = np.concatenate([[False], letters != 0, [False]])
    edges = np.flatnonzero(inside[1:] != inside[:-1])
    hashed = mixed(_polynomials(letters.astype(np.uint64), edges[::2], edges[1::2], LETTER))
    last = np.arange(min(words, len(hashed)), len(hashed) + 1)
    return (mixed(_polynomials(hashed, last - last[0], last, WORD)) >> np.uint64(32)).astype(np.uint32)


def _polynomials(
    values: NDArray[np.uint64], starts: NDArray[np.int64], ends: NDArray[np.int64], base: np.uint64
) -> NDArray[np.uint64]:
    """Of each range [start, end) the sum of values[i] * base^(end - 1 - i), modulo 2^64."""
    # sums of values[i] * base^-i from the beginning; an odd base has an inverse
    count = len(values)
    inverse = np.uint64(pow(int(base), -1, 1 << 64))
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(values * _powers(inverse, count), dtype=np.uint64)])
    scale = np.where(ends > 0, _powers(base, count)[np.maximum(ends, 1) - 1] if count else 0, 0).astype(np.uint64)
    return np.asarray((sums[ends] - sums[starts]) * scale, np.uint64)


def _powers(base: np.uint64, count: int) -> NDArray[np.uint64]:
    powers = np.full(count, base, np.uint64)
    powers[:1] = 1
    return np.cumprod(powers, dtype=np.uint64)


def sign(texts: Sequence[str], words: int, hashes: int) -> NDArray[np.uint32]:
    """Signatures of documents, uint32 [documents, hashes]."""
    factors, summands = arithmetic.coefficients(hashes)
    rows = np.empty((len(texts), hashes), np.uint32)
    for row, text in zip(rows, texts, strict=True):
        row[:] = arithmetic.LARGEST
        found = np.unique(shingles(text, words))
        for start in range(0, len(found), 16 * BLOCK):
            part = found[start : start + 16 * BLOCK]
            np.minimum(row, np.min(factors[:, None] * part + summands[:, None], axis=1), out=row)
    return rows


def band_keys(rows: NDArray[np.uint32], bands: int) -> NDArray[np.uint32]:
    """Keys of the bands of signatures, uint32 [documents, bands]."""
    split = rows.reshape(len(rows), bands, -1).astype(np.uint64)
    values = np.zeros(split.shape[:2], np.uint64)
    for i in range(split.shape[2]):
        values = mixed(values * BAND + split[:, :, i])
    return values.astype(np.uint32)


def short(rows: NDArray[np.uint32]) -> NDArray[np.uint8]:
    """The byte of each hash that stays of kept documents."""
    return (rows * SPREAD >> np.uint32(24)).astype(np.uint8)


class ArrayIndex:
    """The documents kept so far, found by the keys of their bands. least: bytes of hashes that must agree."""

    def __init__(self, bands: int, rows: int, least: int) -> None:
        self._bands, self._least = bands, least
        self._kept: list[NDArray[np.uint8]] = []
        self._by_key: dict[tuple[int, int], list[int]] = {}
        self.signatures: list[NDArray[np.uint32]] = []
        """Of the kept documents."""

    def find(self, rows: NDArray[np.uint32]) -> NDArray[np.int64]:
        """Of each document the first kept one that is near, -1 when there is none: then it is kept.

        rows: signatures, uint32 [documents, hashes].
        """
        found = np.full(len(rows), -1, np.int64)
        for place, (keys, bytes_) in enumerate(zip(band_keys(rows, self._bands).tolist(), short(rows), strict=True)):
            buckets = [self._by_key.setdefault(key, []) for key in enumerate(keys)]
            candidates = sorted({number for bucket in buckets for number in bucket})
            near = (n for n in candidates if np.count_nonzero(self._kept[n] == bytes_) >= self._least)
            found[place] = next(near, -1)
            if found[place] < 0:
                for bucket in buckets:
                    bucket.append(len(self._kept))
                self._kept.append(bytes_)
                self.signatures.append(rows[place])
        return found
