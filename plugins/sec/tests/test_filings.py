"""sec.filings on small files made here, one for each form in which EDGAR filings are handed around."""

from __future__ import annotations

import binascii
import gzip
import json
import lzma
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from domadapt.artifacts import document_schema
from domadapt.errors import MissingError
from domadapt_sec.filings import FilingsSource
from domadapt_sec.parsing import Filing, Reading, parse_file

PROSE = "The Company designs, manufactures and markets pumps for the paper industry."

MAIL_WRAPPER = """-----BEGIN PRIVACY-ENHANCED MESSAGE-----
Proc-Type: 2001,MIC-CLEAR
Originator-Key-Asymmetric:
 MFgwCgYEVQgBAQICAf8DSgAwRwJAW2sNKK9AVtBzYZmr6aGjlWyK3XmZv3dTINen

"""
TAB_HEADER = """<SEC-DOCUMENT>0000123456-97-000007.txt : 19970331
<SEC-HEADER>0000123456-97-000007.hdr.sgml : 19970331
ACCESSION NUMBER:\t\t0000123456-97-000007
CONFORMED SUBMISSION TYPE:\t10-K
PUBLIC DOCUMENT COUNT:\t\t1
CONFORMED PERIOD OF REPORT:\t19961231
FILED AS OF DATE:\t\t19970331

FILER:

\tCOMPANY DATA:\t
\t\tCOMPANY CONFORMED NAME:\t\t\tEXAMPLE PUMPS INC
\t\tCENTRAL INDEX KEY:\t\t\t0000123456

\tFORMER COMPANY:\t
\t\tFORMER CONFORMED NAME:\tEXAMPLE VALVES INC
</SEC-HEADER>
"""
TAGGED_HEADER = """<SUBMISSION>
<ACCESSION-NUMBER>0000123456-97-000007
<TYPE>10-K
<PERIOD>19961231
<FILING-DATE>19970331
<REPORTING-OWNER>
<OWNER-DATA>
<CONFORMED-NAME>DOE JANE
<CIK>0000999999
</OWNER-DATA>
</REPORTING-OWNER>
<FILER>
<COMPANY-DATA>
<CONFORMED-NAME>EXAMPLE PUMPS INC
<CIK>0000123456
</COMPANY-DATA>
</FILER>
"""
FACTS = {
    "accession": "0000123456-97-000007",
    "cik": "123456",
    "company": "EXAMPLE PUMPS INC",
    "file": "filing.txt",
    "filed": "1997-03-31",
    "form": "10-K",
    "items": ["1"],
    "period": "1996-12-31",
    "submission": "10-K",
}


def document(text: str, form: str = "10-K", sequence: int = 1) -> str:
    head = f"<TYPE>{form}\n<SEQUENCE>{sequence}\n<FILENAME>d{sequence}.txt\n<DESCRIPTION>{form}\n"
    return f"<DOCUMENT>\n{head}<TEXT>\n{text}\n</TEXT>\n</DOCUMENT>\n"


def uuencoded(data: bytes) -> str:
    lines = [binascii.b2a_uu(data[start : start + 45]).decode() for start in range(0, len(data), 45)]
    return "begin 644 picture.jpg\n" + "".join(lines) + "`\nend\n"


def parse(name: str, data: str | bytes, **options: Any) -> tuple[list[Filing], list[tuple[str, str]]]:
    rejected: list[tuple[str, str]] = []
    data = data.encode() if isinstance(data, str) else data
    return list(parse_file(name, data, lambda *why: rejected.append(why), Reading(**options))), rejected


