"""One file of a collection of filings -> its documents.

Every form in which EDGAR filings are handed around goes through `parse_file`: full submissions, single HTML
or text files, item JSON. What a file is gets decided by what is in it, never by the end of its name, since
mirrors rename files freely. Whatever cannot be a document is rejected with one of the few `REASONS`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Any, Literal

from domadapt.components import Reject
from domadapt_sec import edgar_corpus, html_text, plain_text
from domadapt_sec.cover import cover_facts
from domadapt_sec.furniture import without_furniture
from domadapt_sec.items import Section, item_numbers, segment
from domadapt_sec.rejection import Rejection
from domadapt_sec.submission import Header, Part, is_submission, parts

ACCESSION = re.compile(r"(?<!\d)(\d{10}-\d{2}-\d{6})(?!\d)")
MARKUP = re.compile(rb"<[^<>]*>")
# The names that edgar-crawler gives to the files it downloads: 1000180_10K_2010_0001000180-10-000008.htm
CRAWLER_NAME = re.compile(r"(\d{1,10})_(\w+?)_\d{4}_\d{10}-\d{2}-\d{6}")
# Parts that repeat the numbers of the filing for machines; what they say in words is in the other parts.
DATA_TYPES = ("XML", "JSON", "EX-101*", "EX-100*", "ZIP", "EXCEL", "GRAPHIC", "PDF", "COVER")
# EDGAR answers clients it does not like with status 200 or 403 and a page; crawlers save it as the filing.
BLOCK_PAGE_SIZE = 20_000
BLOCK_PAGES = (b"Undeclared Automated Tool", b"Request Rate Threshold Exceeded")


@dataclass(frozen=True)
class Reading:
    """How files are read.

    forms: the document types wanted ("10-K", "EX-*"), None: all.  furniture: page numbers, running heads and feet and
    links back to the contents.  cover: whether the cover page is asked for form, period and company where nothing else
    tells them.
    """

    forms: Sequence[str] | None = None
    furniture: Literal["drop", "keep"] = "keep"
    cover: bool = False


AS_FILED = Reading()


@dataclass(frozen=True)
class Filing:
    """One document of a filing.

    id: accession and sequence of the part; a file without an accession gives its own name.  text: what a
    person reads, valid UTF-8, tables as tab-separated rows (HTML) or as laid out (plain text).
    group: the company: CIK without leading zeros, else its name, else the file's stem.
    meta: cik, company, form (the part's type), submission (the type of the whole), period and filed
    (ISO dates), accession, items (item numbers found), file; only what is known.
    sections: where each item lies in the text.
    """

    id: str
    text: str
    group: str
    meta: Mapping[str, Any] = field(default_factory=dict)
    sections: Sequence[Section] = ()


def parse_file(name: str, data: bytes, reject: Reject, reading: Reading = AS_FILED) -> Iterator[Filing]:
    """Yield the documents of one file in their order; each part is yielded or rejected, once.

    name: the file's name ("0000320193-94-000016.txt"); a folder before it is ignored.  data: its bytes,
    unpacked.  reject: told (reason, where).
    """
    name = PurePosixPath(name.replace("\\", "/")).name
    named = _header_from_name(name)
    if is_submission(data):
        for header, part in parts(data):
            yield from _document(name, header.filled_from(named), part, reject, reading)
    elif edgar_corpus.looks_like_json(data):
        yield from _item_json(name, data, reject, reading.forms)
    else:
        part = Part(type=named.form, sequence="", body=data, alone=True)
        yield from _document(name, named, part, reject, reading)


def _document(name: str, header: Header, part: Part, reject: Reject, reading: Reading) -> Iterator[Filing]:
    try:
        text, facts = _read(part, reading)
    except Rejection as rejection:
        reject(rejection.reason, name if part.alone else f"{name}#{part.sequence} {part.type}".rstrip())
        return
    if reading.furniture == "drop":
        text = without_furniture(text) or text
    stem = PurePosixPath(name).stem
    form = part.type or facts.form
    sections = [] if form.startswith("EX-") else segment(text, form)
    cik = header.cik or facts.cik
    company = header.company or facts.company
    known = {
        "cik": cik,
        "company": company,
        "form": form,
        "submission": "" if part.alone else header.form,
        "period": header.period or facts.period,
        "filed": header.filed,
        "accession": header.accession,
        "items": item_numbers(sections),
        "file": name,
    }
    document = header.accession or stem
    yield Filing(
        id=f"{document}:{part.sequence}" if part.sequence else document,
        text=text,
        group=cik or company or stem,
        meta={key: value for key, value in known.items() if value},
        sections=sections,
    )


def _read(part: Part, reading: Reading) -> tuple[str, html_text.Facts]:
    """The text of a part and what inline XBRL says about it; raises Rejection."""
    body, num_removed = plain_text.without_uuencoded(part.body)
    if num_removed and not MARKUP.sub(b"", body).strip():
        raise Rejection("uuencoded")
    if any(fnmatchcase(part.type, pattern) for pattern in DATA_TYPES):
        raise Rejection("XBRL or XML data")
    source = plain_text.utf8(body)
    if html_text.is_html(source):
        if len(source) < BLOCK_PAGE_SIZE and any(phrase in source for phrase in BLOCK_PAGES):
            raise Rejection("not a filing")
        facts = html_text.cover_facts(source)
        if part.type or facts.form:
            _check_wanted(part.type or facts.form, reading.forms)
        text = html_text.extract(source)
    elif html_text.is_xml(source):
        raise Rejection("XBRL or XML data")
    else:
        plain = source.decode()
        if part.alone and plain.strip() and not plain_text.is_filing(plain):
            raise Rejection("not a filing")
        facts = html_text.Facts()
        if part.type:
            _check_wanted(part.type, reading.forms)
        text = plain_text.extract(plain)
    if not text:
        raise Rejection("no text")
    if reading.cover and part.alone and facts == html_text.Facts():
        facts = cover_facts(text)
    _check_wanted(part.type or facts.form, reading.forms)
    return text, facts


def _check_wanted(form: str, forms: Sequence[str] | None) -> None:
    if forms is not None and not any(fnmatchcase(form.upper(), pattern.upper()) for pattern in forms):
        raise Rejection("form not wanted")


def _item_json(name: str, data: bytes, reject: Reject, forms: Sequence[str] | None) -> Iterator[Filing]:
    for where, found in edgar_corpus.filings(name, data):
        try:
            if isinstance(found, Rejection):
                raise found
            _check_wanted(str(found.meta.get("form", "")), forms)
        except Rejection as rejection:
            reject(rejection.reason, where)
            continue
        group = found.meta.get("cik") or found.meta.get("company") or PurePosixPath(where).stem
        meta = {**found.meta, "file": name}
        yield Filing(found.id or where, found.text, str(group), meta, found.sections)


def _header_from_name(name: str) -> Header:
    """What a file's name tells: an accession anywhere in it, more where edgar-crawler gave it."""
    accession = "".join(ACCESSION.findall(name)[:1])
    match = CRAWLER_NAME.match(name)
    if not match:
        return Header(accession=accession)
    # The crawler takes the hyphen out: 10K, 10KSB, 8K, 20F.
    form = re.sub(r"^(\d+)(?=[A-Z])", r"\1-", match[2])
    return Header(accession=accession, cik=match[1].lstrip("0"), form=form)
