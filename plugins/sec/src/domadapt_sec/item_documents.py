"""A filing as one document an item, for corpora that want a risk section and not a whole 10-K.

Nothing is lost: the pages before the first item and those after the last one are documents too, and a filing without
items stays whole.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from domadapt_sec.items import Section
from domadapt_sec.parsing import Filing

FRONT, BACK = "front", "back"


def by_item(filing: Filing) -> Iterator[Filing]:
    """The filing's items in their order; items under one heading are one document.

    The id gets `#1A` (`#II.1A` in a 10-Q, `#10-14` for a combined heading), `meta` the items and their title. What
    belongs to no item comes as `#front` and `#back`.
    """
    if not filing.sections:
        yield filing
        return
    groups: dict[int, list[Section]] = {}
    for section in filing.sections:
        groups.setdefault(section.start, []).append(section)
    at = 0
    for start, sections in sorted(groups.items()):
        yield from _piece(filing, filing.text[at:start], FRONT if at == 0 else "", [])
        at = sections[0].end
        yield from _piece(filing, filing.text[start:at], _name(sections), sections)
    yield from _piece(filing, filing.text[at:], BACK, [])


def _name(sections: list[Section]) -> str:
    first, last = sections[0], sections[-1]
    name = f"{first.part}.{first.item}" if first.part else first.item
    return name if len(sections) == 1 else f"{name}-{last.item}"


def _piece(filing: Filing, text: str, name: str, sections: list[Section]) -> Iterator[Filing]:
    """The document, when there is text and a name; between two items stands only the line that opens a part."""
    text = text.strip("\n")
    if not name or not text.strip():
        return
    meta = {key: value for key, value in filing.meta.items() if key != "items"}
    if sections:
        meta |= {"items": [section.item for section in sections], "title": sections[0].title}
        meta |= {"part": sections[0].part} if sections[0].part else {}
    yield replace(filing, id=f"{filing.id}#{name}", text=text, meta=meta, sections=())
