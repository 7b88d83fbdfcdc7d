"""Names of licences: SPDX where an address says which, and which of them a recipe takes.

PubMed Central keeps a licence an article, not one for all; a model made of articles that may not be sold is a model
that may not be sold.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_ADDRESS = re.compile(
    r"creativecommons\.org/(?:licen[cs]es/(?P<terms>[a-z-]+)|publicdomain/(?P<domain>zero|mark))"
    r"(?:/(?P<version>\d\.\d))?(?:/(?P<port>igo|[a-z]{2})(?![\w-]))?",
    re.IGNORECASE,
)
_OPEN_GOVERNMENT = re.compile(r"nationalarchives\.gov\.uk/doc/open-government-licence/version/(\d)", re.IGNORECASE)
_NAMED = re.compile(r"Creative Commons (?:CC0\b|[A-Z][\w -]{2,60}? Licen[cs]e)")
_PORTED = frozenset(
    [
        "CC-BY-2.5-AU",
        *(f"CC-BY-3.0-{port}" for port in ("AT", "AU", "DE", "IGO", "NL", "US")),
        "CC-BY-NC-3.0-DE",
        "CC-BY-NC-ND-3.0-DE",
        "CC-BY-NC-ND-3.0-IGO",
        *(f"CC-BY-NC-SA-2.0-{port}" for port in ("DE", "FR", "UK")),
        "CC-BY-NC-SA-3.0-DE",
        "CC-BY-NC-SA-3.0-IGO",
        "CC-BY-ND-3.0-DE",
        "CC-BY-SA-2.0-UK",
        "CC-BY-SA-2.1-JP",
        *(f"CC-BY-SA-3.0-{port}" for port in ("AT", "DE", "IGO")),
    ]
)
"""Versions made for one country that SPDX has a name for; the others are named without the country."""
_TERMS = frozenset({"BY", "BY-SA", "BY-ND", "BY-NC", "BY-NC-SA", "BY-NC-ND"})

COMMERCIAL = frozenset({"CC0", "CC-BY", "CC-BY-SA", "CC-BY-ND"})
"""What PubMed Central puts into its `oa_comm` packages."""


def spdx(address: str) -> str:
    """The SPDX name of the licence at an address, "public domain" for that mark, "" when the address says none."""
    if match := _OPEN_GOVERNMENT.search(address):
        return f"OGL-UK-{match[1]}.0"
    for match in _ADDRESS.finditer(address):
        version, terms = match["version"], (match["terms"] or "").upper().strip("-")
        if match["domain"]:
            return f"CC0-{version or '1.0'}" if match["domain"].lower() == "zero" else "public domain"
        if version and terms in _TERMS:
            name = f"CC-{terms}-{version}"
            port = f"{name}-{(match['port'] or '').upper()}"
            return port if port in _PORTED else name
    return ""


def named(words: str) -> str:
    """The name of a Creative Commons licence in a sentence, "" when there is none."""
    match = _NAMED.search(words)
    return "" if match is None else "CC0-1.0" if "CC0" in match[0] else match[0]


def terms(license_name: str) -> str:
    """A licence without its version and country: "CC-BY-NC" of "CC-BY-NC-3.0-IGO" and of the same in words.

    What is no Creative Commons licence stands for itself.
    """
    if match := re.match(r"(CC0|CC(?:-(?:BY|NC|SA|ND))+)(?:-\d|$)", license_name):
        return match[1]
    words = license_name.lower()
    if "creative commons" not in words:
        return license_name
    if "cc0" in words or "public domain" in words or "zero" in words:
        return "CC0"
    if "attribution" not in words and not re.search(r"\bby\b", words):
        return license_name
    marks = [
        ("NC", r"non-?\s?commercial|\bnc\b"),
        ("SA", r"share-?\s?alike|\bsa\b"),
        ("ND", r"no-?\s?deriv|\bnd\b"),
    ]
    return "-".join(["CC-BY", *(mark for mark, said in marks if re.search(said, words))])


def is_taken(license_name: str, wanted: Iterable[str]) -> bool:
    """Whether a licence is among those wanted.

    wanted: SPDX names, with a version for that one ("CC-BY-4.0") or without for all ("CC-BY", which is not
    "CC-BY-NC"), "commercial" for those that allow it, or a publisher's words as they stand in `license`. An article
    that names none is taken only when "" is among them.
    """
    own = terms(license_name)
    names = {name.casefold() for name in wanted}
    if "commercial" in names and (own in COMMERCIAL or own == "public domain"):
        return True
    return license_name.casefold() in names or own.casefold() in names
