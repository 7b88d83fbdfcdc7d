"""Patent application publications of 2001 to 2004 (PAP, DTD versions 1.5 and 1.6)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from domadapt_patent.redbook import symbols
from domadapt_patent.redbook.claims import DraftClaim, numbered
from domadapt_patent.redbook.ice import paragraphs
from domadapt_patent.redbook.patent import Facts, NotAPatentError, Patent
from domadapt_patent.redbook.text import text_of
from domadapt_patent.redbook.xml import field, line, rename

if TYPE_CHECKING:
    from lxml.etree import _Element

_ICE = {
    "paragraph": "p", "superscript": "sup", "subscript": "sub", "unordered-list": "ul", "ordered-list": "ol",
    "list-item": "li", "table-cwu": "tables", "math-cwu": "maths", "chemistry-cwu": "chemistry", "chem-us": "chemistry",
    "image": "img", "custom-character": "img", "in-line-formula": "maths", "sequence-cwu": "sequence-list",
    "program-listing": "pre",
}  # fmt: skip
_WRAPPERS = (
    "section", "background-of-invention", "summary-of-invention", "brief-description-of-drawings",
    "detailed-description", "brief-description-of-sequences", "cross-reference-to-related-applications",
    "federal-research-statement", "copyright-statement", "description-of-drawings", "subdoc-description",
)  # fmt: skip
_NUMBER = re.compile(r"(\d+)\s*([.)])\s*")


def read(root: _Element) -> Patent:
    """Read the tree of `patent-application-publication`.

    Raises NotAPatentError "no document number", UnknownEntityError.
    """
    front = root.find("subdoc-bibliographic-information")
    if front is None or not field(front, "document-id/doc-number"):
        raise NotAPatentError("no document number")
    facts = _facts(front)
    rename(root, _ICE)
    for number in [number for number in root.iter("number") if _is(number.getparent(), "p")]:
        _drop(number)  # "[0012]", counted by the office
    claims = root.find("subdoc-claims")
    abstract = tuple(paragraphs(root.find("subdoc-abstract"), _WRAPPERS))
    return facts.patent(
        abstract=abstract[1:] if abstract[:1] and abstract[0].lower().startswith("abstract of") else abstract,
        description=tuple(paragraphs(root.find("subdoc-description"), _WRAPPERS)),
        claims=() if claims is None else numbered(list(_claims(claims))),
        statement="" if claims is None else field(claims, "heading"),
    )


def _facts(front: _Element) -> Facts:
    technical = "technical-information/classification"
    ipc = [line(e) for e in front.iterfind(f"{technical}-ipc//ipc")]
    uspc = [
        symbols.uspc(field(e, "class").rjust(3) + field(e, "subclass").rjust(3))
        for e in front.iterfind(f"{technical}-us//uspc")
    ]
    kind = field(front, "document-id/kind-code")
    people = [front.find("inventors/first-named-inventor"), *front.iterfind("inventors/inventor")]
    return Facts(
        "pap",
        "application",
        number=field(front, "document-id/doc-number"),
        country="US",
        kind=kind,
        date=field(front, "document-id/document-date"),
        filed=field(front, "domestic-filing-data/filing-date"),
        type="plant" if kind.startswith("P") else "utility",
        application=field(front, "domestic-filing-data/application-number/doc-number"),
        title=field(front, "technical-information/title-of-invention"),
        inventors=tuple(filter(None, (_name(person) for person in people if person is not None))),
        assignees=tuple(filter(None, (field(e, "organization-name") or _name(e) for e in front.iterfind("assignee")))),
        ipc=tuple(dict.fromkeys(filter(None, map(symbols.ipc, ipc)))),
        uspc=tuple(dict.fromkeys(filter(None, uspc))),
    )


def _name(person: _Element) -> str:
    given = " ".join(filter(None, (field(person, "name/given-name"), field(person, "name/middle-name"))))
    return ", ".join(filter(None, (field(person, "name/family-name"), given)))


def _is(element: _Element | None, tag: str) -> bool:
    return element is not None and element.tag == tag


def _drop(element: _Element) -> None:
    """Remove an element and keep the text behind it."""
    parent, before, tail = element.getparent(), element.getprevious(), element.tail or ""
    if parent is None:
        return
    if before is None:
        parent.text = (parent.text or "") + tail
    else:
        before.tail = (before.tail or "") + tail
    parent.remove(element)


def _claims(claims: _Element) -> Iterator[DraftClaim]:
    for place, element in enumerate(claims.iterfind("claim"), 1):
        references = list(element.iter("dependent-claim-reference"))
        for reference in references:
            rename(reference, {"claim-text": "span"})  # the words "claim 1" stand in the line
        text = _NUMBER.sub(r"\1\2 ", text_of(element), count=1) if _NUMBER.match(text_of(element)) else text_of(element)
        printed = _NUMBER.match(text)
        number = int(printed[1]) if printed and len(printed[1]) < 5 else None
        targets = tuple(t for reference in references for t in reference.get("depends_on", "").split())
        yield DraftClaim(element.get("id", f"claim {place}"), number, text, targets)
