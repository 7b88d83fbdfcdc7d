"""Bad files of every kind: each is read or counted with a reason, and nothing else comes out."""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt.components import Source
from domadapt_medical.files import MAX_BYTES
from domadapt_medical.guidelines import GuidelinesOptions, GuidelinesSource
from domadapt_medical.pubmed.source import PubmedOptions, PubmedSource
from domadapt_medical.source import JatsOptions, JatsSource

ARTICLE = (Path(__file__).parent / "traps.nxml").read_bytes()


def tape(mode: str) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as archive:
        for name in ("PMC1/a.nxml", "../../outside.xml", "/absolute.xml", "long/" * 60 + "b.xml", "c.jpg"):
            info = tarfile.TarInfo(name)
            info.size = len(ARTICLE)
            archive.addfile(info, io.BytesIO(ARTICLE))
        link = tarfile.TarInfo("link.xml")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
    return buffer.getvalue()


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("a.nxml", "../outside.xml", "b.xml"):
            archive.writestr(name, ARTICLE)
    return buffer.getvalue()


PACKED = {
    ".tar": tape("w"),
    ".tar.gz": tape("w:gz"),
    ".tar.xz": tape("w:xz"),
    ".zip": zipped(),
    ".xml": ARTICLE,
    ".nxml.gz": gzip.compress(ARTICLE),
    ".xml.xz": lzma.compress(ARTICLE),
}


def read(source: Source) -> tuple[list[str], list[tuple[str, str]]]:
    """Ids and rejections."""
    rejected: list[tuple[str, str]] = []
    ids = []
    for batch in source.read(lambda reason, where: rejected.append((reason, where))):
        batch.validate(full=True)
        ids += batch["id"].to_pylist()
        assert all(text.strip() for text in batch["text"].to_pylist())
    assert all(reason and len(reason) < 40 for reason, _ in rejected)
    return ids, rejected


def test_members_with_hostile_names_are_read_in_place_and_written_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "in" / "here"
    folder.mkdir(parents=True)
    (folder / "a.tar.gz").write_bytes(PACKED[".tar.gz"])
    ids, rejected = read(JatsSource(JatsOptions(path=folder)))
    assert ids == ["PMC1234"]
    assert [reason for reason, _ in rejected] == ["duplicate article"] * 3
    assert [p.name for p in tmp_path.rglob("*") if p.is_file()] == ["a.tar.gz"]


@pytest.mark.parametrize("suffix", PACKED)
def test_a_damaged_file_of_any_kind_is_read_or_counted(suffix: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    whole = PACKED[suffix]

    @settings(max_examples=40, deadline=None)
    @given(st.data())
    def check(data: st.DataObject) -> None:
        damaged = bytearray(whole)
        for _ in range(data.draw(st.integers(1, 3))):
            start = data.draw(st.integers(0, len(damaged)))
            end = data.draw(st.integers(start, min(len(damaged), start + 600)))
            damaged[start:end] = data.draw(st.binary(max_size=12))
        if data.draw(st.booleans()):
            del damaged[data.draw(st.integers(0, len(damaged))) :]
        (folder / f"a{suffix}").write_bytes(damaged)
        ids, _ = read(JatsSource(JatsOptions(path=folder)))
        assert len(ids) == len(set(ids))

    check()


@pytest.mark.parametrize("size", [1, 3, 5, 11, 15, 40, -9, -1])
def test_an_archive_cut_anywhere_is_said(size: int, tmp_path: Path) -> None:
    whole = PACKED[".tar.gz"]
    # with a name in its header, which tarfile's own reader cannot find cut
    named = whole[:3] + bytes([whole[3] | 8]) + whole[4:10] + b"name\0" + whole[10:].removeprefix(b"name\0")
    for number, data in enumerate((whole, named)):
        (tmp_path / f"{number}.tar.gz").write_bytes(data[:size])
    _, rejected = read(JatsSource(JatsOptions(path=tmp_path)))
    assert {("damaged file", "0.tar.gz"), ("damaged file", "1.tar.gz")} <= set(rejected)


def test_a_bomb_in_any_packing_costs_no_more_than_the_limit(tmp_path: Path) -> None:
    bomb = b"<article>" + b" " * (4 * MAX_BYTES)
    (tmp_path / "a.xml.gz").write_bytes(gzip.compress(bomb))
    (tmp_path / "b.xml.xz").write_bytes(lzma.compress(bomb))
    with zipfile.ZipFile(tmp_path / "c.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.xml", bomb)
        archive.writestr("y.xml", ARTICLE)
    ids, rejected = read(JatsSource(JatsOptions(path=tmp_path)))
    assert ids == ["PMC1234"]
    assert sorted(rejected) == [
        ("over 32 MiB", "a.xml.gz"), ("over 32 MiB", "b.xml.xz"), ("over 32 MiB", "c.zip!x.xml")
    ]  # fmt: skip


SOURCES: dict[str, tuple[Callable[[Path], Source], tuple[str, ...]]] = {
    "medical.jats": (lambda path: JatsSource(JatsOptions(path=path)), (".xml.gz", ".nxml.gz")),
    "medical.pubmed": (lambda path: PubmedSource(PubmedOptions(path=path)), (".xml.gz",)),
    "medical.guidelines": (
        lambda path: GuidelinesSource(GuidelinesOptions(path=path, text_field="text")),
        (".jsonl", ".jsonl.xz"),
    ),
}


@pytest.mark.parametrize("name", SOURCES)
def test_every_real_file_is_read_or_counted_by_every_source_that_takes_its_name(name: str, real_data: Path) -> None:
    make, suffixes = SOURCES[name]
    files = [p for p in sorted((real_data / "medical").rglob("*")) if p.name.endswith(suffixes)]
    assert files
    read_files = 0
    for file in files:
        ids, rejected = read(make(file))
        assert ids or rejected, file
        read_files += bool(ids)
    # each source reads its own kind; of the others' it says what they are
    assert read_files >= {"medical.jats": 83, "medical.pubmed": 1, "medical.guidelines": 1}[name]
