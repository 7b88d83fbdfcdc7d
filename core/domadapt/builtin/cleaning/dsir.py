"""Data selection by importance resampling (DSIR, Xie et al. 2023, arXiv 2302.03169).

A document's weight is the ratio of its probability as the reference writes to that as the whole corpus does, both bags
of hashed words and pairs of words. Chosen are documents by weight and chance (Gumbel top-k), so that the selection is
distributed like the reference and is not the same thousand best over and over.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from domadapt.builtin.cleaning.selection import Selection, SelectionOptions
from domadapt.builtin.cleaning.words import mixed
from domadapt.components import Options

if TYPE_CHECKING:
    import numpy as np

SMOOTHING = 1e-8
"""Added to every probability, as in the authors' code."""
REMEMBERED = 1_000_000
"""Words whose hash is remembered."""
_TOKEN = re.compile(r"\w+|[^\w\s]+")


class DsirOptions(SelectionOptions):
    """Options of `select.dsir`."""

    buckets: int = Field(10_000, ge=2)
    """Hashed features. 10,000: the authors'."""
    length: int = Field(256, ge=1)
    """Features that every document is taken to have: its weight is the mean over its own times this. Otherwise the
    weight grows with the length, and long documents are chosen for that."""
    sample: bool = True
    """Choose by weight and chance; false: the heaviest documents."""
    seed: int = 0
    """Of the chance."""


class Features:
    """Counts of hashed words and pairs of words."""

    def __init__(self, buckets: int) -> None:
        self.buckets = buckets
        self._hashes: dict[str, int] = {}

    def of(self, words: list[str]) -> np.ndarray:
        """The bucket of every word and of every pair of neighbours, int64 [2 * words - 1]; empty for no word."""
        import numpy as np

        hashes = np.fromiter(map(self._hash, words), np.uint64, len(words))
        pairs = mixed(hashes[:-1] * np.uint64(3) + mixed(hashes[1:]))
        return (np.concatenate([hashes, pairs]) % np.uint64(self.buckets)).astype(np.int64)

    def _hash(self, word: str) -> int:
        value = self._hashes.get(word)
        if value is None:
            value = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest(), "little")
            if len(self._hashes) < REMEMBERED:
                self._hashes[word] = value
        return value


def log_ratios(target: np.ndarray, raw: np.ndarray) -> np.ndarray:
    """log(p_target / p_raw) of each feature from its counts in the reference and in the corpus, float64 [buckets]."""
    import numpy as np

    def log(counts: np.ndarray) -> np.ndarray:
        shares: np.ndarray = counts / max(1, counts.sum())
        logarithms: np.ndarray = np.log(shares + SMOOTHING)
        return logarithms

    ratios: np.ndarray = log(target) - log(raw)
    return ratios


class Dsir(Selection):
    """Resamples the corpus towards the reference."""

    name: ClassVar[str] = "select.dsir"
    Config: ClassVar[type[Options]] = DsirOptions
    surveys: ClassVar[int] = 2
    reason: ClassVar[str] = "not resampled"

    def __init__(self, config: Options | None = None) -> None:
        import numpy as np

        super().__init__(config)
        self._features = Features(self.config.buckets)
        self._target, self._raw = (np.zeros(self.config.buckets, np.int64) for _ in range(2))
        self._ratios: np.ndarray | None = None

    def learn(self, texts: Iterator[str]) -> None:
        """Count the reference's features."""
        for text in texts:
            self._count(self._target, text)

    def observe(self, text: str, survey: int) -> None:
        """Count the corpus's features."""
        self._count(self._raw, text)

    def score(self, text: str) -> float:
        """The logarithm of the importance weight at the common length."""
        words = _TOKEN.findall(text.lower())
        if len(words) < self.config.min_words:
            return -math.inf
        if self._ratios is None:
            self._ratios = log_ratios(self._target, self._raw)
        return float(self._ratios[self._features.of(words)].mean()) * float(self.config.length)

    def final_scores(self, scores: Any) -> Any:
        """Scores with Gumbel noise: the k highest are a sample of k without replacement by weight."""
        import numpy as np

        return (
            scores + np.random.default_rng(self.config.seed).gumbel(size=len(scores)) if self.config.sample else scores
        )

    def _count(self, counts: np.ndarray, text: str) -> None:
        import numpy as np

        features = self._features.of(_TOKEN.findall(text.lower()))
        counts += np.bincount(features, minlength=len(counts))

    def finish(self, out: Any) -> dict[str, Any]:
        """How many features of the reference and of the corpus the weights come from."""
        return {"reference_features": int(self._target.sum()), "corpus_features": int(self._raw.sum())}
