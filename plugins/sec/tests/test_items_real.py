"""Items of real filings of 1993 to 2025 against what they have been labelled with (see item_labels), era by era."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from item_labels import BY_HAND, SOURCES, Labelled, counts, labelled, main_document, recall_and_precision

BARS = {"era_10k": 1.0, "ixbrl 10-K": 0.99, "edgar-crawler 10-K": 0.99, "ixbrl 10-Q": 0.95, "edgar-crawler 8-K": 0.99}
LEAST = {"era_10k": 150, "ixbrl 10-K": 700, "edgar-crawler 10-K": 800, "ixbrl 10-Q": 200, "edgar-crawler 8-K": 900}


@pytest.fixture(scope="module")
def sec() -> Path:
    root = os.environ.get("ADAPT_REAL_DATA")
    if not root:
        pytest.skip("ADAPT_REAL_DATA is not set: no real filings here")
    return Path(root) / "sec"


@pytest.mark.parametrize("file", BY_HAND)
def test_the_items_of_every_era_are_those_that_a_reader_found(file: str, sec: Path) -> None:
    filing = main_document(sec / "era_10k" / f"{file}.xz")
    assert [section.item for section in filing.sections] == BY_HAND[file].split()
    for section in filing.sections:
        heading = filing.text[section.start : section.end].split("\n")[0]
        assert re.match(rf"item\s+{section.item}\b", heading, re.IGNORECASE)
        assert "\t" not in heading.rstrip("0123456789")[-1:]  # no row of a table of contents
    largest = max(filing.sections, key=lambda section: section.end - section.start)
    assert largest.item in ("1", "1A", "7", "8")


@pytest.mark.parametrize("source", SOURCES)
def test_items_are_those_of_their_labels(source: str, sec: Path) -> None:
    filings = list(labelled(sec, source))
    found = counts(filings)
    assert found["hit"] > LEAST[source]
    assert min(recall_and_precision(found)) >= BARS[source], found


def test_10ks_of_every_era_reach_95_percent(sec: Path) -> None:
    annual = [filing for source in SOURCES[:3] for filing in labelled(sec, source)]
    eras: dict[int, list[Labelled]] = {}
    for filing in annual:
        eras.setdefault(filing.year // 5 * 5, []).append(filing)
    assert min(eras) == 1990
    assert max(eras) >= 2020
    assert {era: min(recall_and_precision(counts(filings))) >= 0.95 for era, filings in eras.items()} == dict.fromkeys(
        eras, True
    )
