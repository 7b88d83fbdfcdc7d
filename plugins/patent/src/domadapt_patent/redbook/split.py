"""Split weekly red-book files into XML documents, block by block.

The USPTO concatenates a week's documents in one file of up to 1 GB, each with its own XML declaration.
A document ends where the next declaration begins; every byte is searched once and at most one document is
held in memory. Trade-off: a declaration at the start of a line inside a CDATA section would be taken for
a new document (both halves are then rejected as damaged); the format has no CDATA sections.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO, cast

BLOCK = 1 << 20
LONGEST_DOCUMENT = 1 << 25
"""Bytes. A long grant has a few MB; sequence listings of hundreds of MB exist and are no prose."""

SUFFIXES = (".xml", ".xml.xz", ".xml.gz", ".zip")

_DECLARATION = re.compile(rb"<\?xml[ \t\r\n]")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_CONTEXT = 64
"""Bytes before a declaration that are looked at; also what is searched again with the next block."""


class DamagedArchiveError(Exception):
    """A compressed file ends early or is not what its suffix says."""


def split(stream: IO[bytes]) -> Iterator[bytes | None]:
    """The XML documents of a stream, in order; blank ones are left out.

    None stands for a document of more than `LONGEST_DOCUMENT` bytes.
    Whatever precedes the first declaration is a document too: single documents come without one.
    Raises what reading the stream raises.
    """
    buffer, searched, too_long = bytearray(), 0, False
    while block := stream.read(BLOCK):
        buffer += block
        start = 0
        for match in _DECLARATION.finditer(buffer, searched):
            found = _document_start(buffer, match.start())
            if found is None or (found == start and not too_long):
                continue
            yield from _document(bytes(buffer[start:found]), too_long)
            start, too_long = found, False
        del buffer[:start]
        if len(buffer) > LONGEST_DOCUMENT:
            too_long = True
            del buffer[:-_CONTEXT]
        searched = max(len(buffer) - _CONTEXT, 0)
    yield from _document(bytes(buffer), too_long)


def _document_start(buffer: bytearray, declaration: int) -> int | None:
    """Where the document of a declaration starts, or None when it is no declaration but text.

    Only blanks and a byte order mark (files are often joined from single ones) may stand between the
    declaration and the start of a line or the end of a tag.
    """
    before = bytes(buffer[max(0, declaration - _CONTEXT) : declaration])
    rest = before.rstrip(b" \t").removesuffix(_BYTE_ORDER_MARK).rstrip(b" \t")
    if rest and rest[-1:] not in (b"\n", b"\r", b">"):
        return None
    return declaration - len(before) + len(rest)


def _document(data: bytes, too_long: bool) -> Iterator[bytes | None]:
    if too_long:
        yield None
    elif data := data.strip(b" \t\r\n"):
        yield data


def documents(path: Path) -> Iterator[tuple[str, bytes | None]]:
    """The XML documents of one file with the name of the file (and of the archive's member) they are in.

    Raises DamagedArchiveError after the documents that could be read.
    """
    import gzip
    import lzma
    import zlib

    # RuntimeError: zipfile's answer to an encrypted member or an unknown compression.
    damage = (EOFError, lzma.LZMAError, gzip.BadGzipFile, zlib.error, zipfile.BadZipFile, RuntimeError)
    try:
        for name, stream in _streams(path):
            for document in split(stream):
                yield name, document
    except damage as error:
        raise DamagedArchiveError(str(error)) from error


def _streams(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """The uncompressed streams of a file: one, or one for each XML member of a zip."""
    import gzip
    import lzma

    with ExitStack() as stack:
        suffix = path.suffix.lower()
        if suffix == ".zip":
            archive = stack.enter_context(zipfile.ZipFile(path))
            for member in archive.infolist():
                if member.filename.lower().endswith(".xml"):
                    with archive.open(member) as stream:
                        yield f"{path.name}/{member.filename}", stream
        elif suffix == ".xz":
            yield path.name, stack.enter_context(lzma.open(path))
        elif suffix == ".gz":
            yield path.name, cast(IO[bytes], stack.enter_context(gzip.open(path)))
        else:
            yield path.name, stack.enter_context(path.open("rb"))