def only(name: str, data: str | bytes) -> Filing:
    (filing,), rejected = parse(name, data)
    assert rejected == []
    return filing


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        (MAIL_WRAPPER + TAB_HEADER, "</SEC-DOCUMENT>\n-----END PRIVACY-ENHANCED MESSAGE-----\n"),
        (TAB_HEADER, "</SEC-DOCUMENT>\n"),
        (TAB_HEADER.replace("SEC-", "IMS-"), "</IMS-DOCUMENT>\n"),
        (TAGGED_HEADER, "</SUBMISSION>\n"),
    ],
    ids=["mail wrapper", "tab header", "header of before 1996", "dissemination header"],
)
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"], ids=["LF", "CRLF", "CR"])
def test_every_header_form_tells_the_same_facts(head: str, tail: str, newline: str) -> None:
    text = (head + document(f"ITEM 1. BUSINESS\n\n{PROSE}") + tail).replace("\n", newline)
    filing = only("filing.txt", text)
    assert filing.meta == FACTS
    assert (filing.id, filing.group) == ("0000123456-97-000007:1", "123456")
    assert filing.text == f"\nITEM 1. BUSINESS\n\n{PROSE}".lstrip("\n")


def test_a_submission_without_header_goes_by_its_file_name() -> None:
    filing = only("pumps-1996.txt", document(PROSE))
    assert (filing.id, filing.group) == ("pumps-1996:1", "pumps-1996")
    assert filing.meta == {"file": "pumps-1996.txt", "form": "10-K"}


def test_a_crawlers_file_name_tells_company_form_and_accession() -> None:
    filing = only("1000180_8K_2010_0000950123-10-078896.htm", document(f"<p>Item 8.01 Other</p><p>{PROSE}</p>", "8-K"))
    assert filing.group == "1000180"
    assert filing.meta["accession"] == "0000950123-10-078896"
    assert filing.meta["items"] == ["8.01"]


def test_an_ownership_report_belongs_to_the_issuer() -> None:
    header = TAGGED_HEADER.replace("FILER>", "ISSUER>")
    assert only("a.nc", header + document(PROSE, "SC 13D")).group == "123456"


def test_each_part_of_a_submission_is_kept_or_rejected_with_its_reason() -> None:
    xml = "<XBRL>\n<?xml version='1.0'?>\n<xbrl>1</xbrl>\n</XBRL>"
    text = TAB_HEADER + "".join(
        [
            document(f"ITEM 1. BUSINESS\n{PROSE}"),
            document("<PDF>\n" + uuencoded(bytes(range(256))) + "</PDF>", "LETTER", 2),
            document(xml, "EX-101.INS", 3),
            document("<html><body>1</body></html>", "XML", 4),
            document(f"<html><body><p>{PROSE}</p></body></html>", "EX-99.1", 5),
            document("<html><body></body></html>", "EX-99.2", 6),
        ]
    )
    kept, rejected = parse("filing.txt", text)
    assert [(filing.id.partition(":")[2], filing.meta["form"]) for filing in kept] == [("1", "10-K"), ("5", "EX-99.1")]
    assert rejected == [
        ("uuencoded", "filing.txt#2 LETTER"),
        ("XBRL or XML data", "filing.txt#3 EX-101.INS"),
        ("XBRL or XML data", "filing.txt#4 XML"),
        ("no text", "filing.txt#6 EX-99.2"),
    ]


def test_text_around_an_attachment_is_kept_without_it() -> None:
    text = f"{PROSE}\n{uuencoded(b'picture' * 40)}Sincerely, Jane Doe"
    assert only("a.txt", document(text)).text == f"{PROSE}\nSincerely, Jane Doe"
    cut = f"{PROSE}\n{uuencoded(b'picture' * 40)[:-30]}"
    assert only("a.txt", document(cut)).text == PROSE


def test_a_sentence_that_says_begin_644_is_no_attachment() -> None:
    text = f"begin 644 pumps\nwere sold in the year, and more of them will be next year.\n{PROSE}"
    assert only("a.txt", document(text)).text == text


def test_the_forms_option_takes_names_and_patterns() -> None:
    text = TAB_HEADER + document(PROSE) + document(PROSE, "EX-99.1", 2) + document(PROSE, "EX-10", 3)
    kept, rejected = parse("filing.txt", text, forms=["10-k", "EX-99*"])
    assert [filing.meta["form"] for filing in kept] == ["10-K", "EX-99.1"]
    assert rejected == [("form not wanted", "filing.txt#3 EX-10")]


