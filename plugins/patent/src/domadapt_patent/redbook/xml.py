"""One XML or SGML document of the USPTO to a tree, and to the reader of its vocabulary.

Entities are never expanded, the DTD is never loaded and nothing is fetched: the document type declaration is
replaced by an empty one before a parser sees the document, so entity bombs and external entities have nothing to
name. Trade-off: a document that defines entities of its own is refused; the office's declare pictures only.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from domadapt_patent.redbook.patent import NotAPatentError, Patent
from domadapt_patent.redbook.text import UnknownEntityError

if TYPE_CHECKING:
    from lxml.etree import _Element

_NAME = re.compile(rb"<([A-Za-z_:][^\s/>]*)")
_BLANK = re.compile(rb"(?:\s|\xef\xbb\xbf)*")
_ROOTS = (b"us-patent-grant", b"us-patent-application", b"patent-application-publication", b"PATDOC")


def parse(document: bytes) -> Patent:
    """Read one XML or SGML document.

    Raises NotAPatentError: "not a patent document", "sequence listing", "damaged XML", "unknown entity" or
    "no document number".
    """
    from domadapt_patent.redbook import ice, pap, st32

    declaration, start = _prolog(document)
    named = _NAME.match(document, start)
    name = named[1] if named else b""
    if name == b"sequence-cwu":
        raise NotAPatentError("sequence listing")
    if name not in _ROOTS:
        raise NotAPatentError("not a patent document")
    doctype = b"<!DOCTYPE " + name + b' SYSTEM "none">'
    root = _tree(declaration + doctype + document[start:])
    if root is None and name == b"PATDOC":
        # Grants of 2001 and 2002 are also found as SGML; no XML fault is hidden, the result is parsed as strictly.
        root = _tree(b'<?xml version="1.0" encoding="UTF-8"?>' + doctype + st32.xml_of_sgml(document[start:]))
    if root is None:
        raise NotAPatentError("damaged XML")
    read = {b"PATDOC": st32.read, b"patent-application-publication": pap.read}.get(name, ice.read)
    try:
        return read(root)
    except UnknownEntityError:
        raise NotAPatentError("unknown entity") from None


def _prolog(document: bytes) -> tuple[bytes, int]:
    """The XML declaration, if there is one, and where the root element starts; each byte is looked at once."""
    declaration, place = b"", 0
    while True:
        blank = _BLANK.match(document, place)
        place = blank.end() if blank else place
        if document.startswith(b"<?", place):
            end = document.find(b"?>", place) + 2
            if re.match(rb"<\?xml\s", document[place : place + 6]):
                declaration = document[place:end]
        elif document.startswith(b"<!--", place):
            end = document.find(b"-->", place) + 3
        elif document.startswith(b"<!DOCTYPE", place):
            end = _doctype_end(document, place)
        else:
            return declaration, place
        if end <= place:  # never closed
            return declaration, len(document)
        place = end


def _doctype_end(document: bytes, start: int) -> int:
    end, subset = document.find(b">", start), document.find(b"[", start)
    if 0 <= subset < end:
        closed = re.compile(rb"\]\s*>").search(document, subset)
        return closed.end() if closed else 0
    return end + 1


def _tree(document: bytes) -> _Element | None:
    from lxml import etree

    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        return etree.fromstring(document, parser)
    except (etree.LxmlError, ValueError):
        return None


def field(element: _Element, path: str) -> str:
    """The text at a path on one line, "" when there is none."""
    found = element.find(path)
    return "" if found is None else line(found)


def line(element: _Element) -> str:
    """The text of an element on one line."""
    from domadapt_patent.redbook.text import text_of

    return " ".join(text_of(element).split())


def fields(element: _Element, path: str) -> tuple[str, ...]:
    """The texts at a path, each on one line, in order and each once."""
    return tuple(dict.fromkeys(text for found in element.iterfind(path) if (text := line(found))))


def rename(root: _Element, names: dict[str, str]) -> None:
    """Translate a vocabulary in place: an element whose name is listed gets the other one."""
    for element in root.iter():
        if isinstance(element.tag, str) and (name := names.get(element.tag)):
            element.tag = name
