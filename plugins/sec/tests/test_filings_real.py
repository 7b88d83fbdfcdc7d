"""sec.filings on real filings of 1993 to 2025, read from the folder that ADAPT_REAL_DATA names."""

from __future__ import annotations

import json
import lzma
import os
import re
import time
from collections import Counter
from pathlib import Path

import pytest

from domadapt_sec.archives import unpacked
from domadapt_sec.filings import FilingsSource

FOLDERS = ("full_submission", "ixbrl", "era_10k", "html_other", "8k_html", "edgar_corpus_items")
Row = dict[str, str]


def real(folder: str) -> Path:
    root = os.environ.get("ADAPT_REAL_DATA")
    if not root:
        pytest.skip("ADAPT_REAL_DATA is not set: no real filings here")
    return Path(root) / "sec" / folder


@pytest.fixture(scope="module")
def read() -> dict[str, tuple[list[Row], list[tuple[str, str]], float]]:
    """folder -> documents, rejections, seconds; every file is read once."""
    found = {}
    for folder in FOLDERS:
        path = real(folder)
        rejected: list[tuple[str, str]] = []
        start = time.perf_counter()
        batches = list(
            FilingsSource(FilingsSource.Config(path=str(path))).read(lambda *why, to=rejected: to.append(why))
        )
        seconds = time.perf_counter() - start
        found[folder] = ([row for batch in batches for row in batch.to_pylist()], rejected, seconds)
    return found


Read = dict[str, tuple[list[Row], list[tuple[str, str]], float]]


def num_parts(folder: str) -> int:
    """Documents in, counted without the source's own parser."""
    parts = 0
    for file in sorted(real(folder).iterdir()):
        for _, data in unpacked(file, file.name):
            assert isinstance(data, bytes)
            parts += max(1, len(re.findall(rb"(?:^|[\r\n])<DOCUMENT>", data)))
    return parts


@pytest.mark.parametrize("folder", FOLDERS)
def test_documents_in_are_documents_kept_and_rejected(read: Read, folder: str) -> None:
    rows, rejected, _ = read[folder]
    assert len(rows) + len(rejected) == num_parts(folder)
    assert len({row["id"] for row in rows}) == len(rows)


def test_every_html_filing_and_every_item_json_is_kept(read: Read) -> None:
    assert {folder: len(read[folder][0]) for folder in ("ixbrl", "era_10k", "html_other", "edgar_corpus_items")} == {
        "ixbrl": 77,
        "era_10k": 30,
        "html_other": 4,
        "edgar_corpus_items": 506,
    }
    assert {reason for reason, _ in read["ixbrl"][1] + read["edgar_corpus_items"][1]} == {"not a filing"}
    assert all("expected_sections" in where for _, where in read["ixbrl"][1])


def test_no_text_holds_an_attachment_or_the_hidden_header(read: Read) -> None:
    leak = re.compile(
        r"^begin 644|^M[ -`]{60}$|xbrli:|us-gaap:|iso4217:|<ix:|</?(?:PAGE|TABLE|DOCUMENT|TEXT|S|C)>", re.MULTILINE
    )
    leaks = [
        (row["id"], found[0]) for rows, _, _ in read.values() for row in rows if (found := leak.search(row["text"]))
    ]
    assert leaks == []


def test_pictures_and_data_are_what_is_rejected_in_full_submissions(read: Read) -> None:
    rejected = Counter((reason, where.partition(" ")[2]) for reason, where in read["full_submission"][1])
    assert rejected[("uuencoded", "GRAPHIC")] >= 30
    assert {reason for reason, _ in rejected} == {"uuencoded", "XBRL or XML data"}
    forms = Counter(json.loads(row["meta"])["form"] for row in read["full_submission"][0])
    assert forms["10-Q"] >= 12
    assert forms["EX-27"] >= 12


