"""Lines of a filing that could be the heading of an item, with how much speaks for each.

A line counts when it begins with "Item N" in one of the ways filers write it: "ITEM 1.", "Item 1A -", "Items 1 and 2.",
"I tem 7", "PART I. ITEM 1", "Item 9A(T)". What goes on like a sentence ("Item 7 of this report") is a reference.
Every pattern is bounded, so that time grows with the text and no faster.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

LETTER = r"\([A-Ka-k]\)(?![ \t]?\()|[A-Ka-k](?![A-Za-z])|T(?![A-Za-z])"
# "l" and "I" stand for 1 where somebody typed a filing by eye; "1.01(e)" names a paragraph of an item of Form 8-K.
NUMBER = rf"(?:\d\.\d\d(?:\([a-z]\)(?=,| and))?|\d{{1,2}}|[Il](?=[.:A \t]))[ \t]?(?:{LETTER})?"
# A heading may be indented, in brackets or marked up as bold; a bullet makes it a list of references.
FIND = re.compile(
    r"^(?P<before>[ \t*_#\[(]{0,90})"
    r"(?:part[ \t]{1,4}(?P<part>[IVX]{1,3}|[1-4])\b[ \t.,:;–—-]{0,8}(?:\d{1,3}[ \t]{1,4})?)?"
    r"I[ \t]?t[ \t]?e[ \t]?m(?P<many>s|\(s\))?[ \t#.:]{0,6}(?:no\.?[ \t]{0,3})?"
    rf"(?P<number>{NUMBER})"
    r"(?P<more>(?:[ \t.]{0,3}(?:,|and|&|through|thru|to|[-–—/])[ \t]{0,4}(?:and[ \t]{1,3})?(?:items?[ \t]{1,4})?"
    rf"{NUMBER}(?![\d%])){{0,12}})"
    r"(?:[ \t]?\(T\))?(?![\d%])(?P<tail>.{0,400})",
    re.IGNORECASE | re.MULTILINE,
)
ONE_NUMBER = re.compile(NUMBER, re.IGNORECASE)
RANGE = re.compile(r"through|thru|to|[-–—]", re.IGNORECASE)
SEPARATOR = re.compile(r"[\s.:;,*_\])|–—−-]*")
PART_LINE = re.compile(
    r"^[ \t*_#]{0,90}PART[ \t]{1,6}(IV|I{1,3}|[1-4])\b(?P<tail>.{0,80})$", re.IGNORECASE | re.MULTILINE
)
# A page number at the end of a row of a table of contents: "Business    3", "Business .... 3-4", "Business  N/A".
PAGE_TAIL = re.compile(
    r"(?:\t|\.{2,}|\. \.|[ ]{2,}|[a-z)] )[ .]*(?:pages? )?(?:[A-Z]-)?"
    r"(?:\d{1,3}(?:[ ,–-]+(?:[A-Z]-)?\d{1,3})*|\*|n/a|none|not applicable)(?:,? ?\([a-z]\))?[ ]*$",
    re.IGNORECASE,
)
LIKE_A_SENTENCE = re.compile(
    r"(?:of|in|to|is|are|was|were|and|or|for|above|below|as|that|which|on|with|has|have|shall|will|under|herein|hereof|"
    r"by|from|the|this|also|should|may|contains?|see|at|requires?|includes?)\b"
)
CONTINUED = re.compile(r"\W{0,3}\(?(?:cont(?:inued|'d|\.|d)|concluded)\b", re.IGNORECASE)
SUB_ITEM = re.compile(r"(?:[ \t]?\([a-z\d]{1,4}\)(?:[ \t,]{0,2}(?:and|&)?[ \t]?(?=\())?){1,6}", re.IGNORECASE)


@dataclass(frozen=True)
class Heading:
    """A line that may open items.

    start, end: of the line.  part: roman number of the part the line or the line above names, else "".
    numbers: one, or all of a combined heading.  title: the words after the number, page number taken off.
    own_line: whether the title stands beside the number, not below it.
    page: whether it ends in a page number.  after_sentence: whether the line above breaks off, so that this one goes
    on.  quoted: whether what follows is in quotation marks or after a comma, as in a reference.
    """

    start: int
    end: int
    part: str
    numbers: tuple[str, ...]
    title: str
    own_line: bool
    page: bool
    after_sentence: bool
    quoted: bool


def headings(text: str) -> Iterator[Heading]:
    """The candidates in the order of the text."""
    for match in FIND.finditer(text):
        tail = match["tail"]
        sub = SUB_ITEM.match(tail)
        if sub and "." in match["number"]:  # an 8-K names the paragraph: Item 5.02(e)
            tail = tail[sub.end() :]
        elif sub or CONTINUED.match(tail):
            continue
        rest = tail[SEPARATOR.match(tail).end() :].rstrip()  # type: ignore[union-attr]
        if LIKE_A_SENTENCE.match(rest) or CONTINUED.search(rest[-30:]) or rest[:1] in ("’", "'", "%", "$"):
            continue
        end = text.find("\n", match.end())
        end = len(text) if end < 0 else end
        page = PAGE_TAIL.search(tail) is not None or rest.isdigit()
        title = PAGE_TAIL.sub(lambda found: found[0][:1] if found[0][:1].isalpha() else "", rest).strip(" \t.:*_|")
        title = "" if title.isdigit() else title
        own_line = bool(title)
        if not title:
            title, page_below = _next_line(text, end)
            page = page or page_below
        yield Heading(
            start=match.start() + len(match["before"]),
            end=end,
            part=_roman(match["part"] or ""),
            numbers=_numbers(match["number"], match["more"]),
            title=" ".join(title.split())[:200],
            own_line=own_line,
            page=page,
            after_sentence=_breaks_off(text, match.start()),
            quoted=tail.lstrip(" .:")[:1] in ("“", '"') or tail.lstrip()[:1] == "," or rest[:1] in ("“", '"'),
        )


def _numbers(first: str, more: str) -> tuple[str, ...]:
    """("10", "14") of "10 and 14"; a hyphen or "through" gives ("10", "-", "14"), which the form's table fills."""
    found = [_number(first)]
    at = 0
    for match in ONE_NUMBER.finditer(more):
        if RANGE.search(more[at : match.start()]):
            found.append("-")
        found.append(_number(match[0]))
        at = match.end()
    return tuple(found)