def test_a_truncated_submission_keeps_what_there_is() -> None:
    text = TAB_HEADER + document(PROSE).replace("</TEXT>\n</DOCUMENT>\n", "") + document(PROSE, "EX-10", 2)[:-40]
    kept, _ = parse("filing.txt", text)
    assert [filing.text[:75] for filing in kept] == [PROSE, PROSE[: len(kept[1].text)]]


def test_two_submissions_in_one_file_keep_their_own_headers() -> None:
    second = TAB_HEADER.replace("97-000007", "98-000008").replace("19961231", "19971231")
    kept, _ = parse("both.txt", TAB_HEADER + document(PROSE) + second + document(PROSE))
    assert [filing.id for filing in kept] == ["0000123456-97-000007:1", "0000123456-98-000008:1"]
    assert kept[1].meta["period"] == "1997-12-31"


def test_plain_text_loses_its_markers_and_page_numbers_and_keeps_its_layout() -> None:
    text = f"""{PROSE}

                                      69
<PAGE>
<TABLE>
<CAPTION>
                               1996        1995
<S>                           <C>         <C>
Net sales                     $1,234      $1,100
Operating income                  99         (5)
</TABLE>
It cost <10 dollars.
"""
    assert (
        only("a.txt", document(text)).text
        == f"""{PROSE}

                               1996        1995

Net sales                     $1,234      $1,100
Operating income                  99         (5)

It cost <10 dollars."""
    )


INLINE = """<?xml version='1.0' encoding='ASCII'?>
<html xmlns="http://www.w3.org/1999/xhtml" xmlns:ix="http://www.xbrl.org/2013/inlineXBRL"><head><title/></head><body>
<div style="display: none"><ix:header><ix:hidden><ix:nonNumeric name="dei:EntityCentralIndexKey" contextRef="c-1">
0000123456</ix:nonNumeric></ix:hidden><ix:resources><xbrli:context id="c-1">us-gaap:Hidden</xbrli:context>
</ix:resources></ix:header></div><div style="display:none"/><div id="top"/>
<p><ix:nonNumeric name="dei:DocumentType">10-K</ix:nonNumeric></p>
<p>For the year ended <ix:nonNumeric name="dei:DocumentPeriodEndDate"><ix:nonNumeric name="dei:CurrentFiscalYearEndDate"
>September&#160;28</ix:nonNumeric>, 2024</ix:nonNumeric></p>
<p><ix:nonNumeric name="dei:EntityRegistrantName"><b>Pumps &amp; Valves Inc.</b></ix:nonNumeric></p>
<p>Item 1.&#160;&#160;Business</p>
<table><tr><td style="display:none">secret</td><td/><td><p>2024</p></td><td><div>2023</div></td></tr>
<tr><td><div><span>Net sales</span></div></td><td>$</td><td>391,035&#160;</td><td/><td>(</td><td>5</td><td>)</td>
<td>%</td></tr></table><p>THE_END</p></body></html>"""


def test_inline_xbrl_loses_its_hidden_parts_and_tells_its_facts() -> None:
    filing = only("pumps-20240928.htm", INLINE)
    assert filing.group == "123456"
    assert filing.meta == {
        "cik": "123456",
        "company": "Pumps & Valves Inc.",
        "file": "pumps-20240928.htm",
        "form": "10-K",
        "items": ["1"],
        "period": "2024-09-28",
    }
    for hidden in ("us-gaap", "0000123456", "secret"):
        assert hidden not in filing.text
    assert filing.text.endswith("THE_END")


def test_a_table_row_is_one_line_with_tabs() -> None:
    lines = only("pumps.htm", INLINE).text.split("\n")
    assert "\t2024\t2023" in lines
    assert "Net sales\t$391,035\t(5)%" in lines