@pytest.mark.parametrize(
    ("file", "words"),
    [
        ("ge-1994.txt", "853,832,790 shares of common stock"),
        ("ibm-1997.txt", "International Business Machines"),
        ("textron-2001.txt", "TEXTRON INC."),
        ("gs-2002.htm", "The Goldman Sachs Group, Inc."),
        ("intc-2002.htm", "2200 Mission College Boulevard, Santa Clara, California"),
        ("nike-2006.htm", "athletic footwear"),
        ("wmt-2010.htm", "EDLP philosophy"),
        ("msft-2013.htm", "Windows Phone"),
        ("sandston-2021.htm", "Sandston Corporation"),
    ],
)
def test_a_filing_of_every_era_is_readable(read: Read, file: str, words: str) -> None:
    texts = [" ".join(row["text"].split()) for row in read["era_10k"][0] if json.loads(row["meta"])["file"] == file]
    assert any(words.casefold() in text.casefold() for text in texts)


def test_the_cover_facts_of_inline_xbrl_are_read(read: Read) -> None:
    metas = [json.loads(row["meta"]) for row in read["ixbrl"][0]]
    # One 10-Q of 2018 is older than cover page tagging.
    assert sum("cik" in meta and "company" in meta and "period" in meta for meta in metas) == len(metas) - 1
    apple = next(meta for meta in metas if meta.get("accession") == "0000320193-24-000123")
    assert (apple["cik"], apple["company"], apple["form"], apple["period"]) == (
        "320193",
        "Apple Inc.",
        "10-K",
        "2024-09-28",
    )


def words(text: str) -> Counter[str]:
    return Counter(re.findall(r"[A-Za-z]{3,}|\d[\d,.]*\d", text))


@pytest.mark.parametrize("folder", ["ixbrl", "era_10k", "html_other"])
def test_at_least_99_percent_of_the_visible_words_are_kept(read: Read, folder: str) -> None:
    """The reference is lxml's tree with huge_tree, without the hidden elements; a sample of the files."""
    from lxml import html

    texts: dict[str, str] = {}
    for row in read[folder][0]:
        name = json.loads(row["meta"])["file"]
        texts[name] = texts.get(name, "") + row["text"]
    for file in sorted(real(folder).glob("*.htm*.xz"))[::6]:
        data = lzma.decompress(file.read_bytes())
        tree = html.document_fromstring(data, parser=html.HTMLParser(huge_tree=True))
        for element in tree.xpath("//*[name()='ix:header'] | //style | //script | //body//comment()"):
            element.drop_tree()
        for element in tree.xpath("//*[contains(translate(@style, ' ', ''), 'display:none')]"):
            element.drop_tree()
        wanted = words(" ".join(tree.body.itertext()))
        missing = wanted - words(texts[file.name.removesuffix(".xz")])
        assert missing.total() < 0.01 * wanted.total(), (file.name, missing.most_common(10))


@pytest.mark.parametrize("pattern", [r"\d{1,3}(?:,\d{3})+(?:\.\d+)?", r"\d[\d,]*(?:\.\d+)?"])
def test_98_percent_of_the_numbers_that_a_second_reader_sees_are_kept(read: Read, pattern: str) -> None:
    """Each as often as it is there. Numbers with thousands commas, then all numbers down to single digits."""
    from lxml import html

    for row in read["ixbrl"][0][::9]:
        file = json.loads(row["meta"])["file"]
        data = lzma.decompress((real("ixbrl") / f"{file}.xz").read_bytes())
        tree = html.document_fromstring(data, parser=html.HTMLParser(huge_tree=True))
        for element in tree.xpath(
            "//*[name()='ix:header'] | //*[contains(translate(@style, ' ', ''), 'display:none')]"
        ):
            element.drop_tree()
        wanted = Counter(re.findall(pattern, " ".join(tree.body.itertext())))
        missing = wanted - Counter(re.findall(pattern, row["text"]))
        assert missing.total() <= 0.02 * wanted.total(), (file, missing.most_common(10))


def test_table_rows_of_inline_xbrl_stay_on_one_line(read: Read) -> None:
    apple = next(row["text"] for row in read["ixbrl"][0] if row["id"] == "0000320193-24-000123")
    assert "Total net sales\t$391,035\t2%\t$383,285\t(3)%\t$394,328" in apple.split("\n")
    amc = next(row["text"] for row in read["ixbrl"][0] if "AMC_" in row["meta"])
    assert "Admissions\t$744.1\t$651.0\t$1,278.2\t$1,094.8" in amc.split("\n")


def test_all_real_filings_are_read_in_under_a_minute(read: Read) -> None:
    assert sum(seconds for _, _, seconds in read.values()) < 60