def _number(raw: str) -> str:
    number = re.sub(r"[\s()]", "", raw if "." not in raw else raw.partition("(")[0]).upper()
    number = "1" + number[1:] if number[0] in "IL" else number
    return number.removesuffix("T")


def _roman(part: str) -> str:
    return {"1": "I", "2": "II", "3": "III", "4": "IV"}.get(part, part.upper())


def _next_line(text: str, end: int) -> tuple[str, bool]:
    """The next line that is not blank, when it could be a title, and whether a page number ends it."""
    for line in text[end + 1 : end + 400].split("\n")[:4]:
        if line.strip():
            if len(line) > 250 or re.match(r"\W*(?:items?|part)\b", line, re.IGNORECASE):
                return "", False
            page = PAGE_TAIL.search(line) is not None
            return PAGE_TAIL.sub("", line).strip(" \t.:*_|-–—"), page
    return "", False


def _breaks_off(text: str, start: int) -> bool:
    """Whether the line right above is long and ends within a sentence."""
    above = text[text.rfind("\n", 0, max(0, start - 1)) + 1 : max(0, start - 1)].rstrip()
    return len(above) >= 50 and "\t" not in above and (above[-1].islower() or above[-1] in ',(“"')


def part_lines(text: str) -> Iterator[tuple[int, int, str]]:
    """(start, end, roman number) of the lines that open a part."""
    for match in PART_LINE.finditer(text):
        rest = match["tail"].strip(" \t.,:;*_–—-")
        if not rest or not LIKE_A_SENTENCE.match(rest):
            yield match.start(), match.end(), _roman(match[1])