def test_early_html_with_open_paragraphs_and_upper_case_tags_is_read() -> None:
    html = (
        f"<HTML><BODY><P>ITEM 2. PROPERTIES<P>{PROSE}<P>Fees&#151;none.<TABLE><TR><TD>A<BR>B<TD>1</TABLE></BODY></HTML>"
    )
    filing = only("a.htm", document(html))
    assert filing.text.split() == ["ITEM", "2.", "PROPERTIES", *PROSE.split(), "Fees—none.", "A", "B", "1"]
    assert "A B\t1" in filing.text
    assert filing.meta["items"] == ["2"]


def test_an_invisible_element_that_is_never_closed_does_not_swallow_the_document() -> None:
    html = f"<html><body><p>A</p><div style='display:none'>x<p>{PROSE * 20}</p></body></html>"
    assert PROSE in only("a.htm", html).text


ITEMS = {
    "cik": "0000123456",
    "company": "EXAMPLE PUMPS INC",
    "filing_type": "10-K",
    "filing_date": "1997-03-31",
    "period_of_report": "1996-12-31",
    "filename": "123456_10K_1996_0000123456-97-000007.htm",
    "item_1": f"Item 1.\n{PROSE}",
    "item_1A": "",
    "item_2": "Item 2.\nWe own a plant.",
}


def test_item_json_becomes_one_document_with_its_items() -> None:
    filing = only("123456.json", json.dumps(ITEMS))
    assert filing.text == f"Item 1.\n{PROSE}\n\nItem 2.\nWe own a plant."
    assert filing.id == "0000123456-97-000007"
    assert filing.meta["items"] == ["1", "2"]
    assert (filing.group, filing.meta["filed"]) == ("123456", "1997-03-31")


def test_lines_of_the_published_data_set_become_one_document_each() -> None:
    lines = [
        {"filename": f"718413_{year}.txt", "cik": "718413", "year": str(year), "section_1": PROSE}
        for year in (1993, 1994)
    ]
    kept, rejected = parse("train.jsonl", "\n".join(map(json.dumps, [*lines, {"a": 1}])))
    assert [filing.id for filing in kept] == ["718413_1993", "718413_1994"]
    assert rejected == [("not a filing", "train.jsonl:3")]


@pytest.mark.parametrize(
    ("name", "data", "reason"),
    [
        ("metadata.csv", "CIK,Company,Type\n100783,UNION CAMP CORP,10-K\n", "not a filing"),
        ("a.expected_sections.json", '[{"identifier": "1", "character_count": 39838}]', "not a filing"),
        ("a.json", '{"broken": ', "not a filing"),
        ("a.xml", "<?xml version='1.0'?><ownershipDocument/>", "XBRL or XML data"),
        ("a.txt", " \n\t\n", "no text"),
        ("a.txt", "", "no text"),
        (
            "a.htm",
            "<html><body>Your Request Originates from an Undeclared Automated Tool</body></html>",
            "not a filing",
        ),
    ],
)
def test_what_is_no_filing_is_rejected_with_a_reason(name: str, data: str, reason: str) -> None:
    assert parse(name, data) == ([], [(reason, name)])


def read(**options: object) -> tuple[list[dict[str, str]], Counter[str]]:
    reasons: Counter[str] = Counter()
    source = FilingsSource(FilingsSource.Config.model_validate(options))
    batches = list(source.read(lambda reason, where: reasons.update([reason])))
    assert all(batch.schema.equals(document_schema()) for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()], reasons


def fill(folder: Path) -> None:
    """One submission in every packing, a hidden file and a file that is no filing."""
    data = (TAB_HEADER + document(PROSE)).encode()
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "plain.txt").write_bytes(data)
    (folder / "a.txt.gz").write_bytes(gzip.compress(data, mtime=0))
    (folder / "c.txt.xz").write_bytes(lzma.compress(data))
    with zipfile.ZipFile(folder / "d.zip", "w") as archive:
        # A ZipInfo without a date: writestr(name, ...) stores the clock, and two folders filled across a second differ.
        archive.writestr(zipfile.ZipInfo("10-K/one.txt"), data)
        archive.writestr(zipfile.ZipInfo("10-K/two.txt.gz"), gzip.compress(data, mtime=0))
    (folder / ".hidden.txt").write_bytes(data)
    (folder / "notes.csv").write_text("a,b\n")


