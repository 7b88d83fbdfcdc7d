"""HTML parts -> text: one parse by lexbor (resiliparse), the hidden XBRL header out, table rows on one line.

A tenth of an inline-XBRL filing is text, so speed is that of the parse and of the few passes over the markup that
come before it. The hidden header of an inline-XBRL filing would add about 1,300 numbers that nobody reads; it
goes with its subtree. lxml is not used: with its defaults it loses, in silence, everything below 255 nested
elements and around text nodes of 10 MB.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from html import unescape

from domadapt_sec.plain_text import clean
from domadapt_sec.rejection import Rejection

# <TABLE>, <S>, <C>, <PAGE> and <CAPTION> are also EDGAR's own tags in plain text and prove nothing.
TAG = re.compile(
    r"<(?:!doctype html|html|head|body|title|meta|div|p|font|br|hr|tr|td|center|pre|span|h[1-6])[\s/>]", re.IGNORECASE
)
HEADER = "ix\\:header"
DISPLAY_NONE = ("display:none", "display: none", "DISPLAY:none", "DISPLAY: none")
HIDDEN = "[style*='display:none' i], [style*='display: none' i]"
# An empty one of these ends where the next begins, whatever the slash says.
IMPLIED_END = frozenset(
    ("td", "th", "tr", "p", "li", "br", "hr", "img", "input", "meta", "link", "col", "area", "base", "wbr")
)
FORMATTING = re.compile(r"<(/?)(?:b|big|code|em|font|i|nobr|s|small|strike|strong|tt|u)(?:\s[^<>]*)?>", re.IGNORECASE)
MAX_UNCLOSED = 500
MIN_SEEN = 0.8
EMPTY_END = re.compile(r"\s*</")
CELL = re.compile(r"<(?=[tT][dDhH][\s/>])")
CELL_END = re.compile(r"</?[tT](?:[dDhHrR]|[aA][bB][lL][eE]|[bB][oO][dD][yY])[\s/>]")
BLOCK = re.compile(r"<(/?)(?:p|div|br|center)(?:\s[^<>]*)?/?>", re.IGNORECASE)
MAX_BLOCKS_IN_CELL = 6
FACT_END = re.compile(r"</ix:non", re.IGNORECASE)
MARKUP = re.compile(r"<[^<>]*>")


@dataclass(frozen=True)
class Facts:
    """What the cover page of an inline-XBRL filing says about itself; "" where it says nothing."""

    cik: str = ""
    company: str = ""
    form: str = ""
    period: str = ""


def is_html(text: str) -> bool:
    """Whether a part is HTML and not plain text with EDGAR's own tags."""
    return TAG.search(text) is not None


def is_xml(text: str) -> bool:
    """Whether a part that is not HTML is XML."""
    return text[:200].lstrip().upper().startswith(("<?XML", "<XML>", "<XBRL>"))


def extract(html: str) -> str:
    """The visible text of an HTML document, "" when there is none.

    Raises Rejection when the document declares entities, which no filing does, or the parser refuses it.
    """
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.html import HTMLParserException, HTMLTree

    if "<!ENTITY" in html:
        raise Rejection("XBRL or XML data")
    html = _without_header(html)
    html = _flat_cells(_without_unclosed_formatting("".join(_closed(html))))
    try:
        tree = HTMLTree.parse(html)
        text = extract_plain_text(tree, preserve_formatting=True, alt_texts=False, skip_elements=[HEADER])
        if any(_hides(html, style) for style in DISPLAY_NONE):
            seen = extract_plain_text(tree, preserve_formatting=True, alt_texts=False, skip_elements=[HEADER, HIDDEN])
            # An invisible element that is never closed takes the rest of the document with it; then all is read.
            text = seen if len(seen) > MIN_SEEN * len(text) else text
    except (HTMLParserException, MemoryError) as error:
        raise Rejection("unreadable") from error
    return clean("\n".join(_row(line) if "\t" in line else line for line in text.split("\n")))


