"""Rules made for web pages: C4's (Raffel et al. 2020, arXiv 1910.10683) and FineWeb's (arXiv 2406.17557).

C4 keeps lines that end like a sentence and so deletes every table and most headings: for web text only. FineWeb's
rules judge the document and leave its text alone.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from domadapt.builtin.cleaning.repetition import duplicate_shares
from domadapt.builtin.cleaning.rules import Judge, RuleFilter, RuleOptions, over, under
from domadapt.builtin.cleaning.text import keep_rows, replace_text
from domadapt.components import Options

if TYPE_CHECKING:
    import pyarrow as pa

_SENTENCE_ENDS = (".", "!", "?", '"', "”")
_PUNCTUATION = (*_SENTENCE_ENDS, "'", "’", "…", "。", "！", "？")
_POLICIES = ("terms of use", "privacy policy", "cookie policy", "uses cookies", "use of cookies", "use cookies")
# a dot between letters or digits (e.g., 3.5) ends no sentence
_SENTENCE_END = re.compile(r"[.!?]+[\"'”’)\]]*(?=\s|$)")


class C4Options(RuleOptions):
    """Options of `quality.c4`. Defaults are the paper's."""

    terminal_punctuation: bool = True
    """Remove lines that do not end in `.`, `!`, `?` or a quotation mark."""
    min_line_words: int | None = Field(3, ge=1)
    """Remove lines with fewer words."""
    max_word_length: int | None = Field(1000, ge=1)
    """Remove lines with a longer word, in characters."""
    javascript: bool = True
    """Remove lines with the word javascript."""
    policies: bool = True
    """Remove lines about cookies, privacy and terms of use."""
    lorem_ipsum: bool = True
    """Drop documents with "lorem ipsum"."""
    curly_brackets: bool = True
    """Drop documents with `{`, which are mostly code."""
    min_sentences: int | None = Field(5, ge=1)
    """Drop documents with fewer sentences left. Sentences are counted by their ends, not parsed."""


class C4(Judge):
    """Removes lines and drops documents by C4's rules. The tally counts lines removed by rule."""

    name: ClassVar[str] = "quality.c4"
    independent: ClassVar[bool] = True
    Config: ClassVar[type[Options]] = C4Options

    def __init__(self, config: Options | None = None) -> None:
        super().__init__(config)
        self.tally: Counter[str] = Counter()

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Keep the lines and documents that pass."""
        texts: list[str] = []
        keep: list[bool] = []
        dropped: Counter[str] = Counter()
        for text, judged in zip(batch["text"].to_pylist(), self.judged(batch), strict=True):
            reasons, kept = self._judged(text) if judged else ([], text)
            self.tally.update(f"fails: {reason}" for reason in reasons)
            stays = not reasons or not self.config.drop
            texts.append(kept if self.config.drop else text)
            keep.append(stays)
            if not stays:
                dropped[reasons[0]] += 1
        return keep_rows(replace_text(batch, texts), keep), dropped

    def _judged(self, text: str) -> tuple[list[str], str]:
        """(rules that the document fails, its text without the lines that fail)."""
        lines = []
        for line in text.split("\n"):
            rule = self._line_failure(line.strip()) if line.strip() else None
            if rule is None:
                lines.append(line)
            else:
                self.tally[f"lines: {rule}"] += 1
        config, lowered, kept = self.config, text.lower(), "\n".join(lines).strip("\n")
        failed = []
        if config.lorem_ipsum and "lorem ipsum" in lowered:
            failed.append("lorem ipsum")
        if config.curly_brackets and "{" in text:
            failed.append("curly bracket")
        if under(len(_SENTENCE_END.findall(kept)), config.min_sentences):
            failed.append(f"under {config.min_sentences} sentences")
        if not kept.strip():
            failed.append("no line left")
        return failed, kept

    def _line_failure(self, line: str) -> str | None:
        config, lowered = self.config, line.lower()
        words = line.split()
        if config.max_word_length is not None and max(map(len, words)) > config.max_word_length:
            return f"word over {config.max_word_length} characters"
        if config.terminal_punctuation and (line.endswith("...") or not line.endswith(_SENTENCE_ENDS)):
            return "no punctuation at the end"
        if config.min_line_words is not None and len(words) < config.min_line_words:
            return f"under {config.min_line_words} words"
        if config.javascript and "javascript" in lowered:
            return "javascript"
        if config.policies and any(phrase in lowered for phrase in _POLICIES):
            return "policy"
        return None


class FineWebOptions(RuleOptions):
    """Options of `quality.fineweb`. Defaults are the paper's."""

    punctuated_lines: float | None = Field(0.12, ge=0, le=1)
    """Least share of lines that end in punctuation."""
    short_lines: float | None = Field(0.67, ge=0, le=1)
    """Greatest share of short lines."""
    short_line: int = Field(30, ge=1)
    """Most characters of a short line."""
    duplicate_line_characters: float | None = Field(0.01, ge=0, le=1)
    """Greatest share of characters in lines that were there before in the document."""
    line_breaks: float | None = Field(0.3, ge=0)
    """Most line breaks a word: lists of single words."""


class FineWeb(RuleFilter):
    """Drops lists, menus and torn lines by the rules that FineWeb adds to Gopher's and C4's."""

    name: ClassVar[str] = "quality.fineweb"
    independent: ClassVar[bool] = True
    Config: ClassVar[type[Options]] = FineWebOptions

    def failures(self, text: str) -> Iterator[str]:
        """Failed rules in the order of the options."""
        config, words = self.config, len(text.split())
        lines = [line.strip() for line in text.split("\n") if line.strip()]
        if not lines:
            yield "no line"
            return
        if under(sum(line.endswith(_PUNCTUATION) for line in lines) / len(lines), config.punctuated_lines):
            yield "too few lines ending in punctuation"
        if over(sum(len(line) <= config.short_line for line in lines) / len(lines), config.short_lines):
            yield "too many short lines"
        if over(duplicate_shares(lines)[1], config.duplicate_line_characters):
            yield "characters in repeated lines"
        if over(text.count("\n") / words, config.line_breaks):
            yield "too many line breaks"
