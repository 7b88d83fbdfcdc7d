"""sec.filings on hostile and damaged input: no crash, no leak, no silent loss, no waiting."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domadapt_sec.filings import FilingsSource
from domadapt_sec.item_documents import by_item
from domadapt_sec.parsing import Filing, Reading, parse_file
from domadapt_sec.rejection import REASONS

FRAGMENTS = [
    b"<DOCUMENT>",
    b"</DOCUMENT>",
    b"<TYPE>10-K\n",
    b"<SEQUENCE>1\n",
    b"<TEXT>",
    b"</TEXT>",
    b"<SEC-HEADER>",
    b"\n",
    b"\r",
    b"ACCESSION NUMBER:\t0000123456-97-000007\n",
    b"<ACCESSION-NUMBER>1\n",
    b"CENTRAL INDEX KEY:\t0\n",
    b"begin 644 a\n",
    b"M",
    b"`\nend\n",
    b"<html>",
    b"<ix:header>",
    b"<div style='display:none'/>",
    b"<td><p>$</td>",
    b"<PAGE>",
    b"\x00",
    b"\xff",
    b"\xe2\x80\x99",
    b"\x92",
    b'{"item_1": "\\ud800"}',
    b'name="dei:DocumentType">',
    b"</ix:nonNumeric>",
    b"&#0;&#xd800;",
    b"\xff\xfe",
    b"SECURITIES AND EXCHANGE COMMISSION",
    b"Item 1A. ",
    b"Item 1. Business\n",
    b"Items 7 and 7A. Management's\n",
    b"PART II\n",
    b"SIGNATURES\n",
    b"<p>Table of Contents</p>",
    b"FORM 10-Q for the year ended May 1, 1999\n(Exact name of registrant",
    b"<![CDATA[",
    b"<!--",
    b"/>",
    b"<",
    b">",
    b"\xef\xbb\xbf",
]
BYTES = st.one_of(st.binary(max_size=400), st.lists(st.sampled_from(FRAGMENTS), max_size=40).map(b"".join))


def parse(name: str, data: str | bytes) -> tuple[list[Filing], list[tuple[str, str]]]:
    rejected: list[tuple[str, str]] = []
    data = data.encode() if isinstance(data, str) else data
    return list(parse_file(name, data, lambda *why: rejected.append(why))), rejected


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(BYTES)
def test_any_bytes_give_documents_or_reasons_and_never_a_crash(data: bytes) -> None:
    kept, rejected = parse("any.txt", data)
    assert kept or rejected
    assert {reason for reason, _ in rejected} <= set(REASONS)
    for filing in kept:
        assert filing.text.strip()
        assert "\x00" not in filing.text
        json.dumps(dict(filing.meta), ensure_ascii=False).encode()
        (filing.text + filing.id + filing.group).encode()


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(BYTES, st.sampled_from(["any.txt", "123_10K_2003_0000123456-03-000007.htm", "a.json"]))
def test_any_bytes_read_with_every_option_give_items_within_the_text(data: bytes, name: str) -> None:
    rejected: list[str] = []
    reading = Reading(furniture="drop", cover=True)
    for filing in parse_file(name, data, lambda reason, where: rejected.append(reason), reading):
        pieces = list(by_item(filing))
        assert pieces
        assert all(0 <= section.start < section.end <= len(filing.text) for section in filing.sections)
        assert all(piece.text.strip() and piece.text in filing.text for piece in pieces)
        assert len({piece.id for piece in pieces}) == len(pieces)
    assert set(rejected) <= set(REASONS)


@pytest.mark.parametrize("keep", range(0, 100, 3))
def test_a_filing_cut_anywhere_is_a_shorter_document_or_a_reason(keep: int) -> None:
    whole = (
        "<DOCUMENT>\n<TYPE>10-K\n<TEXT>\n<html><body><div style='display:none'>"
        "<ix:header>us-gaap:Hidden</ix:header></div><p>Item 1. Business</p>"
        "<table><tr><td>Net sales</td><td>$</td><td>391,035</td></tr></table></body></html>\n</TEXT>"
    )
    kept, rejected = parse("a.htm", whole[: len(whole) * keep // 100])
    assert len(kept) + len(rejected) == 1
    assert all(filing.text.strip() for filing in kept)


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([b"\xfd7zXZ\x00", b"\x1f\x8b\x08", b"PK\x03\x04", b""]))
def test_any_file_on_disk_is_read_or_rejected(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, magic: bytes
) -> None:
    file = tmp_path_factory.mktemp("any") / "any.bin"
    file.write_bytes(magic + data)
    reasons: list[str] = []
    rows = sum(
        b.num_rows for b in FilingsSource(FilingsSource.Config(path=str(file))).read(lambda r, w: reasons.append(r))
    )
    assert rows + len(reasons) >= 1
    assert set(reasons) <= set(REASONS)


def reasons_of(path: Path) -> list[str]:
    reasons: list[str] = []
    list(FilingsSource(FilingsSource.Config(path=str(path))).read(lambda reason, where: reasons.append(reason)))
    return reasons


def test_an_external_entity_is_not_opened(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("TOPSECRET")
    for wrapper in ("{}", "<DOCUMENT>\n<TYPE>10-K\n<TEXT>\n{}\n</TEXT>\n</DOCUMENT>"):
        attack = f"<!DOCTYPE html [<!ENTITY x SYSTEM 'file://{tmp_path}/secret'>]><html><body><p>&x;</p></body></html>"
        kept, rejected = parse("a.htm", wrapper.format(attack))
        assert kept == []
        assert [reason for reason, _ in rejected] == ["XBRL or XML data"]


def test_an_entity_bomb_is_rejected_at_once() -> None:
    entities = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10}'>" for n in range(1, 20))
    start = time.perf_counter()
    _, rejected = parse("a.xml", f"<?xml version='1.0'?><!DOCTYPE lolz [{entities}]><html><p>&l19;</p></html>")
    assert [reason for reason, _ in rejected] == ["XBRL or XML data"]
    assert time.perf_counter() - start < 1


@pytest.mark.parametrize("pack", ["zip", "gz"])
def test_a_small_archive_that_unpacks_to_very_much_is_rejected(tmp_path: Path, pack: str) -> None:
    bomb = b"\0" * (60 << 20)
    file = tmp_path / f"bomb.txt.{pack}"
    if pack == "gz":
        file.write_bytes(gzip.compress(bomb))
    else:
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("../../bomb.txt", bomb)
    assert file.stat().st_size < 100_000
    assert reasons_of(file) == ["too large"]
    assert [path.name for path in tmp_path.iterdir()] == [file.name]


@pytest.mark.parametrize("pack", [gzip.compress, lzma.compress])
def test_a_truncated_archive_is_rejected_and_not_read_in_part(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    text = b"<DOCUMENT>\n<TYPE>10-K\n<TEXT>\n" + bytes(range(32, 127)) * 500 + b"\n</TEXT>\n</DOCUMENT>"
    (tmp_path / "a.txt").write_bytes(pack(text)[:-20])
    assert reasons_of(tmp_path) == ["damaged archive"]


def test_a_damaged_member_of_a_zip_costs_only_itself(tmp_path: Path) -> None:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as archive:
        for name in ("a.txt", "b.txt"):
            archive.writestr(name, f"<DOCUMENT>\n<TYPE>10-K\n<TEXT>\nPumps of {name}\n</TEXT>\n</DOCUMENT>")
    data = memory.getvalue().replace(b"Pumps of a", b"Lumps of a")
    (tmp_path / "two.zip").write_bytes(data)
    reasons: list[tuple[str, str]] = []
    batches = list(FilingsSource(FilingsSource.Config(path=str(tmp_path))).read(lambda *why: reasons.append(why)))
    assert batches[0]["text"].to_pylist() == ["Pumps of b.txt"]
    assert reasons == [("damaged archive", "a.txt")]


@pytest.mark.parametrize("depth", [300, 2_500, 20_000])
def test_text_below_very_many_elements_is_kept(depth: int) -> None:
    html = f"<html><body>{'<div>' * depth}DEEP{'</div>' * depth}<p>AFTER</p></body></html>"
    (filing,), _ = parse("a.htm", html)
    assert filing.text.split() == ["DEEP", "AFTER"]


def test_a_text_node_of_more_than_ten_megabytes_is_kept() -> None:
    (filing,), _ = parse("a.htm", f"<html><body><p>{'word ' * 2_200_000}</p>END</body></html>")
    assert len(filing.text) > 10_999_990
    assert filing.text.endswith("END")


def test_one_line_of_a_megabyte_is_read_as_text() -> None:
    (filing,), _ = parse("a.txt", f"<DOCUMENT>\n<TYPE>10-K\n<TEXT>\n{'x' * 1_000_000}\n</TEXT>\n</DOCUMENT>")
    assert filing.text == "x" * 1_000_000


GROWING: dict[str, Callable[[int], str]] = {
    "unclosed documents": lambda n: "<DOCUMENT>\n" * n,
    "unclosed tags": lambda n: "<html><body>" + "<td " * n,
    "open angle brackets": lambda n: "<html>" + "<" * (4 * n),
    "unclosed bold": lambda n: "<html>" + "".join(f"<b id={i}><p>x" for i in range(n // 2)),
    "blank lines": lambda n: "<DOCUMENT>\n<TEXT>\nItem" + "\n " * (4 * n) + "x",
    "attachments": lambda n: "<DOCUMENT>\n<TEXT>\n" + "begin 644 a\n" * n,
    "self-closed": lambda n: "<html>" + "<div/>" * n,
    "slashes": lambda n: "<html>" + "/>" * (3 * n),
    "facts": lambda n: "<html>" + '<b name="dei:DocumentType">' * n,
    "cells": lambda n: "<html>" + "<td><p>" * n,
    "page breaks": lambda n: "<DOCUMENT>\n<TEXT>\n" + "x\n\n<PAGE>\n" * n,
    "json lines": lambda n: '{"item_1": "x"}\n' * n,
}


@pytest.mark.parametrize("shape", GROWING)
def test_no_input_takes_time_that_grows_with_its_square(shape: str) -> None:
    def seconds(size: int) -> float:
        data = GROWING[shape](size).encode()
        best = 1e9
        for _ in range(3):
            start = time.process_time()
            parse("a.txt", data)
            best = min(best, time.process_time() - start)
        return best

    parse("warm.htm", "<html><p>x</p></html>")
    small, large = seconds(8_000), seconds(32_000)
    # Four times the input: a square would be 16 times the time. Half a second is nothing, whatever the ratio.
    assert large < 8 * small or large < 0.25


@pytest.mark.parametrize(
    "encoded",
    ["“It’s 5 €—really”".encode("cp1252"), "“It’s 5 €—really”".encode(), "\ufeff“It’s 5 €—really”".encode()],
    ids=["windows-1252", "utf-8", "utf-8 with mark"],
)
@pytest.mark.parametrize(
    "wrap", ["<html><body><p>%s</p></body></html>", "<DOCUMENT>\n<TEXT>\n%s\n</TEXT>\n</DOCUMENT>"]
)
def test_quotation_marks_of_every_encoding_are_read(encoded: bytes, wrap: str) -> None:
    (filing,), _ = parse("a.htm", wrap.encode() % encoded)
    assert filing.text == "“It’s 5 €—really”"


def test_one_stray_byte_does_not_spoil_a_utf8_file() -> None:
    (filing,), _ = parse("a.txt", b"<DOCUMENT>\n<TEXT>\n" + "“Pumps”, she said. ".encode() * 30 + b"\x92\n")
    assert filing.text.count("“Pumps”") == 30


def test_utf16_is_read() -> None:
    (filing,), _ = parse("a.htm", "<html><body><p>Pumps — £5</p></body></html>".encode("utf-16"))
    assert filing.text == "Pumps — £5"


def test_nul_and_control_characters_and_lone_surrogates_go() -> None:
    text = "<DOCUMENT>\n<TEXT>\nPu\x00mps\x07 and\u200b val\x7fves\n</TEXT>\n</DOCUMENT>"
    (filing,), _ = parse("a.txt", text)
    assert filing.text == "Pumps and valves"
    (filing,), _ = parse("a.json", '{"item_1": "Pumps \\ud83d valves \\u0000", "company": "\\udc00 Inc"}')
    assert filing.text == "Pumps \ufffd valves"
    filing.group.encode()
