"""Which filings a recipe means: quarters or days of an index, or companies, narrowed by form and date.

The lists of times past never change and are kept for good; one that may still grow is asked for again after a day.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Literal

from domadapt_sec.edgar.archive import Archive
from domadapt_sec.edgar.index import Entry, index_entries, submission_entries

DAY = 86_400.0


@dataclass(frozen=True)
class Wanted:
    """What is wanted.

    start, end: first and last day filed, or of the daily lists.  ciks: only these companies, by the submissions API.
    accessions: only these, as CIK/ACCESSION, without any list.  forms: patterns.  limit: at most so many, the earliest.
    """

    start: date
    end: date
    index: Literal["full", "daily"]
    ciks: tuple[str, ...]
    accessions: tuple[str, ...]
    forms: tuple[str, ...]
    limit: int | None


def entries(archive: Archive, wanted: Wanted) -> list[Entry]:
    """The filings in the order of date and accession, each accession once.

    A filing by several companies stands in an index once for each; the first company in the order of numbers has it.
    """
    if wanted.accessions:
        named = (entry.partition("/") for entry in wanted.accessions)
        return [Entry("", accession, cik.lstrip("0"), "") for cik, _, accession in dict.fromkeys(named)][: wanted.limit]
    found: dict[str, Entry] = {}
    for entry in sorted(_all(archive, wanted)):
        # A day's list also has filings of long ago that were made public that day; they count by the list.
        listed_by_day = wanted.index == "daily" and not wanted.ciks
        in_time = listed_by_day or wanted.start.isoformat() <= entry.filed <= wanted.end.isoformat()
        if in_time and any(fnmatchcase(entry.form, pattern) for pattern in wanted.forms):
            found.setdefault(entry.accession, entry)
    return list(found.values())[: wanted.limit]


def _all(archive: Archive, wanted: Wanted) -> Iterator[Entry]:
    if wanted.ciks:
        for cik in wanted.ciks:
            yield from _of_company(archive, cik, wanted)
        return
    names = _quarters(wanted.start, wanted.end) if wanted.index == "full" else _days(wanted.start, wanted.end)
    for name, last in names:
        body = archive.list(name, max_age=_max_age(last))
        yield from index_entries(body.decode("latin-1"))[0]


def _of_company(archive: Archive, cik: str, wanted: Wanted) -> Iterator[Entry]:
    name = f"submissions/CIK{cik.zfill(10)}.json"
    recent, older = submission_entries(archive.company(name, max_age=_max_age(wanted.end)), cik)
    yield from recent
    for part, first, last in older:
        if first <= wanted.end.isoformat() and last >= wanted.start.isoformat():
            yield from submission_entries(archive.company(f"submissions/{part}", max_age=_max_age(wanted.end)), cik)[0]


def _max_age(last: date) -> float | None:
    """None when nothing dated up to this day can still be added."""
    return None if last < datetime.now(UTC).date() - timedelta(days=7) else DAY


def _quarters(start: date, end: date) -> Iterator[tuple[str, date]]:
    year, quarter = start.year, (start.month - 1) // 3 + 1
    while (year, quarter) <= (end.year, (end.month - 1) // 3 + 1):
        following = date(year + quarter // 4, quarter % 4 * 3 + 1, 1)
        yield f"edgar/full-index/{year}/QTR{quarter}/master.idx", following - timedelta(days=1)
        year, quarter = following.year, (following.month - 1) // 3 + 1


def _days(start: date, end: date) -> Iterator[tuple[str, date]]:
    day = start
    while day <= end:
        if day.weekday() < 5:
            quarter = (day.month - 1) // 3 + 1
            yield f"edgar/daily-index/{day.year}/QTR{quarter}/master.{day:%Y%m%d}.idx", day
        day += timedelta(days=1)
