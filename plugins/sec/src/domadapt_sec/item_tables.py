"""Which items a form has, in which order, and how their headings begin.

The patterns are the first words of the titles that Regulation S-K and the forms prescribe, with those that filers
have really written since 1993. A title that fits makes a line that says "Item 7" a heading and not a reference, and
finds the heading of an item whose number was left out.

Source: Forms 10-K, 10-Q and 8-K with their amendments (8-K renumbered in August 2004; Item 1A from 2005, 1C from 2023).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from typing import Literal

Family = Literal["10-K", "10-KSB", "10-Q", "8-K", "other"]
STATEMENTS = (
    r"(?:(?:condensed|consolidated|unaudited|interim|index to) ){0,4}(?:financial statements|statements? of|balance)"
)
MANAGEMENT = r"management.{0,3}s? (?:discussion|plan)|discussion and analysis"
MARKET_RISK = r"(?:quantitative|qualitative) "
CONTROLS = r"(?:disclosure )?controls "
PROPERTY = r"(?:description of )?propert|real estate"
LEGAL = r"legal proceeding|litigation"
MARKET = r"markets? (?:for|price)|common (?:equity|stock)"
CHANGES = r"changes in (?:and|or) dis|changes in (?:registrant|accountant)|disagreements? "
OWNERSHIP = r"(?:beneficial )?(?:security )?ownership"
CERTAIN = r"certain (?:relation|business|transaction)"
SUBMISSION = r"submission of matters|submissions? |mine safety|\W?(?:removed|reserved)|results of votes"

BUSINESS = r"(?:description of )?(?:the |our |general (?:development of )?)?business|general"
TEN_K: tuple[tuple[str, str], ...] = (
    ("1", BUSINESS),
    ("1A", r"risk factors|executive officers"),
    ("1B", r"unresolved "),
    ("1C", r"cyber"),
    ("2", PROPERTY),
    ("3", LEGAL),
    ("4", SUBMISSION),
    ("4A", r"(?:the )?executive officers|submission of matters"),
    ("5", MARKET),
    ("6", r"(?:selected|summary) |\W?reserved"),
    ("7", MANAGEMENT),
    ("7A", MARKET_RISK),
    ("8", rf"{STATEMENTS}|supplementary"),
    ("9", CHANGES),
    ("9A", CONTROLS),
    ("9B", r"other information"),
    ("9C", r"disclosures? regarding foreign"),
    ("10", r"(?:the )?directors"),
    ("11", r"(?:executive|management) (?:compensation|remuneration)"),
    ("12", OWNERSHIP),
    ("13", CERTAIN),
    ("14", r"exhibits?|controls |principal account|financial statement"),
    ("15", r"exhibits?|principal account|financial statement"),
    ("16", r"(?:form )?10-?k summary|summary"),
)
# The form of small businesses until 2009.
TEN_KSB: tuple[tuple[str, str], ...] = (
    ("1", BUSINESS),
    ("1A", r"risk factors"),
    ("2", PROPERTY),
    ("3", LEGAL),
    ("4", SUBMISSION),
    ("5", MARKET),
    ("6", MANAGEMENT),
    ("7", STATEMENTS),
    ("8", CHANGES),
    ("8A", CONTROLS),
    ("8B", r"other information"),
    ("9", r"(?:the )?directors"),
    ("10", r"executive compensation"),
    ("11", OWNERSHIP),
    ("12", CERTAIN),
    ("13", r"exhibits?"),
    ("14", r"principal account|controls "),
)
TEN_Q: tuple[tuple[str, str], ...] = (
    ("I.1", STATEMENTS),
    ("I.2", MANAGEMENT),
    ("I.3", MARKET_RISK),
    ("I.4", CONTROLS),
    ("I.4T", CONTROLS),
    ("II.1", LEGAL),
    ("II.1A", r"risk factors"),
    ("II.2", r"unregistered|changes? in (?:the )?(?:securities|rights)|(?:issuer )?purchases? of|repurchase"),
    ("II.3", r"defaults? "),
    ("II.4", SUBMISSION),
    ("II.5", r"other (?:information|events|matters)"),
    ("II.6", r"(?:index (?:of|to) )?exhibits?"),
)
# Sections of Form 8-K since 2004 and how many items each has.
NEW_8_K = {1: 5, 2: 6, 3: 3, 4: 2, 5: 8, 6: 10, 7: 1, 8: 1, 9: 1}
EIGHT_K = (
    r"changes? in|amendments? to|entry into|termination of|bankruptcy|mine safety|material |completion of|acquisition"
    r"|results of|creation of|triggering|costs |notice of|unregistered|non-?reliance|departure|resignation|election"
    r"|temporary|shareholder|submission of|abs |regulation fd|other |financial statements|exhibits|disclosure|.?reserv"
)
OTHER = r"[A-Z\[(“\"]"


@dataclass(frozen=True)
class Item:
    """One item of a form: the part it is in ("" when the form has none), its number and how titles begin."""

    part: str
    number: str
    title: re.Pattern[str]


def family(form: str, text: str) -> Family:
    """Which table a document of this type goes by; the cover page decides where the type is not known."""
    form = form.upper().replace("FORM ", "")
    if not form:
        cover = " ".join(text[:12_000].upper().split())
        found = re.search(r"FORM (10-?K(?:SB)?|10-?Q|8-?K|20-?F)", cover)
        form = found[1] if found else ""
    for name in ("10-KSB", "10-K", "10-Q", "8-K"):
        if form.startswith((name, name.replace("-", ""))):
            return name
    return "other"


@cache
def items(family: Family) -> tuple[Item, ...]:
    """The items of a form in their order."""
    if family in ("10-K", "10-KSB"):
        table = TEN_K if family == "10-K" else TEN_KSB
        return tuple(Item("", number, _pattern(title)) for number, title in table)
    if family == "10-Q":
        split = ((name.partition("."), title) for name, title in TEN_Q)
        return tuple(Item(part, number, _pattern(title)) for (part, _, number), title in split)
    if family == "8-K":
        numbers = [str(number) for number in range(1, 14)]
        numbers += [f"{section}.{number:02d}" for section, last in NEW_8_K.items() for number in range(1, last + 1)]
        return tuple(Item("", number, _pattern(EIGHT_K)) for number in numbers)
    numbers = [f"{number}{letter}" for number in range(1, 36) for letter in ("", *"ABCDEFGHIJK")]
    return tuple(Item("", number, re.compile(OTHER)) for number in numbers)


def _pattern(title: str) -> re.Pattern[str]:
    return re.compile(f"(?:{title})", re.IGNORECASE)