def test_folders_are_read_in_order_through_every_packing(tmp_path: Path) -> None:
    fill(tmp_path)
    rows, reasons = read(path=str(tmp_path))
    files = [json.loads(row["meta"])["file"] for row in rows]
    assert files == ["a.txt", "plain.txt", "c.txt", "one.txt", "two.txt"]
    assert reasons == {"not a filing": 1}
    assert {(row["source"], row["license"], row["group"]) for row in rows} == {
        ("sec.filings", "public record (EDGAR)", "123456")
    }


def test_ids_are_unique_even_when_a_filing_is_there_twice(tmp_path: Path) -> None:
    fill(tmp_path)
    rows, _ = read(path=str(tmp_path))
    assert [row["id"] for row in rows] == ["0000123456-97-000007:1"] + [
        f"0000123456-97-000007:1~{n}" for n in (2, 3, 4, 5)
    ]


def test_a_file_or_a_list_of_paths_is_read_too(tmp_path: Path) -> None:
    fill(tmp_path)
    rows, _ = read(path=[str(tmp_path / "b"), str(tmp_path / "c.txt.xz")])
    assert [json.loads(row["meta"])["file"] for row in rows] == ["plain.txt", "c.txt"]


def test_no_document_names_the_place_it_was_read_from(tmp_path: Path) -> None:
    fill(tmp_path)
    places: list[str] = []
    source = FilingsSource(FilingsSource.Config(path=str(tmp_path)))
    rows = [row for batch in source.read(lambda reason, where: places.append(where)) for row in batch.to_pylist()]
    assert str(tmp_path) not in json.dumps([rows, places])


def test_a_missing_path_says_what_to_do(tmp_path: Path) -> None:
    source = FilingsSource(FilingsSource.Config(path=str(tmp_path / "nowhere")))
    for call in (source.fingerprint, lambda: list(source.read(print))):
        with pytest.raises(MissingError, match=r"nowhere' does not exist; set `options: .*sec\.sample"):
            call()
    with pytest.raises(MissingError, match="has no files"):
        FilingsSource(FilingsSource.Config(path=str(tmp_path))).fingerprint()


def test_the_fingerprint_is_that_of_the_contents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPT_HOME", str(tmp_path / "home"))
    fill(tmp_path / "one")
    fill(tmp_path / "two")
    prints = [FilingsSource(FilingsSource.Config(path=str(tmp_path / name))).fingerprint() for name in ("one", "two")]
    assert prints[0] == prints[1]
    (tmp_path / "two" / "notes.csv").write_text("a,c\n")
    assert FilingsSource(FilingsSource.Config(path=str(tmp_path / "two"))).fingerprint() != prints[0]


def test_large_inputs_come_in_several_batches(tmp_path: Path) -> None:
    (tmp_path / "many.txt").write_text("".join(document(PROSE, sequence=n) for n in range(1, 601)))
    source = FilingsSource(FilingsSource.Config(path=str(tmp_path)))
    assert [batch.num_rows for batch in source.read(lambda *why: None)] == [256, 256, 88]


ANNUAL = f"""FORM 10-K
For the fiscal year ended December 31, 1996
EXAMPLE PUMPS INC
(Exact name of registrant as specified in its charter)

PART I

ITEM 1. BUSINESS

{PROSE * 3}

PART II

ITEM 7. MANAGEMENT'S DISCUSSION AND ANALYSIS

{PROSE * 3}

ITEMS 10 AND 11. DIRECTORS AND THEIR PAY

{PROSE}

SIGNATURES

Jane Doe"""


