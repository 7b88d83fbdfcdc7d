"""The files source: every readable document once, everything else rejected with a reason."""

from __future__ import annotations

import gzip
import json
import lzma
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from domadapt.artifacts import document_schema
from domadapt.builtin.corpora.files import FilesOptions, FilesSource
from domadapt.builtin.corpora.general import GeneralSample
from domadapt.components import Source
from domadapt.errors import MissingError

Rejected = list[tuple[str, str]]


def read(source: Source) -> tuple[list[dict[str, Any]], Rejected]:
    rejected: Rejected = []
    batches = list(source.read(lambda reason, where: rejected.append((reason, where))))
    assert all(batch.schema.equals(document_schema()) for batch in batches)
    return [row for batch in batches for row in batch.to_pylist()], rejected


def files(path: Path | list[str], **options: Any) -> FilesSource:
    given = path if isinstance(path, list) else str(path)
    return FilesSource(FilesOptions.model_validate({"path": given, **options}))


def lines(*rows: Any) -> bytes:
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def plain(file: Path, data: bytes) -> None:
    file.write_bytes(data)


def in_gz(file: Path, data: bytes) -> None:
    file.with_name(f"{file.name}.gz").write_bytes(gzip.compress(data))


def in_xz(file: Path, data: bytes) -> None:
    file.with_name(f"{file.name}.xz").write_bytes(lzma.compress(data))


@pytest.mark.parametrize("write", [plain, in_gz, in_xz])
def test_a_text_file_is_one_document(tmp_path: Path, write: Callable[[Path, bytes], None]) -> None:
    write(tmp_path / "a.txt", "Köln\nzwei".encode())
    rows, rejected = read(files(tmp_path, license="CC0-1.0"))
    assert [(r["text"], r["source"], r["license"]) for r in rows] == [("Köln\nzwei", "files", "CC0-1.0")]
    assert rows[0]["id"] == rows[0]["group"] == json.loads(rows[0]["meta"])["file"]
    assert rejected == []


@pytest.mark.parametrize("write", [plain, in_gz, in_xz])
def test_a_line_of_jsonl_is_one_document_with_id_and_group(
    tmp_path: Path, write: Callable[[Path, bytes], None]
) -> None:
    write(tmp_path / "a.jsonl", lines({"body": "one", "key": 7, "who": "x"}, {"body": "two", "key": 8, "who": "x"}))
    rows, rejected = read(files(tmp_path, text_field="body", id_field="key", group_field="who"))
    assert [(r["id"], r["text"], r["group"]) for r in rows] == [("7", "one", "x"), ("8", "two", "x")]
    assert rejected == []


def test_a_row_of_parquet_is_one_document(tmp_path: Path) -> None:
    table = pa.table({"text": pa.array(["one", None, "", "two"], pa.large_string()), "n": [1, 2, 3, 4]})
    pq.write_table(table, tmp_path / "a.parquet")
    rows, rejected = read(files(tmp_path, id_field="n"))
    assert [(r["id"], r["text"]) for r in rows] == [("1", "one"), ("4", "two")]
    assert rejected == [("no field 'text'", "a.parquet:2"), ("no text", "a.parquet:3")]


def test_files_are_read_in_the_order_of_their_names_folders_included(tmp_path: Path) -> None:
    for name in ("c.txt", "a.md", "b/z.txt", "b/a.text"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / ".hidden.txt").write_text("hidden")
    assert [r["id"] for r in read(files(tmp_path))[0]] == ["a.md", "b/a.text", "b/z.txt", "c.txt"]


