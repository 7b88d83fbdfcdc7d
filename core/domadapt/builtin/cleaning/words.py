"""Words as numbers and runs of words as 64-bit hashes: what the steps that compare n-grams work on."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

_WORD = re.compile(r"[^\W_]+")
_MULTIPLIER = 0x9E3779B97F4A7C15


def folded_words(text: str) -> list[str]:
    """Words in lower case without punctuation: what is equal however it was typeset."""
    return _WORD.findall(text.lower())


def word_ids(words: Sequence[str]) -> np.ndarray:
    """Each word's number in order of first appearance, uint64 [words]."""
    import numpy as np

    numbers: dict[str, int] = {}
    return np.fromiter((numbers.setdefault(word, len(numbers)) for word in words), np.uint64, len(words))


def mixed(numbers: np.ndarray) -> np.ndarray:
    """Numbers scattered over 64 bits, one to one (the finalizer of splitmix64)."""
    import numpy as np

    x = numbers.astype(np.uint64) + np.uint64(_MULTIPLIER)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def rolling_hashes(ids: np.ndarray) -> Iterator[np.ndarray]:
    """Hashes of all 1-grams, 2-grams, ...: uint64 [words], [words - 1], ... until there is none left.

    ids: one number a word. Equal runs have equal hashes; of a million different runs two agree once in 30 million
    texts.
    """
    import numpy as np

    values = mixed(ids)
    hashes, n = values, 1
    while hashes.size:
        yield hashes
        n += 1
        hashes = hashes[:-1] * np.uint64(_MULTIPLIER | 1) + values[n - 1 :]


def ngram_hashes(ids: np.ndarray, n: int) -> np.ndarray:
    """Hashes of all n-grams, uint64 [max(0, words - n + 1)]."""
    import numpy as np

    for length, hashes in enumerate(rolling_hashes(ids), 1):
        if length == n:
            return hashes
    return np.empty(0, np.uint64)
