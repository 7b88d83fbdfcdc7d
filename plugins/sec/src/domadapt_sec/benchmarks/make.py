"""Make `sec_continuation.jsonl`: python -m domadapt_sec.benchmarks.make

An item is a passage of a sample 10-K and four ways to go on for eleven words: the true one, and three in which four
words have given way to words of the same ending and about the same length, as frequent in filings. Only the
company that words keep tells them apart, which is what continual pre-training teaches first: measured on the
1 M-parameter `tiny-instruct`, 29 % before and 56 % after 75 steps on `sec.sample` (chance 25 %). In trials, whole
continuations of other passages as wrong choices told the two models apart less well (25 % and 31 %), and shuffled
words were too easy for both (84 % and 98 %).
The companies bear names that the sample source never emits (`sample_company.reserved`). Passage and choice
stay below 430 characters, since the smallest model reads 256 tokens.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from domadapt_sec.sample import submissions

SEED = 2024
NUM_COMPANIES = 126
NUM_ITEMS = 250
NUM_CHOICES = 4
PASSAGE_CHARACTERS = 340
SHORTEST_PASSAGE = 14  # words
CHOICE_WORDS = 11
REPLACED_WORDS = 4
# Sections by item number: what an item is about.
KINDS = {
    "1": "business", "1A": "risk factors", "2": "properties", "3": "legal proceedings", "5": "market for equity",
    "7": "discussion of results", "7A": "market risk", "8": "notes", "9A": "controls",
}  # fmt: skip
WORD = re.compile(r"[a-z]{4,}")
ENDINGS = (
    "ing",
    "ed",
    "ly",
    "ion",
    "ity",
    "ment",
    "ness",
    "able",
    "ant",
    "ent",
    "ive",
    "ous",
    "ial",
    "al",
    "ers",
    "s",
    "er",
    "e",
)


@dataclass(frozen=True)
class Paragraph:
    """A paragraph of a filing, in words."""

    company: str
    cik: int
    kind: str
    words: tuple[str, ...]


def paragraphs() -> Iterator[Paragraph]:
    """The long paragraphs of the 10-Ks of companies reserved for the benchmark."""
    for submission in submissions(SEED, NUM_COMPANIES, for_benchmark=True):
        if submission.form != "10-K":
            continue
        for section in submission.documents[0].sections:
            for block in section.blocks:
                if isinstance(block, str) and section.number in KINDS:
                    words = tuple(block.split())
                    if len(words) >= SHORTEST_PASSAGE + CHOICE_WORDS:
                        company = submission.company
                        yield Paragraph(company.name, company.cik, KINDS[section.number], words)


def _ending(word: str) -> str:
    return next((ending for ending in ENDINGS if word.endswith(ending)), "")


def _words_by_ending(found: Sequence[Paragraph]) -> Mapping[str, Sequence[str]]:
    """All words of the paragraphs as often as they occur, by ending."""
    by_ending: defaultdict[str, list[str]] = defaultdict(list)
    for paragraph in found:
        for word in paragraph.words:
            if WORD.fullmatch(word):
                by_ending[_ending(word)].append(word)
    return by_ending


def items() -> list[dict[str, object]]:
    """The items, two or three a company, the places of the answers evenly spread."""
    rng = random.Random(f"sec_continuation/{SEED}")
    found = list(paragraphs())
    by_ending = _words_by_ending(found)
    waiting: defaultdict[int, list[Paragraph]] = defaultdict(list)
    for paragraph in found:
        waiting[paragraph.cik].append(paragraph)
    for own in waiting.values():
        rng.shuffle(own)
    made: list[dict[str, object]] = []
    while len(made) < NUM_ITEMS:
        for own in waiting.values():
            item = None
            while own and item is None:
                item = _item(own.pop(), len(made), by_ending, rng)
            if item and len(made) < NUM_ITEMS:
                made.append(item)
    return made


def _item(
    paragraph: Paragraph, number: int, by_ending: Mapping[str, Sequence[str]], rng: random.Random
) -> dict[str, object] | None:
    """An item from one paragraph; None when there is too little to replace where it was cut."""
    words = paragraph.words
    cut = rng.randint(SHORTEST_PASSAGE, len(words) - CHOICE_WORDS)
    true = words[cut : cut + CHOICE_WORDS]
    others = {place: _others(word, by_ending) for place, word in enumerate(true) if WORD.fullmatch(word)}
    places = [place for place, fitting in others.items() if fitting]
    if len(places) < REPLACED_WORDS + 1:
        return None
    start = cut
    while start and len(" ".join(words[start - 1 : cut])) <= PASSAGE_CHARACTERS:
        start -= 1
    wrong: set[str] = set()
    for _ in range(NUM_CHOICES - 1):
        replaced = {place: rng.choice(others[place]) for place in rng.sample(places, REPLACED_WORDS)}
        wrong.add(" ".join(replaced.get(place, word) for place, word in enumerate(true)))
    answer = number % NUM_CHOICES
    choices = sorted(wrong)
    if len(choices) < NUM_CHOICES - 1:
        return None
    choices.insert(answer, " ".join(true))
    return {
        "item": f"sec_continuation/{number:03d}",
        "cluster": str(paragraph.cik),
        "company": paragraph.company,
        "kind": paragraph.kind,
        "passage": " ".join(words[start:cut]),
        "choices": choices,
        "answer": answer,
    }


def _others(word: str, by_ending: Mapping[str, Sequence[str]]) -> list[str]:
    """Words that could stand in a word's place as far as ending and length go: as long, else within two letters."""
    others = [other for other in by_ending[_ending(word)] if other != word and abs(len(other) - len(word)) <= 2]
    as_long = [other for other in others if len(other) == len(word)]
    return as_long if len(set(as_long)) >= NUM_CHOICES else others


def encoded() -> bytes:
    """The file's bytes."""
    return b"".join(json.dumps(item, ensure_ascii=False).encode() + b"\n" for item in items())


def main() -> None:
    """Write the file beside this module."""
    path = Path(__file__).with_name("sec_continuation.jsonl")
    path.write_bytes(encoded())
    sys.stderr.write(f"{path}: {NUM_ITEMS} items\n")


if __name__ == "__main__":
    main()
