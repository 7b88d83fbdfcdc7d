"""Symbols of the classifications, written in columns in the older formats: "A45F  504" is A45F 5/04."""

from __future__ import annotations

import re

_IPC = re.compile(r"([A-H]\d\d[A-Z])\s*(\d{1,4})/(\d{2,6})")
_LOST = re.compile(r"([A-H]\d\d[A-Z]) +(\d{1,2})(\d\d)")
_COLUMNS = re.compile(r"([A-H]\d\d[A-Z])([ \d]{2}\d)(\d{2,6})")


def ipc(text: str) -> str:
    """An IPC symbol as it is usually written, from columns or from "G06F017/60"; "" when it is none."""
    if found := _IPC.fullmatch(text.strip()):
        return f"{found[1]} {int(found[2])}/{found[3]}"
    # Where a file was laid out anew, blanks are lost: then a subgroup of two digits is the likely one.
    if found := _COLUMNS.fullmatch(text.rstrip()) or _LOST.fullmatch(text.strip()):
        return f"{found[1]} {int(found[2])}/{found[3]}"
    return ""


def uspc(text: str) -> str:
    """A US class and subclass, "224/42.07", from columns: three for the class, three and more for the subclass.

    "224 4207" (grants), "002227000" (applications: three decimals), "D14480" (designs), "2DIG 9". "" when it is none.
    """
    text = text.rstrip()
    text = text if len(text) > 5 else text.rjust(6)
    name = text[:3].replace(" ", "").lstrip("0")
    if not name or not text[3:].strip():
        return ""
    whole, rest = text[3:6].strip().lstrip("0"), text[6:].strip()
    if whole == "DIG":
        rest = f" {rest.lstrip('0')}"
    elif rest.isdigit():
        rest = f".{rest}" if (rest := rest.rstrip("0")) else ""
    return f"{name}/{whole}{rest}"
