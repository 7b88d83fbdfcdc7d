"""Text inside a paragraph: citations, exponents, formulas and entities become what a reader would type.

Numeric citation marks are taken out together with their brackets ("shown before [3,4-6]." -> "shown
before."), because the list they point to is not part of the text; author-year marks stay, they read as
words. Formulas become one line (`a/b`, `x_i`, `10^-3`) and lose what one line cannot show.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from domadapt_medical.jats.xml import entity_text, local_name

if TYPE_CHECKING:
    from lxml import etree

# private-use characters stand for marks until the whole paragraph is known
_CITATION, _EXPONENT = "\ue000", "\ue001"
_INVISIBLE = re.compile("[\u00ad\u200b\u200c\u200d\u2060\ufeff\ue000-\uf8ff]")
_NUMERIC = re.compile(r"^[\s\d,;–—‐‑−()\[\]-]*$")
_JOIN = r"[\s,;–—‐‑−-]"
_BRACKETED = re.compile(rf"[\[(]{_JOIN}*(?:{_CITATION}{_JOIN}*)+[\])]")
_RUN = re.compile(rf"[\s{_EXPONENT}]*{_CITATION}(?:{_JOIN}*{_EXPONENT}?{_CITATION})*")
_EXPONENTS = re.compile(rf"{_EXPONENT}(?:\s*{_EXPONENT})+")
_POWER = re.compile(rf"(?<=\d)\s*{_EXPONENT}(?=[−–+-]?\d)|(?<=\w){_EXPONENT}(?=[−–-]\d)")
_BEFORE_STOP = re.compile(r"\s+([,.;:])(?=\s|$)")
_TEX = re.compile(r"\\begin\{document\}(.*?)\\end\{document\}", re.DOTALL)

# marks of notes, which are dropped or stand below their table without a mark
_NOTES = frozenset({"fn", "table-fn", "aff", "author-notes", "corresp"})
BLOCKS = frozenset(
    [
        "array",
        "boxed-text",
        "def-list",
        "disp-quote",
        "fig",
        "fig-group",
        "list",
        "p",
        "preformat",
        "code",
        "sec",
        "speech",
        "statement",
        "supplementary-material",
        "table",
        "table-wrap",
        "table-wrap-group",
        "verse-group",
    ]
)
_CELLS = frozenset({"td", "th", "entry"})
_FORMULAS = frozenset({"inline-formula", "disp-formula", "math", "tex-math", "chem-struct-wrap"})
_SILENT = frozenset(
    [
        "graphic",
        "inline-graphic",
        "media",
        "object-id",
        "email",
        "fn",
        "index-term",
        "inline-supplementary-material",
        "ref-list",
        "alt-text",
        "long-desc",
        "author-notes",
        "related-article",
        "related-object",
    ]
)


def pieces(
    element: etree._Element, declared: Mapping[str, str], citations: bool = False
) -> Iterator[str | etree._Element]:
    """The content of a paragraph in order: raw text (see `tidy`), and block elements found inside it."""
    if element.text:
        yield _INVISIBLE.sub("", element.text)
    for child in element:
        name = local_name(child)
        if name in BLOCKS:
            yield child
        elif name in _FORMULAS or (name == "alternatives" and child.find("{*}math") is not None):
            yield f" {formula(child)} " if name == "disp-formula" else formula(child)
        elif name == "xref" and child.get("ref-type") in _NOTES:
            pass
        elif name == "xref" and child.get("ref-type") == "bibr" and not citations:
            text = "".join(child.itertext())
            yield _CITATION if _NUMERIC.match(text) else text
        elif name == "sup":
            yield _EXPONENT
            yield from pieces(child, declared, citations)
        elif name == "break":
            yield " "
        elif name in _CELLS:
            yield " "
            yield from pieces(child, declared, citations)
        elif name and name not in _SILENT:
            yield from pieces(child, declared, citations)
        elif not name and (reference := getattr(child, "name", None)):  # an entity reference
            yield entity_text(reference, declared)
        if child.tail:
            yield _INVISIBLE.sub("", child.tail)


def tidy(raw: str) -> str:
    """Finish the text of one paragraph: single spaces, citation marks gone, exponents marked."""
    # single spaces first: the patterns below would take quadratic time on a long run of them
    text = " ".join(raw.split())
    if _CITATION not in text and _EXPONENT not in text:
        return text
    text = _EXPONENTS.sub(_EXPONENT, text)
    if _CITATION in text:
        text = _RUN.sub("", _BRACKETED.sub(_CITATION, text))
        text = _BEFORE_STOP.sub(r"\1", text)
    return " ".join(_POWER.sub("^", text).replace(_EXPONENT, "").split())


def inline_text(element: etree._Element, declared: Mapping[str, str], citations: bool = False) -> str:
    """The text of an element that should hold no blocks (a title, a table cell); blocks are flattened."""
    if not len(element):
        return tidy(_INVISIBLE.sub("", element.text or ""))
    parts: list[str] = []
    waiting = [pieces(element, declared, citations)]
    while waiting:
        piece = next(waiting[-1], None)
        if piece is None:
            waiting.pop()
            parts.append(" ")
        elif isinstance(piece, str):
            parts.append(piece)
        else:
            parts.append(" ")
            waiting.append(pieces(piece, declared, citations))
    return tidy("".join(parts))


def formula(element: etree._Element) -> str:
    """A formula as one line: from MathML when there is any, else the body of the TeX, else a placeholder.

    Many older files have nothing but a picture; "is denoted by ." would teach broken sentences.
    """
    math = element if local_name(element) == "math" else next(element.iter("{*}math"), None)
    if math is not None:
        return re.sub(r" (?=[,;)])|[ ;]+$|(?<=\() ", "", " ".join(_linear(math).split()))
    tex = element if local_name(element) == "tex-math" else next(element.iter("{*}tex-math"), None)
    if tex is None:
        return "[formula]" if local_name(element) != "chem-struct-wrap" else ""
    source = "".join(tex.itertext())
    # Springer's files carry a whole LaTeX document with its preamble in each formula
    inner = _TEX.search(source)
    return " ".join((inner[1] if inner else source).replace("$", " ").split())


def _linear(node: etree._Element) -> str:
    name = local_name(node)
    parts = [_linear(child) for child in node if local_name(child)]
    match name, parts:
        case ("mi" | "mn" | "mtext" | "ms", _):
            return "".join(node.itertext()).strip() or " "
        case ("mo", _):
            operator = "".join(node.itertext()).strip()
            return f" {operator} " if operator in _SPACED else operator
        case ("annotation" | "annotation-xml", _):
            return ""
        case ("mspace", _):
            return " "
        case ("mfrac", [top, bottom]):
            return f"{_grouped(top)}/{_grouped(bottom)}"
        case ("msub" | "munder", [base, low]):
            return f"{base}_{_grouped(low)} "
        case ("msup", [base, high]):
            return f"{base}^{_grouped(high)} "
        case ("msubsup" | "munderover", [base, low, high]):
            return f"{base}_{_grouped(low)}^{_grouped(high)} "
        case ("mover", [base, _]):
            return base
        case ("msqrt", _):
            return f"sqrt({''.join(parts)})"
        case ("mroot", [base, degree]):
            return f"({base})^(1/{degree})"
        case ("mfenced", _):
            separator = node.get("separators", ",").strip()[:1]
            return f"{node.get('open', '(')}{separator.join(parts)}{node.get('close', ')')}"
        case ("mtr", _):
            return " ".join(parts) + "; "
    return "".join(parts)


_SPACED = frozenset(["=", "<", ">", "≤", "≥", "≈", "≠", "±", "+", "∼", "~", "→", "∈", "∝", "≡"])


def _grouped(text: str) -> str:
    text = text.strip()
    return text if re.fullmatch(r"[−+-]?[\w.]*", text) else f"({text})"
