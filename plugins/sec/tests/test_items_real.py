"""Items of real filings of 1993 to 2025 against what they have been labelled with, era by era.

`era_10k_items.json` was made by reading the nine filings. The lists that lie beside the inline-XBRL 10-Ks come from
another project and know neither Item 1C nor 9C nor 16: those three count as there when lxml, a second reader, sees
them in the markup, and as absent when it does not. The items of the 8-Ks and of the older 10-Ks are edgar-crawler's.
"""

from __future__ import annotations

import json
import lzma
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from domadapt_sec.archives import unpacked
from domadapt_sec.items import Section, segment
from domadapt_sec.parsing import Filing, parse_file

NOT_IN_THE_LISTS = ("1C", "9C", "16")
LABELS = json.loads((Path(__file__).parent / "era_10k_items.json").read_text())


def real(folder: str) -> Path:
    root = os.environ.get("ADAPT_REAL_DATA")
    if not root:
        pytest.skip("ADAPT_REAL_DATA is not set: no real filings here")
    return Path(root) / "sec" / folder


def main_document(path: Path) -> Filing:
    """The first document of a file."""
    name = path.name.removesuffix(".xz")
    return next(parse_file(name, lzma.decompress(path.read_bytes()), lambda *why: None))


def members(name: str) -> Iterator[tuple[str, bytes]]:
    for member, data in unpacked(real(name), name):
        assert isinstance(data, bytes)
        yield Path(member).stem, data


def recall_and_precision(counts: Counter[str]) -> tuple[float, float]:
    return counts["hit"] / (counts["hit"] + counts["missed"]), counts["hit"] / (counts["hit"] + counts["extra"])


def count(found: set[str], wanted: set[str]) -> Counter[str]:
    return Counter(hit=len(found & wanted), missed=len(wanted - found), extra=len(found - wanted))


@pytest.mark.parametrize("file", LABELS)
def test_the_items_of_every_era_are_those_that_a_reader_found(file: str) -> None:
    filing = main_document(real("era_10k") / f"{file}.xz")
    assert [section.item for section in filing.sections] == LABELS[file].split()
    for section in filing.sections:
        heading = filing.text[section.start : section.end].split("\n")[0]
        assert re.match(rf"item\s+{section.item}\b", heading, re.IGNORECASE)
        assert "\t" not in heading.rstrip("0123456789")[-1:]  # no row of a table of contents
    largest = max(filing.sections, key=lambda section: section.end - section.start)
    assert largest.item in ("1", "1A", "7", "8")


def test_the_items_of_inline_xbrl_10ks_are_those_of_their_lists_and_of_a_second_reader() -> None:
    from lxml import html

    counts: Counter[str] = Counter()
    for file in sorted(real("ixbrl").glob("*.expected_sections.json")):
        path = file.with_name(file.name.replace(".expected_sections.json", ".html.xz"))
        tree = html.document_fromstring(lzma.decompress(path.read_bytes()), parser=html.HTMLParser(huge_tree=True))
        seen = {found.upper() for found in re.findall(r"item\s*(1C|9C|16)\b", tree.text_content(), re.IGNORECASE)}
        wanted = {section["identifier"] for section in json.loads(file.read_text())} | (seen & set(NOT_IN_THE_LISTS))
        counts += count({section.item for section in main_document(path).sections}, wanted)
    recall, precision = recall_and_precision(counts)
    assert counts["hit"] > 700
    assert recall >= 0.99, counts
    assert precision >= 0.99, counts


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


def test_the_items_of_inline_xbrl_10qs_are_those_of_their_contents() -> None:
    counts: Counter[str] = Counter()
    for path in sorted(real("ixbrl").glob("10-Q_*.xz")):
        if wanted := listed_in_contents(lzma.decompress(path.read_bytes())):
            counts += count({f"{section.part}.{section.item}" for section in main_document(path).sections}, wanted)
    assert counts["hit"] > 200
    assert min(recall_and_precision(counts)) >= 0.95, counts


def test_the_items_of_older_10ks_are_those_of_edgar_crawler() -> None:
    counts: Counter[str] = Counter()
    for _, data in members("edgar_corpus_items/10-K_items.zip"):
        items = {key[5:]: text for key, text in json.loads(data).items() if key.startswith("item_") and text.strip()}
        found = segment("\n\n".join(items.values()), "10-K")
        counts += count({section.item for section in found}, set(items))
    assert min(recall_and_precision(counts)) >= 0.99, counts


def test_the_items_of_8ks_are_those_of_edgar_crawler() -> None:
    wanted = {
        stem: {key[5:] for key, text in json.loads(data).items() if key.startswith("item_") and text.strip()}
        for stem, data in members("edgar_corpus_items/8-K_items.zip")
    }
    counts: Counter[str] = Counter()
    for stem, data in members("8k_html/8-K_raw.zip"):
        if stem in wanted:
            filing = next(parse_file(f"{stem}.htm", data, lambda *why: None), None)
            sections: list[Section] = list(filing.sections) if filing else []
            counts += count({section.item for section in sections}, wanted[stem])
    assert counts["hit"] > 900
    assert min(recall_and_precision(counts)) >= 0.99, counts