def _without_header(html: str) -> str:
    """Cut the hidden header of inline XBRL out before the parse, a quarter of the markup; what is not closed stays."""
    start = html.find("<ix:header")
    end = html.find("</ix:header>", start)
    return html[:start] + html[end + len("</ix:header>") :] if 0 <= start < end else html


def _hides(html: str, style: str) -> bool:
    """Whether an element of this style has content: most only held the header."""
    at = html.find(style)
    while at >= 0:
        end = html.find(">", at)
        if end >= 0 and html[end - 1] != "/" and not EMPTY_END.match(html, end + 1):
            return True
        at = html.find(style, at + len(style))
    return False


def _closed(html: str) -> Iterator[str]:
    """Write `<div/>` as `<div></div>`: XHTML's empty elements are open ones to an HTML parser.

    An empty `<title/>` would swallow the whole document, an empty hidden `<div/>` all that follows it.
    """
    done, at = 0, html.find("/>")
    while at >= 0:
        start = html.rfind("<", done, at)
        name = html[start + 1 : min(at, start + 40)].split(None, 1)[:1] if start >= 0 else []
        if name and name[0][0].isalpha() and name[0].lower() not in IMPLIED_END:
            yield html[done:at]
            yield f"></{name[0]}>"
            done = at + 2
        at = html.find("/>", at + 2)
    yield html[done:]


def _without_unclosed_formatting(html: str) -> str:
    """Drop `<b>`, `<font>` and the like when very many are never closed.

    They do not change the text, and a parser opens all of them again in every paragraph: 4,000 unclosed
    `<b>` took lexbor 6.8 s (resiliparse 2.0.1).
    """
    if html.count("<") - 2 * html.count("</") - html.count("/>") < MAX_UNCLOSED:
        return html
    ends = [match[1] for match in FORMATTING.finditer(html)]
    if len(ends) - 2 * ends.count("/") < MAX_UNCLOSED:
        return html
    return FORMATTING.sub("", html)


def _flat_cells(html: str) -> str:
    """Take paragraphs and line breaks out of small table cells, so that a row of a table stays one line."""
    # A plain split is eight times as fast as the pattern, which the few filings with headers or capitals need.
    plain = "<td" in html and not any(
        cell in html for cell in ("<TD", "<Td", "<tD", "<th ", "<th>", "<TH", "<Th", "<tH")
    )
    pieces = html.split("<td") if plain else CELL.split(html)
    for index, piece in enumerate(pieces[1:], start=1):
        if "<div" in piece or "<p" in piece or "<br" in piece or "<P" in piece or "<D" in piece or "<B" in piece:
            end = CELL_END.search(piece)
            size = end.start() if end else len(piece)
            if (end or index < len(pieces) - 1) and len(BLOCK.findall(piece[:size])) <= MAX_BLOCKS_IN_CELL:
                pieces[index] = BLOCK.sub(" ", piece[:size]) + piece[size:]
    return ("<td" if plain else "<").join(pieces)


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


def cover_facts(html: str) -> Facts:
    """The first value of each fact of the cover page, whose names and values inline XBRL marks."""
    if "dei:" not in html:
        return Facts()
    cik = "".join(_fact(html, "dei:EntityCentralIndexKey")[:1]).lstrip("0")
    dates = map(iso_date, _fact(html, "dei:DocumentPeriodEndDate"))
    return Facts(
        cik=cik if cik.isascii() and cik.isdigit() else "",
        company="".join(_fact(html, "dei:EntityRegistrantName")[:1]),
        form="".join(_fact(html, "dei:DocumentType")[:1]).upper(),
        period=next(filter(None, dates), ""),
    )


def _fact(html: str, name: str) -> list[str]:
    """The text of a fact, up to its first end tag, its second, ...: facts may lie in each other."""
    at = html.find(f'name="{name}"')
    start = html.find(">", at)
    if at < 0 or start < 0 or html[start - 1] == "/":
        return []
    window = html[start + 1 : start + 2000]
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
