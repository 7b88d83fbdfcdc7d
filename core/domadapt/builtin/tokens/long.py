"""Documents of many megabytes, encoded in parts: memory stays flat and all cores work on one document.

A part ends where its ids do not change by it. Whether that is so is tried, not derived: around a place between two
words the text is encoded in one piece and in two, and the place is taken only when the ids are the same. A tokenizer
that puts a space before every text (SentencePiece's) has it that the second part begins behind the space. A text in
which no place holds within reach is encoded whole.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from domadapt.builtin.tokens.encoding import Flat, Route

PART, TOGETHER = 1 << 20, 4
"""Characters of a part, and how many parts are encoded at a time."""
REACH, CONTEXT, TRIES = 1 << 16, 256, 32
"""Places are looked for so far before a part's end, tried with so much text on both sides, so many of them."""
LINE, WORD = re.compile(r"\n(?=[^\s])"), re.compile(r"(?<=[^\s])(?= [^\s])")
"""Between a line's end and the next line's first word; before the space before a word."""


def encode(route: Route, texts: Sequence[str]) -> Flat:
    """As the route does it, a text by itself in parts when it is long."""
    if len(texts) != 1 or len(texts[0]) <= 2 * PART:
        return route.encode(texts)
    rows, waiting = [], []
    for part in parts_of(texts[0], route):
        waiting.append(part)
        if len(waiting) == TOGETHER:
            rows.append(route.encode(waiting)[0])
            waiting = []
    ids = np.concatenate([*rows, route.encode(waiting)[0]])
    return ids, np.array([len(ids)], np.int64)


def parts_of(text: str, route: Route) -> Iterator[str]:
    """The text in parts whose ids in a row are those of the whole; it alone when it is short."""
    start = 0
    while len(text) - start > 2 * PART:
        cut = _cut(text, start, start + PART, route)
        if cut is None:
            break
        end, following = cut
        yield text[start:end]
        start = following
    yield text[start:]


def _cut(text: str, start: int, wanted: int, route: Route) -> tuple[int, int] | None:
    """Where a part ends and the next one begins, at `wanted` or before it; else behind it as far again."""
    for first, last in ((max(start + 1, wanted - REACH), wanted), (wanted, min(len(text) - 1, wanted + REACH))):
        window = text[first:last]
        places = [first + match.end() for pattern in (LINE, WORD) for match in _last(pattern, window)]
        for end in places:
            for following in (end, end + 1):
                if (following == end or text[end] == " ") and _holds(text, end, following, route):
                    return end, following
    return None


def _last(pattern: re.Pattern[str], window: str) -> list[re.Match[str]]:
    return list(pattern.finditer(window))[: -TRIES - 1 : -1]


def _holds(text: str, end: int, following: int, route: Route) -> bool:
    before, behind = text[max(0, end - CONTEXT) : end], text[following : following + CONTEXT]
    ids, lengths = route.encode([text[max(0, end - CONTEXT) : following + CONTEXT], before, behind])
    whole = int(lengths[0])
    return bool(np.array_equal(ids[:whole], ids[whole:]))
