"""One red-book XML document (ICE 4.x, grant or application) to a patent in plain text.

Entities are never expanded, the DTD is never loaded and nothing is fetched; what cannot be read is
refused with one of few short reasons.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from domadapt_patent.redbook.text import UnknownEntityError, text_of

if TYPE_CHECKING:
    from lxml.etree import _Element

Part = Literal["title", "abstract", "description", "claims"]
PARTS: tuple[Part, ...] = ("title", "abstract", "description", "claims")

_ROOTS = {b"us-patent-grant": "grant", b"us-patent-application": "application"}
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_FIRST_TAG = re.compile(rb"<([A-Za-z_:][^\s/>]*)")
_NUMBERED = re.compile(r"\s*\d+\s*[.\-–),]")
_PROLOG_BYTES = 1 << 16


class NotAPatentError(Exception):
    """The document cannot be read. `reason` is short and one of few: a line of the data funnel."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Claim:
    """A claim as printed, number first. `depends_on`: the numbers its references lead to."""

    number: int
    text: str
    depends_on: tuple[int, ...]


@dataclass(frozen=True)
class Patent:
    """A patent publication. `id`: office, number and kind ("US08418361B2")."""

    id: str
    title: str
    abstract: tuple[str, ...]
    description: tuple[str, ...]
    statement: str
    claims: tuple[Claim, ...]
    group: str
    meta: Mapping[str, Any]

    def text(self, parts: tuple[Part, ...] = PARTS) -> str:
        """The chosen parts in the order of print, paragraphs between blank lines."""
        blocks: list[str] = []
        if "title" in parts and self.title:
            blocks.append(self.title)
        if "abstract" in parts and self.abstract:
            blocks += ["ABSTRACT", *self.abstract]
        if "description" in parts:
            blocks += self.description
        if "claims" in parts and self.claims:
            blocks += [self.statement, *(claim.text for claim in self.claims)]
        return "\n\n".join(blocks)


def parse(document: bytes) -> Patent:
    """Read one XML document.

    Raises NotAPatentError: "not red-book XML", "sequence listing", "damaged XML", "unknown entity" or
    "no document number".
    """
    from lxml import etree

    kind = _kind(document)
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False, remove_comments=True, remove_pis=True
    )
    try:
        root = etree.fromstring(document, parser)
    except (etree.LxmlError, ValueError):
        raise NotAPatentError("damaged XML") from None
    try:
        return _patent(root, kind)
    except UnknownEntityError:
        raise NotAPatentError("unknown entity") from None


def _kind(document: bytes) -> str:
    first = _FIRST_TAG.search(_COMMENT.sub(b"", document[:_PROLOG_BYTES]))
    name = first[1] if first else b""
    if name == b"sequence-cwu":
        raise NotAPatentError("sequence listing")
    if name not in _ROOTS:
        raise NotAPatentError("not red-book XML")
    return _ROOTS[name]


def _patent(root: _Element, kind: str) -> Patent:
    front = next((child for child in root if str(child.tag).startswith("us-bibliographic-data-")), None)
    identity = None if front is None else front.find("publication-reference/document-id")
    if front is None or identity is None or not _field(identity, "doc-number"):
        raise NotAPatentError("no document number")
    claims = tuple(_claims(root))
    number = "".join(_field(identity, name) for name in ("country", "doc-number", "kind"))
    application = _field(front, "application-reference/document-id/doc-number")
    names = _inventors(front)
    facts: dict[str, Any] = {
        "document": kind,
        "date": _field(identity, "date"),
        "type": next((e.get("appl-type", "") for e in front.iterchildren("application-reference")), ""),
        "application": application,
        "cpc": _symbols(front, "classification-cpc"),
        "ipc": _symbols(front, "classification-ipcr") or _main_ipc(front),
        "locarno": _field(front, "classification-locarno/main-classification"),
        "assignees": _assignees(front),
        "claims": len(claims),
        "independent_claims": sum(not claim.depends_on for claim in claims),
    }
    return Patent(
        id=number,
        title=_field(front, "invention-title"),
        abstract=tuple(_paragraphs(root.find("abstract"))),
        description=tuple(_paragraphs(root.find("description"))),
        statement=_field(root, "us-claim-statement") or "What is claimed is:",
        claims=claims,
        group=(names[0] if names else application) or number,
        meta={name: value for name, value in facts.items() if value not in ("", [])},
    )


def _field(element: _Element, path: str) -> str:
    found = element.find(path)
    return "" if found is None else " ".join(text_of(found).split())


def _paragraphs(element: _Element | None) -> Iterator[str]:
    """Headings and paragraphs in order; what wraps them (`description-of-drawings`) does not count."""
    if element is None:
        return
    for child in element:
        if child.tag in ("description-of-drawings", "abst-problem", "abst-solution"):
            yield from _paragraphs(child)
        elif isinstance(child.tag, str) and (text := text_of(child)):
            yield text


def _claims(root: _Element) -> Iterator[Claim]:
    """The claims as printed. A nested claim text is a line of its own, indented by its depth.

    A sole claim (designs) is printed without a number; in any other case a missing number is put back.
    """
    elements = list(root.iterfind("claims/claim"))
    numbers: dict[str, int] = {}
    for position, element in enumerate(elements, 1):
        printed = re.match(r"\d+", element.get("num", ""))
        numbers[element.get("id", f"claim {position}")] = int(printed[0]) if printed else position
    for number, element in zip(numbers.values(), elements, strict=False):
        text = text_of(element)
        if len(elements) > 1 and not _NUMBERED.match(text):
            text = f"{number}. {text}"
        targets = [numbers.get(ref.get("idref", "")) for ref in element.iter("claim-ref")]
        yield Claim(number, text, tuple(dict.fromkeys(t for t in targets if t and t != number)))


def _inventors(front: _Element) -> list[str]:
    """Names "Last, First" of the inventors, first-named first: before 2013 they are applicants."""
    found = list(front.iterfind("us-parties/inventors/inventor/addressbook"))
    found += front.iterfind("parties/applicants/applicant[@app-type='applicant-inventor']/addressbook")
    found += front.iterfind("us-parties/us-applicants/us-applicant[@app-type='applicant-inventor']/addressbook")
    names = [", ".join(filter(None, (_field(e, "last-name"), _field(e, "first-name")))) for e in found]
    return [name for name in names if name]


def _assignees(front: _Element) -> list[str]:
    books = front.iterfind("assignees/assignee/addressbook")
    return [name for book in books if (name := _field(book, "orgname") or _field(book, "last-name"))]


def _symbols(front: _Element, tag: str) -> list[str]:
    """CPC or IPC symbols, the main one first, each once: "A01C 7/04"."""
    symbols = []
    for element in front.iter(tag):
        section, number, subclass, group, subgroup = (
            _field(element, name) for name in ("section", "class", "subclass", "main-group", "subgroup")
        )
        if section:
            symbols.append(f"{section}{number}{subclass} {group}/{subgroup}")
    return list(dict.fromkeys(symbols))


def _main_ipc(front: _Element) -> list[str]:
    """The IPC symbol of version 4.0, in columns: "A45F  504" is A45F 5/04."""
    text = "" if (found := front.find("classification-ipc/main-classification")) is None else found.text or ""
    subclass, group, subgroup = text[:4], text[4:7].strip(), text[7:].strip()
    return [f"{subclass} {group}/{subgroup}"] if group and subgroup else []
