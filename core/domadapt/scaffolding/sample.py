"""Documents and a benchmark for a new pack to begin with: minutes of an invented society, made from its name.

They are there to be replaced. Until then the pack runs: there is something to learn (the society's formulas and its
arithmetic), something to hold out, and questions about documents that are not among the samples.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterator

DOCUMENTS = 160
ITEMS = 80
_PLACES = ("Aldbrook", "Birkholm", "Carrow", "Dunmere", "Eastfold", "Farholt", "Glenmoor", "Harrow Hill")
_MEMBERS = ("Avery", "Blythe", "Corin", "Darrow", "Ellis", "Fenn", "Garrick", "Hollis", "Imre", "Jessop")
_FINDINGS = (
    "the first series agrees with the second within its error",
    "the second series has to be repeated with fresh material",
    "no difference was seen between the morning and the evening",
    "the instrument had drifted and its readings were set aside",
    "two of the samples had been exchanged and were relabelled",
    "the effect is there, and half as large as was announced",
)
_RULINGS = {
    "accepted": "The report was accepted as read.",
    "returned": "The report was returned to its author for more detail.",
    "postponed": "The report was postponed to the next meeting.",
}


def sample_files(name: str) -> dict[str, str]:
    """Path below the pack's folder -> text: the sample documents and the benchmark's items."""
    package = f"src/domadapt_{name}"
    documents = [_document(name, number) for number in range(DOCUMENTS)]
    return {
        f"{package}/sample/documents.jsonl": _lines(documents),
        f"{package}/benchmarks/{name}_rulings.jsonl": _lines(list(_items(name))),
    }


def _lines(rows: list[dict[str, object]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def _document(name: str, number: int) -> dict[str, object]:
    rng = random.Random(f"{name}/{number}")
    place = _PLACES[number % len(_PLACES)]
    text = f"Minutes of the {name.replace('_', ' ')} society of {place}, meeting {number + 1}.\n\n"
    for section in range(1, 5):
        text += _paragraph(name, section, rng) + "\n\n"
    text += "-- printed for members only --"
    return {"id": f"{number:04d}", "text": text, "place": place}


def _paragraph(name: str, section: int, rng: random.Random) -> str:
    author, second = rng.sample(_MEMBERS, 2)
    counts = [rng.randrange(3, 90) for _ in range(2)]
    ruling = _RULINGS[_ruling(counts)]
    return (
        f"{section}. {author} read a report on {name.replace('_', ' ')}: {counts[0]} observations in the first series, "
        f"{counts[1]} in the second, {sum(counts)} in all. {second} remarked that {rng.choice(_FINDINGS)}. {ruling}"
    )


def _ruling(counts: list[int]) -> str:
    """What the society does: it wants many observations, and as many in the second series as in the first."""
    if sum(counts) < 60:
        return "postponed"
    return "accepted" if counts[1] >= counts[0] else "returned"


def _items(name: str) -> Iterator[dict[str, object]]:
    """Questions about meetings that no sample document has: how a report is ruled on."""
    choices = [f" {text}" for text in _RULINGS.values()]
    for number in range(ITEMS):
        rng = random.Random(f"{name}/item/{number}")
        paragraph = _paragraph(name, 1 + number % 4, rng)
        answer = next(at for at, text in enumerate(_RULINGS.values()) if paragraph.endswith(text))
        prompt = paragraph.removesuffix(f" {list(_RULINGS.values())[answer]}")
        yield {"item": str(number), "prompt": prompt, "choices": choices, "answer": answer}
