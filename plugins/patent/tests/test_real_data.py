"""Real files of the USPTO, where `ADAPT_REAL_DATA` names the folder that holds them."""

from __future__ import annotations

import io
import json
import lzma
import os
import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from domadapt_patent.redbook.patent import NotAPatentError, Patent, parse
from domadapt_patent.redbook.split import documents, split


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


def test_single_documents_of_all_versions_are_read(patents: Path, read: Callable) -> None:
    folders = [patents / "uspto_samples" / name for name in ("xml2004", "xml2006", "xml2014", "xmlApp2004")]
    reading = read(*folders, *sorted((patents / "go_uspto").glob("*v4*")))
    assert reading.rejected == []
    assert len(reading.rows) == 9


def test_schemes_and_master_files_of_the_office_are_rejected_as_no_patents(patents: Path, read: Callable) -> None:
    for folder in ("cpcMaster", "cpcScheme"):
        reading = read(*sorted((patents / "uspto_samples" / folder).iterdir()))
        assert (reading.rows, set(reading.rejected)) == ([], {"not a patent document"}), folder


def single(patents: Path, name: str) -> Patent:
    """The only document of a file."""
    ((_, document),) = documents(patents / name)
    assert document is not None
    return parse(document)


def test_every_file_is_read_and_every_document_kept_or_rejected_with_a_reason(patents: Path, read: Callable) -> None:
    files = sorted(file for file in patents.rglob("*") if ".xml" in file.name or ".greenbook" in file.name)
    reading = read(*files)
    assert Counter(reading.rejected) == {"not a patent document": 2, "sequence listing": 3}  # two schemes of classes
    formats = Counter(json.loads(row["meta"])["format"] for row in reading.rows)
    assert formats["aps"] == 2
    assert formats["pap"] == 3
    assert formats["st32"] == 4
    assert formats["ice"] > 100


def test_the_front_page_of_a_green_book_grant_is_read(patents: Path) -> None:
    patent = single(patents, "uspto_samples/greenbook/US04347903.greenbook.xz")
    assert (patent.id, patent.title, patent.group) == ("US04347903A", "Electronic reading balance", "Yano, Shozo")
    facts = patent.meta
    assert (facts["date"], facts["filed"], facts["application"]) == ("19820907", "19800310", "06192529")
    assert facts["ipc"] == ["G01G 19/04", "G01G 23/10", "G06F 7/28"]
    assert facts["uspc"] == ["177/25", "177/185", "364/734"]
    assert facts["assignees"] == ["Shimadzu Corporation"]
    assert (facts["claims"], facts["dependencies"]) == (3, {"2": [1], "3": [1]})
    assert len(patent.claims[0].text.split("\n")) == 1 + 11
    assert patent.statement == "We claim:"
    assert patent.description[0] == "BACKGROUND OF THE INVENTION"
    assert "memory registers M1 to Mn" in patent.text()


def test_the_front_page_of_an_application_of_2001_is_read(patents: Path) -> None:
    patent = single(patents, "uspto_samples/pap/US20010000943A1.xml.xz")
    assert (patent.id, patent.group) == ("US20010000943A1", "Fukuoka, Kenichi")
    assert patent.title == "Organic electroluminescence device and method of manufacturing same"
    facts = patent.meta
    assert (facts["date"], facts["filed"], facts["application"]) == ("20010510", "20001204", "09727454")
    assert (facts["ipc"], facts["uspc"]) == (["H01J 1/62"], ["313/503", "313/504"])
    assert facts["assignees"] == ["IDEMITSU KOSAN CO., LTD."]
    assert [patent.claims[n - 1].depends_on for n in (1, 2, 3, 8, 12, 13)] == [(), (1,), (2,), (), (11,), (11, 12)]
    assert "Min−20 nm<t<Min+20 nm (a)" in patent.abstract
    assert any("CIEx | 0.150 | 0.256 | 0.655" in paragraph for paragraph in patent.description)
    assert not any(paragraph.startswith(("2.", "3.")) for paragraph in patent.description)


