"""Gopher's quality rules (Rae et al. 2021, arXiv 2112.11446, table A1): does a document look like running text?

Words are what white space separates, symbols left out where the paper counts words. English: the stop words are.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import ClassVar

from pydantic import Field

from domadapt.builtin.cleaning.rules import RuleFilter, RuleOptions, over, under
from domadapt.components import Options

STOP_WORDS = frozenset(("the", "be", "to", "of", "and", "that", "have", "with"))
_WORD_CHARACTER = re.compile(r"[^\W_]")
_LETTER = re.compile(r"[^\W\d_]")
_EDGES = re.compile(r"^\W+|\W+$")
_BULLETS = ("•", "-", "*")
_ELLIPSES = ("...", "…")


class GopherOptions(RuleOptions):
    """Options of `quality.gopher`. Defaults are the paper's."""

    min_words: int | None = Field(50, ge=0)
    """Fewest words with a letter or digit."""
    max_words: int | None = Field(100_000, ge=1)
    """Most such words. A 10-K has 30,000 to 150,000: domains of long documents switch it off (null)."""
    min_word_length: float | None = Field(3, ge=0)
    """Least mean length of such words, in characters."""
    max_word_length: float | None = Field(10, ge=0)
    """Greatest mean length of such words."""
    hashes: float | None = Field(0.1, ge=0)
    """Most `#` a word."""
    ellipses: float | None = Field(0.1, ge=0)
    """Most ellipses a word."""
    bullet_lines: float | None = Field(0.9, ge=0, le=1)
    """Greatest share of lines that begin with a bullet."""
    ellipsis_lines: float | None = Field(0.3, ge=0, le=1)
    """Greatest share of lines that end in an ellipsis."""
    letters: float | None = Field(0.8, ge=0, le=1)
    """Least share of words that hold a letter. Financial statements have half of that."""
    stop_words: int | None = Field(2, ge=0, le=len(STOP_WORDS))
    """Least number of different words of: the, be, to, of, and, that, have, with."""


class Gopher(RuleFilter):
    """Drops what does not look like running text by Gopher's rules."""

    name: ClassVar[str] = "quality.gopher"
    independent: ClassVar[bool] = True
    Config: ClassVar[type[Options]] = GopherOptions

    def failures(self, text: str) -> Iterator[str]:
        """Failed rules in the order of the paper's table."""
        config, words = self.config, text.split()
        solid = [word for word in words if _WORD_CHARACTER.search(word)]
        if under(len(solid), config.min_words):
            yield f"under {config.min_words} words"
        if over(len(solid), config.max_words):
            yield f"over {config.max_words} words"
        if not solid:
            return
        length = sum(map(len, solid)) / len(solid)
        if under(length, config.min_word_length):
            yield "words too short"
        if over(length, config.max_word_length):
            yield "words too long"
        if over(text.count("#") / len(words), config.hashes):
            yield "too many #"
        if over(sum(map(text.count, _ELLIPSES)) / len(words), config.ellipses):
            yield "too many ellipses"
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        if over(sum(line.startswith(_BULLETS) for line in lines) / len(lines), config.bullet_lines):
            yield "too many bullet lines"
        if over(sum(line.endswith(_ELLIPSES) for line in lines) / len(lines), config.ellipsis_lines):
            yield "too many lines ending in an ellipsis"
        if under(sum(1 for word in words if _LETTER.search(word)) / len(words), config.letters):
            yield "too few words with letters"
        if config.stop_words and not _has_stop_words(words, config.stop_words):
            yield "too few stop words"


def _has_stop_words(words: list[str], wanted: int) -> bool:
    found: set[str] = set()
    for word in words:
        if len(word) < 12 and (bare := _EDGES.sub("", word).lower()) in STOP_WORDS:
            found.add(bare)
            if len(found) >= wanted:
                return True
    return False
