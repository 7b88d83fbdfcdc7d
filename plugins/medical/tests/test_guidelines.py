"""Guidelines: fields, sources, and lines that are none."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt.artifacts import document_schema
from domadapt.errors import MissingError
from domadapt_medical.guidelines import MAX_LINE, GuidelinesOptions, GuidelinesSource

Rejections = tuple[list[tuple[str, str]], Callable[[str, str], None]]
ROWS: list[dict[str, Any]] = [
    {
        "id": "a1",
        "source": "nice",
        "title": "Fever in adults",
        "clean_text": "Measure it.",
        "raw_text": "  Measure\n it.",
        "url": "https://example.org/1",
        "overview": "How to find fever.",
    },
    {"id": "b2", "source": "who", "title": None, "clean_text": "# Cold\n\nWait.", "url": None, "overview": None},
    {"id": "c3", "source": "who", "title": "Cold", "clean_text": "# COLD\n\nWait longer."},
]


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def read(rejections: Rejections, path: Path, **options: Any) -> list[dict[str, str]]:
    rows = []
    for batch in GuidelinesSource(GuidelinesOptions(path=path, **options)).read(rejections[1]):
        assert batch.schema == document_schema()
        rows += batch.to_pylist()
    return rows


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "open_guidelines.jsonl"
    path.write_text(lines(*ROWS))
    return path


def test_a_guideline_is_its_title_and_its_clean_text(file: Path, rejections: Rejections) -> None:
    rows = read(rejections, file)
    assert [row["text"] for row in rows] == [
        "Fever in adults\n\nMeasure it.",
        "# Cold\n\nWait.",
        "# COLD\n\nWait longer.",
    ]
    assert [row["id"] for row in rows] == ["a1", "b2", "c3"]
    assert [row["group"] for row in rows] == ["https://example.org/1", "b2", "c3"]
    assert json.loads(rows[0]["meta"]) == {
        "title": "Fever in adults",
        "publisher": "nice",
        "url": "https://example.org/1",
    }
    assert rejections[0] == []


def test_fields_sources_and_licences_are_chosen(file: Path, rejections: Rejections) -> None:
    (row,) = read(
        rejections,
        file,
        sources=["nice"],
        overview_field="overview",
        title_field="",
        text_field="raw_text",
        id_field="url",
        group="source",
        licenses={"nice": "its own"},
    )
    assert row["text"] == "How to find fever.\n\nMeasure\n it."
    assert (row["id"], row["group"], row["license"]) == ("https://example.org/1", "nice", "its own")
    assert rejections[0] == [
        ("source not wanted", "open_guidelines.jsonl:2"),
        ("source not wanted", "open_guidelines.jsonl:3"),
    ]
    assert {row["license"] for row in read(rejections, file, licenses={"*": "x"})} == {"x"}


def test_lines_that_are_no_guideline_are_said_one_by_one(tmp_path: Path, rejections: Rejections) -> None:
    bad = [
        b"{",
        b"[1]",
        b"{}",
        b'{"id": "x"}',
        b'{"clean_text": " "}',
        b'{"clean_text": {"a": 1}}',
        b'{"clean_text": "caf\xe9"}',
        b"[" * 100_000,
        b'{"id": "a1", "clean_text": "again"}',
    ]
    data = b"\xef\xbb\xbf" + lines(ROWS[0]).encode() + b"\n\n" + b"\n".join(bad) + b"\n" + lines(ROWS[1]).encode()
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(data))
    assert [row["id"] for row in read(rejections, tmp_path)] == ["a1", "b2"]
    assert rejections[0] == [
        ("damaged JSON", "a.jsonl.gz:4"),
        ("not a JSON object", "a.jsonl.gz:5"),
        ("not a JSON object", "a.jsonl.gz:6"),
        ("no field 'clean_text'", "a.jsonl.gz:7"),
        ("no text", "a.jsonl.gz:8"),
        ("no text", "a.jsonl.gz:9"),
        ("wrong encoding", "a.jsonl.gz:10"),
        ("nested too deeply", "a.jsonl.gz:11"),
        ("duplicate guideline", "a.jsonl.gz:12"),
    ]


def test_a_file_that_was_cut_off_is_said_and_the_next_one_read(tmp_path: Path, rejections: Rejections) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(gzip.compress(lines(ROWS[0]).encode())[:-12])
    (tmp_path / "b.jsonl").write_text(lines(ROWS[1]))
    assert [row["id"] for row in read(rejections, tmp_path)] == ["b2"]
    assert rejections[0] == [("damaged file", "a.jsonl.gz")]


def test_a_line_too_long_for_memory_is_rejected_and_the_next_one_read(tmp_path: Path, rejections: Rejections) -> None:
    (tmp_path / "a.jsonl").write_text(lines({"id": "x", "clean_text": "y" * MAX_LINE}, ROWS[1]))
    assert [row["id"] for row in read(rejections, tmp_path)] == ["b2"]
    assert rejections[0] == [("over 32 MiB", "a.jsonl:1")]


def test_a_lone_surrogate_does_no_harm(tmp_path: Path, rejections: Rejections) -> None:
    (tmp_path / "a.jsonl").write_text('{"clean_text": "a\\ud800b"}\n')
    (row,) = read(rejections, tmp_path)
    assert (row["id"], row["text"]) == ("a.jsonl:1", "a?b")


def test_missing_files_say_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no guidelines in JSON lines in this folder"):
        GuidelinesSource(GuidelinesOptions(path=tmp_path)).fingerprint()


def test_any_bytes_are_guidelines_or_a_verdict(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("bytes")
    values = st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda v: st.lists(v, max_size=3))
    row = st.dictionaries(st.sampled_from(["id", "title", "clean_text", "source", "url"]), values)

    @settings(max_examples=120, deadline=None)
    @given(st.lists(st.one_of(row.map(lambda r: json.dumps(r).encode()), st.binary(max_size=60)), max_size=6))
    def check(rows: list[bytes]) -> None:
        file = folder / "a.jsonl"
        file.write_bytes(b"\n".join(rows))
        given_lines = [line for line in file.read_bytes().split(b"\n") if line.strip(b" \t\r\n\v\f")]
        reasons: list[str] = []
        source = GuidelinesSource(GuidelinesOptions(path=file))
        kept = sum(batch.num_rows for batch in source.read(lambda reason, where: reasons.append(reason)))
        # what is no space to Python's bytes may be one to its text, a byte-order mark too
        assert kept + len(reasons) <= len(given_lines)
        assert kept + len(reasons) >= sum(line[:1] in b"{[" for line in given_lines)

    check()