def test_lines_that_are_no_object_and_rows_without_text_are_rejected_with_their_place(tmp_path: Path) -> None:
    deep = b"[" * 200_000 + b"\n"
    data = b'{"text": "one"}\nnot json\n[1]\n\n{"title": "x"}\n{"text": 5}\n{"text": "  "}\n' + deep
    (tmp_path / "a.jsonl").write_bytes(data + b'{"text": "last"')
    rows, rejected = read(files(tmp_path))
    assert [r["text"] for r in rows] == ["one"]
    assert rejected == [
        ("not a JSON object", "a.jsonl:2"),
        ("not a JSON object", "a.jsonl:3"),
        ("no field 'text'", "a.jsonl:5"),
        ("no field 'text'", "a.jsonl:6"),
        ("no text", "a.jsonl:7"),
        ("not a JSON object", "a.jsonl:8"),
        ("not a JSON object", "a.jsonl:9"),
    ]


@pytest.mark.parametrize(("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_a_truncated_archive_keeps_the_lines_before_and_says_so(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    noise = os.urandom(30_000).hex()
    whole = compress(lines(*({"text": f"{i} {noise[i * 50 : i * 50 + 50]}"} for i in range(1000))))
    (tmp_path / f"a.jsonl{suffix}").write_bytes(whole[: len(whole) * 2 // 3])
    (tmp_path / "b.txt").write_text("after")
    rows, rejected = read(files(tmp_path))
    assert 1 < len(rows) < 1001
    assert rows[-1]["text"] == "after"
    assert [reason for reason, _ in rejected][-1] == "unreadable file"


def test_damaged_files_are_rejected_and_the_others_are_read(tmp_path: Path) -> None:
    (tmp_path / "a.txt.gz").write_bytes(b"no gzip at all")
    (tmp_path / "b.jsonl.xz").write_bytes(b"no xz at all")
    flipped = bytearray(gzip.compress(os.urandom(1000).hex().encode()))
    flipped[600] ^= 0xFF
    (tmp_path / "c.txt.gz").write_bytes(flipped)
    (tmp_path / "d.parquet").write_bytes(b"PAR1 no parquet PAR1")
    pq.write_table(pa.table({"text": ["x" * 100] * 100}), tmp_path / "e.parquet")
    whole = (tmp_path / "e.parquet").read_bytes()
    (tmp_path / "e.parquet").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "f.docx").write_bytes(b"PK")
    (tmp_path / "g.txt").write_text(" \n")
    (tmp_path / "h.txt").write_text("good")
    rows, rejected = read(files(tmp_path))
    assert [r["text"] for r in rows] == ["good"]
    assert [(reason, where.split(":")[0]) for reason, where in rejected] == [
        ("unreadable file", "a.txt.gz"),
        ("unreadable file", "b.jsonl.xz"),
        ("unreadable file", "c.txt.gz"),
        ("unreadable file", "d.parquet"),
        ("unreadable file", "e.parquet"),
        ("not text, JSONL or Parquet", "f.docx"),
        ("no text", "g.txt"),
    ]


def test_a_parquet_file_without_the_column_rejects_every_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["a", "b"]}), tmp_path / "a.parquet")
    rows, rejected = read(files(tmp_path))
    assert rows == []
    assert rejected == [("no field 'text'", "a.parquet:1"), ("no field 'text'", "a.parquet:2")]


def test_lone_surrogates_anywhere_are_replaced_and_never_stop_the_run(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a\\ud800b", "id": "i\\udfff", "g": "g\\ud800"}\n')
    (tmp_path / os.fsdecode(b"b\xff.txt")).write_text("name that is no UTF-8")
    rows, _ = read(files(tmp_path, id_field="id", group_field="g"))
    assert [(r["id"], r["text"], r["group"]) for r in rows] == [
        ("i?", "a?b", "g?"),
        ("b?.txt", "name that is no UTF-8", "b?.txt"),
    ]


def test_bytes_that_do_not_fit_the_encoding_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"K\xf6ln")
    assert read(files(tmp_path))[0][0]["text"] == "K\ufffdln"
    assert read(files(tmp_path, encoding="latin-1"))[0][0]["text"] == "Köln"


