"""Digests of files and folders: what they hold, never where they lie or when they were written.

Big files are hashed once: digests are remembered by path, size and times in a small database
in the cache folder. Without a writable cache folder everything works and is hashed each time.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from domadapt.errors import MissingError


def cache_folder() -> Path:
    """Where adapt keeps what it may lose: $ADAPT_HOME, else $XDG_CACHE_HOME/adapt, else ~/.cache/adapt."""
    if home := os.environ.get("ADAPT_HOME"):
        return Path(home)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path(os.path.expanduser("~")) / ".cache") / "adapt"


def sha256_file(path: Path) -> str:
    """The sha256 of a file's bytes, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class DigestMemory:
    """Remembered sha256 of files, shared by all processes of this user."""

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder if folder is not None else cache_folder()

    def digests(self, files: Sequence[Path]) -> list[str]:
        """sha256 of each file, from memory where path, size and time are unchanged."""
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            connection = sqlite3.connect(self._folder / "digests.sqlite", timeout=10)
        except (OSError, sqlite3.Error):
            return [sha256_file(file) for file in files]
        with closing(connection):
            return self._with_memory(connection, files)

    def _with_memory(self, connection: sqlite3.Connection, files: Sequence[Path]) -> list[str]:
        digests, new = [], []
        try:
            connection.execute("CREATE TABLE IF NOT EXISTS digest (file TEXT PRIMARY KEY, state TEXT, sha256 TEXT)")
            for file in files:
                name, state = str(file.resolve()), _state(file)
                row = connection.execute("SELECT state, sha256 FROM digest WHERE file = ?", (name,)).fetchone()
                if row is None or row[0] != state:
                    row = (state, sha256_file(file))
                    new.append((name, *row))
                digests.append(str(row[1]))
            if new:
                connection.executemany("INSERT OR REPLACE INTO digest VALUES (?, ?, ?)", new)
                connection.commit()
        except sqlite3.Error:  # a damaged or locked memory costs time, never the answer
            return [sha256_file(file) for file in files]
        return digests


def _state(file: Path) -> str:
    stat = file.stat()
    # the change time as well: copying tools set the modification time back, nothing sets this one
    return f"{stat.st_size}/{stat.st_mtime_ns}/{stat.st_ctime_ns}/{stat.st_ino}"


def named_files(paths: Iterable[Path]) -> Iterator[tuple[str, Path]]:
    """All files below the given files and folders with their relative names, in a fixed order.

    A file goes by its own name, a file in a folder by its path below that folder. Hidden files are left
    out. Raises MissingError when a path does not exist.
    """
    for path in paths:
        if path.is_dir():
            files = (
                f
                for f in path.rglob("*")
                if f.is_file() and not any(p.startswith(".") for p in f.relative_to(path).parts)
            )
            yield from sorted((file.relative_to(path).as_posix(), file) for file in files)
        elif path.is_file():
            yield path.name, path
        else:
            raise MissingError(f"{path}: no such file or folder")


def digest_files(paths: Sequence[Path]) -> str:
    """One digest of files and folders: relative names, sizes and contents.

    Raises MissingError when one is not there or cannot be read.
    """
    try:
        named = list(named_files(paths))
        digests = DigestMemory().digests([file for _, file in named])
        sizes = [file.stat().st_size for _, file in named]
    except OSError as error:
        where = error.filename or ", ".join(map(str, paths))
        raise MissingError(f"{where}: cannot be read ({error.strerror})") from error
    return digest_of((name, size, digest) for (name, _), size, digest in zip(named, sizes, digests, strict=True))


def digest_of(files: Iterable[tuple[str, int, str]]) -> str:
    """One digest of (relative name, bytes, sha256) of files, in the order given."""
    whole = hashlib.sha256()
    for name, size, digest in files:
        whole.update(f"{name}\0{size}\0{digest}\n".encode("utf-8", "surrogateescape"))
    return whole.hexdigest()
