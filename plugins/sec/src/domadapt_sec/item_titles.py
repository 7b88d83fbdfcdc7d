"""Headings without a number: the words alone, where an index at the end of the filing says what they stand for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from domadapt_sec.item_chain import Candidate
from domadapt_sec.item_headings import PAGE_TAIL, Heading
from domadapt_sec.item_tables import Item

MAX_WORDS = 26
MIN_SHARED = 0.3
LINE = re.compile(r"^[ \t*_#]{0,90}(?:\d{1,2}[A-C]?[.)][ \t]{1,9})?(?=[A-Z\[])([^\n\t]{4,400})", re.MULTILINE)
INLINE = re.compile(r"([A-Z][A-Z ,’'&()/–-]{3,150})\.(?:[ \t]|$)")
WORD = re.compile(r"[a-z]+")
SMALL = frozenset(("a", "about", "and", "by", "for", "from", "in", "of", "on", "or", "our", "s", "that", "the", "to"))
STATEMENTS = (("", "8"), ("I", "1"))  # many begin with the first statement itself


@dataclass(frozen=True)
class Line:
    """A line that reads like a heading, or the capitals that a paragraph opens with."""

    start: int
    end: int
    title: str
    words: frozenset[str]


def relocated(
    text: str, table: Sequence[Item], chosen: Sequence[Candidate], listed: Sequence[Candidate]
) -> list[Candidate]:
    """The chosen headings, with the rows of an index replaced by the headings in the text they point at, and with the
    listed items that have a heading without a number between those of their neighbours.

    listed: the rows of tables of contents.
    """
    index = {candidate.heading.start for candidate in chosen if candidate.heading.page and len(candidate.ranks) == 1}
    is_index = 2 * len(index) > len(chosen)
    taken = {rank for candidate in chosen for rank in candidate.ranks}
    wanted = [c for c in listed if len(c.ranks) == 1 and c.titled and taken.isdisjoint(c.ranks)]
    if not wanted and not is_index:
        return list(chosen)
    lines = list(_lines(text))
    rows = {candidate.heading.start for candidate in (*chosen, *listed)}
    lines = [line for line in lines if line.start not in rows]
    if is_index:
        return [_moved(c, table, lines) if c.heading.start in index else c for c in chosen]
    added: dict[int, Candidate] = {}
    for candidate in wanted:
        rank = candidate.ranks[0]
        low = max((c.heading.end for c in chosen if c.ranks[-1] < rank), default=max(c.heading.end for c in listed))
        high = min((c.heading.start for c in chosen if c.ranks[0] > rank), default=len(text))
        moved = _moved(candidate, table, [line for line in lines if low <= line.start < high])
        if moved is not candidate:
            added.setdefault(rank, moved)
    return [*chosen, *added.values()]


def untitled(text: str, table: Sequence[Item]) -> list[Candidate]:
    """Candidates from lines that are nothing but a title in capitals, for a filing without any numbered heading."""
    found: list[Candidate] = []
    for line in _lines(text):
        if not line.title.isupper():
            continue
        ranks = [rank for rank, item in enumerate(table) if item.title.match(line.title)]
        found += [Candidate(_heading(line, table[rank]), (rank,), 1.0, True) for rank in ranks]
    return found


def _moved(candidate: Candidate, table: Sequence[Item], lines: Sequence[Line]) -> Candidate:
    """The candidate at the line that bears its title, or as it was."""
    item = table[candidate.ranks[0]]
    words = _words(candidate.heading.title)
    best, score = None, MIN_SHARED
    statements = (item.part, item.number) in STATEMENTS
    for line in lines:
        if not item.title.match(line.title):
            continue
        shared = len(words & line.words) / len(words | line.words) if words else 0.0
        if shared > score or (statements and best is None):
            best, score = line, max(shared, score)
    return replace(candidate, heading=_heading(best, item)) if best else candidate


def _heading(line: Line, item: Item) -> Heading:
    return Heading(line.start, line.end, item.part, (item.number,), line.title, True, False, False, False)


def _lines(text: str) -> Iterator[Line]:
    for match in LINE.finditer(text):
        title = match[1].strip()
        inline = INLINE.match(title)
        if inline:
            title = inline[1]
        elif title[-1] in ",;" or PAGE_TAIL.search(text[match.start() : match.end() + 12].partition("\n")[0]):
            continue
        if len(title.split()) <= MAX_WORDS and (inline or title.isupper() or _capitalised(title)):
            yield Line(match.start(1), match.end(1), title.strip(" .:"), _words(title))


def _capitalised(title: str) -> bool:
    words = [word for word in title.split() if word.lower() not in SMALL and word[:1].isalpha()]
    return len(title) < 160 and all(word[0].isupper() for word in words)


def _words(title: str) -> frozenset[str]:
    return frozenset(WORD.findall(title.casefold().replace("’", "'"))) - SMALL
