"""Write medical_continuation.jsonl: a passage of a fictional article and four sentences, one of which goes on.

The wrong sentences stand in paragraphs of the same kind (methods of randomisation, primary results, ...) of
articles about other conditions and are of like length, so that neither section nor length gives the answer:
one has to follow what the passage is about. Chance is 25 %. Questions with answers in PubMedQA's way (yes, no,
maybe) would stay at chance for the small models of the starter recipe.

    python -m domadapt_medical.benchmarks.make [FILE]
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from domadapt_medical.sample.corpus import draw_studies
from domadapt_medical.sample.manuscript import Manuscript, Paragraph, Section, Table

SEED = "benchmark/medical_continuation"
NUM_ARTICLES = 180
NUM_ITEMS = 240
NUM_CHOICES = 4
MAX_PER_ARTICLE = 2
MAX_CHARACTERS = 450
"""Passage and continuation together: at most 256 tokens of the starter recipe's small vocabulary, its `seq_len`."""

DATA = Path(__file__).parent / "medical_continuation.jsonl"
_CITATION = re.compile(r" ?\[@[^]]*\]")


@dataclass(frozen=True)
class Passage:
    """A place in an article: what stands before (`context`) and the sentence that follows."""

    article: int
    condition: str
    kind: str
    context: str
    following: str
    topics: frozenset[str]


def passages(manuscript: Manuscript, number: int) -> Iterator[Passage]:
    """Places whose next sentence names something the context names too: its drug, its exposure, its condition."""
    words = frozenset(word.lower() for word in manuscript.keywords if len(word) > 4)
    for paragraph in _paragraphs(manuscript.body):
        sentences = [_CITATION.sub("", s) for s in paragraph.sentences]
        for position in range(1, len(sentences)):
            following = sentences[position]
            context = sentences[position - 1]
            if position > 1 and len(sentences[position - 2]) + len(context) + len(following) + 2 <= MAX_CHARACTERS:
                context = f"{sentences[position - 2]} {context}"
            shared = frozenset(w for w in words if w in following.lower() and w in context.lower())
            if shared and len(context) + len(following) + 1 <= MAX_CHARACTERS:
                yield Passage(number, manuscript.condition, paragraph.kind, context, following, shared)


def items() -> Iterator[dict[str, object]]:
    """The items of the benchmark, in the order of their articles."""
    rng = random.Random(SEED)
    by_kind: dict[str, list[Passage]] = defaultdict(list)
    for study in draw_studies(NUM_ARTICLES, SEED):
        if study.reprint_of is None:
            for passage in passages(study.manuscript, study.number):
                by_kind[passage.kind].append(passage)
    candidates = [p for kind in sorted(by_kind) for p in by_kind[kind]]
    rng.shuffle(candidates)
    taken: dict[int, int] = defaultdict(int)
    chosen: list[tuple[Passage, list[str]]] = []
    for passage in candidates:
        if len(chosen) == NUM_ITEMS:
            break
        wrong = _wrong(passage, by_kind[passage.kind], rng)
        if taken[passage.article] < MAX_PER_ARTICLE and len(wrong) == NUM_CHOICES - 1:
            taken[passage.article] += 1
            chosen.append((passage, wrong))
    for number, (passage, wrong) in enumerate(sorted(chosen, key=lambda c: (c[0].article, c[0].context))):
        choices = [passage.following, *wrong]
        rng.shuffle(choices)
        yield {
            "item": f"mc{number:03d}",
            "cluster": f"article{passage.article:03d}",
            "section": passage.kind,
            "context": passage.context,
            "choices": choices,
            "answer": choices.index(passage.following),
        }


def _wrong(passage: Passage, others: list[Passage], rng: random.Random) -> list[str]:
    length, room = len(passage.following), MAX_CHARACTERS - len(passage.context) - 1
    fitting = [
        other
        for other in others
        if other.condition != passage.condition
        and 0.7 * length <= len(other.following) <= min(1.4 * length, room)
        and not any(topic in other.following.lower() for topic in passage.topics)
    ]
    wrong: dict[int, str] = {}  # one an article
    for other in rng.sample(fitting, len(fitting)):
        if other.following not in (passage.following, *wrong.values()):
            wrong.setdefault(other.article, other.following)
        if len(wrong) == NUM_CHOICES - 1:
            break
    return list(wrong.values())


def _paragraphs(blocks: tuple[Paragraph | Table | Section, ...]) -> Iterator[Paragraph]:
    for block in blocks:
        if isinstance(block, Section):
            yield from _paragraphs(block.blocks)
        elif isinstance(block, Paragraph):
            yield block


def make(file: Path = DATA) -> int:
    """Write the data and return the number of items."""
    lines = [json.dumps(item, ensure_ascii=False) for item in items()]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="\n")
    return len(lines)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    print(f"{target}: {make(target)} items")
