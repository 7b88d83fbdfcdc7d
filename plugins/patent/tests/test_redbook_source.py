"""Files, folders and archives into record batches."""

from __future__ import annotations

import gzip
import lzma
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from domadapt.errors import MissingError
from domadapt_patent.redbook import source as module
from domadapt_patent.redbook.source import RedbookSource

Grant = Callable[..., bytes]
REASONS = {
    "not a patent document", "damaged text", "cut short", "sequence listing", "damaged XML", "unknown entity",
    "no document number", "no text", "repeated", "too long", "damaged archive",
}  # fmt: skip


def fingerprint(*paths: Path) -> str:
    return RedbookSource(RedbookSource.Config(path=list(paths))).fingerprint()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPT_HOME", str(tmp_path_factory.mktemp("home")))


def test_concatenated_documents_are_all_read(tmp_path: Path, grant: Grant, read: Callable) -> None:
    file = tmp_path / "ipg.xml"
    file.write_bytes(b"".join(grant(f"9900000{n}") for n in range(5)))
    reading = read(file)
    assert [row["id"] for row in reading.rows] == [f"XX9900000{n}B2" for n in range(5)]
    assert {(row["source"], row["license"]) for row in reading.rows} == {("patent.redbook", "public domain (USPTO)")}
    assert reading.rejected == []


def test_every_kind_of_compression_gives_the_same_documents(tmp_path: Path, grant: Grant, read: Callable) -> None:
    data = grant("99000001") + grant("99000002")
    (tmp_path / "a.xml").write_bytes(data)
    (tmp_path / "b.xml.xz").write_bytes(lzma.compress(data))
    (tmp_path / "c.xml.gz").write_bytes(gzip.compress(data))
    with zipfile.ZipFile(tmp_path / "d.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("week/ipg.XML", data)
        archive.writestr("readme.txt", b"no patents here")
    texts = [read(tmp_path / name).texts for name in ("a.xml", "b.xml.xz", "c.xml.gz", "d.zip")]
    assert len(texts[0]) == 2
    assert texts[1:] == [texts[0]] * 3


def test_a_folder_is_searched_at_any_depth_in_the_order_of_names(tmp_path: Path, grant: Grant, read: Callable) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "x.xml").write_bytes(grant("99000002"))
    (tmp_path / "a.xml").write_bytes(grant("99000001"))
    (tmp_path / "notes.txt").write_text("no")
    assert [row["id"] for row in read(tmp_path).rows] == ["XX99000001B2", "XX99000002B2"]


def test_a_truncated_last_document_is_rejected_and_the_others_are_kept(
    tmp_path: Path, grant: Grant, read: Callable
) -> None:
    file = tmp_path / "cut.xml"
    file.write_bytes(grant("99000001") + grant("99000002") + grant("99000003")[:-200])
    reading = read(file)
    assert (len(reading.rows), reading.rejected) == (2, ["damaged XML"])
    assert reading.places == ["cut.xml document 3"]


