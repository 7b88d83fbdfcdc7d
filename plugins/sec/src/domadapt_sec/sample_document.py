"""The structure of a sample filing: blocks in sections in documents in a submission.

It says what is in a filing and nothing of how it looks, so that one filing can be written in any format of EDGAR.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from domadapt_sec.sample_company import Company
from domadapt_sec.sample_statements import Table


@dataclass(frozen=True)
class Heading:
    """A heading below that of an item."""

    text: str


@dataclass(frozen=True)
class Centered:
    """Lines of a cover page or a signature, each by itself."""

    lines: tuple[str, ...]


Block = str | Heading | Centered | Table


@dataclass(frozen=True)
class Section:
    """One item. number: "1A", "2.02"; "" for what stands before the first and after the last."""

    number: str
    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True)
class Document:
    """One document of a submission. form: its type ("10-K", "EX-99.1")."""

    form: str
    description: str
    sections: tuple[Section, ...]


@dataclass(frozen=True)
class Submission:
    """What a company hands in at once. period, filed: (year, month, day).  number: makes the accession number."""

    company: Company
    form: str
    period: tuple[int, int, int]
    filed: tuple[int, int, int]
    number: int
    documents: tuple[Document, ...]
    items: tuple[str, ...] = field(default=())

    @property
    def accession(self) -> str:
        """0001234567-04-000123; the agent is the company itself."""
        return f"{self.company.cik:010d}-{self.filed[0] % 100:02d}-{self.number:06d}"
