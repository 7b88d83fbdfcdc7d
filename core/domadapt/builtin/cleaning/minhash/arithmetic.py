"""What MinHash computes here: the one definition of shingles, signatures, bands and similarity.

A document's words are its runs of letters, digits and underscores (as in `\\w+`) in lower case; its shingles are the
sets of `words` words in a row. Of the 32-bit hash x of every shingle, hash function i of a signature keeps the least
a_i x + b_i (modulo 2^32, a_i odd): two documents agree in it with the probability of their Jaccard similarity (Broder
1997, "On the resemblance and containment of documents"). x itself is well mixed, so that this simplest of families
behaves like a random one; the tests measure it.

A band of `rows` hashes has a 32-bit key. Documents that share the key of any of `bands` bands are candidates, a pair of
similarity s with the probability 1 - (1 - s^rows)^bands. Of kept documents a byte of each hash stays, enough to judge
candidates by.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 1024
"""Shingles that are hashed at a time."""
CHUNK_BITS = 16
"""Kept documents lie in chunks of 2^16."""
LARGEST = np.uint32(0xFFFFFFFF)
LETTER = np.uint64(0x100000001B3)
"""A word is a polynomial of its letters, mixed."""
WORD = np.uint64(0x9E3779B97F4A7C15)
"""A shingle is a polynomial of its words, mixed."""
BAND = np.uint64(0xD6E8FEB86659FD93)
SPREAD = np.uint32(0x9E3779B1)
MIX_1, MIX_2 = np.uint64(0xFF51AFD7ED558CCD), np.uint64(0xC4CEB9FE1A85EC53)
"""The finalizer of MurmurHash3."""
KNOWN = 0x20000
"""Code points with an entry in the table of characters."""
IDEOGRAPHS = 0x40000
"""Behind the table, to here: ideographs, all of them letters. Then: tags and private use, none of them."""


@functools.cache
def folded() -> NDArray[np.uint32]:
    """Lower case of every character, 0 for one that belongs to no word, uint32 [KNOWN]."""
    table = np.zeros(KNOWN, np.uint32)
    for code in range(KNOWN):
        letter = chr(code)
        if letter.isalnum() or letter == "_":
            lower = letter.lower()
            table[code] = ord(lower) if len(lower) == 1 else code
    return table


def coefficients(hashes: int) -> tuple[NDArray[np.uint32], NDArray[np.uint32]]:
    """Factors (odd) and summands of the hash functions, uint32 [hashes] each."""
    # numpy guarantees the stream of RandomState, and of nothing else
    draws = np.random.RandomState(1).randint(0, 1 << 32, 2 * hashes, np.uint32)
    return draws[:hashes] | np.uint32(1), draws[hashes:]


def least_agreeing(hashes: int, threshold: float) -> int:
    """In how many of their hashes' bytes documents of an estimated similarity of `threshold` agree.

    Bytes of different hashes agree by chance once in 256.
    """
    return max(1, math.ceil(hashes * (threshold + (1 - threshold) / 256) - 1e-9))


def probability(similarity: float, bands: int, rows: int) -> float:
    """Of a pair of documents to become candidates."""
    return 1 - (1 - similarity**rows) ** bands
