"""Real filings with the items that others, and we by hand, have found in them: for the tests and bench/items.py.

`era_10k_items.json` was made by reading the nine filings. The lists that lie beside the inline-XBRL 10-Ks come from
another project and know neither Item 1C nor 9C nor 16: those three count as there when lxml, a second reader, sees
them in the markup, and as absent when it does not. The items of the 8-Ks and of the older 10-Ks are edgar-crawler's;
those of 10-Qs are the rows with a page number in their own table of contents, where that has both parts.
"""

from __future__ import annotations

import json
import lzma
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from domadapt_sec.archives import unpacked
from domadapt_sec.items import segment
from domadapt_sec.parsing import Filing, parse_file

NOT_IN_THE_LISTS = ("1C", "9C", "16")
BY_HAND: dict[str, str] = json.loads((Path(__file__).parent / "era_10k_items.json").read_text())
SOURCES = ("era_10k", "ixbrl 10-K", "edgar-crawler 10-K", "ixbrl 10-Q", "edgar-crawler 8-K")


class Labelled(NamedTuple):
    """One filing. year: of its filing.  labels: whose.  found, wanted: items, with their part in a 10-Q."""

    form: str
    year: int
    labels: str
    found: frozenset[str]
    wanted: frozenset[str]


def labelled(sec: Path, source: str) -> Iterator[Labelled]:
    """The filings of one of SOURCES below a folder of real filings."""
    if source == "era_10k":
        for name, items in BY_HAND.items():
            yield _labelled(
                "10-K", _year(name), "by hand", main_document(sec / "era_10k" / f"{name}.xz"), items.split()
            )
    elif source == "ixbrl 10-K":
        for file in sorted((sec / "ixbrl").glob("*.expected_sections.json")):
            path = file.with_name(file.name.replace(".expected_sections.json", ".html.xz"))
            listed = {section["identifier"] for section in json.loads(file.read_text())}
            wanted = listed | (_seen_by_lxml(path) & set(NOT_IN_THE_LISTS))
            yield _labelled("10-K", _accession_year(path.name), "lists", main_document(path), wanted)
    elif source == "edgar-crawler 10-K":
        for stem, data in members(sec / "edgar_corpus_items" / "10-K_items.zip"):
            items = {key[5:]: text for key, text in json.loads(data).items() if _is_item(key, text)}
            sections = segment("\n\n".join(items.values()), "10-K")
            found = frozenset(section.item for section in sections)
            yield Labelled("10-K", _accession_year(stem), "edgar-crawler, texts of items", found, frozenset(items))
    elif source == "ixbrl 10-Q":
        for path in sorted((sec / "ixbrl").glob("10-Q_*.xz")):
            if wanted := listed_in_contents(lzma.decompress(path.read_bytes())):
                yield _labelled("10-Q", _accession_year(path.name), "own contents", main_document(path), wanted)
    else:
        yield from _current_reports(sec)


def _current_reports(sec: Path) -> Iterator[Labelled]:
    wanted = {
        stem: {key[5:] for key, text in json.loads(data).items() if _is_item(key, text)}
        for stem, data in members(sec / "edgar_corpus_items" / "8-K_items.zip")
    }
    for stem, data in members(sec / "8k_html" / "8-K_raw.zip"):
        if stem in wanted:
            filing = next(parse_file(f"{stem}.htm", data, lambda *why: None), None)
            yield _labelled("8-K", _accession_year(stem), "edgar-crawler", filing, wanted[stem])


def _labelled(form: str, year: int, labels: str, filing: Filing | None, wanted: object) -> Labelled:
    assert isinstance(wanted, list | set | frozenset)
    sections = filing.sections if filing else ()
    found = frozenset(f"{section.part}.{section.item}" if section.part else section.item for section in sections)
    return Labelled(form, year, labels, found, frozenset(wanted))


def _is_item(key: str, text: object) -> bool:
    return key.startswith("item_") and isinstance(text, str) and bool(text.strip())


def main_document(path: Path) -> Filing:
    """The first document of a file."""
    name = path.name.removesuffix(".xz")
    return next(parse_file(name, lzma.decompress(path.read_bytes()), lambda *why: None))


def members(archive: Path) -> Iterator[tuple[str, bytes]]:
    """The files of an archive: stem, bytes."""
    for member, data in unpacked(archive, archive.name):
        assert isinstance(data, bytes)
        yield Path(member).stem, data


def _year(name: str) -> int:
    """ge-1994.txt -> 1994."""
    return int(name.partition(".")[0].rpartition("-")[2])


def _accession_year(name: str) -> int:
    """The year in an accession, whose first two digits are given: 0000320193-24-000123 -> 2024."""
    found = re.search(r"\d{10}-(\d{2})-\d{6}", name)
    assert found, name
    year = int(found[1])
    return year + (1900 if year > 50 else 2000)


def _seen_by_lxml(path: Path) -> set[str]:
    from lxml import html

    tree = html.document_fromstring(lzma.decompress(path.read_bytes()), parser=html.HTMLParser(huge_tree=True))
    return {found.upper() for found in re.findall(r"item\s*(1C|9C|16)\b", tree.text_content(), re.IGNORECASE)}


def listed_in_contents(data: bytes) -> set[str]:
    """The items with a page number in the first table that has both parts, as lxml reads it."""
    from lxml import html

    tree = html.document_fromstring(data, parser=html.HTMLParser(huge_tree=True))
    for table in tree.xpath("//table"):
        part, items = "I", set()
        for row in table.xpath(".//tr"):
            match = re.match(
                r"\W*items?\W*(\d[A-Z]?)\b.*\D(\d+)\W*$", " ".join(row.text_content().split()), re.IGNORECASE
            )
            if match:
                part = "II" if f"{part}.{match[1].upper()}" in items or match[1].upper() == "1A" else part
                part = "II" if match[1] == "1" and items else part
                items.add(f"{part}.{match[1].upper()}")
        if len(items) >= 6 and {"I.1", "II.6"} <= items:
            return items
    return set()


def counts(filings: list[Labelled]) -> Counter[str]:
    """Items found and wanted ("hit"), "missed", and "extra"."""
    found: Counter[str] = Counter()
    for filing in filings:
        found["hit"] += len(filing.found & filing.wanted)
        found["missed"] += len(filing.wanted - filing.found)
        found["extra"] += len(filing.found - filing.wanted)
    return found


def recall_and_precision(found: Counter[str]) -> tuple[float, float]:
    """Shares of what was wanted and of what was found."""
    return found["hit"] / (found["hit"] + found["missed"]), found["hit"] / (found["hit"] + found["extra"])
