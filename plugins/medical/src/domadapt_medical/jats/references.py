"""The list of references as lines of text, one a reference, for recipes that want it.

References come marked up piece by piece or as printed sentences with marks in them. The first are put together in one
plain order (authors, title, source, year, volume, pages, DOI), the second are taken as they are printed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from domadapt_medical.jats.inline import inline_text
from domadapt_medical.jats.xml import local_name

if TYPE_CHECKING:
    from lxml import etree

_CITATIONS = frozenset({"citation", "element-citation", "mixed-citation", "nlm-citation"})
_TITLES = ("article-title", "chapter-title", "part-title", "data-title")


def reference_lines(refs: etree._Element, declared: Mapping[str, str]) -> Iterator[str]:
    """One line for each `ref` of a `ref-list`, its number or name in front. Lists inside the list are part of it."""
    for ref in refs.iter("{*}ref"):
        label = ref.find("{*}label")
        mark = inline_text(label, declared).strip(" .[]") if label is not None else ""
        parts = [_citation(child, declared) for child in ref if local_name(child) in _CITATIONS]
        if said := "; ".join(part for part in parts if part):
            yield f"[{mark}] {said}" if mark else said


def _citation(element: etree._Element, declared: Mapping[str, str]) -> str:
    printed = bool((element.text or "").strip()) or any((child.tail or "").strip() for child in element)
    if printed:
        return inline_text(element, declared)

    def said(*names: str) -> str:
        found = (inline_text(child, declared) for name in names for child in element.iterfind(f"{{*}}{name}"))
        return next((text for text in found if text), "")

    names = [_name(name, declared) for name in element.iter("{*}name", "{*}string-name", "{*}collab")]
    volume, first, last = said("volume"), said("fpage", "elocation-id"), said("lpage")
    pages = f"{first}-{last}" if last and last != first else first
    where = ":".join(part for part in (volume, pages) if part)
    doi = next((p for p in element.iterfind("{*}pub-id") if p.get("pub-id-type") == "doi"), None)
    sentences = [
        ", ".join(name for name in names if name),
        said(*_TITLES),
        said("source"),
        "; ".join(part for part in (said("year"), where) if part),
        f"doi:{inline_text(doi, declared)}" if doi is not None else "",
    ]
    return " ".join(part if part[-1] in ".!?" else part + "." for part in sentences if part)


def _name(element: etree._Element, declared: Mapping[str, str]) -> str:
    surname, given = element.find("{*}surname"), element.find("{*}given-names")
    if surname is None:
        return inline_text(element, declared)
    return " ".join(inline_text(part, declared) for part in (surname, given) if part is not None).strip()