def test_the_front_page_of_a_grant_of_2002_is_read(patents: Path) -> None:
    patent = single(patents, "uspto_samples/sgml/US06336130.xml.xz")
    assert (patent.id, patent.group) == ("US06336130B1", "Do, Thanh Van")
    assert patent.title == "Arrangement for improving availability of services in a communication system"
    facts = patent.meta
    assert (facts["date"], facts["filed"], facts["application"]) == ("20020101", "19991005", "09413215")
    assert (facts["ipc"], facts["uspc"]) == (["G06F 15/16", "G06F 13/00"], ["709/202", "709/201"])
    assert facts["assignees"] == ["Telefonaktiebolaget LM Ericsson (publ)"]
    assert [patent.claims[n - 1].depends_on for n in (1, 12, 18, 19, 21)] == [(), (9,), (), (18,), (19,)]
    assert patent.claims[17].text.split("\n")[1].startswith("  a mobile node agent in the fixed part receiving")
    assert [text for text in patent.description if text.isupper()] == [
        "FIELD OF THE INVENTION", "BACKGROUND", "BRIEF DESCRIPTION OF THE DRAWINGS", "DETAILED DESCRIPTION",
    ]  # fmt: skip


def test_a_design_of_2001_has_one_claim_without_number_and_a_locarno_class(patents: Path) -> None:
    patent = single(patents, "uspto_samples/sgml/USD435854S1.xml.xz")
    assert (patent.id, patent.meta["locarno"], patent.meta["type"]) == ("USD0435854S", "1402", "design")
    assert patent.meta["assignees"] == ["Hitachi Maxell, Ltd.", "Sanyo Electric Co.,Ltd.", "Olympus Optical Co., Ltd."]
    (claim,) = patent.claims
    assert claim.text.startswith("The ornamental design for a disc cartridge")


def test_the_front_page_of_a_grant_and_an_application_in_ice_is_read(patents: Path) -> None:
    grant = single(patents, "go_uspto/grant_v4-5-B1.xml.xz")
    assert (grant.id, grant.meta["cpc"][0], grant.meta["claims"]) == ("US09358892B1", "B60L 11/1809", 20)
    application = single(patents, "uspto_samples/xmlApp2004/US20050004437A1.xml.xz")
    assert (application.id, application.meta["ipc"], application.meta["claims"]) == (
        "US20050004437A1", ["A61B 5/00"], 10,
    )  # fmt: skip
    assert application.meta["uspc"][0] == "600/300"


def test_claims_are_as_many_as_the_front_page_says(patents: Path) -> None:
    said = re.compile(
        rb"(?m)^NCL +(\d+)|<B577>\s*<PDAT>(\d+)|<number-of-claims>(\d+)</number-of-claims>"  # each format's own count
    )
    compared = 0
    for file in [*patents.glob("uspto_samples/*/*"), *patents.glob("go_uspto/grant*"), *patents.glob("redbook/ipg*")]:
        for _, document in documents(file):
            found = said.search(document or b"")
            if document and found and found.lastindex:
                assert len(parse(document).claims) == int(found[found.lastindex]), file.name
                compared += 1
    assert compared > 100


def test_no_word_of_older_applications_and_grants_is_lost(patents: Path) -> None:
    from lxml import etree

    parts = {"pap": ("subdoc-description", "subdoc-claims"), "st32": ("SDODE", "SDOCL")}
    names = ["uspto_samples/pap/US20010000044A1.xml.xz", "uspto_samples/pap/US20010000943A1.xml.xz"]
    names += ["uspto_samples/sgml/US06336130.xml.xz", "go_uspto/grant_v2-5-B1.xml.xz"]
    for name in names:
        patent = single(patents, name)
        raw = unpacked(patents / name)
        plain = re.sub(rb"&(?!amp|lt|gt)[A-Za-z]+;", b" ", raw)
        tree = etree.fromstring(plain, etree.XMLParser(resolve_entities=False, load_dtd=False, no_network=True))
        for number in tree.iter("number"):
            number.text = ""
        found = (tree.find(part) for part in parts[patent.meta["format"]])
        words = Counter(re.findall("[A-Za-z]{3,}", " ".join(" ".join(e.itertext()) for e in found if e is not None)))
        missing = words - Counter(re.findall("[A-Za-z]{3,}", patent.text()))
        assert sum(missing.values()) <= sum(words.values()) / 500, (name, missing)
