"""Digests of files: contents and relative names count, location and time do not."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import sqlite3
import stat
from pathlib import Path

import pytest

from domadapt.errors import MissingError
from domadapt.pipeline import fingerprints
from domadapt.pipeline.fingerprints import DigestMemory, cache_folder, digest_files, named_files, sha256_file


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    (folder / "sub").mkdir(parents=True)
    (folder / "a.txt").write_text("alpha")
    (folder / "sub" / "b.txt").write_text("beta")
    return folder


@pytest.fixture(autouse=True)
def own_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ADAPT_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def test_the_digest_of_a_file_is_its_sha256(folder: Path) -> None:
    assert sha256_file(folder / "a.txt") == hashlib.sha256(b"alpha").hexdigest()


def test_a_copy_elsewhere_at_another_time_has_the_same_digest(folder: Path, tmp_path: Path) -> None:
    before = digest_files([folder])
    copy = tmp_path / "elsewhere" / "of" / "another-name"
    shutil.copytree(folder, copy)
    for file in copy.rglob("*.txt"):
        os.utime(file, (1, 1))
    assert digest_files([copy]) == before


def test_name_size_content_and_place_below_the_folder_each_change_the_digest(folder: Path) -> None:
    digests = {digest_files([folder])}
    (folder / "a.txt").write_text("alphb")
    digests.add(digest_files([folder]))
    (folder / "a.txt").write_text("alphbb")
    digests.add(digest_files([folder]))
    (folder / "a.txt").rename(folder / "c.txt")
    digests.add(digest_files([folder]))
    (folder / "c.txt").rename(folder / "sub" / "c.txt")
    digests.add(digest_files([folder]))
    (folder / "empty.txt").touch()
    digests.add(digest_files([folder]))
    assert len(digests) == 6


def test_hidden_files_do_not_count(folder: Path) -> None:
    before = digest_files([folder])
    (folder / ".DS_Store").write_text("x")
    (folder / ".git").mkdir()
    (folder / ".git" / "config").write_text("x")
    assert digest_files([folder]) == before


def test_a_folder_below_a_hidden_one_is_read(tmp_path: Path) -> None:
    (tmp_path / ".hidden" / "data").mkdir(parents=True)
    (tmp_path / ".hidden" / "data" / "a.txt").write_text("a")
    assert [name for name, _ in named_files([tmp_path / ".hidden" / "data"])] == ["a.txt"]


def test_a_missing_path_is_said_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"nowhere: no such file or folder$"):
        digest_files([tmp_path / "nowhere"])


def test_an_unchanged_file_is_not_read_again_and_a_changed_one_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    monkeypatch.setattr(fingerprints, "sha256_file", lambda path: (read.append(path.name), sha256_file(path))[1])
    before = digest_files([folder])
    assert read == ["a.txt", "b.txt"]
    assert digest_files([folder]) == before
    assert read == ["a.txt", "b.txt"]
    (folder / "a.txt").write_text("gamma")
    os.utime(folder / "a.txt", ns=(1, 1))  # same size, another time
    assert digest_files([folder]) != before
    assert read == ["a.txt", "b.txt", "a.txt"]


@pytest.mark.parametrize("damage", ["garbage", "read-only", "a file in its place"])
def test_without_a_usable_memory_the_digest_is_the_same(
    folder: Path, own_memory: Path, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = digest_files([folder])
    database = own_memory / "digests.sqlite"
    if damage == "garbage":
        database.write_bytes(b"no database" * 1000)
    elif damage == "a file in its place":
        shutil.rmtree(own_memory)
        own_memory.write_text("")
    else:
        database.unlink()
        own_memory.chmod(stat.S_IRUSR | stat.S_IXUSR)
        if os.access(own_memory, os.W_OK):  # root writes everywhere

            def refuse(*args: object, **named: object) -> sqlite3.Connection:
                raise sqlite3.OperationalError("unable to open database file")

            monkeypatch.setattr(sqlite3, "connect", refuse)
    try:
        assert digest_files([folder]) == before
    finally:
        if own_memory.is_dir():
            own_memory.chmod(stat.S_IRWXU)


def test_a_memory_locked_by_another_process_costs_time_but_not_the_answer(folder: Path, tmp_path: Path) -> None:
    memory = DigestMemory(tmp_path / "memory")
    wanted = memory.digests([folder / "a.txt"])
    (folder / "a.txt").touch()
    connection = sqlite3.connect(tmp_path / "memory" / "digests.sqlite", isolation_level=None)
    connection.execute("PRAGMA busy_timeout = 0")
    connection.execute("BEGIN EXCLUSIVE")
    connect = sqlite3.connect
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite3, "connect", lambda path, timeout: connect(path, timeout=0.01))
            assert memory.digests([folder / "a.txt"]) == wanted
    finally:
        connection.close()


def test_the_cache_folder_follows_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert cache_folder() == tmp_path / "home"
    monkeypatch.delenv("ADAPT_HOME")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder() == tmp_path / "xdg" / "adapt"
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", str(tmp_path / "me"))
    assert cache_folder() == tmp_path / "me" / ".cache" / "adapt"


def test_a_file_that_is_copied_over_with_its_old_time_is_hashed_again(folder: Path) -> None:
    file = folder / "a.txt"
    times = file.stat().st_atime_ns, file.stat().st_mtime_ns
    before = digest_files([folder])
    file.write_text("omega")  # as long as before, in place
    os.utime(file, ns=times)
    assert digest_files([folder]) != before


def test_a_file_that_cannot_be_read_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path) -> str:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(fingerprints, "sha256_file", refuse)
    with pytest.raises(MissingError, match=r"a\.txt: cannot be read \(Permission denied\)"):
        digest_files([folder])
