"""What an article says about itself: identifiers, journal, year, licence, and which articles it belongs to."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from domadapt_medical.jats import licences
from domadapt_medical.jats.inline import inline_text

if TYPE_CHECKING:
    from lxml import etree

_HREF = "{http://www.w3.org/1999/xlink}href"
_DOI = re.compile(r"\b(10\.\d{4,9}/\S+)")
_NUMBER = re.compile(r"(?:PMC)?(\d+)", re.I)

# kinds of related article without which this one would not exist: a correction belongs to what it corrects
_ABOUT = frozenset(
    [
        "addended-article",
        "commentary-article",
        "corrected-article",
        "object-of-concern",
        "partially-retracted-article",
        "peer-reviewed-article",
        "preprint",
        "retracted-article",
        "updated-article",
    ]
)
_SIBLING = frozenset({"companion", "corresponding-article"})


def identifiers(meta: etree._Element) -> dict[str, str]:
    """pmcid, doi and pmid, those that are there and look like what they should be."""
    found: dict[str, str] = {}
    for element in meta.findall("{*}article-id"):
        kind, value = element.get("pub-id-type", ""), "".join(element.itertext()).strip()
        number = _NUMBER.fullmatch(value)
        if kind in ("pmc", "pmcid") and number:
            found.setdefault("pmcid", f"PMC{number[1]}")
        elif kind == "pmid" and number:
            found.setdefault("pmid", number[1])
        elif kind == "doi" and value:
            found.setdefault("doi", value.lower())
    return found


def journal(front: etree._Element, declared: Mapping[str, str]) -> dict[str, str]:
    """journal (title) and issn, those that are there. The electronic ISSN is preferred: every journal here has one."""
    found = {}
    title = next(front.iterfind("{*}journal-meta//{*}journal-title"), None)
    if title is not None and (text := inline_text(title, declared)):
        found["journal"] = text
    kinds = [i.get("pub-type", i.get("publication-format", "")) for i in front.iter("{*}issn")]
    numbers = dict(zip(kinds, ((i.text or "").strip() for i in front.iter("{*}issn")), strict=True))
    if issn := numbers.get("epub") or numbers.get("electronic") or next(iter(numbers.values()), ""):
        found["issn"] = issn
    return found


def year(meta: etree._Element) -> str:
    """The earliest year of publication, "" when none is stated."""
    years = [(e.text or "").strip() for e in meta.iterfind("{*}pub-date/{*}year")]
    return min((y for y in years if re.fullmatch(r"[12]\d{3}", y)), default="")


def license_name(meta: etree._Element, declared: Mapping[str, str]) -> str:
    """SPDX name where an address says which licence, else the publisher's words, else ""."""
    element = next(meta.iter("{*}license"), None)
    # older files have nothing but a sentence beside the copyright
    places = [element] if element is not None else list(meta.iter("{*}permissions", "{*}copyright-statement"))
    words = " ".join(inline_text(place, declared) for place in places)
    for address in (*(e.get(_HREF, "") for place in places for e in place.iter("*")), words):
        if name := licences.spdx(address):
            return name
    if element is None:
        return licences.named(words)
    if element.get("license-type") == "public-domain":
        return "public domain"
    if name := licences.named(words):
        return name
    first = re.split(r"(?<=[a-z)])[.,](?=\s|$)", words, maxsplit=1)[0]
    return first if len(first) <= 160 else first[:159].rstrip() + "…"


def family(meta: etree._Element, own: str) -> str:
    """The identifier that an article shares with those it belongs to.

    A correction, comment or retraction names its subject: their text overlaps, so both get the subject's
    DOI. Companions name each other: both get the smaller DOI. All others get their own (`own`).
    """
    siblings = [own]
    for related in meta.iter("{*}related-article"):
        doi = _DOI.search(related.get(_HREF, "").lower())
        kind = related.get("related-article-type", "")
        if doi and kind in _ABOUT:
            return doi[1]
        if doi and kind in _SIBLING:
            siblings.append(doi[1])
    return min(siblings)
