"""Files -> named byte strings, unpacked from `.xz`, `.gz` and `.zip` on the way.

A file is read whole, since a filing is; how much that may be is bounded, so that an archive of 200 kB cannot
become gigabytes of memory. Compression is known by its magic number. Nothing is written to disk.
"""

from __future__ import annotations

import gzip
import io
import lzma
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from domadapt_sec.rejection import Rejection

ZIP, XZ, GZIP = b"PK\x03\x04", b"\xfd7zXZ\x00", b"\x1f\x8b"
MAX_BYTES = 512 << 20  # the largest submissions on EDGAR, with their attachments, are about 400 MB
# Filings pack 5 to 30 times smaller. What grows more than 200-fold is a bomb, if it is large at all.
MAX_RATIO = 200
ALWAYS_ALLOWED = 16 << 20
DAMAGED = (OSError, EOFError, lzma.LZMAError, zlib.error, zipfile.BadZipFile, NotImplementedError, RuntimeError)

Unpacked = tuple[str, bytes | Rejection]


def is_archive(path: Path) -> bool:
    """Whether a file holds others."""
    try:
        with path.open("rb") as stream:
            return stream.read(len(ZIP)) == ZIP
    except OSError:
        return False  # told when it is read


def unpacked(path: Path, name: str) -> Iterator[Unpacked]:
    """(name, bytes) of the file, or of each member of a zip; a Rejection in place of bytes that cannot be had."""
    try:
        with path.open("rb") as stream:
            yield from _members(name, stream, path.stat().st_size)
    except OSError:
        yield name, Rejection("unreadable")


def _members(name: str, stream: IO[bytes], num_bytes: int) -> Iterator[Unpacked]:
    magic = stream.read(6)
    stream.seek(0)
    if not magic.startswith(ZIP):
        yield _plain(name, stream, num_bytes, magic)
        return
    try:
        with zipfile.ZipFile(stream) as archive:
            for member in archive.infolist():
                if not member.is_dir():
                    yield _member(archive, member)
    except DAMAGED:
        yield name, Rejection("damaged archive")


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> Unpacked:
    try:
        with archive.open(member) as stream:
            data = _bounded(stream, member.compress_size)
    except Rejection as rejection:
        return member.filename, rejection
    except DAMAGED:
        return member.filename, Rejection("damaged archive")
    return _plain(member.filename, io.BytesIO(data), len(data), data[:6])


def _plain(name: str, stream: IO[bytes], num_bytes: int, magic: bytes) -> Unpacked:
    """The bytes behind one layer of xz or gzip, if there is one."""
    try:
        if magic.startswith(XZ):
            with lzma.LZMAFile(stream) as xz:
                return name.removesuffix(".xz"), _bounded(xz, num_bytes)
        if magic.startswith(GZIP):
            with gzip.GzipFile(fileobj=stream) as gz:
                return name.removesuffix(".gz"), _bounded(gz, num_bytes)
        return name, _bounded(stream, num_bytes)
    except Rejection as rejection:
        return name, rejection
    except DAMAGED:
        return name, Rejection("damaged archive" if magic.startswith((XZ, GZIP)) else "unreadable")


def _bounded(stream: IO[bytes] | lzma.LZMAFile | gzip.GzipFile, packed: int) -> bytes:
    """All bytes of a stream. packed: their number before unpacking. Raises Rejection when they are too many."""
    limit = min(MAX_BYTES, max(ALWAYS_ALLOWED, MAX_RATIO * packed))
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise Rejection("too large")
    return data