def test_the_places_of_the_items_are_in_the_metadata(tmp_path: Path) -> None:
    (tmp_path / "filing.txt").write_text(TAB_HEADER + document(ANNUAL))
    (row,), _ = read(path=str(tmp_path))
    sections = json.loads(row["meta"])["sections"]
    assert [(section["item"], section["title"]) for section in sections] == [
        ("1", "BUSINESS"),
        ("7", "MANAGEMENT'S DISCUSSION AND ANALYSIS"),
        ("10", "DIRECTORS AND THEIR PAY"),
        ("11", "DIRECTORS AND THEIR PAY"),
    ]
    assert row["text"][sections[0]["start"] : sections[0]["end"]] == f"ITEM 1. BUSINESS\n\n{PROSE * 3}"
    assert json.loads(row["meta"])["items"] == ["1", "7", "10", "11"]


def test_one_document_an_item_loses_no_word(tmp_path: Path) -> None:
    (tmp_path / "filing.txt").write_text(TAB_HEADER + document(ANNUAL) + document("No items.", "EX-99", 2))
    rows, _ = read(path=str(tmp_path), documents="item")
    assert [row["id"].partition(":")[2] for row in rows] == ["1#front", "1#1", "1#7", "1#10-11", "1#back", "2"]
    (whole, exhibit), _ = read(path=str(tmp_path))
    kept = [word for row in rows[:-1] for word in row["text"].split()]
    assert [word for word in whole["text"].split() if word not in ("PART", "I", "II")] == [
        word for word in kept if word not in ("PART", "I", "II")
    ]
    metas = [json.loads(row["meta"]) for row in rows]
    assert [meta.get("items") for meta in metas[:5]] == [None, ["1"], ["7"], ["10", "11"], None]
    assert metas[1]["title"] == "BUSINESS"
    assert {meta["accession"] for meta in metas} == {"0000123456-97-000007"}
    assert rows[-1]["text"] == exhibit["text"]


def test_item_json_tells_where_its_items_are(tmp_path: Path) -> None:
    (tmp_path / "123456.json").write_text(json.dumps(ITEMS))
    rows, _ = read(path=str(tmp_path), documents="item")
    assert [(row["id"], row["text"]) for row in rows] == [
        ("0000123456-97-000007#1", ITEMS["item_1"]),
        ("0000123456-97-000007#2", ITEMS["item_2"]),
    ]


def test_the_cover_page_tells_what_nothing_else_does(tmp_path: Path) -> None:
    (tmp_path / "a.htm").write_text(f"<html><body>{ANNUAL.replace(chr(10), '<br>')}</body></html>")
    (tmp_path / "b.txt").write_text(f"SECURITIES AND EXCHANGE COMMISSION\n{ANNUAL}".replace("FORM 10-K", "FORM 8-K/A"))
    rows, _ = read(path=str(tmp_path))
    facts = [{key: json.loads(row["meta"])[key] for key in ("company", "form", "period")} for row in rows]
    assert facts == [
        {"company": "EXAMPLE PUMPS INC", "form": "10-K", "period": "1996-12-31"},
        {"company": "EXAMPLE PUMPS INC", "form": "8-K/A", "period": "1996-12-31"},
    ]
    rows, reasons = read(path=str(tmp_path), forms=["10-K"])
    assert (len(rows), reasons) == (1, {"form not wanted": 1})


def test_page_furniture_is_kept_or_dropped_as_the_recipe_says(tmp_path: Path) -> None:
    text = "".join(f"<p>Table of Contents</p><p>{PROSE * 6}</p><p>Pumps | {n}</p>" for n in range(1, 12))
    (tmp_path / "a.htm").write_text(f"<html><body>{text}</body></html>")
    (kept,), _ = read(path=str(tmp_path))
    (dropped,), _ = read(path=str(tmp_path), furniture="drop")
    assert (kept["text"].count("Table of Contents"), kept["text"].count("Pumps |")) == (11, 11)
    assert (dropped["text"].count("Table of Contents"), dropped["text"].count("Pumps |")) == (1, 0)
    assert dropped["text"].count(PROSE) == kept["text"].count(PROSE) == 66