def test_a_byte_order_mark_costs_no_document(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"\xef\xbb\xbf" + lines({"text": "one"}))
    (tmp_path / "b.txt").write_bytes(b"\xef\xbb\xbftwo")
    rows, rejected = read(files(tmp_path))
    assert [r["text"] for r in rows] == ["one", "two"]
    assert rejected == []


@pytest.mark.parametrize("encoding", ["utf-9", "rot13", "", "a\0b"])
def test_an_unknown_encoding_is_refused_before_anything_runs(encoding: str) -> None:
    with pytest.raises(ValidationError, match="wanted the name of a text encoding"):
        FilesOptions(path="x", encoding=encoding)


def test_ids_are_unique_when_two_given_files_have_one_name(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.txt").write_text(folder)
        (tmp_path / folder / "x.jsonl").write_bytes(lines({"text": "one"}, {"text": "two"}))
    rows, _ = read(files([str(tmp_path / "a"), str(tmp_path / "b")]))
    assert len(rows) == 6
    assert len({r["id"] for r in rows}) == len({r["group"] for r in rows}) == 6


def test_of_two_documents_with_one_id_the_first_stays_and_the_second_is_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines({"text": "one", "id": 1}, {"text": "two", "id": 2}))
    (tmp_path / "b.jsonl").write_bytes(lines({"text": "three", "id": 1}))
    rows, rejected = read(files(tmp_path, id_field="id"))
    assert [r["text"] for r in rows] == ["one", "two"]
    assert rejected == [("id seen before", "b.jsonl: 1")]


def test_the_numbers_zero_and_false_are_ids_and_groups_like_any_other(tmp_path: Path) -> None:
    rows = ({"text": "a", "i": 0, "g": 0}, {"text": "b", "i": 1, "g": 0}, {"text": "c", "g": None})
    (tmp_path / "a.jsonl").write_bytes(lines(*rows))
    found, _ = read(files(tmp_path, id_field="i", group_field="g"))
    assert [(r["id"], r["group"]) for r in found] == [("0", "0"), ("1", "0"), ("a.jsonl:3", "a.jsonl:3")]


def test_a_missing_path_and_an_empty_folder_are_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="nowhere: no such file or folder"):
        files(tmp_path / "nowhere").fingerprint()
    with pytest.raises(MissingError, match="nowhere: no such file or folder"):
        read(files(tmp_path / "nowhere"))
    with pytest.raises(MissingError, match="source files: no file in"):
        read(files(tmp_path))


def test_the_fingerprint_is_that_of_the_contents_wherever_they_lie(tmp_path: Path) -> None:
    for folder in ("one", "other"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "a.txt").write_text("text")
    assert files(tmp_path / "one").fingerprint() == files(tmp_path / "other").fingerprint()
    (tmp_path / "other" / "a.txt").write_text("texT")
    assert files(tmp_path / "one").fingerprint() != files(tmp_path / "other").fingerprint()


def test_many_documents_come_in_batches_and_in_order(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(*({"text": f"{i}"} for i in range(1000))))
    batches = list(files(tmp_path).read(lambda reason, where: None))
    assert [b.num_rows for b in batches] == [256, 256, 256, 232]
    assert [t for b in batches for t in b["text"].to_pylist()] == [str(i) for i in range(1000)]


def test_the_general_sample_pins_every_document_to_a_split_by_group() -> None:
    rows, rejected = read(GeneralSample())
    assert rejected == []
    assert len({r["id"] for r in rows}) == len(rows) > 100
    pinned: dict[str, set[str]] = {}
    for row in rows:
        pinned.setdefault(row["group"], set()).add(json.loads(row["meta"])["split"])
    assert all(len(splits) == 1 for splits in pinned.values())
    assert set.union(*pinned.values()) == {"train", "selection", "report"}
    assert all(r["license"] for r in rows)
    assert len(GeneralSample().fingerprint()) == 64
