"""A patent in plain text, and `parse`, which tells by content in which of the office's formats a document is.

The formats since 1976 differ in markup, not in matter: all become the same `Patent`, so that a corpus of fifty
years reads as one. Older XML is renamed into the words of the present one (ICE) and then read by the same code;
fixed-column text has a reader of its own. What cannot be read is refused with one of few short reasons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Part = Literal["title", "abstract", "description", "claims"]
PARTS: tuple[Part, ...] = ("title", "abstract", "description", "claims")
Format = Literal["ice", "pap", "st32", "aps", "hupd", "bigpatent"]


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


STATEMENT = "What is claimed is:"
"""Printed above the claims where a document has no words of its own for it."""


@dataclass(frozen=True)
class Facts:
    """What the front page says, in the same words for all formats; symbols are written "A01C 7/04" and "224/42.07"."""

    format: Format
    document: Literal["grant", "application"]
    number: str
    country: str = ""
    kind: str = ""
    date: str = ""
    filed: str = ""
    type: str = ""
    application: str = ""
    title: str = ""
    inventors: tuple[str, ...] = ()
    assignees: tuple[str, ...] = ()
    cpc: tuple[str, ...] = ()
    ipc: tuple[str, ...] = ()
    uspc: tuple[str, ...] = ()
    locarno: str = ""

    def patent(
        self,
        abstract: tuple[str, ...],
        description: tuple[str, ...],
        claims: tuple[Claim, ...],
        statement: str = "",
        **further: Any,
    ) -> Patent:
        """The patent with this front page. `further`: facts that one format alone has."""
        identity = self.country + self.number + self.kind
        names = ("format", "document", "number", "kind", "date", "filed", "type", "application", "locarno")
        facts: dict[str, Any] = {name: getattr(self, name) for name in names}
        facts |= {name: list(getattr(self, name)) for name in ("assignees", "cpc", "ipc", "uspc")}
        facts |= {
            "claims": len(claims),
            "independent_claims": sum(not claim.depends_on for claim in claims),
            "dependencies": {str(claim.number): list(claim.depends_on) for claim in claims if claim.depends_on},
            **further,
        }
        return Patent(
            id=identity,
            title=self.title,
            abstract=abstract,
            description=description,
            statement=statement or STATEMENT,
            claims=claims,
            group=(self.inventors[0] if self.inventors else self.application) or identity,
            meta={name: value for name, value in facts.items() if value not in ("", [], {})},
        )


def parse(document: bytes) -> Patent:
    """Read one document of the USPTO: ICE 4.x, PAP 1.x, ST.32 (XML or SGML) or APS ("Green Book") text.

    Raises NotAPatentError: "not a patent document", "sequence listing", "damaged XML", "unknown entity",
    "damaged text", "cut short" or "no document number".
    """
    from domadapt_patent.redbook import aps, xml

    return aps.parse(document) if aps.is_aps(document) else xml.parse(document)
