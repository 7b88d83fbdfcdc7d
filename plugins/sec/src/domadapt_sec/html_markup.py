"""Markup made smaller and plainer before it is parsed: four passes of bytes and patterns over an HTML document.

A tenth of an inline-XBRL filing is text. What says nothing about the text goes here, since a pattern takes it out in a
fifth of the time that a parser and a walk over its tree need for it: the hidden header (a quarter of the markup), and
elements that only set fonts or mark facts (half of the rest). Tags are touched where they are plainly tags: an
attribute that holds an angle bracket leaves its tag as it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence, Set
from functools import cache

HEADER_START, HEADER_END = b"<ix:header", b"</ix:header>"
INVISIBLE = re.compile(rb":[ \t]?(?:[nN]one|NONE)")
# Elements within a line of text, none of which changes what the text is.
FACT = "ix:continuation", "ix:exclude", "ix:footnote", "ix:fraction", "ix:nonFraction", "ix:nonNumeric"
FONT = "a", "abbr", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"
INLINE = (*FONT, *FACT, "span", "sub", "sup")
UPPER_CASE = re.compile(rb"</[A-Z]")
# A tag that has no end before the next one begins. In such a document a tag may be part of another's attributes.
UNENDED = re.compile(rb"<[a-zA-Z/][^<>]*+<")
BUT_BRACKETS = bytes(set(range(256)) - set(b"<>"))
# A parser opens these again in every paragraph until they are closed.
FORMATTING = re.compile(rb"<(/?)(?:%(font)s)(?=[\s>/])" % {b"font": "|".join((*FONT, *map(str.upper, FONT))).encode()})
ANY_FORMATTING = re.compile(rb"</?(?:%(font)s)(?:\s[^<>]*)?>" % {b"font": "|".join(FONT).encode()}, re.IGNORECASE)
MAX_OPEN = 500
# An empty one of these ends where the next begins, whatever the slash says.
IMPLIED_END = frozenset(b"td th tr p li br hr img input meta link col area base wbr".split())
USUAL = frozenset((b"<td ", b"<td", b"<br ", b"<br", b"<hr ", b"<hr", b"<img", b"<tr "))
LONGEST_NAME = 40
LONGEST_TAG = 4096
EMPTY_END = re.compile(rb"\s*</")
NAME = re.compile(rb"<([a-z][^\s<>/]*)", re.IGNORECASE)
# Attributes in which quotation marks come in pairs, and the end of the tag; not the end of a comment or a section.
ATTRIBUTES = rb"""(?:\s[^<>"']*+(?:"[^"<>]*+"[^<>"']*+|'[^'<>]*+'[^<>"']*+)*+)?/?(?<!--)(?<!\]\])>"""
BLOCK_NAME = rb"/?(?:p|div|br|center)(?=[\s/>])"
BLOCK = re.compile(rb"</?(?:p|div|br|center)" + ATTRIBUTES, re.IGNORECASE)
CELL_END = rb"/?(?:t[dhr]|table|tbody)(?=[\s/>])"
# A cell that holds a block, up to where it ends; every byte is looked at once.
CELL = re.compile(
    rb"<t[dh](?=[\s/>])[^<]*+(?:<(?!%(end)s|%(block)s)[^<]*+)*+<%(block)s[^<]*+(?:<(?!%(end)s)[^<]*+)*+(?=<)"
    % {b"end": CELL_END, b"block": BLOCK_NAME},
    re.IGNORECASE,
)
MAX_BLOCKS_IN_CELL = 6


def plainer(html: bytes) -> tuple[bytes, bool]:
    """The document with the same text and less markup: no hidden header, no fonts, closed empty elements, flat cells.

    html: UTF-8.  Returns also whether there are invisible elements with content.
    """
    html = _without_header(html)
    hidden = frozenset(_hidden_names(html))
    return CELL.sub(_flat, _closed(_without_inline(html, hidden))), bool(hidden)


def _without_header(html: bytes) -> bytes:
    """What is not closed stays."""
    start = html.find(HEADER_START)
    end = html.find(HEADER_END, start)
    return html[:start] + html[end + len(HEADER_END) :] if 0 <= start < end else html


def _hidden_names(html: bytes) -> Iterator[bytes]:
    """The names of the invisible elements that have content: most only held the header."""
    for match in INVISIBLE.finditer(html):
        at = match.start()
        if html[at - 7 : at].lower() != b"display":
            continue
        start, end = html.rfind(b"<", max(0, at - LONGEST_TAG), at), html.find(b">", at, at + LONGEST_TAG)
        name = NAME.match(html, start) if start >= 0 else None
        if name and html[end - 1 : end] != b"/" and (end < 0 or not EMPTY_END.match(html, end + 1)):
            yield name[1].lower()


def _without_inline(html: bytes, hidden: Set[bytes]) -> bytes:
    """Drop the tags of elements within a line, but for those of which some are invisible.

    Formatting that is left and never closed goes whatever its tags look like: 4,000 unclosed `<b>` took lexbor 6.8 s.
    """
    # the first test is seven times as fast, and mostly enough
    if b"<<" not in html.translate(None, BUT_BRACKETS) or not UNENDED.search(html):
        html = _inline_tags(hidden).sub(b"", html)
        if UPPER_CASE.search(html):
            html = _inline_tags(hidden, re.IGNORECASE).sub(b"", html)
    left = FORMATTING.findall(html)
    return ANY_FORMATTING.sub(b"", html) if len(left) - 2 * left.count(b"/") > MAX_OPEN else html


@cache
def _inline_tags(hidden: Set[bytes], flags: int = 0) -> re.Pattern[bytes]:
    return re.compile(
        rb"</?" + _one_of([name for name in INLINE if name.lower().encode() not in hidden]) + ATTRIBUTES, flags
    )


def _one_of(names: Sequence[str]) -> bytes:
    """A pattern that looks at each letter once: with alternatives alone the whole pass takes half as long again."""
    ends = {name[0]: [other[1:] for other in names if other[:1] == name[0]] for name in names if name}
    branches = [first.encode() + (_one_of(rest) if any(rest) else b"") for first, rest in ends.items()]
    return rb"(?:%s)%s" % (b"|".join(branches), b"?" if "" in names else b"")


def _closed(html: bytes) -> bytes:
    """Write `<div/>` as `<div></div>`: XHTML's empty elements are open ones to an HTML parser.

    An empty `<title/>` would swallow the whole document, an empty hidden `<div/>` all that follows it.
    """
    pieces = html.split(b"/>")
    parts: list[bytes] = []
    done = 0
    for number, piece in enumerate(pieces[:-1]):
        start = piece.rfind(b"<")
        if piece[start : start + 4] in USUAL:
            continue
        name = piece[start + 1 : start + LONGEST_NAME].split(None, 1)[:1] if start >= 0 else []
        if name and name[0][:1].isalpha() and name[0].lower() not in IMPLIED_END:
            parts += [b"/>".join(pieces[done : number + 1]), b"></", name[0], b">"]
            done = number + 1
    return b"".join([*parts, b"/>".join(pieces[done:])]) if parts else html


def _flat(cell: re.Match[bytes]) -> bytes:
    """A small cell without paragraphs and line breaks, so that a row of a table stays one line.

    A block within a tag that has no end is part of that tag: without it, the quotation mark after it would begin a
    value.
    """
    markup = cell[0]
    if len(BLOCK.findall(markup)) > MAX_BLOCKS_IN_CELL or UNENDED.search(markup):
        return markup
    return BLOCK.sub(b" ", markup)
