"""The little morphology the sample needs: plurals, verb forms, articles, lists.

It covers the words of `fields.toml`, not English.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_SINGULAR_IN_S = ("lens", "radius", "bus", "apparatus", "gas", "clevis", "ss")
_DOUBLED = frozenset(
    [
        "admit",
        "cut",
        "dig",
        "emit",
        "expel",
        "flag",
        "forget",
        "get",
        "grip",
        "let",
        "map",
        "put",
        "run",
        "set",
        "shed",
        "shut",
        "snap",
        "split",
        "spot",
        "stir",
        "stop",
        "swap",
        "transfer",
        "transmit",
        "trim",
    ]
)
_AFTER_HEAD = re.compile(r" (?:with|without|of|on|at|by|in|between|to|that|against|for|shared|assigned|blown)\b")
_VOWEL = re.compile(r"[aeio]|u(?!ni|ro|se)|F_|L(?=i)|X|1[18]\b|8", re.ASCII)


def is_plural(noun: str) -> bool:
    """Whether a noun phrase of the vocabulary takes a plural verb."""
    noun = head(noun)
    return noun.endswith("s") and not noun.endswith(_SINGULAR_IN_S)


def head(phrase: str) -> str:
    """A noun phrase up to its head: without what a preposition, participle or relative clause adds."""
    return _AFTER_HEAD.split(phrase, maxsplit=1)[0]


def plural(phrase: str) -> str:
    """The plural of a singular noun phrase."""
    noun = head(phrase)
    if noun.endswith(("s", "x", "ch", "sh")):
        ending = noun + "es"
    elif re.search(r"[^aeiou]y$", noun):
        ending = noun[:-1] + "ies"
    else:
        ending = noun + "s"
    return ending + phrase[len(noun) :]


def a(noun: str) -> str:
    """With an indefinite article, or none when plural."""
    if is_plural(noun):
        return noun
    return f"an {noun}" if _VOWEL.match(noun) else f"a {noun}"


def third(phrase: str) -> str:
    """ "carry seeds" to "carries seeds"."""
    verb, _, rest = phrase.partition(" ")
    if re.search(r"[^aeiou]y$", verb):
        verb = verb[:-1] + "ies"
    elif verb.endswith(("s", "x", "ch", "sh", "o")):
        verb += "es"
    else:
        verb += "s"
    return f"{'is' if verb == 'bes' else verb} {rest}"


def gerund(phrase: str) -> str:
    """ "carry seeds" to "carrying seeds"."""
    verb, _, rest = phrase.partition(" ")
    if verb in _DOUBLED:
        verb += verb[-1]
    elif verb.endswith("e") and not verb.endswith(("ee", "oe", "ye")) and verb != "be":
        verb = verb[:-1]
    return f"{verb}ing {rest}"


def listed(items: Sequence[str], last: str = "and") -> str:
    """ "x", "x and y", "x, y and z"."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} {last} {items[-1]}"
