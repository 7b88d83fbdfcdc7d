"""Make `sec_continuation.jsonl`: python -m domadapt_sec.benchmarks.make

An item is a passage of a sample filing cut inside a sentence, and four ways to go on: the true one and three that
follow a cut in the same kind of section of other companies. All four are grammatical filing language, so what
decides is whether the model knows which phrases of it belong together. The companies bear names that the sample
source never emits (`sample_company.reserved`). Prompt and choice stay below 520 characters, since the smallest
model reads 256 tokens.
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from domadapt_sec.sample import submissions
from domadapt_sec.sample_company import Company

SEED = 2024
NUM_COMPANIES = 126
NUM_ITEMS = 240
NUM_CHOICES = 4
PROMPT = (120, 340)  # characters
CHOICE = (3, 6)  # words

# Sections by item number; a distractor comes from the same kind.
KINDS = {"1": "business", "1A": "risk", "3": "legal", "5": "market", "7": "results", "7A": "market risk", "9A": "controls"}
SENTENCE = re.compile(r"(?<=[a-z)%\d]\.) (?=[A-Z])")


@dataclass(frozen=True)
class Passage:
    """A passage before the cut and after it."""

    company: Company
    kind: str
    before: str
    after: str


def passages(rng: random.Random) -> Iterator[Passage]:
    """Cut passages of the 10-Ks of companies reserved for the benchmark."""
    for submission in submissions(SEED, NUM_COMPANIES, for_benchmark=True):
        if submission.form != "10-K":
            continue
        for section in submission.documents[0].sections:
            kind = KINDS.get(section.number)
            for block in section.blocks if kind else ():
                if isinstance(block, str):
                    yield from _cuts(submission.company, kind or "", SENTENCE.split(block), rng)


def _cuts(company: Company, kind: str, sentences: list[str], rng: random.Random) -> Iterator[Passage]:
    """One cut in each sentence that is long enough, after 35 to 65 % of its words."""
    for number, sentence in enumerate(sentences):
        words = sentence.split()
        cut = round(len(words) * rng.uniform(0.35, 0.65))
        start, after = " ".join(words[:cut]), " ".join(words[cut : cut + rng.randint(*CHOICE)])
        before = start
        for earlier in reversed(sentences[:number]):
            if len(earlier) + 1 + len(before) > PROMPT[1]:
                break
            before = f"{earlier} {before}"
        if PROMPT[0] <= len(before) <= PROMPT[1] and len(words) - cut >= CHOICE[0]:
            yield Passage(company, kind, before, after)


def items() -> list[dict[str, object]]:
    """The items of the benchmark, the answers evenly spread over the places."""
    rng = random.Random(f"sec_continuation/{SEED}")
    found = list(passages(rng))
    rng.shuffle(found)
    chosen = sorted(range(len(found)), key=lambda i: _times_before(found, i))
    made: list[dict[str, object]] = []
    for index in chosen:
        passage = found[index]
        wrong = _distractors(passage, found, rng)
        if len(wrong) < NUM_CHOICES - 1:
            continue
        answer = len(made) % NUM_CHOICES
        choices = [*wrong[:answer], passage.after, *wrong[answer:]]
        made.append(
            {
                "item": f"sec_continuation/{len(made):03d}",
                "cluster": str(passage.company.cik),
                "company": passage.company.name,
                "kind": passage.kind,
                "passage": passage.before,
                "choices": choices,
                "answer": answer,
            }
        )
        if len(made) == NUM_ITEMS:
            break
    return made


def _times_before(found: list[Passage], index: int) -> int:
    """How many earlier passages the company has: items are taken round by round, one a company."""
    return sum(found[i].company.cik == found[index].company.cik for i in range(index))


def _distractors(passage: Passage, found: list[Passage], rng: random.Random) -> list[str]:
    """Continuations of the same kind of section, of another company, of a length within a fifth."""
    length = len(passage.after)
    fitting = [
        other.after
        for other in found
        if other.kind == passage.kind
        and other.company.cik != passage.company.cik
        and abs(len(other.after) - length) <= 0.2 * length
        and other.after[0].islower() == passage.after[0].islower()
        and other.after.split()[0] != passage.after.split()[0]
    ]
    distinct = {text.split()[0]: text for text in rng.sample(fitting, len(fitting))}
    return list(distinct.values())[: NUM_CHOICES - 1]


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
