"""Files and what is inside them: plain, gzip, xz, zip and tar, told by content, read as streams.

Nothing is unpacked to disk and nothing is held but a block, so neither names inside an archive nor its unpacked size
can do harm. Trade-off: a tar is read front to back, once.
"""

from __future__ import annotations

import errno
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, cast

PACKED = (".gz", ".xz")
DEEPEST = 2
"""Tars within an archive that are opened: HUPD and BIGPATENT pack archives of years and parts into one."""

ARCHIVES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.xz")


class DamagedArchiveError(Exception):
    """A compressed file ends early or is not what its beginning says."""


@contextmanager
def damage_named() -> Iterator[None]:
    """Turn whatever the readers of archives raise on damaged data into DamagedArchiveError."""
    import gzip
    import lzma
    import tarfile

    # RuntimeError: zipfile's answer to an encrypted member or an unknown compression. ValueError: to a name or an
    # offset that cannot be.
    damage = (EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, tarfile.TarError)
    try:
        yield
    except (*damage, RuntimeError, ValueError, struct.error) as error:
        raise DamagedArchiveError(str(error)) from error
    except OSError as error:
        if error.errno != errno.EINVAL:  # a seek to where nothing can be; other errors are the disk's
            raise
        raise DamagedArchiveError(str(error)) from error


def bare_name(name: str) -> str:
    """A file name in lower case without the suffix of its compression."""
    name = name.lower()
    return name[:-3] if name.endswith(PACKED) else name


def streams(path: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, IO[bytes]]]:
    """The uncompressed streams of a file: one, or one for each wanted member of an archive, in order.

    wanted: whether a member is read, by `bare_name`. Names are those of the file and of the member in it.
    Read within `damage_named`, where the streams are used.
    """
    with ExitStack() as stack:
        stream, head = _opened(stack.enter_context(path.open("rb")))
        if head[:2] == b"PK":
            archive = stack.enter_context(zipfile.ZipFile(path))
            for member in archive.infolist():
                if not member.is_dir() and _may_hold(member.filename, wanted):
                    with archive.open(member) as inner:
                        yield from _inner(f"{path.name}/{member.filename}", inner, wanted, DEEPEST)
        elif _is_tar(head):
            yield from _members(path.name, stream, wanted, DEEPEST)
        else:
            yield path.name, stream


def _members(
    name: str, stream: IO[bytes], wanted: Callable[[str], bool], depth: int
) -> Iterator[tuple[str, IO[bytes]]]:
    import tarfile

    with tarfile.open(fileobj=stream, mode="r|") as archive:
        for member in archive:
            if member.isfile() and _may_hold(member.name, wanted) and (inner := archive.extractfile(member)):
                yield from _inner(f"{name}/{member.name}", inner, wanted, depth)


def _inner(name: str, member: IO[bytes], wanted: Callable[[str], bool], depth: int) -> Iterator[tuple[str, IO[bytes]]]:
    stream, head = _opened(member)
    if _is_tar(head) and depth:
        yield from _members(name, stream, wanted, depth - 1)
    elif wanted(bare_name(name)):
        yield name, stream


def _may_hold(name: str, wanted: Callable[[str], bool]) -> bool:
    return wanted(bare_name(name)) or name.lower().endswith(ARCHIVES)


def _is_tar(head: bytes) -> bool:
    return head[257:262] == b"ustar"


def _opened(stream: IO[bytes]) -> tuple[IO[bytes], bytes]:
    """The stream, uncompressed, and how it begins (up to 512 bytes)."""
    import gzip
    import io
    import lzma

    buffered = io.BufferedReader(cast(io.RawIOBase, stream), 1 << 16)
    head = buffered.peek(512)[:512]
    if head[:2] == b"\x1f\x8b":
        unpacked: object = gzip.GzipFile(fileobj=buffered)
    elif head[:6] == b"\xfd7zXZ\x00":
        unpacked = lzma.LZMAFile(buffered)  # noqa: SIM115 - closed with the file it reads
    else:
        return cast(IO[bytes], buffered), head
    inner = io.BufferedReader(cast(io.RawIOBase, unpacked), 1 << 16)
    return cast(IO[bytes], inner), inner.peek(512)[:512]
