"""The numbers of the items (Item 1A, Item 2.02) that a filing's text has headings for.

Lines that start with "Item N" are enough for a list of numbers; where each item starts and ends is not decided here.
"""

from __future__ import annotations

import re

# [ \t], not \s: a pattern that runs over line ends takes quadratic time on pages of blank lines.
HEADING = re.compile(
    r"^[ \t]*item[ \t\xa0]{1,4}(\d{1,2}(?:\.\d\d|[A-K](?![a-z]))?)(?![\w%,])", re.IGNORECASE | re.MULTILINE
)


def item_numbers(text: str) -> list[str]:
    """Item numbers in the order of their first heading, without repetition: ["1", "1A", "2"]."""
    return list(dict.fromkeys(number.upper() for number in HEADING.findall(text)))
