"""One citation of PubMed: title and abstract as text, and what MEDLINE's indexers say about it.

The labels of a structured abstract stand in front of their parts ("METHODS: ..."), as PubMed shows them. Abstracts in
other languages and plain-language summaries (`OtherAbstract`) are not part of the text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from domadapt_medical.jats.inline import inline_text
from domadapt_medical.jats.xml import Rejected, declared_entities, local_name, parse_xml

if TYPE_CHECKING:
    from lxml import etree

_YEAR = re.compile(r"(?<!\d)(1[5-9]\d\d|20\d\d)(?!\d)")
_TRUNCATED = re.compile(r"\s*\(ABSTRACT TRUNCATED(?: AT \d+ WORDS)?\)\s*$")
_TRANSLATED = re.compile(r"^\[(.+)\]([.?!]?)$", re.DOTALL)
_PMC = re.compile(r"PMC\d+")
# what comments and notices are about: their titles repeat its title
_ABOUT = ("CommentOn", "ErratumFor", "ExpressionOfConcernFor", "RetractionOf", "UpdateOf", "RepublishedFrom")
_OPEN = b'<Set xmlns:mml="http://www.w3.org/1998/Math/MathML" xmlns:xlink="http://www.w3.org/1999/xlink">'


@dataclass(frozen=True)
class Citation:
    """A citation. text: title and abstract, "" without an abstract.  labels: of the abstract's parts, "" for none.

    license: the publisher's words about copyright, "" when there are none.  family: PMID of the article that this
    one comments on, corrects or retracts, else its own.  languages: ISO 639-2 codes of the article ("eng").
    facts: title, journal, issn, year, language, doi, pmcid, mesh, types, keywords; those that are stated.
    """

    pmid: str
    title: str
    parts: tuple[tuple[str, str], ...]
    license: str
    family: str
    languages: tuple[str, ...]
    retracted: bool
    facts: Mapping[str, Any] = field(default_factory=dict)

    def text(self, labels: bool = True) -> str:
        """Title and abstract, parts separated by blank lines. labels: of a structured abstract."""
        said = [f"{label}: {part}" if labels and label else part for label, part in self.parts]
        return "\n\n".join(([self.title] if self.title else []) + said)


def parse_citation(data: bytes, encoding: str = "") -> Citation:
    """A `PubmedArticle`, `PubmedBookArticle` or `MedlineCitation`, with its tags.

    encoding: that of its file, "" for UTF-8.  Raises Rejected when it cannot be read or has no PMID.
    """
    declaration = f'<?xml version="1.0" encoding="{encoding}"?>'.encode("ascii") if encoding else b""
    root = parse_xml(declaration + _OPEN + data + b"</Set>")
    declared_entities(root)
    element = root[0]
    inner = next((e for e in element if local_name(e) in ("MedlineCitation", "BookDocument")), element)
    pmid = _said(inner.find("PMID"))
    if not (pmid.isascii() and pmid.isdigit() and len(pmid) <= 8):
        raise Rejected("no PMID")
    article = inner if inner.find("Article") is None else inner.find("Article")
    assert article is not None
    title, parts = _title(article), _parts(article)
    types = [_said(e) for e in article.iterfind("PublicationTypeList/PublicationType")]
    languages = tuple(_said(e).lower() for e in article.iterfind("Language"))
    truncated = bool(parts) and _TRUNCATED.search(parts[-1][1]) is not None
    if truncated:
        parts[-1] = (parts[-1][0], _TRUNCATED.sub("", parts[-1][1]))
    facts = {
        "title": title,
        "journal": _said(article.find("Journal/Title")) or _said(article.find("Book/BookTitle")),
        "issn": _said(article.find("Journal/ISSN")),
        "year": _year(article),
        "language": " ".join(languages),
        "pmid": pmid,
        **_identifiers(element, inner, article),
        "mesh": [_mesh(e) for e in inner.iterfind("MeshHeadingList/MeshHeading")],
        "types": types,
        "keywords": [_said(e) for e in inner.iterfind("KeywordList/Keyword")],
        "truncated": truncated,
    }
    return Citation(
        pmid=pmid,
        title=title,
        parts=tuple((label, part) for label, part in parts if part),
        license=_said(article.find("Abstract/CopyrightInformation")),
        family=_family(inner, pmid),
        languages=languages,
        retracted="Retracted Publication" in types,
        facts={key: value for key, value in facts.items() if value},
    )


def deleted_pmids(data: bytes) -> list[int]:
    """The PMIDs in a `DeleteCitation`, of as many as can be told."""
    return [int(number) for number in re.findall(rb"<PMID[^>]{0,80}>\s*(\d{1,8})\s*</PMID", data)]


def pmid_of(data: bytes) -> str:
    """The first PMID in the bytes of a citation that could not be read, "" when there is none."""
    match = re.search(rb"<PMID[^>]{0,80}>\s*(\d{1,8})\s*<", data[:4096])
    return match[1].decode("ascii") if match else ""


def _said(element: etree._Element | None) -> str:
    return inline_text(element, {}) if element is not None else ""


def _title(article: etree._Element) -> str:
    title = _said(article.find("ArticleTitle")) or _said(article.find("Book/BookTitle"))
    # titles of articles in other languages are translated and stand in brackets
    return _TRANSLATED.sub(r"\1\2", title)


def _parts(article: etree._Element) -> list[tuple[str, str]]:
    """The abstract's parts with their labels, as given: "METHODS", "Patients and methods", "" for none."""
    found = []
    for part in article.iterfind("Abstract/AbstractText"):
        label = " ".join(part.get("Label", "").split()).rstrip(" :")
        found.append(("" if label.upper() == "UNLABELLED" else label, _said(part)))
    return found


def _year(article: etree._Element) -> str:
    for path in ("Journal/JournalIssue/PubDate", "Book/PubDate", "ArticleDate"):
        if (date := article.find(path)) is not None and (match := _YEAR.search(" ".join(date.itertext()))):
            return match[1]
    return ""


def _identifiers(element: etree._Element, inner: etree._Element, article: etree._Element) -> dict[str, str]:
    """doi and pmcid. The ids of `PubmedData` count, not those in its list of references."""
    found: dict[str, str] = {}
    for identity in (*element.iterfind("*/ArticleIdList/ArticleId"), *article.iterfind("ELocationID")):
        kind, value = identity.get("IdType") or identity.get("EIdType"), _said(identity)
        if kind == "doi" and value:
            found.setdefault("doi", value.lower())
        elif kind == "pmc" and _PMC.fullmatch(value):
            found.setdefault("pmcid", value)
    for other in inner.iterfind("OtherID"):
        if match := _PMC.match(_said(other)):
            found.setdefault("pmcid", match[0])
    return found


def _mesh(heading: etree._Element) -> str:
    """A MeSH heading as PubMed writes it: "Neuronal Plasticity/*physiology", the asterisk at what is major."""
    names = (e for e in heading if local_name(e) in ("DescriptorName", "QualifierName"))
    return "/".join(("*" if e.get("MajorTopicYN") == "Y" else "") + _said(e) for e in names)


def _family(inner: etree._Element, own: str) -> str:
    for related in inner.iterfind("CommentsCorrectionsList/CommentsCorrections"):
        subject = _said(related.find("PMID"))
        if related.get("RefType") in _ABOUT and subject.isascii() and subject.isdigit():
            return subject
    return own
