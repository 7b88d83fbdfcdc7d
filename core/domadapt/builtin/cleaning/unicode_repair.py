"""Repair text that was decoded or encoded wrongly on its way: what ftfy does, as far as it is safe in English text.

UTF-8 read as Windows-1252 ("â€™"), Windows-1252 read as Latin-1 (C1 controls), HTML entities left over, ligatures,
full-width forms, bullets of symbol fonts. Only sequences that no writer types are touched: "CAFÉ»" stays as it is.
It must come before `normalize`, which removes the control characters that can be repaired here.
"""

from __future__ import annotations

import html
import re
from collections import Counter
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from domadapt.builtin.cleaning.text import keep_rows, replace_text
from domadapt.components import Cleaner, Options

if TYPE_CHECKING:
    import pyarrow as pa


def _as_windows(byte: int) -> str:
    """The character that Windows-1252 has for a byte, for its five holes that of Latin-1."""
    try:
        return bytes([byte]).decode("cp1252")
    except UnicodeDecodeError:
        return chr(byte)


_BYTE_OF = {_as_windows(byte): byte for byte in range(0x80, 0x100)} | {chr(byte): byte for byte in range(0x80, 0x100)}


def _read_wrongly(low: int, high: int) -> str:
    """A character class of the bytes low..high as they look when read as Windows-1252 or Latin-1."""
    return "[" + "".join(re.escape(c) for c, byte in sorted(_BYTE_OF.items()) if low <= byte <= high) + "]"


_NEXT = _read_wrongly(0x80, 0xBF)
_QUOTE = "[…‘’“”–—«»]"
_MOJIBAKE = re.compile(
    "|".join(
        (
            f"(?:{_read_wrongly(0xF0, 0xF0)}{_NEXT}{{3}})",  # emoji
            f"(?:â{_read_wrongly(0x80, 0x8C)}{_NEXT})",  # dashes, quotes, currencies, mathematics
            f"(?:â{_read_wrongly(0x94, 0x9C)}{_NEXT})",  # shapes, ticks
            "(?:ï(?:¬[\x80-\x86€\x81‚ƒ„…†]|»¿))",  # ligatures, byte-order mark
            f"(?:Â{_read_wrongly(0xA0, 0xBF)})",
            f"(?:Ã(?!{_QUOTE}){_NEXT})",
            f"(?:(?<![A-ZÀ-Þ])Ã{_QUOTE})",  # in capitals, Ã before a closing quotation mark may well be written
            f"(?:[ÎÏ]{_NEXT})",  # Greek
            f"(?:(?:[ÐÑ]{_NEXT}){{2,}})",  # Cyrillic, two letters at least
        )
    )
)
_LATIN1_CONTROL = re.compile("[\x80-\x84\x86-\x9f]")
_ENTITY = re.compile(r"&(?:#\d{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
_LOOKALIKES = str.maketrans(
    {
        **{chr(0xFF01 + i): chr(0x21 + i) for i in range(94)},
        "ﬀ": "ff", "ﬁ": "fi", "ﬂ": "fl", "ﬃ": "ffi", "ﬄ": "ffl", "ﬅ": "st", "ﬆ": "st",
        "\u3000": " ", "\xad": "", "\uf0b7": "•", "\uf0a7": "•", "\uf0d8": "•", "\uf02d": "-",
    }
)  # fmt: skip
_LOOKALIKE = re.compile("[\uff01-\uff5eﬀ-ﬆ\u3000\xad\uf0b7\uf0a7\uf0d8\uf02d]")
MOST_ROUNDS = 4
"""A text is rarely decoded wrongly more than twice."""


class UnicodeOptions(Options):
    """Options of `unicode`."""

    entities: bool = True
    """Resolve HTML entities in documents without any `<`: with one, the document may be about HTML."""
    lookalikes: bool = True
    """Ligatures and full-width forms become plain letters, soft hyphens vanish, symbol fonts' bullets become •."""
    most_replaced: float = Field(0.01, ge=0, le=1)
    """Greatest share of replacement characters (U+FFFD): text that cannot be repaired, since it is not known what
    was there. 1 %: at more, every second sentence has a hole."""


class UnicodeRepair(Cleaner):
    """Repairs wrongly decoded characters; the tally counts repairs by kind."""

    name: ClassVar[str] = "unicode"
    independent: ClassVar[bool] = True
    Config: ClassVar[type[Options]] = UnicodeOptions

    def __init__(self, config: Options | None = None) -> None:
        super().__init__(config)
        self.tally: Counter[str] = Counter()

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Repair every text; drop those with too many replacement characters."""
        texts = [self._repaired(text) for text in batch["text"].to_pylist()]
        keep = [text.count("\ufffd") <= self.config.most_replaced * len(text) for text in texts]
        return keep_rows(replace_text(batch, texts), keep), {"unreadable characters": keep.count(False)}

    def _repaired(self, text: str) -> str:
        if text.isascii() and "&" not in text:
            return text
        if self.config.entities and "<" not in text:
            text = self._counted("entities", _ENTITY, lambda match: html.unescape(match[0]), text)
        for _ in range(MOST_ROUNDS):
            repaired = self._counted("UTF-8 read as Windows-1252", _MOJIBAKE, _decoded, text)
            if repaired == text:
                break
            text = repaired
        # an ellipsis only among others of its kind: alone, \x85 is a line end
        if _LATIN1_CONTROL.search(text):
            text = self._counted("Windows-1252 read as Latin-1", _ANY_CONTROL, lambda m: _as_windows(ord(m[0])), text)
        if self.config.lookalikes:
            text = self._counted("lookalikes", _LOOKALIKE, lambda match: match[0].translate(_LOOKALIKES), text)
        return text

    def _counted(self, kind: str, pattern: re.Pattern[str], repair: Callable[[re.Match[str]], str], text: str) -> str:
        """The text with every match repaired; those that changed are counted."""
        changed = 0

        def replace(match: re.Match[str]) -> str:
            nonlocal changed
            repaired = repair(match)
            changed += repaired != match[0]
            return repaired

        text = pattern.sub(replace, text)
        if changed:
            self.tally[kind] += changed
        return text


_ANY_CONTROL = re.compile("[\x80-\x9f]")


def _decoded(match: re.Match[str]) -> str:
    """What the bytes mean as UTF-8; unchanged when they are none."""
    try:
        return bytes(_BYTE_OF[character] for character in match[0]).decode("utf-8").removeprefix("\ufeff")
    except UnicodeDecodeError:
        return match[0]
