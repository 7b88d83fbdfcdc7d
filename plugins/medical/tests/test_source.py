"""Where articles are found, how they are named and grouped, and what is said when they are not there."""

from __future__ import annotations

import gzip
import io
import json
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from domadapt.artifacts import document_schema
from domadapt.errors import DataError, MissingError
from domadapt_medical.files import MAX_BYTES
from domadapt_medical.source import JatsOptions, JatsSource

Rejections = tuple[list[tuple[str, str]], Callable[[str, str], None]]


def small(number: int, journal: str = "1234-5678", text: str = "words") -> bytes:
    return (
        f"<article><front><journal-meta><issn>{journal}</issn></journal-meta><article-meta>"
        f'<article-id pub-id-type="doi">10.99999/{number}</article-id></article-meta></front>'
        f"<body><p>{text}</p></body></article>"
    ).encode()


def read(rejections: Rejections, **options: Any) -> list[dict[str, str]]:
    source = JatsSource(JatsOptions(**options))
    rows = []
    for batch in source.read(rejections[1]):
        assert batch.schema == document_schema()
        rows += batch.to_pylist()
    return rows


def tar(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return buffer.getvalue()


def test_plain_and_packed_files_are_read_in_the_order_of_their_names(tmp_path: Path, rejections: Rejections) -> None:
    (tmp_path / "a.xml").write_bytes(small(1))
    (tmp_path / "b.nxml.gz").write_bytes(gzip.compress(small(2)))
    (tmp_path / "c.xml.xz").write_bytes(lzma.compress(small(3)))
    with zipfile.ZipFile(tmp_path / "d.zip", "w") as archive:
        archive.writestr("x/4.nxml", small(4))
        archive.writestr("picture.jpg", b"no article")
    (tmp_path / "e.tar.gz").write_bytes(tar({"PMC/5.nxml": small(5), "list.csv": b"a,b", "PMC/6.xml": small(6)}))
    (tmp_path / "notes.txt").write_text("passed over")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "f.XML").write_bytes(small(7))
    rows = read(rejections, path=tmp_path)
    assert [row["id"] for row in rows] == [f"10.99999/{n}" for n in range(1, 8)]
    assert rejections[0] == []


def test_damaged_files_are_rejected_and_the_others_read(tmp_path: Path, rejections: Rejections) -> None:
    (tmp_path / "a.xml.gz").write_bytes(gzip.compress(small(1))[:-20])
    (tmp_path / "b.zip").write_bytes(b"PK no zip")
    (tmp_path / "c.tar.gz").write_bytes(tar({"1.xml": small(2), "2.xml": bytes(range(256)) * 900})[:-400])
    (tmp_path / "d.xml.xz").write_bytes(b"no xz")
    (tmp_path / "e.xml").write_bytes(b"<book/>")
    (tmp_path / "f.xml").write_bytes(small(3))
    rows = read(rejections, path=tmp_path)
    assert [row["id"] for row in rows] == ["10.99999/2", "10.99999/3"]
    assert set(rejections[0]) == {
        ("damaged file", "a.xml.gz"),
        ("damaged file", "b.zip"),
        ("damaged file", "c.tar.gz"),
        ("damaged file", "d.xml.xz"),
        ("not JATS", "e.xml"),
    }


def test_an_article_too_long_for_memory_is_rejected(tmp_path: Path, rejections: Rejections) -> None:
    (tmp_path / "a.xml.gz").write_bytes(gzip.compress(small(1) + b" " * MAX_BYTES))
    assert read(rejections, path=tmp_path) == []
    assert rejections[0] == [("over 32 MiB", "a.xml.gz")]


def test_the_same_article_twice_is_kept_once_and_ids_are_unique(tmp_path: Path, rejections: Rejections) -> None:
    (tmp_path / "a.xml").write_bytes(small(1))
    (tmp_path / "b.xml").write_bytes(small(1))
    nameless = small(2).replace(b'<article-id pub-id-type="doi">10.99999/2</article-id>', b"")
    for folder in ("x", "y"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "same.nxml").write_bytes(nameless)
    rows = read(rejections, path=tmp_path)
    assert [row["id"] for row in rows] == ["10.99999/1", "same", "same-2"]
    assert [row["group"] for row in rows] == ["10.99999/1", "same", "same-2"]
    assert rejections[0] == [("duplicate article", "b.xml")]


def test_groups_are_articles_or_journals(tmp_path: Path, rejections: Rejections) -> None:
    (tmp_path / "a.xml").write_bytes(small(1, "1111-1111"))
    (tmp_path / "b.xml").write_bytes(small(2, "2222-2222"))
    assert [row["group"] for row in read(rejections, path=tmp_path)] == ["10.99999/1", "10.99999/2"]
    assert [row["group"] for row in read(rejections, path=tmp_path, group="journal")] == ["1111-1111", "2222-2222"]


