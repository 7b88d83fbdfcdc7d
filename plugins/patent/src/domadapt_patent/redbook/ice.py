"""Red book, ICE 4.x (grants and applications since 2005): the vocabulary all others are translated into."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from domadapt_patent.redbook import symbols
from domadapt_patent.redbook.claims import DraftClaim, numbered
from domadapt_patent.redbook.patent import Facts, NotAPatentError, Patent
from domadapt_patent.redbook.text import text_of
from domadapt_patent.redbook.xml import field

if TYPE_CHECKING:
    from lxml.etree import _Element

_WRAPPERS = ("description-of-drawings", "abst-problem", "abst-solution")


def read(root: _Element) -> Patent:
    """Read the tree of `us-patent-grant` or `us-patent-application`.

    Raises NotAPatentError "no document number", UnknownEntityError.
    """
    front = next((child for child in root if str(child.tag).startswith("us-bibliographic-data-")), None)
    identity = None if front is None else front.find("publication-reference/document-id")
    if front is None or identity is None or not field(identity, "doc-number"):
        raise NotAPatentError("no document number")
    national = front.find("classification-national")
    facts = Facts(
        "ice",
        "grant" if root.tag == "us-patent-grant" else "application",
        number=field(identity, "doc-number"),
        country=field(identity, "country"),
        kind=field(identity, "kind"),
        date=field(identity, "date"),
        filed=field(front, "application-reference/document-id/date"),
        type=next((e.get("appl-type", "") for e in front.iterchildren("application-reference")), ""),
        application=field(front, "application-reference/document-id/doc-number"),
        title=field(front, "invention-title"),
        inventors=tuple(_inventors(front)),
        assignees=tuple(_assignees(front)),
        cpc=_symbols(front, "classification-cpc"),
        ipc=_symbols(front, "classification-ipcr") or _ipc(front),
        uspc=() if national is None else _uspc(national),
        locarno=field(front, "classification-locarno/main-classification"),
    )
    return facts.patent(
        abstract=tuple(paragraphs(root.find("abstract"))),
        description=tuple(paragraphs(root.find("description"))),
        claims=numbered(list(_claims(root))),
        statement=field(root, "us-claim-statement"),
    )


def paragraphs(element: _Element | None, wrappers: tuple[str, ...] = _WRAPPERS) -> Iterator[str]:
    """Headings and paragraphs in order; what wraps them (`description-of-drawings`) does not count."""
    if element is None:
        return
    for child in element:
        if child.tag in wrappers:
            yield from paragraphs(child, wrappers)
        elif isinstance(child.tag, str) and (text := text_of(child)):
            yield text


def _claims(root: _Element) -> Iterator[DraftClaim]:
    """The claims as printed. A nested claim text is a line of its own, indented by its depth."""
    for place, element in enumerate(root.iterfind("claims/claim"), 1):
        printed = re.match(r"\d+", element.get("num", ""))
        targets = tuple(reference.get("idref", "") for reference in element.iter("claim-ref"))
        number = int(printed[0]) if printed else None
        yield DraftClaim(element.get("id", f"claim {place}"), number, text_of(element), targets)


def _inventors(front: _Element) -> list[str]:
    """Names "Last, First" of the inventors, first-named first: before 2013 they are applicants."""
    found = list(front.iterfind("us-parties/inventors/inventor/addressbook"))
    found += front.iterfind("parties/applicants/applicant[@app-type='applicant-inventor']/addressbook")
    found += front.iterfind("us-parties/us-applicants/us-applicant[@app-type='applicant-inventor']/addressbook")
    names = [", ".join(filter(None, (field(e, "last-name"), field(e, "first-name")))) for e in found]
    return [name for name in names if name]


def _assignees(front: _Element) -> list[str]:
    books = front.iterfind("assignees/assignee/addressbook")
    return [name for book in books if (name := field(book, "orgname") or field(book, "last-name"))]


def _symbols(front: _Element, tag: str) -> tuple[str, ...]:
    """CPC or IPC symbols, the main one first, each once: "A01C 7/04"."""
    found = []
    for element in front.iter(tag):
        section, number, subclass, group, subgroup = (
            field(element, name) for name in ("section", "class", "subclass", "main-group", "subgroup")
        )
        if section:
            found.append(f"{section}{number}{subclass} {group}/{subgroup}")
    return tuple(dict.fromkeys(found))


def _ipc(front: _Element) -> tuple[str, ...]:
    """The IPC symbols of version 4.0, in columns."""
    texts = [found.text or "" for found in front.iterfind("classification-ipc/main-classification")]
    texts += [found.text or "" for found in front.iterfind("classification-ipc/further-classification")]
    return tuple(dict.fromkeys(filter(None, map(symbols.ipc, texts))))


def _uspc(national: _Element) -> tuple[str, ...]:
    # Blanks at the start are columns: the text is taken as it is.
    found = [*national.iterfind("main-classification"), *national.iterfind("further-classification")]
    return tuple(dict.fromkeys(filter(None, (symbols.uspc(element.text or "") for element in found))))
