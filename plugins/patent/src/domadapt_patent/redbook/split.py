"""Split weekly files into documents, block by block.

The USPTO concatenates a week's documents in one file of up to 1 GB: XML documents with a declaration each, SGML ones
with a document type declaration each, Green Book grants that begin with the line PATN. A document ends where the next
one begins; every byte is searched once and at most one document is held in memory. Trade-off: such a beginning at the
start of a line inside a CDATA section would be taken for a new document (both halves are then rejected as damaged);
the formats have no CDATA sections.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from domadapt_patent.archives import bare_name, damage_named, streams

BLOCK = 1 << 20
LONGEST_DOCUMENT = 1 << 25
"""Bytes. A long grant has a few MB; sequence listings of hundreds of MB exist and are no prose."""

_BEGINNING = re.compile(
    rb"(?P<declaration><\?xml[ \t\r\n])|(?P<doctype><!DOCTYPE[ \t\r\n])"
    rb"|(?P<root><(?:PATDOC|us-patent-(?:grant|application)|patent-application-publication|sequence-cwu)[\s>])"
    rb"|(?P<line>PATN[ \t]*(?:\r?\n|\r))"
)
_ORDER = {"declaration": 0, "doctype": 1, "root": 2, "line": 3}
"""What may follow what within one document: never the same or an earlier one."""

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TAPE_HEADER = re.compile(rb"HHHHHT[^\r\n]*")
"""First line of a Green Book file: name of the tape and the issue."""

_CONTEXT = 64
"""Bytes before a beginning that are looked at; also what is searched again with the next block."""


def split(stream: IO[bytes]) -> Iterator[bytes | None]:
    """The documents of a stream, in order; blank ones are left out.

    None stands for a document of more than `LONGEST_DOCUMENT` bytes.
    Whatever precedes the first beginning is a document too, unless it can be the prolog of the first one.
    Raises what reading the stream raises.
    """
    buffer, searched, too_long, order = bytearray(), 0, False, 0
    while block := stream.read(BLOCK):
        buffer += block
        start = seen = 0
        for match in _BEGINNING.finditer(buffer, searched):
            seen = match.start() + 1
            kind = match.lastgroup or ""
            found = _document_start(buffer, match.start(), kind)
            if found is None:
                continue
            continued = kind != "line" and _ORDER[kind] > order
            order = _ORDER[kind]
            if continued or (found == start and not too_long):
                continue
            yield from _document(bytes(buffer[start:found]), too_long)
            start, too_long = found, False
        del buffer[:start]
        seen = max(seen - start, searched - start, 0)
        if len(buffer) > LONGEST_DOCUMENT:
            too_long = True
            seen = max(seen - len(buffer) + _CONTEXT, 0)
            del buffer[:-_CONTEXT]
        searched = max(len(buffer) - _CONTEXT, seen)
    yield from _document(bytes(buffer), too_long)


def _document_start(buffer: bytearray, beginning: int, kind: str) -> int | None:
    """Where the document of a beginning starts, or None when it is no beginning but text.

    Only blanks and a byte order mark (files are often joined from single ones) may stand between markup and the
    start of a line or the end of a tag; the line PATN stands alone.
    """
    before = bytes(buffer[max(0, beginning - _CONTEXT) : beginning])
    if kind == "line":
        return beginning if not before.removesuffix(_BYTE_ORDER_MARK) or before[-1:] in (b"\n", b"\r") else None
    rest = before.rstrip(b" \t").removesuffix(_BYTE_ORDER_MARK).rstrip(b" \t")
    if rest and rest[-1:] not in (b"\n", b"\r", b">"):
        return None
    return beginning - len(before) + len(rest)


def _document(data: bytes, too_long: bool) -> Iterator[bytes | None]:
    if too_long:
        yield None
    elif (data := data.strip(b" \t\r\n\x1a")) and not _TAPE_HEADER.fullmatch(data):
        yield data


SUFFIXES = (".xml", ".sgm", ".sgml", ".greenbook", ".aps", ".txt")
"""Of files and of members of archives, before `.gz` and `.xz`."""

_PATENT_TEXT = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?:HHHHHT|PATN[ \t]*[\r\n]|<\?xml|<!|<PATDOC|<us-patent|<patent-app)")


def is_patent_text(beginning: bytes) -> bool:
    """Whether a text file begins as the office's do, with a tape header, the line PATN or markup: others exist."""
    return _PATENT_TEXT.match(beginning) is not None


def documents(path: Path) -> Iterator[tuple[str, bytes | None]]:
    """The documents of one file with the name of the file (and of the archive's member) they are in.

    Raises DamagedArchiveError after the documents that could be read.
    """
    with damage_named():
        for name, stream in streams(path, lambda member: member.endswith(SUFFIXES)):
            text = name != path.name and bare_name(name).endswith(".txt")
            for document in split(stream):
                if text and document is not None and not is_patent_text(document):
                    break
                text = False
                yield name, document
