"""Gopher's repetition rules (Rae et al. 2021, arXiv 2112.11446, table A1): how much of a document is said twice?

n-grams are runs of n words, found by 64-bit rolling hashes in numpy: 10 to 20 MB/s a core, linear in the text's length
whatever it holds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from domadapt.builtin.cleaning.rules import RuleFilter, RuleOptions, over
from domadapt.builtin.cleaning.words import rolling_hashes, word_ids
from domadapt.components import Options

if TYPE_CHECKING:
    import numpy as np

TOP = (2, 3, 4)
DUPLICATED = (5, 6, 7, 8, 9, 10)


class RepetitionOptions(RuleOptions):
    """Options of `quality.repetition`. Defaults are the paper's."""

    duplicate_lines: float | None = Field(0.30, ge=0, le=1)
    """Greatest share of lines that were there before in the document."""
    duplicate_line_characters: float | None = Field(0.20, ge=0, le=1)
    """Greatest share of characters in such lines."""
    duplicate_paragraphs: float | None = Field(0.30, ge=0, le=1)
    """Greatest share of paragraphs that were there before. Blank lines separate paragraphs."""
    duplicate_paragraph_characters: float | None = Field(0.20, ge=0, le=1)
    """Greatest share of characters in such paragraphs."""
    top_ngrams: tuple[float, float, float] | None = (0.20, 0.18, 0.16)
    """Greatest share of characters in the most frequent 2-, 3- and 4-gram."""
    duplicate_ngrams: tuple[float, float, float, float, float, float] | None = (0.15, 0.14, 0.13, 0.12, 0.11, 0.10)
    """Greatest share of characters in 5-, 6-, 7-, 8-, 9- and 10-grams that were there before, each counted once."""


class Repetition(RuleFilter):
    """Drops what repeats itself by Gopher's rules. Shares of n-grams are of the characters of words."""

    name: ClassVar[str] = "quality.repetition"
    independent: ClassVar[bool] = True
    Config: ClassVar[type[Options]] = RepetitionOptions

    def failures(self, text: str) -> Iterator[str]:
        """Failed rules in the order of the paper's table."""
        config = self.config
        for unit, separator in (("line", "\n"), ("paragraph", "\n\n")):
            pieces = [piece.strip() for piece in text.split(separator) if piece.strip()]
            share, characters = duplicate_shares(pieces)
            if over(share, getattr(config, f"duplicate_{unit}s")):
                yield f"repeated {unit}s"
            if over(characters, getattr(config, f"duplicate_{unit}_characters")):
                yield f"characters in repeated {unit}s"
        yield from self._ngram_failures(text)

    def _ngram_failures(self, text: str) -> Iterator[str]:
        import numpy as np

        words = text.split()
        if len(words) < TOP[0]:
            return
        lengths = np.fromiter(map(len, words), np.int64, len(words))
        hashes = rolling_hashes(word_ids(words))
        for n, grams in enumerate(hashes, 1):
            if n in TOP and self.config.top_ngrams is not None:
                if top_ngram_share(grams, lengths, n) > self.config.top_ngrams[TOP.index(n)]:
                    yield f"top {n}-gram"
            elif n in DUPLICATED and self.config.duplicate_ngrams is not None:
                if duplicate_ngram_share(grams, lengths, n) > self.config.duplicate_ngrams[DUPLICATED.index(n)]:
                    yield f"repeated {n}-grams"
            elif n > DUPLICATED[-1]:
                return


def duplicate_shares(pieces: list[str]) -> tuple[float, float]:
    """Shares of the pieces, and of their characters, that were there before; 0 of nothing."""
    if not pieces:
        return 0.0, 0.0
    counts = Counter(pieces)
    characters = sum(len(piece) * (count - 1) for piece, count in counts.items())
    return (len(pieces) - len(counts)) / len(pieces), characters / sum(map(len, pieces))


def top_ngram_share(grams: np.ndarray, lengths: np.ndarray, n: int) -> float:
    """Share of the words' characters in the most frequent n-gram; 0 when none occurs twice.

    grams: [words - n + 1].  lengths: [words], in characters. Of equally frequent ones the longest counts.
    """
    import numpy as np

    if not grams.size:
        return 0.0
    _, first, counts = np.unique(grams, return_index=True, return_counts=True)
    most = counts.max()
    if most < 2:
        return 0.0
    ends = np.concatenate([[0], np.cumsum(lengths)])
    longest = max(int(ends[start + n] - ends[start]) for start in first[counts == most])
    return min(1.0, longest * int(most) / int(ends[-1]))


def duplicate_ngram_share(grams: np.ndarray, lengths: np.ndarray, n: int) -> float:
    """Share of the words' characters in n-grams that were there before; a word in several of them counts once."""
    import numpy as np

    if not grams.size:
        return 0.0
    _, first, which = np.unique(grams, return_index=True, return_inverse=True)
    repeated = np.flatnonzero(first[which] != np.arange(len(grams)))
    edges: Any = np.zeros(len(lengths) + 1, np.int64)
    np.add.at(edges, repeated, 1)
    np.add.at(edges, repeated + n, -1)
    covered = np.cumsum(edges)[:-1] > 0
    return float(lengths[covered].sum() / lengths.sum())
