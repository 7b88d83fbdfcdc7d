"""EDGAR's lists of filings -> entries: the full and the daily index in all their orders, and the submissions API.

A line is taken only when its file name has the one form that names of submissions have, so that nothing an index says
can lead anywhere else.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

from domadapt_sec.submission import iso_date

FILE = re.compile(r"(?:Archives/)?edgar/data/(\d{1,10})/(?:\d{18}/)?(\d{10}-\d{2}-\d{6})(?:-index\.html?|\.txt)")
CIK = re.compile(r"\d{1,10}")
ACCESSION = re.compile(r"\d{10}-\d{2}-\d{6}")
COLUMNS = ("Form Type", "Company Name", "CIK", "Date Filed", "File Name", "Filename")


@dataclass(frozen=True, order=True)
class Entry:
    """A filing in a list. filed: ISO date.  accession: its number.  cik: without leading zeros."""

    filed: str
    accession: str
    cik: str
    form: str

    @property
    def file(self) -> str:
        """The path of the whole submission on EDGAR."""
        return f"edgar/data/{self.cik}/{self.accession}.txt"


def index_entries(text: str) -> tuple[list[Entry], int]:
    """The entries of a `master`, `form` or `company` index, and how many lines were none.

    `master` separates columns by |; the others have columns of fixed width, which begin where their headings do.
    """
    entries: list[Entry] = []
    unusable = 0
    header: list[tuple[int, str]] = []
    lines = iter(text.splitlines())
    for line in lines:
        if line.startswith("-----"):
            break
        if "CIK" in line and "Date Filed" in line:
            header = sorted((line.find(column), column) for column in COLUMNS if column in line)
    for line in lines:
        if line.strip():
            entry = _entry(line.split("|")) if "|" in line else _entry_by_columns(line, header)
            entries += [entry] if entry else []
            unusable += entry is None
    return entries, unusable


def _entry(fields: Sequence[str]) -> Entry | None:
    """CIK|Company Name|Form Type|Date Filed|Filename."""
    if len(fields) < 5:
        return None
    match = FILE.fullmatch(fields[-1].strip())
    filed = iso_date(fields[-2].strip())
    return Entry(filed, match[2], match[1].lstrip("0"), fields[-3].strip().upper()) if match and filed else None


def _entry_by_columns(line: str, header: Sequence[tuple[int, str]]) -> Entry | None:
    values: dict[str, str] = {}
    for (start, column), following in zip_longest(header, header[1:]):
        values[column] = line[start : following[0] if following else None].strip()
    file = values.get("File Name") or values.get("Filename", "")
    return _entry(["", "", values.get("Form Type", ""), values.get("Date Filed", ""), file])


def submission_entries(body: bytes, cik: str) -> tuple[list[Entry], list[tuple[str, str, str]]]:
    """The entries of a `CIK##########.json` or of one of its older parts; the (name, from, to) of the older parts."""
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return [], []
    filings = answer.get("filings", {}) if isinstance(answer, dict) else {}
    recent = filings.get("recent", answer) if isinstance(filings, dict) else {}
    columns = (
        [recent.get(name) for name in ("filingDate", "accessionNumber", "form")] if isinstance(recent, dict) else []
    )
    rows: Iterator[tuple[Any, ...]] = iter(())
    if columns and all(isinstance(column, list) for column in columns):
        rows = zip(*columns, strict=False)
    entries = [
        Entry(iso_date(filed), accession, cik.lstrip("0"), form.upper())
        for filed, accession, form in rows
        if all(isinstance(value, str) for value in (filed, accession, form))
        and ACCESSION.fullmatch(accession)
        and iso_date(filed)
    ]
    older = filings.get("files", []) if isinstance(filings, dict) else []
    parts = [
        (part["name"], str(part.get("filingFrom", "")), str(part.get("filingTo", "")))
        for part in (older if isinstance(older, list) else [])
        if isinstance(part, dict) and re.fullmatch(r"CIK\d{10}-submissions-\d{3}\.json", str(part.get("name", "")))
    ]
    return entries, parts
