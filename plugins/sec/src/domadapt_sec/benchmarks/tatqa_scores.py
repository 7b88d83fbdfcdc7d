"""Exact match and F1 of TAT-QA as its authors score them, on the text of an answer: numbers compare as numbers.

The published script also takes a predicted scale apart ("million"); here the scale is part of the answer's text, and a
number counts with or without it ("1,496.5", "$1,496.5 million"), since a language model is asked no separate question.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

SCALES = {"thousand": 1e3, "million": 1e6, "billion": 1e9, "percent": 1e-2, "": 1.0}
_NUMBER = re.compile(r"\(?[-−]?\(?[$€£]?\s*[-−]?\d[\d,]*(?:\.\d+)?\)?")
_ARTICLES = re.compile(r"\b(a|an|the)\b")


def process_results(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Scores of one answer; several spans are separated by semicolons. doc: a row of `published_files.load_tatqa`."""
    given = results[0].strip()
    wanted = [str(answer) for answer in doc["answers"]]
    parts = given.split(";") if len(wanted) > 1 else [given]
    same = any(_same(parts, wanted, factor) for factor in _factors(given, doc["scale"]))
    if all(as_number(answer) is not None for answer in wanted):
        return {"exact_match": float(same), "f1": float(same)}
    words = overlap(normalized(given).split(), normalized(" ".join(wanted)).split())
    return {"exact_match": float(same), "f1": max(float(same), words)}


def _same(parts: Sequence[str], wanted: Sequence[str], factor: float) -> bool:
    """Whether the parts are the wanted spans in any order; a number may be the wanted one times a factor."""
    left = list(parts)
    for answer in wanted:
        number = as_number(answer)
        for part in left:
            found = as_number(part)
            alike = normalized(part) == normalized(answer) if number is None else _close(found, number * factor)
            if alike:
                left.remove(part)
                break
        else:
            return False
    return not left


def _factors(given: str, scale: str) -> list[float]:
    """By what the wanted number may be multiplied: as written, or in full when the answer names no scale."""
    named = next((word for word in SCALES if word and word in given.lower()), "")
    if named and scale and named != scale:
        return [SCALES[scale] / SCALES[named]]
    return [1.0] if named else [1.0, SCALES[scale]]


def _close(found: float | None, wanted: float) -> bool:
    return found is not None and abs(found - wanted) <= max(5e-3, 1e-6 * abs(wanted))


def as_number(text: str) -> float | None:
    """The number that an answer is, or None when it is words. Accountants put a loss in brackets."""
    match = _NUMBER.search(text)
    rest = _NUMBER.sub(" ", text, count=1).lower() if match else text
    rest = re.sub(r"\b(?:thousand|million|billion|percent|dollars?)\b", " ", rest)
    if match is None or re.search(r"[a-z0-9]", rest):
        return None
    digits = re.sub(r"[^\d.]", "", match[0])
    negative = any(sign in match[0] for sign in "-−") or match[0].startswith("(")
    return -float(digits) if negative else float(digits)


def normalized(text: str) -> str:
    """Lower case without articles and punctuation, as SQuAD's script does it."""
    kept = "".join(" " if c in string.punctuation else c for c in text.lower())
    return " ".join(_ARTICLES.sub(" ", kept).split())


def overlap(found: Sequence[str], wanted: Sequence[str]) -> float:
    """F1 of two bags of words."""
    shared = sum((Counter(found) & Counter(wanted)).values())
    return 2 * shared / (len(found) + len(wanted)) if shared else 0.0
