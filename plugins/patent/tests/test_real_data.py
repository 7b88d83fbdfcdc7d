"""Real files of the USPTO, where `ADAPT_REAL_DATA` names the folder that holds them."""

from __future__ import annotations

import io
import lzma
import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from domadapt_patent.redbook.patent import NotAPatentError, parse
from domadapt_patent.redbook.split import split


@pytest.fixture(scope="module")
def patents() -> Path:
    root = os.environ.get("ADAPT_REAL_DATA")
    if not root:
        pytest.skip("ADAPT_REAL_DATA is not set: no real files to read")
    return Path(root) / "patent"


def unpacked(file: Path) -> bytes:
    return lzma.decompress(file.read_bytes())


def test_every_document_is_kept_or_rejected_with_a_reason(patents: Path, read: Callable) -> None:
    files = sorted((patents / "redbook").iterdir())
    declared = sum(unpacked(file).count(b"<?xml version") for file in files)
    reading = read(*files)
    assert declared == len(reading.rows) + len(reading.rejected) > 100
    assert set(reading.rejected) <= {"sequence listing"}
    assert len({row["id"] for row in reading.rows}) == len(reading.rows)
    assert all(len(text) > 200 for text in reading.texts)


def test_claims_are_as_many_as_in_the_xml_and_all_start_with_their_number(patents: Path) -> None:
    from lxml import etree

    compared = 0
    for file in sorted((patents / "redbook").iterdir()):
        for document in split(io.BytesIO(unpacked(file))):
            assert document is not None
            try:
                patent = parse(document)
            except NotAPatentError:
                continue
            tree = etree.fromstring(document)
            references = sum(1 for claim in tree.iter("claim") if next(claim.iter("claim-ref"), None) is not None)
            assert len(patent.claims) == sum(1 for _ in tree.iter("claim"))
            assert sum(bool(claim.depends_on) for claim in patent.claims) == references
            if len(patent.claims) > 1:
                assert all(claim.text.startswith(f"{claim.number}") for claim in patent.claims)
            words = Counter("".join(tree.find("claims").itertext()).split())
            kept = Counter(" ".join(claim.text for claim in patent.claims).replace("^", "").split())
            missing = sum((words - kept).values()) / sum(words.values())
            assert missing < 0.35 if tree.find(".//claims//math") is not None else missing < 0.01, patent.id
            compared += 1
    assert compared > 100


def test_no_markup_or_control_character_is_left_in_the_text(patents: Path, read: Callable) -> None:
    for row in read(patents / "redbook").rows:
        assert not any(ord(char) < 32 and char != "\n" for char in row["text"]), row["id"]
        assert "<claim" not in row["text"]
        assert "<sub>" not in row["text"]


def test_other_formats_of_the_office_are_rejected_as_such(patents: Path, read: Callable) -> None:
    for folder in ("pap", "sgml", "greenbook", "cpcMaster", "cpcScheme"):
        files = sorted((patents / "uspto_samples" / folder).iterdir())
        reading = read(*files)
        assert (reading.rows, set(reading.rejected)) == ([], {"not red-book XML"}), folder


def test_single_documents_of_all_versions_are_read(patents: Path, read: Callable) -> None:
    folders = [patents / "uspto_samples" / name for name in ("xml2004", "xml2006", "xml2014", "xmlApp2004")]
    reading = read(*folders, *sorted((patents / "go_uspto").glob("*v4*")))
    assert reading.rejected == []
    assert len(reading.rows) == 9
