"""Which of the lines that look like headings are headings: contents apart, then the best chain in the form's order.

A longest increasing subsequence with weights, in time that grows with lines times items of the form.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass, replace
from itertools import groupby

from domadapt_sec.item_headings import Heading, part_lines
from domadapt_sec.item_tables import Family, items

ROW_GAP = 130  # characters between two rows of a table of contents, wrapped titles included
PAGED_ROW_GAP = 2_500  # ... between rows that end in page numbers: entries of a second level lie between
MIN_ROWS = 4
REPEATED = 0.5  # share of a run's items that must come again for it to be a table of contents
BLANK = re.compile(r"\s+")
# What speaks for a heading and against it. A number alone is 1; two that fit beat one that is spelt out.
TITLE, TITLE_BELOW, OTHER_TITLE, PART = 1.0, 0.8, -0.3, 0.6
AFTER_SENTENCE, QUOTED, PAGE = -0.9, -0.7, -0.2
BARE_LIST = 0.3
LONGEST_RANGE = 12  # items
WITH_TITLE = 1.7


@dataclass(frozen=True)
class Candidate:
    """A heading read as certain items of the form, by their places in its table. score: what speaks for it."""

    heading: Heading
    ranks: tuple[int, ...]
    score: float
    titled: bool


@dataclass(frozen=True)
class Link:
    """The end of a chain of candidates."""

    candidate: Candidate
    previous: Link | None


def contents(found: Sequence[Heading], text: str) -> Set[Heading]:
    """The rows of tables of contents: runs of headings with nothing between, whose items come again elsewhere.

    A run that nothing repeats is the body itself (a list of omitted items) or the only index there is, and stays.
    """
    runs = [run for run in _runs(found, text) if len({heading.numbers for heading in run}) >= MIN_ROWS]
    outside = Counter(map(_row, found))
    dropped: set[Heading] = set()
    waiting = list(range(len(runs)))
    while waiting:
        shares = {number: _repeated(runs[number], outside) for number in waiting}
        waiting = [number for number in waiting if shares[number] >= REPEATED]
        if not waiting:
            break
        # The likelier contents first: page numbers at its rows, long, early.
        worst = max(waiting, key=lambda n: (sum(h.page for h in runs[n]), len(runs[n]), -n))
        waiting.remove(worst)
        dropped.update(runs[worst])
        outside.subtract(map(_row, runs[worst]))
        # The first row, when entries of a second level and no page number part it from the others.
        low, high = runs[worst][0].start - PAGED_ROW_GAP, runs[worst][0].start
        strays = [h for h in found if low <= h.start < high and h not in dropped and outside[_row(h)] > 1]
        dropped.update(strays)
        outside.subtract(map(_row, strays))
    return dropped


def _row(heading: Heading) -> tuple[tuple[str, ...], str]:
    """What makes two headings the same: a 10-Q has an Item 1 in either part."""
    return heading.numbers, heading.title[:5].casefold()


def _repeated(run: Sequence[Heading], counts: Counter[tuple[tuple[str, ...], str]]) -> float:
    """The share of a run's items that also stand outside it."""
    own = Counter(map(_row, run))
    return sum(counts[row] > times for row, times in own.items()) / len(own)


def _runs(found: Sequence[Heading], text: str) -> list[list[Heading]]:
    """Headings with nothing but titles, page numbers and parts between them. A row that comes again opens a new run:
    many filers go from the last row of the contents straight to Item 1."""
    runs: list[list[Heading]] = []
    seen: set[tuple[tuple[str, ...], str]] = set()
    for heading in found:
        row = _row(heading)
        if runs and row not in seen and _adjacent(runs[-1][-1], heading, text):
            runs[-1].append(heading)
        else:
            runs.append([heading])
            seen = set()
        seen.add(row)
    return runs


def _adjacent(above: Heading, below: Heading, text: str) -> bool:
    between = below.start - above.end
    if above.page and below.page and between <= PAGED_ROW_GAP:
        return True
    return between <= 4 * ROW_GAP and len(BLANK.sub(" ", text[above.end : below.start])) <= ROW_GAP


