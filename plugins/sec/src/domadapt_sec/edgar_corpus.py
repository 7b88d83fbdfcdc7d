"""EDGAR-CORPUS: a filing as JSON, its metadata and one text per item -> one document.

Both spellings are read: `item_1A` (edgar-crawler) and `section_1A` (the published data set), one object a file
or one a line.

Source: Loukas et al. 2021, "EDGAR-CORPUS: Billions of Tokens Make The World Go Round".
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from domadapt_sec.items import Section
from domadapt_sec.plain_text import clean, decode
from domadapt_sec.rejection import Rejection
from domadapt_sec.submission import iso_date


@dataclass(frozen=True)
class ItemFiling:
    """One object: its accession or file name ("" when it has none), its items' texts joined, its metadata and where
    each item lies in the text."""

    id: str
    text: str
    meta: dict[str, Any]
    sections: tuple[Section, ...]


def looks_like_json(data: bytes) -> bool:
    """Whether the first character opens a JSON object or list."""
    return data[:256].removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"[")


def filings(name: str, data: bytes) -> Iterator[tuple[str, ItemFiling | Rejection]]:
    """(where, filing or why there is none) for each object of the file."""
    try:
        text = decode(data)
    except Rejection as rejection:
        yield name, rejection
        return
    whole = _parsed(text)
    if whole is not None or "\n{" not in text:
        yield name, _filing(whole)
        return
    for number, line in enumerate(text.split("\n"), start=1):
        if line.strip():
            yield f"{name}:{number}", _filing(_parsed(line))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _filing(record: Any) -> ItemFiling | Rejection:
    if not isinstance(record, dict):
        return Rejection("not a filing")
    items = {
        key.partition("_")[2]: value
        for key, value in record.items()
        if key.startswith(("item_", "section_")) and isinstance(value, str)
    }
    if not items:
        return Rejection("not a filing")
    text, sections = _joined({number.upper(): clean(value.strip()) for number, value in items.items()})
    if not text:
        return Rejection("no text")
    source = {key: str(value) for key, value in record.items() if isinstance(value, str | int)}
    filename = source.get("filename", "").rpartition("/")[2]
    stem = filename.rpartition(".")[0] or filename
    accession = stem.rpartition("_")[2]
    known = {
        "cik": source.get("cik", "").lstrip("0"),
        "company": clean(source.get("company", "")),
        "form": source.get("filing_type", "").upper(),
        "period": iso_date(source.get("period_of_report", "")),
        "filed": iso_date(source.get("filing_date", "")),
        "accession": accession if accession.count("-") == 2 else "",
        "items": [section.item for section in sections],
    }
    name = clean(accession if known["accession"] else stem)
    return ItemFiling(name, text, {key: value for key, value in known.items() if value}, sections)


def _joined(items: dict[str, str]) -> tuple[str, tuple[Section, ...]]:
    """The items one after the other, and the place of each."""
    sections: list[Section] = []
    start = 0
    for number, text in items.items():
        if text:
            heading = text.partition("\n")[0] if len(text.partition("\n")[0]) < 200 else ""
            sections.append(Section("", number, heading, start, start + len(text)))
            start += len(text) + 2
    return "\n\n".join(text for text in items.values() if text), tuple(sections)