def test_a_truncated_archive_keeps_what_could_be_read(tmp_path: Path, grant: Grant, read: Callable) -> None:
    noise = random.Random(0)
    many = b"".join(grant(f"{n:08d}", description=f"<p>{noise.getrandbits(16000):x}</p>") for n in range(600))
    packed = gzip.compress(many)
    (tmp_path / "cut.xml.gz").write_bytes(packed[: len(packed) * 3 // 4])
    reading = read(tmp_path)
    assert 100 < len(reading.rows) < 600
    assert reading.rejected == ["damaged archive"]


def test_an_archive_without_xml_and_a_blank_file_are_rejected_and_not_passed_over(
    tmp_path: Path, read: Callable
) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("readme.txt", b"nothing")
    (tmp_path / "b.xml").write_bytes(b"\n\n")
    assert read(tmp_path).rejected == ["not a patent document"] * 2


def test_a_document_found_twice_is_kept_once(tmp_path: Path, grant: Grant, read: Callable) -> None:
    (tmp_path / "a.xml").write_bytes(grant())
    (tmp_path / "b.xml").write_bytes(grant())
    reading = read(tmp_path)
    assert (len(reading.rows), reading.rejected) == (1, ["repeated"])


def test_parts_that_a_patent_does_not_have_leave_no_document(tmp_path: Path, grant: Grant, read: Callable) -> None:
    (tmp_path / "a.xml").write_bytes(grant(description=""))
    assert read(tmp_path, parts=["description"]).rejected == ["no text"]
    assert read(tmp_path, parts=["title"]).texts == ["Lamp"]


def test_batches_are_closed_at_their_length(tmp_path: Path, grant: Grant, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH_CHARACTERS", 250)
    (tmp_path / "a.xml").write_bytes(b"".join(grant(f"9900000{n}") for n in range(7)))
    sizes = [batch.num_rows for batch in RedbookSource(RedbookSource.Config(path=tmp_path)).read(lambda *_: None)]
    assert sum(sizes) == 7
    assert len(sizes) > 1


def test_the_fingerprint_is_that_of_the_contents(tmp_path: Path, grant: Grant) -> None:
    for name in ("here", "there"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.xml").write_bytes(grant())
    assert fingerprint(tmp_path / "here") == fingerprint(tmp_path / "there")
    (tmp_path / "there" / "a.xml").write_bytes(grant("99000002"))
    assert fingerprint(tmp_path / "here") != fingerprint(tmp_path / "there")


def test_a_missing_path_says_where_patents_come_from(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"gone is not there.*data\.uspto\.gov.*patent\.sample"):
        fingerprint(tmp_path / "gone")


def test_a_folder_without_files_says_which_ones_were_wanted(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no file under .* ends with \.xml, .*\.zip, \.tar"):
        fingerprint(tmp_path)


@pytest.mark.parametrize("options", [{}, {"path": []}, {"path": "x", "parts": []}, {"path": "x", "parts": ["claim"]}])
def test_options_that_cannot_work_are_refused(options: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RedbookSource.Config(**options)  # type: ignore[arg-type]


_MARKUP = st.sampled_from(
    b"<?xml version='1.0'?>\n|<us-patent-grant>|</us-patent-grant>|<claims>|<claim id='x'>|</claim>|<doc-number>|"
    b"<us-bibliographic-data-grant>|<publication-reference>|&amp;|&#0;|&x;|<!DOCTYPE|<![CDATA[|]]>|<!--|-->|"
    b"\xef\xbb\xbf|\r\n|<|>|\x00|PK\x03\x04|\xfd7zXZ\x00|\x1f\x8b\x08".split(b"|")
)


@given(data=st.lists(st.one_of(_MARKUP, st.binary(max_size=30)), max_size=40).map(b"".join), suffix=st.sampled_from(
    [".xml", ".xml.xz", ".xml.gz", ".zip"]
))  # fmt: skip
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_arbitrary_bytes_are_only_ever_rejected(tmp_path: Path, read: Callable, data: bytes, suffix: str) -> None:
    file = tmp_path / f"fuzz{suffix}"
    file.write_bytes(data)
    reading = read(file)
    assert reading.rows == []
    assert set(reading.rejected) <= REASONS


@given(seed=st.integers(0, 2**32), changes=st.integers(1, 8), cut=st.floats(0.5, 1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=150)
def test_damaged_documents_are_kept_or_rejected_and_all_are_counted(
    tmp_path: Path, read: Callable, grant: Grant, seed: int, changes: int, cut: float
) -> None:
    rng = random.Random(seed)
    damaged = bytearray(grant("99000002"))
    for _ in range(changes):
        damaged[rng.randrange(len(damaged))] = rng.randrange(256)
    damaged = damaged[: int(len(damaged) * cut)]
    file = tmp_path / "damaged.xml"
    file.write_bytes(grant("99000001") + bytes(damaged) + b"\n" + grant("99000003"))
    reading = read(file)
    whole = {"XX99000003B2"}
    if damaged.startswith(b"<?xml "):  # otherwise it cannot be told from the end of the first one
        whole.add("XX99000001B2")
    assert whole <= {row["id"] for row in reading.rows}
    assert set(reading.rejected) <= REASONS
    assert 2 <= len(reading.rows) + len(reading.rejected) <= 4
