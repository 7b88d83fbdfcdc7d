"""Grants of 2001 to 2004 (WIPO ST.32 as used by the USPTO, DTD versions 2.4 and 2.5), as XML and as SGML.

Tags are the INID codes of WIPO ST.9: B110 is the document number, B540 the title.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from domadapt_patent.redbook import symbols
from domadapt_patent.redbook.claims import DraftClaim, numbered
from domadapt_patent.redbook.ice import paragraphs
from domadapt_patent.redbook.patent import Facts, NotAPatentError, Patent
from domadapt_patent.redbook.text import text_of
from domadapt_patent.redbook.xml import field, rename

if TYPE_CHECKING:
    from lxml.etree import _Element

_CALS = ("TABLE", "TGROUP", "COLSPEC", "SPANSPEC", "THEAD", "TBODY", "ROW", "ENTRY", "UL", "OL", "LI", "DL", "DT", "DD")
_ICE = {name: name.lower() for name in _CALS} | {
    "PARA": "p", "H": "heading", "SP": "sup", "SB": "sub", "CWU": "tables", "TABLE-US": "tables", "MATH-US": "maths",
    "CHEM-US": "chemistry", "EMI": "img", "CUSTOM-CHARACTER": "img", "CHEMCDX": "chem", "CHEMMOL": "chem",
    "MATHEMATICA": "img", "SEQLST-US": "sequence-list", "SEQ-LST": "sequence-list", "PROGLST-US": "pre",
}  # fmt: skip
_WRAPPERS = (
    "BTEXT", "RELAPP", "GOVINT", "BRFSUM", "DRWDESC", "DETDESC", "PARENT", "CROSS-REFERENCE", "SDODE",
)  # fmt: skip
_TYPES = {"S": "design", "P": "plant", "E": "reissue", "H": "statutory invention registration"}
_STEP_INDENT = "  "


def read(root: _Element) -> Patent:
    """Read the tree of `PATDOC`.

    Raises NotAPatentError "no document number", UnknownEntityError.
    """
    front = root.find("SDOBI")
    if front is None or not field(front, "B100/B110"):
        raise NotAPatentError("no document number")
    facts = _facts(front)
    rename(root, _ICE)
    return facts.patent(
        abstract=tuple(paragraphs(root.find("SDOAB"), _WRAPPERS)),
        description=tuple(paragraphs(root.find("SDODE"), _WRAPPERS)),
        claims=numbered([draft for draft in _claims(root) if draft.text]),
        statement=field(root, "SDOCL/heading"),
    )


def _facts(front: _Element) -> Facts:
    kind = field(front, "B100/B130")
    main = _columns(front, "B500/B510/B511")
    ipc = [symbols.ipc(text) for text in [*main, *_columns(front, "B500/B510/B512")]]
    uspc = [symbols.uspc(text) for tag in ("B521", "B522") for text in _columns(front, f"B500/B520/{tag}")]
    return Facts(
        "st32",
        "grant",
        number=field(front, "B100/B110"),
        country=field(front, "B100/B190"),
        kind=kind,
        date=field(front, "B100/B140"),
        filed=field(front, "B200/B220"),
        type=_TYPES.get(kind[:1], "utility"),
        application=field(front, "B200/B210"),
        title=field(front, "B500/B540"),
        inventors=tuple(filter(None, map(_name, front.iterfind("B700/B720/B721/PARTY-US/NAM")))),
        assignees=tuple(
            filter(None, (field(e, "ONM") or _name(e) for e in front.iterfind("B700/B730/B731/PARTY-US/NAM")))
        ),
        ipc=tuple(dict.fromkeys(filter(None, ipc))),
        uspc=tuple(dict.fromkeys(filter(None, uspc))),
        # A design carries its Locarno class where others have the IPC.
        locarno=main[0].strip() if kind.startswith("S") and main else "",
    )


def _name(name: _Element) -> str:
    return ", ".join(filter(None, (field(name, "SNM"), field(name, "FNM"))))


def _columns(front: _Element, path: str) -> list[str]:
    """Texts in columns: blanks at their start count, those between elements do not."""
    return ["".join(e.text or "" for e in found.iter("PDAT")).strip("\r\n") for found in front.iterfind(path)]


def _claims(root: _Element) -> Iterator[DraftClaim]:
    for place, element in enumerate(root.iterfind("SDOCL/CL/CLM"), 1):
        lines: list[str] = []
        for child in element:
            level = child.get("LVL", "") if child.tag == "CLMSTEP" else ""
            indent = _STEP_INDENT * max(0, int(level) - 1) if re.fullmatch("[0-9]", level) else ""
            lines += [indent + text for text in text_of(child).split("\n") if text]
        key = element.get("ID", f"claim {place}")
        number = re.fullmatch(r"CLM-0*(\d{1,4})(?:-\d+)?", key)
        targets = tuple(reference.get("ID", "") for reference in element.iter("CLREF"))
        yield DraftClaim(key, int(number[1]) if number else None, "\n".join(lines), targets)


# Declared EMPTY: SGML writes them without an end. The last row is MathML's.
_EMPTY = (
    "EMI", "COLSPEC", "SPANSPEC", "CUSTOM-CHARACTER", "CHEMCDX", "CHEMMOL", "MATHEMATICA", "INS-S", "INS-E", "DEL-S",
    "DEL-E", "CITED-BY-EXAMINER", "CITED-BY-OTHER", "B221US", "B473US", "B597US", "BR",
    "NONE", "MPRESCRIPTS", "MSPACE", "MALIGNMARK", "MALIGNGROUP", "SEP",
)  # fmt: skip
_SGML = re.compile(
    # A tag, or what XML does not allow outside tags: a bare "&" or "<", an entity without its semicolon.
    rb"<(?P<name>/?[A-Za-z][A-Za-z0-9.:-]*)(?P<attributes>[^<>]*)>"
    rb"|&(?P<entity>[A-Za-z][A-Za-z0-9.]*|#[0-9]+)(?P<end>;?)|(?P<bare>[&<])"
)
_ATTRIBUTE = re.compile(rb"([A-Za-z][A-Za-z0-9.:-]*)\s*=\s*(\"[^\"]*\"|'[^']*'|[^\s\"'/>]+)")
_EMPTY_NAMES = frozenset(name.encode() for name in _EMPTY)


def xml_of_sgml(document: bytes) -> bytes:
    """Well-formed XML in UTF-8 of an SGML instance whose only liberties are the usual ones: empty elements without
    an end, attributes without quotes, bare ampersands and entities without a semicolon. Others stay and fail to parse.
    """
    try:
        document.decode("utf-8")
    except UnicodeDecodeError:
        document = document.decode("latin-1").encode("utf-8")
    for opening, closing in ((b"<!--", b"-->"), (b"<?", b">")):
        document = _without(document, opening, closing)
    return _SGML.sub(_as_xml, document)


def _without(document: bytes, opening: bytes, closing: bytes) -> bytes:
    """The document without comments or instructions; what is never closed stays. Each byte is looked at once."""
    kept, place = [], 0
    while (start := document.find(opening, place)) >= 0 and (end := document.find(closing, start)) >= 0:
        kept.append(document[place:start])
        place = end + len(closing)
    return b"".join([*kept, document[place:]])


def _as_xml(found: re.Match[bytes]) -> bytes:
    if found["bare"]:
        return b"&amp;" if found["bare"] == b"&" else b"&lt;"
    if found["entity"]:
        return b"&" + found["entity"] + b";"
    name, attributes = found["name"], found["attributes"]
    if name.startswith(b"/"):
        return b"<" + name + b">"
    quoted = b"".join(
        b" " + key + b"=" + (value if value[:1] in b"\"'" else b'"' + value + b'"')
        for key, value in _ATTRIBUTE.findall(attributes)
    )
    closed = b"/" if name.upper() in _EMPTY_NAMES or attributes.rstrip().endswith(b"/") else b""
    return b"<" + name + quoted + closed + b">"
