"""The parser on articles of PLOS and PubMed Central as published (only where they are, see conftest)."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest

from domadapt_medical.source import JatsOptions, JatsSource


@pytest.fixture(scope="module")
def documents(real_articles: list[Path]) -> list[dict[str, str]]:
    rejected: list[tuple[str, str]] = []
    source = JatsSource(JatsOptions(path=tuple(real_articles)))
    rows = [row for batch in source.read(lambda *why: rejected.append(why)) for row in batch.to_pylist()]
    files = sum(len(list(folder.iterdir())) for folder in real_articles)
    assert len(rows) + len(rejected) == files
    assert all(reason for reason, _ in rejected)
    assert len(rejected) <= 0.02 * files, rejected
    return rows


def test_every_article_is_long_and_named(documents: list[dict[str, str]]) -> None:
    assert len({row["id"] for row in documents}) == len(documents)
    assert all(re.fullmatch(r"PMC\d+|10\.\d{4}/\S+", row["id"]) for row in documents)
    assert min(len(row["text"]) for row in documents) > 400
    assert sum(bool(row["license"]) for row in documents) >= 0.95 * len(documents)


def test_no_markup_is_left(documents: list[dict[str, str]]) -> None:
    for row in documents:
        assert not re.search(r"</?(xref|italic|sec|p|sup)\b|\\documentclass|[\ue000-\uf8ff]|\ufffd", row["text"]), row[
            "id"
        ]


def test_paragraphs_of_the_body_are_there_and_reference_lists_are_not(
    documents: list[dict[str, str]], real_articles: list[Path]
) -> None:
    from lxml import etree

    by_doi = {(row["group"] if row["id"].startswith("PMC") else row["id"]): row["text"] for row in documents}
    words = missing = cited = kept = 0
    for folder in real_articles:
        for file in sorted(folder.iterdir()):
            root = etree.fromstring(gzip.decompress(file.read_bytes()))
            doi = root.findtext("front/article-meta/article-id[@pub-id-type='doi']")
            if doi not in by_doi:
                continue
            text = by_doi[doi]
            known = set(re.findall(r"[a-z]{4,}", text.lower()))
            for paragraph in root.iterfind("body//sec/p"):
                for own in re.findall(r"[a-z]{4,}", (paragraph.text or "").lower()):
                    words += 1
                    missing += own not in known
            for reference in root.iterfind("back/ref-list//article-title"):
                title = " ".join("".join(reference.itertext()).split())
                if len(title) > 45:
                    cited += 1
                    kept += title in text
    assert words > 20_000
    assert missing <= 0.0005 * words
    assert cited > 1000
    assert kept <= 0.002 * cited
