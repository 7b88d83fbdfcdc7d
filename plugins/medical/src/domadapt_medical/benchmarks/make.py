"""Write medical_continuation.jsonl: a passage that breaks off in a sentence, and four ways to go on, one its own.

The other three are the same words with two neighbouring pairs exchanged, each at another place. All choices
have the same words and length, so only the phrasing of the field tells them apart, and models of a million
parameters show what they learnt. Measured with the core's tiny instruct model (chance 25 %): 47 % before, 81 %
after continual pre-training on 154,000 tokens of the sample corpus, standard error 3 points. With whole
sentences or endings of other articles as wrong choices both stayed at chance (21 to 27 %): the frequency of
single words decides there.

    python -m domadapt_medical.benchmarks.make [FILE]
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from domadapt_medical.sample.corpus import draw_studies
from domadapt_medical.sample.manuscript import Manuscript, Paragraph, Section, Table

SEED = "benchmark/medical_continuation"
NUM_ARTICLES = 160
NUM_ITEMS = 240
NUM_CHOICES = 4
MAX_PER_ARTICLE = 2
MIN_CONTEXT = 4
"""Words of the broken sentence that stand in the passage, at least."""
MIN_FOLLOWING = 8
"""Words of the continuation: four pairs, so that three exchanges are possible."""
BOILERPLATE = frozenset({"analysis", "ethics", "extraction"})
MAX_CHARACTERS = 360
"""Passage and continuation together: within 256 tokens of a small vocabulary, the starter recipe's `seq_len`."""

DATA = Path(__file__).parent / "medical_continuation.jsonl"
_CITATION = re.compile(r" ?\[@[^]]*\]")


@dataclass(frozen=True)
class Passage:
    """A place in an article: what stands before (`context`) and the rest of the sentence."""

    article: int
    kind: str
    context: str
    following: str


def passages(manuscript: Manuscript, number: int, rng: random.Random) -> Iterator[Passage]:
    """Sentences broken off near their middle, each behind the sentence before it.

    Only sentences with a number or a topic of the article, and none on analysis or ethics: "Missing values
    were imputed by chained equations with 20 data sets" stands in the sample corpus too, word for word.
    """
    topics = [word.lower() for word in manuscript.keywords]
    for paragraph in _paragraphs(manuscript.body):
        if paragraph.kind in BOILERPLATE:
            continue
        sentences = [_CITATION.sub("", s) for s in paragraph.sentences]
        for before, sentence in pairwise(sentences):
            if not any(topic in sentence.lower() for topic in topics) and not any(c.isdigit() for c in sentence):
                continue
            words = sentence.split()
            cut = round(len(words) * rng.uniform(0.3, 0.55))
            if cut < MIN_CONTEXT or len(words) - cut < MIN_FOLLOWING:
                continue
            context = f"{before} {' '.join(words[:cut])}"
            if len(before) + 1 + len(sentence) <= MAX_CHARACTERS:
                yield Passage(number, paragraph.kind, context, " ".join(words[cut:]))


def disturbed(text: str, rng: random.Random) -> list[str]:
    """Three versions with two neighbouring pairs of words exchanged; the full stop stays at the end."""
    words = text.removesuffix(".").split()
    pairs = [words[i : i + 2] for i in range(0, len(words), 2)]
    versions: dict[str, None] = {}
    for place in rng.sample(range(len(pairs) - 1), len(pairs) - 1):
        order = [*pairs[:place], pairs[place + 1], pairs[place], *pairs[place + 2 :]]
        version = " ".join(word for pair in order for word in pair) + text[len(text.removesuffix(".")) :]
        if version != text:
            versions[version] = None
    return list(versions)[: NUM_CHOICES - 1]


def items() -> Iterator[dict[str, object]]:
    """The items of the benchmark, in the order of their articles."""
    rng = random.Random(SEED)
    chosen: list[Passage] = []
    for study in draw_studies(NUM_ARTICLES, SEED):
        if study.reprint_of is None:
            found = list(passages(study.manuscript, study.number, rng))
            chosen += rng.sample(found, min(MAX_PER_ARTICLE, len(found)))
    seen: set[str] = set()
    number = 0
    for passage in chosen:
        choices = [passage.following, *disturbed(passage.following, rng)]
        if number == NUM_ITEMS or len(choices) < NUM_CHOICES or passage.following in seen:
            continue
        seen.add(passage.following)
        rng.shuffle(choices)
        yield {
            "item": f"mc{number:03d}",
            "cluster": f"article{passage.article:03d}",
            "section": passage.kind,
            "context": passage.context,
            "choices": choices,
            "answer": choices.index(passage.following),
        }
        number += 1


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
