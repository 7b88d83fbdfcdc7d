"""Mask e-mail addresses, phone numbers, US social security numbers and card numbers.

Patterns, not understanding: names and postal addresses stay. They are strict, because filings and patents are full of
numbers: a phone number needs its usual punctuation, a card number its network's prefix, length and check digit. Every
pattern is linear in the text's length.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from domadapt.builtin.cleaning.text import replace_text
from domadapt.components import Cleaner, Options

if TYPE_CHECKING:
    import pyarrow as pa

Kind = Literal["email", "phone", "ssn", "card"]
KINDS: tuple[Kind, ...] = ("email", "phone", "ssn", "card")

_EMAIL = re.compile(r"(?<![\w.+%-])[\w.+%-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.){1,6}[A-Za-z]{2,24}(?![\w@])")
_PHONE = re.compile(
    r"(?<![\w.+/$-])(?<!\d,)(?:"
    r"(?:\+?1[ .-]?)?\([2-9]\d{2}\) ?\d{3}[ .-]\d{4}"  # (212) 555-0123
    r"|(?:\+?1[.-])?[2-9]\d{2}-[2-9]\d{2}-\d{4}"  # 212-555-0123
    r"|(?:\+?1\.)?[2-9]\d{2}\.[2-9]\d{2}\.\d{4}"  # 212.555.0123
    r"|\+1 [2-9]\d{2} [2-9]\d{2} \d{4}"
    r"|\+(?!1[ .(-])[1-9]\d{0,2}(?:[ .-]?\(?\d{1,4}\)?){2,5}"  # +44 20 7946 0958
    r")(?![\w-])(?!\.\d)"
)
_SSN = re.compile(r"(?<![\w.-])(?!000|666|9\d\d)\d{3}-(?!00)\d{2}-(?!0000)\d{4}(?![\w-])(?!\.\d)")
_CARD = re.compile(r"(?<![\w.,$-])[3-6]\d{3}(?:[ -]?\d){9,15}(?![\w-])(?![.,]\d)")
_PATTERNS: dict[str, re.Pattern[str]] = {"email": _EMAIL, "ssn": _SSN, "card": _CARD, "phone": _PHONE}
_GROUPED = re.compile(r"\d{4}([ -])\d{4}\1\d{4}\1\d{1,7}|\d{4}([ -])\d{6}\2\d{5}|\d{13,19}")
FEWEST_PHONE_DIGITS = 8
"""Of an international number with its country code (ITU-T E.164 allows 15 at most)."""


class PiiOptions(Options):
    """Options of `pii`."""

    kinds: tuple[Kind, ...] = Field(KINDS, min_length=1)
    """What to mask."""
    mask: str = "<{kind}>"
    """What takes its place; {kind} is the kind in capitals. The same everywhere, so that nobody can be followed."""


class Pii(Cleaner):
    """Masks personal identifiers; the tally counts masks by kind and the documents that have any."""

    name: ClassVar[str] = "pii"
    independent: ClassVar[bool] = True
    Config: ClassVar[type[Options]] = PiiOptions

    def __init__(self, config: Options | None = None) -> None:
        super().__init__(config)
        self.tally: Counter[str] = Counter()

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Mask in every text; nothing is dropped."""
        return replace_text(batch, [self._masked(text) for text in batch["text"].to_pylist()]), {}

    def _masked(self, text: str) -> str:
        before = self.tally.total()
        for kind, pattern in _PATTERNS.items():
            if kind in self.config.kinds:
                text = self._mask(kind, pattern, text)
        if self.tally.total() > before:
            self.tally["documents"] += 1
        return text

    def _mask(self, kind: str, pattern: re.Pattern[str], text: str) -> str:
        mask: str = self.config.mask.replace("{kind}", kind.upper())

        def replace(match: re.Match[str]) -> str:
            if not _is_real(kind, match[0]):
                return match[0]
            self.tally[kind] += 1
            return mask

        return pattern.sub(replace, text)


def _is_real(kind: str, found: str) -> bool:
    if kind == "card":
        return _GROUPED.fullmatch(found) is not None and is_card_number(re.sub(r"\D", "", found))
    if kind == "phone" and found.startswith("+"):
        return FEWEST_PHONE_DIGITS <= sum(map(str.isdigit, found)) <= 15
    return True


def is_card_number(digits: str) -> bool:
    """Whether digits have a prefix and length that a card network issues, and the right check digit (ISO/IEC 7812)."""
    length, head = len(digits), int(digits[:4])
    issued = (
        (digits[0] == "4" and length in (13, 16, 19))
        or ((5100 <= head < 5600 or 2221 <= head <= 2720) and length == 16)
        or (digits[:2] in ("34", "37") and length == 15)
        or ((digits[:2] in ("65", "35") or digits[:4] == "6011" or 6440 <= head < 6500) and 16 <= length <= 19)
        or (digits[:2] in ("36", "38", "39") and length == 14)
        or (digits[:2] in ("30", "50") and length in (14, 16))
        or (digits[:2] == "62" and 16 <= length <= 19)
    )
    return issued and luhn(digits)


def luhn(digits: str) -> bool:
    """Whether the last digit is the check digit of the others (Luhn 1960)."""
    total = 0
    for place, digit in enumerate(reversed(digits)):
        value = int(digit) * (1 + place % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
