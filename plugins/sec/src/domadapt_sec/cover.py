"""What the cover page of a report says about itself, for files that came without header and without inline XBRL.

Only the fixed words of the forms are trusted ("FORM 10-K", "for the fiscal year ended", "exact name of registrant");
what is not beside them stays unknown.
"""

from __future__ import annotations

import re

from domadapt_sec.html_text import Facts, iso_date

COVER = 12_000  # characters
FORM = re.compile(r"\bFORM\s{0,3}(10-?K(?:405|SB|T)?|10-?Q(?:SB)?|8-?K|20-?F|40-?F|6-?K)(?:/A)?\b", re.IGNORECASE)
AMENDMENT = re.compile(r"\bAMENDMENT NO", re.IGNORECASE)
MONTH = r"(?:January|February|March|April|May|June|July|August|September|October|November|December)"
DATE = rf"({MONTH}\s{{1,3}}\d{{1,2}}\s?,\s{{0,3}}\d{{4}})"
PERIOD = re.compile(
    rf"(?:(?:fiscal\s+)?(?:year|quarter|quarterly\s+period|period)\s+ended|date\s+of\s+report.{{0,60}}?):?\s{{0,3}}{DATE}",
    re.IGNORECASE,
)
NAME_BELOW = re.compile(r"\(?exact\s+name\s+of\s+(?:the\s+)?(?:registrant|company|issuer)", re.IGNORECASE)
NO_NAME = re.compile(r"commission|form \d|\d{4}|file n|report|_{5,}|-{5,}", re.IGNORECASE)


def cover_facts(text: str) -> Facts:
    """Form, period and company where the cover page of the text names them."""
    cover = text[:COVER]
    form, period = FORM.search(cover), PERIOD.search(cover)
    name = re.sub(r"^(\d+)-?(?=[A-Z])", r"\1-", form[1].upper()) if form else ""
    if form and (AMENDMENT.search(cover[: form.end() + 600]) or form[0].endswith("/A")):
        name += "/A"
    return Facts(
        form=name,
        period=iso_date(" ".join(period[1].split()).title()) if period else "",
        company=_company(cover),
    )


def _company(cover: str) -> str:
    """The line above "(Exact name of registrant as specified in its charter)"."""
    found = NAME_BELOW.search(cover)
    above = cover[: found.start()].rstrip(" (\n\t_-*").split("\n")[-3:] if found else []
    for line in reversed(above):
        line = " ".join(line.split()).strip(" _-*")
        if line:
            return "" if len(line) > 120 or NO_NAME.search(line) or not line[:1].isalnum() else line
    return ""
