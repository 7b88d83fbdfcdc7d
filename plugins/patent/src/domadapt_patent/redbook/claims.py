"""Claims: their numbers, what they depend on, and single claims out of running text.

Marked references are believed. Only where a document marks none are they read from the words ("of claim 3",
"claims 1 to 4"), and then a claim can refer to earlier claims alone, which is what the rules allow.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from domadapt_patent.redbook.patent import Claim

_NUMBERED = re.compile(r"\s*\d+\s*[.\-–),]")
_JOINED = r"\s*(?:,|;|/|-|–|or|and|to|through)\s*(?:(?:or|and)\s+)?(?:claims?\s+)?"
_REFERENCE = re.compile(rf"\bclaims?\s+(\d{{1,4}}(?:{_JOINED}\d{{1,4}}\b)*)", re.IGNORECASE)
_RANGE = re.compile(r"(\d+)(?:\s*(?:to|through|-|–)\s*(?:claims?\s+)?(\d+))?", re.IGNORECASE)
_START = re.compile(r"(?:^|(?<=[.;,:)\s]))(\d{1,4})(?:\s*[-–]\s*(\d{1,4}))?\s?\.\s*(?=[(\"“]?[A-Z(\[])")


@dataclass(frozen=True)
class DraftClaim:
    """A claim as marked up. `key`: its identity in the document; `targets`: keys its references name."""

    key: str
    number: int | None
    text: str
    targets: tuple[str, ...] = ()


def numbered(drafts: Sequence[DraftClaim]) -> tuple[Claim, ...]:
    """Claims with numbers and dependencies, in order.

    A sole claim (designs) is printed without a number; in any other case a missing number is put back.
    """
    numbers = [draft.number if draft.number is not None else place for place, draft in enumerate(drafts, 1)]
    by_key: dict[str, int] = {}
    for number, draft in zip(numbers, drafts, strict=True):
        by_key.setdefault(draft.key, number)
    marked = any(draft.targets for draft in drafts)
    claims = []
    for number, draft in zip(numbers, drafts, strict=True):
        text = draft.text
        if len(drafts) > 1 and not _NUMBERED.match(text):
            text = f"{number}. {text}"
        found = [by_key.get(target, number) for target in draft.targets] if marked else mentioned(text, number, numbers)
        claims.append(Claim(number, text, tuple(dict.fromkeys(target for target in found if target != number))))
    return tuple(claims)


def mentioned(text: str, number: int, numbers: Collection[int]) -> list[int]:
    """The earlier claims that the words of a claim refer to, among those there are."""
    earlier = sorted({other for other in numbers if other < number})
    found: list[int] = []
    for reference in _REFERENCE.finditer(text):
        for low, high in _RANGE.findall(reference[1]):
            found += [other for other in earlier if int(low) <= other <= int(high or low)]
    return list(dict.fromkeys(found))


def separated(text: str) -> list[DraftClaim]:
    """Claims out of running text, "1. A lamp ... 2. The lamp of claim 1 ...".

    A number opens a claim only when it continues the count, so "FIG. 2. The" and "1. 5 mm" open none. Text without
    any such number is one claim.
    """
    starts: list[tuple[int, int]] = []
    expected = 1
    for match in _START.finditer(text):
        if int(match[1]) == expected or (not starts and match.start(1) == len(text) - len(text.lstrip())):
            starts.append((match.start(1), int(match[1])))
            expected = max(int(match[2] or match[1]), int(match[1])) + 1
    if not starts:
        return [DraftClaim("1", 1, text.strip())] if text.strip() else []
    ends = [start for start, _ in starts[1:]] + [len(text)]
    return [
        DraftClaim(str(number), number, text[start:end].strip())
        for (start, number), end in zip(starts, ends, strict=True)
    ]