def licensed(number: int, address: str) -> bytes:
    permissions = f"<permissions><license><license-p>{address}</license-p></license></permissions>"
    return small(number).replace(b"</article-meta>", f"{permissions}</article-meta>".encode())


def test_articles_are_taken_by_their_licences(tmp_path: Path, rejections: Rejections) -> None:
    for number, kind in enumerate(("by/4.0", "by-nc/4.0", "by/2.0"), 1):
        (tmp_path / f"{number}.xml").write_bytes(licensed(number, f"http://creativecommons.org/licenses/{kind}/"))
    (tmp_path / "4.xml").write_bytes(small(4))
    rows = read(rejections, path=tmp_path, licenses=["CC-BY"])
    assert [(row["id"], row["license"]) for row in rows] == [("10.99999/1", "CC-BY-4.0"), ("10.99999/3", "CC-BY-2.0")]
    assert rejections[0] == [("licence not wanted", "2.xml"), ("no licence named", "4.xml")]


def test_the_header_of_an_archives_member_cannot_fill_the_memory(tmp_path: Path, rejections: Rejections) -> None:
    info = tarfile.TarInfo("long")
    info.type, info.size = tarfile.GNUTYPE_LONGNAME, 3_000_000
    member = tarfile.TarInfo("2.xml")
    member.size = len(small(2))
    with gzip.open(tmp_path / "a.tar.gz", "wb") as archive:
        archive.write(member.tobuf() + small(2) + bytes(-len(small(2)) % 512))
        archive.write(info.tobuf(tarfile.GNU_FORMAT) + b"x" * 3_000_000)
    assert [row["id"] for row in read(rejections, path=tmp_path)] == ["10.99999/2"]
    assert rejections[0] == [("damaged file", "a.tar.gz")]


def test_a_package_as_pmc_hands_it_out_gives_its_article(tmp_path: Path, rejections: Rejections) -> None:
    members = {
        "PMC77/license.txt": b"CC BY",
        "PMC77/paper.pdf": b"%PDF-1.4",
        "PMC77/paper.nxml": small(77),
        "PMC77/f1.jpg": bytes(range(256)),
    }
    (tmp_path / "PMC77.tar.gz").write_bytes(tar(members))
    assert [row["id"] for row in read(rejections, path=tmp_path)] == ["10.99999/77"]
    assert rejections[0] == []


def test_several_paths_are_read_and_facts_are_kept(tmp_path: Path, rejections: Rejections, article: str) -> None:
    one, two = tmp_path / "one.xml", tmp_path / "two.xml"
    one.write_text(article)
    two.write_bytes(small(2))
    rows = read(rejections, path=[one, two])
    assert [row["id"] for row in rows] == ["PMC1234", "10.99999/2"]
    assert json.loads(rows[0]["meta"])["journal"] == "Annals of Nowhere"
    assert (rows[0]["source"], rows[0]["license"], rows[1]["license"]) == ("medical.jats", "CC-BY-NC-4.0", "")


def test_long_inputs_come_in_several_batches(
    tmp_path: Path, rejections: Rejections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domadapt_medical.source.BATCH_CHARACTERS", 50)
    for n in range(6):
        (tmp_path / f"{n}.xml").write_bytes(small(n, text="word " * 5))
    batches = list(JatsSource(JatsOptions(path=tmp_path)).read(rejections[1]))
    assert [batch.num_rows for batch in batches] == [3, 3]


def test_missing_input_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="no such file or folder; set the source's option `path`"):
        JatsSource(JatsOptions(path=tmp_path / "nowhere")).fingerprint()
    with pytest.raises(MissingError, match="no JATS articles in this folder; wanted files that end in"):
        JatsSource(JatsOptions(path=tmp_path)).fingerprint()
    (tmp_path / "a.pdf").write_bytes(b"")
    with pytest.raises(DataError, match="not the name of a file with JATS articles"):
        JatsSource(JatsOptions(path=tmp_path / "a.pdf")).fingerprint()
    with pytest.raises(ValidationError, match="path"):
        JatsOptions()  # type: ignore[call-arg]


def test_the_fingerprint_follows_content_and_names_but_not_the_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ADAPT_HOME", str(tmp_path / "home"))
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
        (folder / "a.xml").write_bytes(small(1))
    first, second = (JatsSource(JatsOptions(path=folder)).fingerprint() for folder in folders)
    assert first == second
    (folders[1] / "a.xml").write_bytes(small(2))
    assert JatsSource(JatsOptions(path=folders[1])).fingerprint() != first
    (folders[0] / "a.xml").rename(folders[0] / "b.xml")
    assert JatsSource(JatsOptions(path=folders[0])).fingerprint() != first
