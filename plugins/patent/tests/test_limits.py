"""Patents and archives that cost too much: each is dropped with a reason, the ones beside it are read."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from domadapt.builtin.corpora.workers import parse_in_workers


def test_a_document_that_fills_the_memory_costs_only_itself(
    tmp_path: Path, grant: Callable[..., bytes], read: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(parse_in_workers.__kwdefaults__, "memory", 200 << 20)
    large = grant("99000002", description="<p>x</p>" * 1_500_000)
    (tmp_path / "week.xml").write_bytes(grant("99000001") + large + grant("99000003"))
    reading = read(tmp_path)
    assert [row["id"] for row in reading.rows] == ["XX99000001B2", "XX99000003B2"]
    assert reading.rejected in (["over 200 MB of memory"], ["damaged XML"], ["parser crashed"])
    assert reading.places[0].startswith("week.xml document 2")


def test_a_document_that_takes_too_long_costs_only_itself(
    tmp_path: Path, grant: Callable[..., bytes], read: Callable, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the large one takes about 11 s, passing over it to the one behind under one
    monkeypatch.setitem(parse_in_workers.__kwdefaults__, "seconds", 3)
    large = grant("99000002", description="<p>x <b>1</b></p>" * 1_800_000)
    (tmp_path / "week.xml").write_bytes(grant("99000001") + large + grant("99000003"))
    reading = read(tmp_path)
    assert [row["id"] for row in reading.rows] == ["XX99000001B2", "XX99000003B2"]
    assert reading.rejected == ["over 3 s of parsing"]


def test_a_small_archive_of_very_much_is_counted_and_the_next_one_read(
    tmp_path: Path, grant: Callable[..., bytes], read: Callable
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.xml", b"<us-patent-grant>" + b"\0" * (200 << 20))
    assert (tmp_path / "a.zip").stat().st_size < 300_000
    (tmp_path / "b.xml").write_bytes(grant())
    reading = read(tmp_path)
    assert [row["id"] for row in reading.rows] == ["XX99000001B2"]
    assert reading.rejected == ["too long"]


def test_members_with_hostile_names_are_read_in_place_and_written_nowhere(
    tmp_path: Path, grant: Callable[..., bytes], read: Callable
) -> None:
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    with tarfile.open(folder / "a.tar.gz", "w:gz") as archive:
        for number, name in enumerate(("../../outside.xml", "/absolute.xml", "long/" * 60 + "b.xml")):
            info = tarfile.TarInfo(name)
            data = grant(f"9900000{number}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        link = tarfile.TarInfo("link.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    reading = read(folder)
    assert [row["id"] for row in reading.rows] == [f"XX9900000{number}B2" for number in range(3)]
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["a.tar.gz"]


def test_a_text_of_ten_megabytes_in_one_element_is_read_in_full_or_refused(
    tmp_path: Path, grant: Callable[..., bytes], read: Callable
) -> None:
    (tmp_path / "a.xml").write_bytes(grant(description=f"<p>{'word ' * 2_200_000}END</p>"))
    reading = read(tmp_path)
    if reading.rejected:
        assert (reading.rows, reading.rejected) == ([], ["damaged XML"])
    else:
        assert reading.texts[0].count("word") == 2_200_000
        assert "END" in reading.texts[0]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "cp1252"])
def test_documents_in_other_encodings_are_read_in_full_or_refused(
    encoding: str, tmp_path: Path, grant: Callable[..., bytes], read: Callable
) -> None:
    text = grant(description="<p>A lamp at 10° – “on”.</p>").decode()
    (tmp_path / "a.xml").write_bytes(text.encode(encoding))
    reading = read(tmp_path)
    if encoding == "utf-8-sig":
        assert "A lamp at 10° – “on”." in reading.texts[0]
    else:  # it says that it is UTF-8
        assert reading.rows == []
        assert reading.rejected
