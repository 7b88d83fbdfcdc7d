"""Filings that cost a parser too much: each is dropped with a reason, the ones beside it are read."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from domadapt.builtin.corpora.workers import parse_in_workers
from domadapt_sec.filings import FilingsSource
from domadapt_sec.html_text import extract

PROSE = "<html><body><p>We sell pumps and valves.</p></body></html>"


def costly(paragraphs: int) -> str:
    """450 elements that a parser opens again in each paragraph: a small document that becomes a very large tree."""
    opened = "".join(f"<b id={number}>" for number in range(450))
    return f"<html><body><x <y><p>{opened}</p>{'<p>word</p>' * paragraphs}"


def read(path: Path) -> tuple[list[str], list[tuple[str, str]]]:
    rejected: list[tuple[str, str]] = []
    source = FilingsSource(FilingsSource.Config(path=str(path)))
    texts = [text for batch in source.read(lambda *why: rejected.append(why)) for text in batch["text"].to_pylist()]
    return texts, rejected


@pytest.mark.parametrize(
    ("limit", "amount", "reasons"),
    [
        ("seconds", 1, {"over 1 s of parsing"}),
        ("memory", 300 << 20, {"over 300 MB of memory", "parser crashed", "unreadable"}),
    ],
)
def test_a_filing_over_a_limit_costs_only_itself(
    limit: str, amount: int, reasons: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parse_in_workers.__kwdefaults__, limit, amount)
    for name, html in (("a.htm", PROSE), ("b.htm", costly(8000)), ("c.htm", PROSE)):
        (tmp_path / name).write_text(html)
    texts, rejected = read(tmp_path)
    assert texts == ["We sell pumps and valves."] * 2
    ((reason, where),) = rejected
    assert reason in reasons
    assert where.startswith("b.htm")


def test_a_costly_filing_within_the_limits_is_read_in_full() -> None:
    assert extract(costly(50).encode()).split() == ["word"] * 50


@pytest.mark.parametrize("depth", [255, 3000])
def test_tables_in_tables_in_tables_lose_no_cell(depth: int) -> None:
    cells = "".join(f"<table><tr><td>Cell{n}</td><td>" for n in range(depth))
    text = extract(f"<html><body>{cells}{'</td></tr></table>' * depth}<p>END</p></body></html>".encode())
    assert text.split() == [*(f"Cell{n}" for n in range(depth)), "END"]


def test_a_table_of_ten_thousand_cells_is_a_hundred_lines() -> None:
    row = "<tr>" + "".join(f"<td>1,{n:03}</td>" for n in range(100)) + "</tr>"
    lines = extract(f"<html><body><table>{row * 100}</table></body></html>".encode()).split("\n")
    assert lines == ["\t".join(f"1,{n:03}" for n in range(100))] * 100


@pytest.mark.parametrize(
    "content", [b"", b" \n\t\r\n ", b"\x00" * 100, b"\xff\xfe", b"<html></html>", b"<p> &nbsp; </p>"]
)
def test_files_without_text_are_counted_and_no_document(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.htm").write_bytes(content)
    texts, rejected = read(tmp_path)
    assert texts == []
    assert len(rejected) == 1


@pytest.mark.slow
def test_a_submission_of_200_megabytes_is_read_and_its_attachments_left_out(tmp_path: Path) -> None:
    line = b"M" + b"(&%N9S$P" * 7 + b"ABCD" + b"\n"
    picture = b"<DOCUMENT>\n<TYPE>GRAPHIC\n<TEXT>\nbegin 644 a\n" + line * 50_000 + b"`\nend\n</TEXT>\n</DOCUMENT>\n"
    report = b"<DOCUMENT>\n<TYPE>10-K\n<TEXT>\n" + PROSE.encode() + b"\n</TEXT>\n</DOCUMENT>\n"
    number = (200 << 20) // len(picture)
    (tmp_path / "large.txt").write_bytes(report + picture * number + report)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    texts, rejected = read(tmp_path)
    assert texts == ["We sell pumps and valves."] * 2
    assert [reason for reason, _ in rejected] == ["uuencoded"] * number
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50 << 10  # kB: the file was in a worker


@pytest.mark.slow
@pytest.mark.parametrize("paragraph", ["<p>Net sales were $1,234.</p>", "<tr><td>Sales<td>$<td>1,234", "1,234 "])
def test_a_document_of_200_megabytes_is_read_in_full_or_rejected(paragraph: str, tmp_path: Path) -> None:
    times = (200 << 20) // len(paragraph)
    (tmp_path / "large.htm").write_text(f"<html><body>{paragraph * times}</body></html>")
    (tmp_path / "next.htm").write_text(PROSE)
    texts, rejected = read(tmp_path)
    assert texts[-1] == "We sell pumps and valves."
    if rejected:
        assert rejected[0][0] in {"over 2048 MB of memory", "over 60 s of parsing", "unreadable"}
    else:
        assert texts[0].count("1,234") == times
