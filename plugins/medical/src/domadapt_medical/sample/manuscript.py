"""A manuscript between author and typesetter: sections of paragraphs and tables.

Paragraphs keep their sentences apart, because the benchmark asks for the next one.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Paragraph:
    """Sentences on one matter. kind: what the paragraph does ("burden", "recruitment", "limits", ...)."""

    kind: str
    sentences: tuple[str, ...]


@dataclass(frozen=True)
class Table:
    """header: cells as (text, columns spanned).  rows: cells.  notes: lines below."""

    title: str
    header: tuple[tuple[tuple[str, int], ...], ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Section:
    """A heading with what stands below it; `blocks` may hold sections."""

    title: str
    blocks: tuple[Paragraph | Table | Section, ...]


@dataclass(frozen=True)
class Manuscript:
    """design: kind of study.  condition: what it is about, for keywords and for the benchmark's distractors."""

    title: str
    design: str
    condition: str
    specialty: str
    keywords: tuple[str, ...]
    abstract: tuple[Section, ...]
    body: tuple[Section, ...]
