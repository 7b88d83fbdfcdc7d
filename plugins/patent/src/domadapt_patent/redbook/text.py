"""Red-book markup to plain text: inline marks, lists, tables, formulas.

Words are kept, layout is not: superscripts that are numbers become `10^-3`, subscripts are set on the line
(`H2O`), a table row is a line with cells between bars, MathML is written on the line, drawn chemistry is left out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lxml.etree import _Element

# Control characters cannot occur in XML, so they can stand for layout until whitespace is normalised.
_BREAK, _SPACE, _IN, _OUT = "\x1e", "\x1f", "\x1c", "\x1d"
_MARKS = str.maketrans({_SPACE: " ", _IN: "", _OUT: ""})
_BLOCKS = frozenset(["p", "ul", "ol", "li", "dl", "dt", "dd", "tables", "table", "maths", "heading", "sequence-list"])
_DRAWN = frozenset({"chemistry", "img", "chem", "table-external-doc"})
_EXPONENT = re.compile(r"[+\-−–]?\d[\d.,/]*[+\-−–]?|[+\-−–]|\(?\d+\)")
_WHITESPACE = re.compile(r"[^\S\x1c-\x1f]+")
_INVISIBLE = str.maketrans(
    # Function application, invisible times and separator, byte order mark, soft hyphen; two signs of the
    # private area stand for the bars of an absolute value.
    {"\u2061": "", "\u2062": " ", "\u2063": "", "\u2064": "", "\ufeff": "", "\u00ad": "", "\uf603": "|", "\uf604": "|"}
)


class UnknownEntityError(Exception):
    """A reference to an entity that neither XML nor HTML defines; its text cannot be known."""


def text_of(element: _Element) -> str:
    """The text of an element, one line a block, without blank lines; nested claim texts are indented.

    Raises UnknownEntityError.
    """
    lines, depth = [], 0
    for raw in "".join(_pieces(element)).translate(_INVISIBLE).split(_BREAK):
        depth += raw.count(_IN)
        if line := " ".join(_own_split(raw)).translate(_MARKS):
            lines.append("  " * max(0, depth - 1) + line)
        depth -= raw.count(_OUT)
    return "\n".join(lines)


def _own_split(raw: str) -> list[str]:
    """Words between whitespace of any kind; str.split() would take the marks for whitespace, too."""
    return [word for word in _WHITESPACE.split(raw) if word.strip(_IN + _OUT)]


def _pieces(element: _Element) -> Iterator[str]:
    yield element.text or ""
    for child in element:
        yield from _child(child)
        yield child.tail or ""


def _child(child: _Element) -> Iterator[str]:
    from lxml import etree

    if child.tag is etree.Entity:
        yield _entity(child.name)
    elif not isinstance(child.tag, str) or child.tag in _DRAWN:
        return
    elif child.tag in ("sup", "sup2"):
        inner = "".join(_pieces(child))
        yield f"^{inner.lstrip()}" if _EXPONENT.fullmatch(inner.strip()) else inner
    elif child.tag == "br":
        yield _BREAK
    elif child.tag == "math":
        yield _math(child)
    elif child.tag == "tgroup":
        yield _BREAK + _BREAK.join(_rows(child)) + _BREAK
    elif child.tag == "pre":
        yield _BREAK + "".join(_pieces(child)).replace(" ", _SPACE).replace("\n", _BREAK) + _BREAK
    elif child.tag == "claim-text":
        yield _BREAK + _IN
        yield from _pieces(child)
        yield _OUT + _BREAK
    elif child.tag in _BLOCKS:
        yield _BREAK
        yield from _pieces(child)
        yield _BREAK
    else:
        yield from _pieces(child)


def _entity(name: str) -> str:
    from domadapt_patent.redbook.characters import of_entity

    text = of_entity(name)
    if text is None:
        raise UnknownEntityError(name)
    return text


def _line(element: _Element) -> str:
    return " ".join("".join(_pieces(element)).replace(_BREAK, " ").split())


def _rows(tgroup: _Element) -> Iterator[str]:
    """The rows of a CALS table; columns that hold nothing (used for layout) are left out."""
    columns = [spec.get("colname", "") for spec in tgroup.iterchildren("colspec")]
    rows: list[dict[int, str]] = []
    for row in tgroup.iter("row"):
        cells: dict[int, str] = {}
        column = 0
        for entry in row.iterchildren("entry"):
            name = entry.get("namest") or entry.get("colname") or ""
            column = columns.index(name) if name in columns else column
            if name == "offset" and entry.get("nameend"):
                column += 1  # a header spans the empty indent column, too
            cells[column] = _line(entry)
            last = entry.get("nameend") or ""
            column = max(column, columns.index(last) if last in columns else column) + 1
        rows.append(cells)
    used = sorted({column for cells in rows for column, text in cells.items() if text})
    for cells in rows:
        line = [cells.get(column, "") for column in used]
        if any(line):
            filled = [text for text in line if text]
            yield filled[0] if len(filled) == 1 else " | ".join(line).rstrip(" |")


def _math(element: _Element) -> str:
    """MathML on one line: `(a)/(b)`, `a^b`, `a_b`, `sqrt(x)`, rows of a matrix between semicolons."""
    parts = [_math(child) for child in element if isinstance(child.tag, str)]
    if not parts:
        return _line(element)
    write = _MATH.get(element.tag)
    if write is None or len(parts) < _MATH_PARTS.get(element.tag, 1):
        return _spaced(parts)
    return write(parts)


def _spaced(parts: list[str]) -> str:
    text = " ".join(part for part in parts if part.strip())
    return re.sub(r"\s+(?=[,;.)\]])|(?<=[(\[])\s+", "", text)


def _group(text: str) -> str:
    return text if re.fullmatch(r"[\w.]*|\([^()]*\)", text) else f"({text})"


_MATH: dict[str, Callable[[list[str]], str]] = {
    "mfrac": lambda p: f"{_group(p[0])}/{_group(p[1])}",
    "msup": lambda p: f"{_group(p[0])}^{_group(p[1])}",
    "msub": lambda p: f"{p[0]}_{_group(p[1])}",
    "msubsup": lambda p: f"{p[0]}_{_group(p[1])}^{_group(p[2])}",
    "munder": lambda p: f"{p[0]}_{_group(p[1])}",
    "mover": lambda p: f"{p[0]}^{_group(p[1])}",
    "munderover": lambda p: f"{p[0]}_{_group(p[1])}^{_group(p[2])}",
    "msqrt": lambda p: f"sqrt({_spaced(p)})",
    "mroot": lambda p: f"root({p[0]}, {p[1]})",
    "mtable": lambda p: "; ".join(p),
}
_MATH_PARTS = {"mfrac": 2, "msup": 2, "msub": 2, "munder": 2, "mover": 2, "mroot": 2, "msubsup": 3, "munderover": 3}
