"""HTML parts -> text: one parse by lexbor (resiliparse), the hidden XBRL header out, table rows on one line.

A tenth of an inline-XBRL filing is text, so speed is that of the passes over the markup (`html_markup`), of the parse
and of the walk over its tree: two, one and three fifths of a second for 90 MB. The hidden header of an inline-XBRL
filing would add about 1,300 numbers that nobody reads; it goes with its subtree. lxml is not used: with its defaults
it loses, in silence, everything below 255 nested elements and around text nodes of 10 MB.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from html import unescape

from domadapt_sec.html_markup import plainer
from domadapt_sec.plain_text import clean
from domadapt_sec.rejection import Rejection

# <TABLE>, <S>, <C>, <PAGE> and <CAPTION> are also EDGAR's own tags in plain text and prove nothing.
TAG = re.compile(
    rb"<(?:!doctype html|html|head|body|title|meta|div|p|font|br|hr|tr|td|center|pre|span|h[1-6])[\s/>]", re.IGNORECASE
)
HEADER = "ix\\:header"
HIDDEN = "[style*='display:none' i], [style*='display: none' i]"
MIN_SEEN = 0.8
PROLOG = 1 << 16  # bytes in which a document could declare what the parser does not expand anyway
FACT_END = re.compile(r"</ix:non", re.IGNORECASE)
MARKUP = re.compile(r"<[^<>]*>")


@dataclass(frozen=True)
class Facts:
    """What the cover page of an inline-XBRL filing says about itself; "" where it says nothing."""

    cik: str = ""
    company: str = ""
    form: str = ""
    period: str = ""


def is_html(source: bytes) -> bool:
    """Whether a part is HTML and not plain text with EDGAR's own tags."""
    return TAG.search(source) is not None


def is_xml(source: bytes) -> bool:
    """Whether a part that is not HTML is XML."""
    return source[:200].lstrip().upper().startswith((b"<?XML", b"<XML>", b"<XBRL>"))


def extract(source: bytes) -> str:
    """The visible text of an HTML document in UTF-8, "" when there is none.

    Raises Rejection when the document declares entities, which no filing does, or the parser refuses it.
    """
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLParserException, HTMLTree

    if b"<!ENTITY" in source[:PROLOG]:
        raise Rejection("XBRL or XML data")
    html, hides = plainer(source)
    try:
        tree = HTMLTree.parse_from_bytes(html, "utf-8")
        text = extract_plain_text(tree, preserve_formatting=True, alt_texts=False, skip_elements=[HEADER])
        if hides:
            seen = extract_plain_text(tree, preserve_formatting=True, alt_texts=False, skip_elements=[HEADER, HIDDEN])
            # An invisible element that is never closed takes the rest of the document with it; then all is read.
            text = seen if len(seen) > MIN_SEEN * len(text) else text
    except (HTMLParserException, MemoryError) as error:
        raise Rejection("unreadable") from error
    return clean("\n".join([_row(line) if "\t" in line else line for line in text.split("\n")]))


def _row(line: str) -> str:
    """One row of a table: cells apart by one tab; signs and brackets back at their numbers.

    Filers give $, ) and % cells of their own, and columns that are only a gap.
    """
    cells: list[str] = []
    for cell in line.replace("\xa0", " ").replace("\u200b", "").split("\t"):
        cell = cell.strip()
        if not cell:
            continue
        if cells and (cells[-1] in ("$", "(", "$(", "€", "£") or cell in (")", "%", ")%", "%)")):
            cells[-1] += cell
        else:
            cells.append(cell)
    # The empty corner of a table keeps its tab, so that headings stay over their columns.
    corner = "\t" if len(cells) > 1 and line.startswith("\t") else ""
    return corner + "\t".join(cells)


def cover_facts(source: bytes) -> Facts:
    """The first value of each fact of the cover page, whose names and values inline XBRL marks."""
    if b"dei:" not in source:
        return Facts()
    cik = "".join(_fact(source, b"dei:EntityCentralIndexKey")[:1]).lstrip("0")
    dates = map(iso_date, _fact(source, b"dei:DocumentPeriodEndDate"))
    return Facts(
        cik=cik if cik.isascii() and cik.isdigit() else "",
        company="".join(_fact(source, b"dei:EntityRegistrantName")[:1]),
        form="".join(_fact(source, b"dei:DocumentType")[:1]).upper(),
        period=next(filter(None, dates), ""),
    )


def _fact(source: bytes, name: bytes) -> list[str]:
    """The text of a fact, up to its first end tag, its second, ...: facts may lie in each other."""
    at = source.find(b'name="%s"' % name)
    start = source.find(b">", at)
    if at < 0 or start < 0 or source[start - 1] == ord("/"):
        return []
    window = source[start + 1 : start + 2000].decode(errors="ignore")
    ends = [match.start() for match in FACT_END.finditer(window)][:3]
    return [" ".join(unescape(MARKUP.sub("", window[:end])).split())[:200] for end in ends]


def iso_date(date: str) -> str:
    """A date as filers write them, "September 28, 2024" or "2024-09-28", in ISO form; "" for anything else."""
    for form in ("%B %d, %Y", "%Y-%m-%d", "%B %d %Y", "%m/%d/%Y", "%d %B %Y"):
        try:
            return datetime.strptime(date.replace(" ,", ","), form).date().isoformat()
        except ValueError:
            continue
    return ""
