"""Grants of 1976 to 2001 in the fixed-column text of the Automated Patent System ("Green Book").

A line has its tag in columns 1 to 4 and its text from column 6; a line without a tag goes on with the one before.
Four letters open a section (PATN, INVT, CLMS), three name a field of it (TTL, PAR). Tables keep their columns.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from domadapt_patent.redbook import symbols
from domadapt_patent.redbook.characters import of_codes
from domadapt_patent.redbook.claims import DraftClaim, numbered
from domadapt_patent.redbook.patent import Facts, NotAPatentError, Patent

_FIRST = re.compile(rb"(?:\xef\xbb\xbf)?\s*PATN[ \t]*(?:\r?\n|\r|$)")
_TAG = re.compile(r"([A-Z]{4}|[A-Z][A-Z0-9]{2})(?: |$)")
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_PICTURE = re.compile(r"#{2}[A-Z]{3}\d+#{2}")
_DESCRIPTION = ("GOVT", "PARN", "BSUM", "DRWD", "DETD")
_CLAIMS = ("CLMS", "DCLM")
_FRONT = ("PATN", "INVT", "ASSG", "PRIR", "REIS", "RLAP", "CLAS", "UREF", "FREF", "OREF", "LREP", "PCTA", "ABST")
_RULE = re.compile(r"[\s_=-]*")
_SECTIONS = frozenset(_FRONT + _DESCRIPTION + _CLAIMS)
_KINDS = {"1": "A", "2": "E", "4": "S", "5": "T", "6": "P", "7": "H"}
_TYPES = {
    "1": "utility", "2": "reissue", "4": "design", "5": "defensive publication", "6": "plant",
    "7": "statutory invention registration",
}  # fmt: skip


@dataclass
class Section:
    """A section: its name and its fields in order, each a tag and its lines from column 6 on."""

    name: str
    fields: list[tuple[str, list[str]]] = field(default_factory=list)

    def get(self, tag: str) -> str:
        """The first field of a tag on one line, "" when there is none."""
        return next((_joined(lines) for name, lines in self.fields if name == tag), "")

    def all(self, tag: str) -> list[str]:
        """All fields of a tag, their columns kept."""
        return [lines[0].rstrip() for name, lines in self.fields if name == tag]


def is_aps(document: bytes) -> bool:
    """Whether a document opens with the line PATN."""
    return _FIRST.match(document) is not None


def parse(document: bytes) -> Patent:
    """Read one grant.

    Raises NotAPatentError: "damaged text" (more than one character in a hundred is a control character), "no document
    number" or "cut short" (the format has no end mark: fewer claims than the front page counts, and no full stop).
    """
    try:
        text = document.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = document.decode("latin-1")
    text, removed = _CONTROL.subn("", text.replace("\r\n", "\n").replace("\r", "\n"))
    if removed > len(text) / 100:
        raise NotAPatentError("damaged text")
    sections = list(_sections(text))
    number = next(iter(sections[0].all("WKU")), "").replace(" ", "")
    if not re.fullmatch(r"[A-Z0-9]{7,9}", number):
        raise NotAPatentError("no document number")
    parts = [section for section in sections if section.name in _CLAIMS]
    claims = numbered(list(_claims(parts)))
    if _is_cut(text, len(claims), sections[0]):
        raise NotAPatentError("cut short")
    return _facts(sections, number[:8]).patent(
        abstract=tuple(text for s in sections if s.name == "ABST" for text in _paragraphs(s)),
        description=tuple(text for s in sections if s.name in _DESCRIPTION for text in _paragraphs(s)),
        claims=claims,
        statement=next((statement for s in parts if (statement := s.get("STM"))), ""),
    )


def _is_cut(text: str, num_claims: int, front: Section) -> bool:
    """Whether the end is missing: claims, of which every kind but the defensive publication has some, come last."""
    declared = front.get("NCL")
    if not num_claims:
        return front.get("APT") != "5"
    return declared.isdigit() and num_claims < int(declared) and not text.rstrip().endswith(".")


def _sections(text: str) -> Iterator[Section]:
    section = Section("PATN")
    for line in text.split("\n"):
        tag = _TAG.match(line)
        if tag and tag[1] in _SECTIONS and not line[4:].strip():
            if section.fields:
                yield section
            section = Section(tag[1])
        elif tag and len(tag[1]) == 3:
            section.fields.append((tag[1], [line[5:]]))
        elif section.fields and line.strip():
            section.fields[-1][1].append(line[5:] if not line[:5].strip() else line)
    yield section


def _joined(lines: Sequence[str]) -> str:
    return of_codes(" ".join(_PICTURE.sub(" ", " ".join(lines)).split()))


def _block(tag: str, lines: Sequence[str]) -> str:
    """A paragraph on one line, or a table line by line with its columns, without its rules."""
    if tag != "TBL":
        return _joined(lines)
    rows = [of_codes(_PICTURE.sub("", line).rstrip()) for line in lines if not _RULE.fullmatch(line)]
    margin = min((len(row) - len(row.lstrip()) for row in rows if row.strip()), default=0)
    return "\n".join(row[margin:] for row in rows if row.strip())


def _paragraphs(section: Section) -> Iterator[str]:
    return (text for tag, lines in section.fields if (text := _block(tag, lines)))


def _claims(sections: Sequence[Section]) -> Iterator[DraftClaim]:
    """Claims between their NUM fields; designs have one without a number. PA1 to PA9 are steps, indented.

    Where NUM is missing, a paragraph that begins with the next number begins a claim.
    """
    held: list[str] = []
    number: int | None = None
    place = 0
    counted = any(tag == "NUM" for section in sections for tag, _ in section.fields)
    for section in sections:
        for tag, lines in [*section.fields, ("NUM", [""])]:
            opened = None if counted or tag != "PAR" else re.match(r"\s*(\d{1,4})\s*\. ", lines[0])
            if opened and int(opened[1]) == place + bool(held) + 1:
                if held:
                    place += 1
                    yield DraftClaim(str(place), number, "\n".join(held))
                held, number = [], int(opened[1])
            if tag == "NUM":
                if held:
                    place += 1
                    yield DraftClaim(str(place), number, "\n".join(held))
                printed = re.match(r"\s*(\d{1,4})", lines[0])
                held, number = [], int(printed[1]) if printed else None
            elif tag != "STM" and (text := _block(tag, lines)):
                depth = int(tag[2]) if re.fullmatch("PA[1-9]", tag) else 0
                held += ["  " * depth + row for row in text.split("\n")]


def _facts(sections: Sequence[Section], number: str) -> Facts:
    front = sections[0]
    named = {name: [s for s in sections if s.name == name] for name in ("INVT", "ASSG", "CLAS")}
    classes = named["CLAS"][0] if named["CLAS"] else Section("CLAS")
    uspc = [symbols.uspc(text) for tag in ("OCL", "XCL") for text in classes.all(tag)]
    kind = front.get("APT")
    # The series code of the application is a number of its own: "5" and "184541" are 05/184541.
    serial = front.get("APN").replace(" ", "")
    return Facts(
        "aps",
        "grant",
        number=number,
        country="US",
        kind=_KINDS.get(kind, ""),
        date=front.get("ISD"),
        filed=front.get("APD"),
        type=_TYPES.get(kind, ""),
        application=front.get("SRC").zfill(2) + serial[:6] if serial else "",
        title=front.get("TTL"),
        inventors=tuple(filter(None, (s.get("NAM").replace("; ", ", ") for s in named["INVT"]))),
        assignees=tuple(filter(None, (s.get("NAM") for s in named["ASSG"]))),
        ipc=tuple(dict.fromkeys(filter(None, map(symbols.ipc, classes.all("ICL"))))),
        uspc=tuple(dict.fromkeys(filter(None, uspc))),
        locarno=next(iter(classes.all("ICL")), "").strip() if kind == "4" else "",
    )