def candidates(found: Sequence[Heading], kind: Family, text: str) -> list[Candidate]:
    """The headings read as items of the form; in a 10-Q a number may belong to either part, so each reading is one."""
    table = items(kind)
    places: dict[str, list[int]] = {}
    for rank, item in enumerate(table):
        places.setdefault(item.number, []).append(rank)
    parts = list(part_lines(text)) if kind == "10-Q" else []
    made: list[Candidate] = []
    at, part = 0, ""
    for heading in found:
        while at < len(parts) and parts[at][0] <= heading.start:
            part = parts[at][2]
            at += 1
        for first in places.get(heading.numbers[0], ()):
            ranks = _ranks(heading, first, places)
            here = heading.part or part
            score, titled = _score(heading, table[first].title, len(ranks))
            if kind == "10-Q" and here:
                score += PART if table[first].part == here else -PART
            made.append(Candidate(heading, ranks, score, titled))
    return made


def _ranks(heading: Heading, first: int, places: dict[str, list[int]]) -> tuple[int, ...]:
    """The places of all items of a heading, a range filled; rising, so that nonsense ("Items 5 and 2") ends it."""
    ranks = [first]
    through = False
    for number in heading.numbers[1:]:
        if number == "-":
            through = True
            continue
        following = [rank for rank in places.get(number, ()) if rank > ranks[-1]]
        if not following or (through and following[0] - first > LONGEST_RANGE):
            break
        ranks += range(ranks[-1] + 1, following[0]) if through else []
        ranks.append(following[0])
        through = False
    return tuple(ranks)


def _score(heading: Heading, pattern: re.Pattern[str], num_items: int) -> tuple[float, bool]:
    titled = pattern.match(heading.title) is not None
    if num_items > 1 and not heading.title:
        return BARE_LIST * num_items, False
    score = 1.0 * num_items
    if titled:
        score += TITLE if heading.own_line else TITLE_BELOW
    elif heading.title and heading.own_line and num_items == 1:
        score += OTHER_TITLE
    score += AFTER_SENTENCE * heading.after_sentence + QUOTED * heading.quoted + PAGE * heading.page
    return score, titled


def best_chain(found: Sequence[Candidate], num_items: int) -> list[Candidate]:
    """The candidates with the highest sum of scores whose items rise through the form; the first of equal ones."""
    totals = [0.0] * num_items
    chains: list[Link | None] = [None] * num_items
    for _, readings in groupby(found, key=lambda candidate: candidate.heading.start):
        links: list[tuple[int, float, Link]] = []
        # All readings of a heading go on from what was before it, so that no chain has it twice.
        for candidate in readings:
            before = max(range(candidate.ranks[0]), key=totals.__getitem__, default=-1)
            total = candidate.score + (totals[before] if before >= 0 else 0.0)
            links.append((candidate.ranks[-1], total, Link(candidate, chains[before] if before >= 0 else None)))
        for last, total, link in links:
            if total > totals[last]:
                totals[last], chains[last] = total, link
    best = chains[max(range(num_items), key=totals.__getitem__)]
    chain: list[Candidate] = []
    while best:
        chain.append(best.candidate)
        best = best.previous
    return chain[::-1]


def out_of_order(found: Sequence[Candidate], chosen: Sequence[Candidate]) -> list[Candidate]:
    """The headings of items the chain lacks, where the words say that they are: some filers put Item 2 first."""
    taken = {rank for candidate in chosen for rank in candidate.ranks}
    starts = {candidate.heading.start for candidate in chosen}
    added: list[Candidate] = []
    for candidate in found:
        free = taken.isdisjoint(candidate.ranks) and candidate.heading.start not in starts
        if free and candidate.titled and candidate.score >= WITH_TITLE:
            added.append(candidate)
            taken.update(candidate.ranks)
            starts.add(candidate.heading.start)
    return added


def first_of_each(found: Sequence[Candidate], text: str) -> list[Candidate]:
    """The likeliest heading of each item, for forms whose items come in any order: one that text follows, the first."""
    ends = [*(candidate.heading.start for candidate in found[1:]), len(text)]
    best: dict[int, tuple[tuple[bool, float], Candidate]] = {}
    for candidate, end in zip(found, ends, strict=False):
        weight = (end - candidate.heading.end > ROW_GAP, candidate.score)
        for rank in candidate.ranks:
            if candidate.score > 0 and (rank not in best or weight > best[rank][0]):
                best[rank] = (weight, replace(candidate, ranks=(rank,)))
    return [candidate for _, candidate in best.values()]
