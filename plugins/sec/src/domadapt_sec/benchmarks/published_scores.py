"""Scores of public benchmarks where a comparison of strings will not do: what their YAMLs call.

Headlines: accuracy, and accuracy in which yes and no weigh the same for every question (chance 50 %). ConvFinQA: its
authors run a program and compare numbers; a language model writes one, in percent or not, rounded or not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from domadapt_sec.benchmarks.tatqa_scores import as_number, normalized

NEAR = 0.01
"""Largest relative difference between a rounded answer and the right one."""
DECIMALS = re.compile(r"\d\.(\d+)")


def headline(doc: Mapping[str, Any], results: Sequence[tuple[float, bool]]) -> dict[str, float]:
    """Whether the likelier of "no" and "yes" is right. doc: a row of `published_files.load_headlines`."""
    no, yes = (likelihood for likelihood, _ in results)
    right = float(int(yes > no) == doc["label"])
    return {"acc": right, "acc_balanced": right * doc["weight"]}


def turn(doc: Mapping[str, Any], results: Sequence[str]) -> dict[str, float]:
    """Whether the answer is the right number, or the right word. doc: a row of `published_files.load_convfinqa`."""
    given, wanted = results[0].strip(), str(doc["answer"])
    right, found = as_number(wanted), as_number(given)
    if right is None:
        return {"exact_match": float(normalized(given) == normalized(wanted))}
    if found is None:
        return {"exact_match": 0.0}
    decimals = DECIMALS.search(given)
    unit = 10.0 ** -len(decimals[1]) if decimals else 1.0
    factors = [0.01, 1.0] if "%" in given or "percent" in given.lower() else [1.0]
    return {"exact_match": float(any(_rounded(found * factor, right, unit * factor) for factor in factors))}


def _rounded(given: float, right: float, unit: float) -> bool:
    """Whether a number is the right one, or it rounded to a unit and not changed by more than a hundredth."""
    difference = abs(given - right)
    return difference <= 1e-9 * abs(right) or (difference <= 0.5001 * unit and difference <= NEAR * abs(right))
