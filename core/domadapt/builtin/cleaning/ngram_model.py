"""A small n-gram language model: interpolated Kneser-Ney (Kneser and Ney 1995; Chen and Goodman 1999) in numpy.

Counts lie in sorted arrays of 64-bit keys (21 bits a word), so training is sorting and scoring is binary search: about
a million words a second. Training takes some 40 bytes a word of the reference.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

BITS = 21
UNKNOWN, START = 0, 1
_TOKEN = re.compile(r"\w+|[^\w\s]+")
_DIGITS = str.maketrans("123456789", "000000000")


def tokens(text: str) -> list[str]:
    """Words and runs of punctuation in lower case, every digit a 0."""
    return _TOKEN.findall(text.lower().translate(_DIGITS))


@dataclass(frozen=True)
class _Level:
    """n-grams of one length with their counts, and what follows each context. All arrays sorted by key."""

    keys: np.ndarray
    counts: np.ndarray
    contexts: np.ndarray
    totals: np.ndarray
    types: np.ndarray
    discount: float


class NgramModel:
    """Trained on texts; gives the probability of every word of another one. order: longest n-gram, 2 or 3."""

    def __init__(self, texts: Iterable[str], *, order: int = 3, vocabulary: int = 200_000, least: int = 2) -> None:
        """vocabulary: most words known by name.  least: how often a word must occur to be one of them."""
        import numpy as np

        self.order = order
        seen: dict[str, int] = {}
        read = [np.array([seen.setdefault(word, len(seen)) for word in tokens(text)], np.int32) for text in texts]
        counts = np.bincount(np.concatenate([np.empty(0, np.int32), *read]), minlength=len(seen))
        common = np.argsort(-counts, kind="stable")[: min(vocabulary, (1 << BITS) - 2)]
        common = common[counts[common] >= least]
        number_of = np.full(len(seen), UNKNOWN, np.int64)
        number_of[common] = np.arange(2, len(common) + 2)
        self._ids = {word: int(number_of[place]) for word, place in seen.items() if number_of[place] != UNKNOWN}
        self.num_words = int(counts.sum())
        starts = np.full(order - 1, START, np.int64)
        grams = [self._keys(np.concatenate([starts, number_of[text]]), order) for text in read]
        keys, number = np.unique(np.concatenate([np.empty(0, np.int64), *grams]), return_counts=True)
        self._levels: list[_Level] = []
        """Of n-grams of order, order - 1, ..., 2 words: counts of the longest, of the others in how many contexts."""
        for n in range(order, 1, -1):
            self._levels.append(_level(keys, number))
            keys, number = np.unique(keys & ((1 << BITS * (n - 1)) - 1), return_counts=True)
        self._unigrams = self._unigram_probabilities(keys, number)

    def _unigram_probabilities(self, keys: np.ndarray, counts: np.ndarray) -> np.ndarray:
        """In how many contexts each word stands, discounted for those in none; float64 [words], 0 for the start."""
        import numpy as np

        size, probabilities = len(self._ids) + 2, np.zeros(len(self._ids) + 2)
        if not keys.size:
            probabilities[:] = 1 / (size - 1)
        else:
            discount = _discount(counts)
            probabilities[keys] = counts - discount
            probabilities += discount * keys.size / (size - 1)
            probabilities /= counts.sum()
        probabilities[START] = 0
        return probabilities

    def _numbers(self, words: Sequence[str]) -> np.ndarray:
        """Numbers of words behind order - 1 starts, int64."""
        import numpy as np

        known = self._ids
        numbers = [START] * (self.order - 1) + [known.get(word, UNKNOWN) for word in words]
        return np.array(numbers, np.int64)

    def _keys(self, numbers: np.ndarray, n: int) -> np.ndarray:
        """Keys of the n-grams that end at each word of a text, int64 [words]."""
        import numpy as np

        count = len(numbers) - self.order + 1
        keys = np.zeros(count, np.int64)
        for place in range(self.order - n, self.order):
            keys = (keys << BITS) | numbers[place : place + count]
        return keys

    def log_probabilities(self, words: Sequence[str]) -> np.ndarray:
        """Natural logarithm of the probability of each word after those before it, float64 [words]."""
        import numpy as np

        numbers = self._numbers(words)
        probabilities = self._unigrams[numbers[self.order - 1 :]]
        for n, level in zip(range(2, self.order + 1), reversed(self._levels), strict=True):
            keys = self._keys(numbers, n)
            counts = _looked_up(level.keys, level.counts, keys)
            totals = _looked_up(level.contexts, level.totals, keys >> BITS)
            types = _looked_up(level.contexts, level.types, keys >> BITS)
            mixed = np.maximum(counts - level.discount, 0) + level.discount * types * probabilities
            probabilities = np.where(totals > 0, mixed / np.maximum(totals, 1), probabilities)
        return np.log(probabilities)  # type: ignore[no-any-return]

    def perplexity(self, text: str) -> float:
        """exp(-mean log-probability of a word); infinite for no word."""
        words = tokens(text)
        return float("inf") if not words else perplexity(self.log_probabilities(words))


def perplexity(log_probabilities: np.ndarray) -> float:
    """exp(-mean) of natural logarithms."""
    import numpy as np

    return float(np.exp(-log_probabilities.mean()))


def _level(keys: np.ndarray, counts: np.ndarray) -> _Level:
    import numpy as np

    contexts, first, types = np.unique(keys >> BITS, return_index=True, return_counts=True)
    totals = np.add.reduceat(counts, first) if keys.size else counts
    return _Level(keys, counts, contexts, totals, types, _discount(counts))


def _discount(counts: np.ndarray) -> float:
    """What is taken from every count: n1 / (n1 + 2 n2) of the n-grams seen once and twice (Ney et al. 1994)."""
    once, twice = int((counts == 1).sum()), int((counts == 2).sum())
    return once / (once + 2 * twice) if once and twice else 0.75


def _looked_up(keys: np.ndarray, values: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Values of the wanted keys, 0 for those that are not there."""
    import numpy as np

    if not keys.size:
        return np.zeros(len(wanted), np.int64)
    places = np.minimum(np.searchsorted(keys, wanted), keys.size - 1)
    return np.where(keys[places] == wanted, values[places], 0)
