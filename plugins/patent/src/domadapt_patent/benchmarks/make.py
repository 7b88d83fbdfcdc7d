"""Write patent_continuation.jsonl: a patent breaks off in a claim or sentence, and four ways to go on, one its own.

The other three are the same words with two neighbouring pairs exchanged, each at another place. All choices
have the same words and length, so only the phrasing of claims and descriptions tells them apart, and models
of a million parameters show what they learnt. Measured with the core's tiny instruct model (chance 25 %): 64 %
before, 95 % after the starter recipe's continual pre-training (292,000 tokens of the sample corpus, 15,000 of
general text), standard error 3 points and less. With endings about other parts of machines as wrong choices both
stayed at chance (20 and 21 %). Models of a billion parameters can be expected near 100 % from the start.

The passages come from fictional patents of a seed that the source `patent.sample` cannot have; no item shares
13 words in a row with that corpus as it is by default.

    python -m domadapt_patent.benchmarks.make [FILE]
"""

from __future__ import annotations

import json
import random
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

from domadapt_patent.redbook.patent import Patent, parse
from domadapt_patent.sample.publication import document
from domadapt_patent.sample.source import SampleSource, publications

SEED = "benchmark/patent_continuation"
NUM_PATENTS = 340
NUM_ITEMS = 240
NUM_CHOICES = 4
MOST_PER_PATENT = 2
LEAST_BEFORE = 4
"""Words of the broken claim element or sentence that stand in the prompt."""

LEAST_AFTER = 8
"""Words of the continuation: four pairs, so that three exchanges are possible."""

LONGEST = 360
"""Characters of prompt and continuation: within 256 tokens of a small vocabulary, the starter recipe's `seq_len`."""

RUN = 13
"""Words: the overlap at which GPT-3's and later decontaminations call a text known."""

FILE = Path(__file__).with_name("patent_continuation.jsonl")
_SENTENCE = re.compile(r"(?<=[\w)]\.) (?=[A-Z])")


@dataclass(frozen=True)
class Passage:
    """A place in a patent: what stands before it and the rest of the claim element or sentence."""

    patent: str
    kind: str
    prompt: str
    ending: str


def passages(patent: Patent, rng: random.Random) -> Iterator[Passage]:
    """Elements of claims and sentences of the description, broken off near their middle, as the corpus prints them."""
    for claim in patent.claims:
        lines = claim.text.split("\n")
        for number, line in enumerate(lines):
            yield from _broken(patent.id, "claim", _latest(lines[:number], "\n", len(line)), line, rng)
    for paragraph in patent.description:
        for before, sentence in pairwise(["", *_SENTENCE.split(paragraph)]):
            yield from _broken(patent.id, "description", f"{before} " if before else "", sentence, rng)


def _latest(lines: list[str], end: str, taken: int) -> str:
    """The last lines that fit beside `taken` characters."""
    kept = ""
    for line in reversed(lines):
        if len(line) + len(end) + len(kept) + taken > LONGEST:
            break
        kept = line + end + kept
    return kept


def _broken(patent: str, kind: str, before: str, unit: str, rng: random.Random) -> Iterator[Passage]:
    words = unit.split()
    cut = round(len(words) * rng.uniform(0.3, 0.55))
    if cut >= LEAST_BEFORE and len(words) - cut >= LEAST_AFTER and len(before) + len(unit) <= LONGEST:
        indent = unit[: len(unit) - len(unit.lstrip())]
        prompt = f"{before}{indent}{' '.join(words[:cut])}".strip()
        yield Passage(patent, kind, prompt, " ".join(words[cut:]))


def disturbed(text: str, rng: random.Random) -> list[str]:
    """Up to three versions with two neighbouring pairs of words exchanged; the mark at the end stays there.

    Pairs of one form ("the lever, | the spring", "7 s, | 29 s") stay: lists read as well in another order.
    """
    bare = text.rstrip(".;,:")
    words = bare.removesuffix("; and").split()
    mark = text[len(" ".join(words)) :]
    pairs = [words[i : i + 2] for i in range(0, len(words), 2)]
    versions: dict[str, None] = {}
    for place in rng.sample(range(len(pairs) - 1), len(pairs) - 1):
        first, second = pairs[place : place + 2]
        if _form(first[0]) == _form(second[0]) or _form(first[-1]) == _form(second[-1]):
            continue
        order = [*pairs[:place], second, first, *pairs[place + 2 :]]
        versions[" ".join(word for pair in order for word in pair) + mark] = None
    return list(versions)[: NUM_CHOICES - 1]


def _form(word: str) -> str:
    return re.sub(r"[\d.]+", "0", word.rstrip(",;"))


def items() -> Iterator[dict[str, object]]:
    """The items of the benchmark, in their order: half from claims, half from descriptions."""
    rng = random.Random(SEED)
    first = (made for made in publications(NUM_PATENTS, SEED) if not made.again)
    pool = [passage for publication in first for passage in passages(parse(document(publication)), rng)]
    rng.shuffle(pool)
    per_patent: Counter[str] = Counter()
    per_kind: Counter[str] = Counter()
    seen: set[str] = set()
    known = known_runs()
    for passage in pool:
        if per_patent[passage.patent] == MOST_PER_PATENT or per_kind[passage.kind] == NUM_ITEMS // 2:
            continue
        wrong = disturbed(passage.ending, rng)
        if len(wrong) < NUM_CHOICES - 1 or not seen.isdisjoint((passage.prompt, passage.ending)):
            continue
        if not known.isdisjoint(runs(f"{passage.prompt} {passage.ending}")):
            continue
        seen |= {passage.prompt, passage.ending}
        per_patent[passage.patent] += 1
        per_kind[passage.kind] += 1
        answer = rng.randrange(NUM_CHOICES)
        yield {
            "item": f"{passage.kind}-{per_kind[passage.kind]:03d}",
            "cluster": passage.patent,
            "prompt": passage.prompt,
            "choices": [*wrong[:answer], passage.ending, *wrong[answer:]],
            "answer": answer,
        }


def runs(text: str) -> set[tuple[str, ...]]:
    """All runs of `RUN` words."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)}


def known_runs() -> frozenset[tuple[str, ...]]:
    """The runs of the default sample corpus."""
    texts = (text for batch in SampleSource().read(_refuse) for text in batch.column("text").to_pylist())
    return frozenset().union(*map(runs, texts))


def _refuse(reason: str, where: str) -> None:
    raise AssertionError(f"the sample rejects its own document: {reason}, {where}")


def encode() -> bytes:
    """The benchmark's file."""
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items()).encode()


if __name__ == "__main__":
    (Path(sys.argv[1]) if len(sys.argv) > 1 else FILE).write_bytes(encode())
