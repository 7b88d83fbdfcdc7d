"""The items of a filing: where each begins and ends in its text.

A heading line is found by its number, by the words that follow it and by its place in the order of the form. A table
of contents is a dense run of headings whose items come again elsewhere. Among what is left, the chain of headings in
the order of the form that has most in its favour is taken, which passes over references and running headers. Items
that the filer lists in an index and gives no number in the text are found by their titles. 4 to 20 ms a 10-K.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from domadapt_sec.item_chain import Candidate, best_chain, candidates, contents, first_of_each, out_of_order
from domadapt_sec.item_headings import Heading, headings
from domadapt_sec.item_tables import Item, family, items
from domadapt_sec.item_titles import relocated, untitled

MAX_HEADINGS = 20_000  # a text of nothing else, made to be slow
MIN_NUMBERED = 3
SIGNATURES = re.compile(
    r"^[ \t*_#]{0,90}S ?I ?G ?N ?A ?T ?U ?R ?E ?S?(?: PAGE)?[ \t.:*_]{0,9}$", re.IGNORECASE | re.MULTILINE
)
PART_AT_END = re.compile(r"\n[ \t*_#]{0,90}PART[ \t]{1,6}(?:IV|I{1,3})\b.{0,80}\s*\Z", re.IGNORECASE)
LONGEST_TAIL = 300
NOTE = re.compile(r"[ \t]*\(\w\)$")


@dataclass(frozen=True)
class Section:
    """One item: its part ("I" for the first of a 10-Q, else ""), number, title, and its text as [start, end)."""

    part: str
    item: str
    title: str
    start: int
    end: int


def segment(text: str, form: str) -> list[Section]:
    """The items in the order of the text; those of a combined heading share their span, no others overlap.

    form: the document's type ("10-K405"), "" when unknown. What precedes the first item and follows the last one (cover
    page, signatures) belongs to none.
    """
    kind = family(form, text)
    table = items(kind)
    found = list(islice(headings(text), MAX_HEADINGS))
    rows = contents(found, text)
    kept = candidates([heading for heading in found if heading not in rows], kind, text)
    if kind == "8-K" or (kind == "other" and not form.upper().startswith("20-F")):
        chosen = first_of_each(kept, text)
        # A current report that speaks of the items of a 10-K has numbers of its own: 8.01.
        dotted = [candidate for candidate in chosen if "." in table[candidate.ranks[0]].number]
        return _spans(text, table, dotted or chosen)
    chosen = best_chain(kept, len(table))
    chosen += out_of_order(kept, chosen)
    if kind != "other":
        listed = candidates(sorted(rows, key=lambda heading: heading.start), kind, text)
        chosen = relocated(text, table, chosen, listed)
        if len({rank for candidate in chosen for rank in candidate.ranks}) < MIN_NUMBERED:
            chosen = best_chain(untitled(text, table), len(table)) or chosen
    return _spans(text, table, chosen)


def item_numbers(sections: Iterable[Section]) -> list[str]:
    """Item numbers in the order of their headings, without repetition: ["1", "1A", "2"]."""
    return list(dict.fromkeys(section.item for section in sections))


def _spans(text: str, table: Sequence[Item], chosen: Sequence[Candidate]) -> list[Section]:
    chosen = sorted(chosen, key=lambda candidate: (candidate.heading.start, candidate.ranks))
    starts = sorted({candidate.heading.start for candidate in chosen})
    following = dict(zip(starts, [*starts[1:], len(text)], strict=True)) if starts else {}
    if starts:
        signatures = SIGNATURES.search(text, starts[-1])
        following[starts[-1]] = signatures.start() if signatures else len(text)
    sections: list[Section] = []
    for candidate in chosen:
        start, end = candidate.heading.start, following[candidate.heading.start]
        end = _trimmed(text, start, end)
        for rank in candidate.ranks:
            item = table[rank]
            sections.append(Section(item.part, item.number, _title(candidate.heading), start, end))
    return sections


def _trimmed(text: str, start: int, end: int) -> int:
    """The end without blank lines and without the line that opens the next part."""
    tail = max(start, end - LONGEST_TAIL)
    last = PART_AT_END.search(text, tail, end)
    end = last.start() if last else end
    return start + len(text[start:end].rstrip())


def _title(heading: Heading) -> str:
    """The title, cut where the text of the item begins on the same line."""
    title = heading.title
    if len(title) > 120 or ". " in title:
        title = title.partition(". ")[0]
    return NOTE.sub("", title)[:200].rstrip(" .:;-–—")
