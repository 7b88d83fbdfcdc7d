"""Write `patent_continuation.jsonl`: `python -m domadapt_patent.benchmarks.make`.

Passages come from fictional patents of a seed that the source `patent.sample` cannot have. An item is a
passage that breaks off and four endings of the same form and field; the three wrong ones belong to other
parts of machines. What an item asks (which part does what) can be learned from the sample corpus, but no item
shares 13 words in a row with that corpus as it is by default.
"""

from __future__ import annotations

import json
import random
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from domadapt_patent.sample.description import Paragraph
from domadapt_patent.sample.publication import Publication
from domadapt_patent.sample.source import SampleSource, publications

NUM_ITEMS = 240
NUM_PATENTS = 340
LONGEST = 540
"""Characters of a passage with its longest ending: tiny models have short windows."""

MOST_PER_PATENT = 3
RUN = 13
"""Words: the overlap at which GPT-3's and later decontaminations call a text known."""

SEED = "benchmark/patent_continuation"
FILE = Path(__file__).with_name("patent_continuation.jsonl")

_DUTY = re.compile(r"\b(?:configured|adapted|arranged|designed|operable) to (?=([^;,.:]+)[;,.])")
_OUTSIDE = re.compile(r"\b(?:[Bb]elow|[Aa]bove|[Aa]t more than) [\d.-]+[^;,]*, (?=([^;.]+)[;.])")
_SENTENCE = re.compile(r"(?<=[a-z]\. )(?=[A-Z])")


@dataclass(frozen=True)
class Passage:
    """A passage with its true ending. `part`: the name of the part it is about."""

    patent: str
    field: str
    kind: str
    part: str
    prompt: str
    ending: str


def passages(publication: Publication) -> Iterator[Passage]:
    """All passages of a patent that can be broken off."""
    field, patent = publication.invention.field, f"XX{publication.doc_number}"
    owners = {function: kind.name for kind in field.parts for function in kind.functions}
    for claim in publication.claims:
        text = _plain(" ".join([claim.text + (":" if claim.elements else "."), *(f"{e};" for e in claim.elements)]))
        for cut in _DUTY.finditer(text):
            if part := owners.get(cut[1]):
                yield Passage(patent, field.name, "claim", part, _tail(text[: cut.end()]), cut[1])
    for block in publication.specification.description:
        if isinstance(block, Paragraph) and block.about:
            text = _plain(block.text)
            for cut in _OUTSIDE.finditer(text):
                yield Passage(patent, field.name, "range", block.about, _tail(text[: cut.end()]), cut[1])
            yield from _sentences(text, Passage(patent, field.name, "description", block.about, "", ""))


def _sentences(text: str, about: Passage) -> Iterator[Passage]:
    """Sentences that speak of the part without its name or sign: the name would give the answer away."""
    for cut in _SENTENCE.finditer(text):
        ending = _SENTENCE.split(text[cut.end() :])[0].strip()
        if re.match(r"(?:It|They|This|As a consequence|The inventors) ", ending) and not re.search(r"\d", ending):
            yield Passage(about.patent, about.field, about.kind, about.part, _tail(text[: cut.end()]), ending)


def _plain(text: str) -> str:
    return text.replace(" (#", " (").replace("#", "")


def _tail(text: str) -> str:
    """The end of a text, short enough for a prompt, from the start of a sentence or element, else of a word."""
    text = text.strip()
    if len(text) <= LONGEST // 2:
        return text
    end = text[-LONGEST // 2 :]
    starts = [cut.end() for cut in re.finditer(r"[.;] ", end) if cut.end() < len(end) - 60]
    return end[starts[0] :] if starts else end.partition(" ")[2]


def items() -> Iterator[dict[str, object]]:
    """The items of the benchmark, in their order."""
    rng = random.Random(SEED)
    pool = [passage for publication in publications(NUM_PATENTS, SEED) for passage in passages(publication)]
    endings: dict[tuple[str, str], list[Passage]] = defaultdict(list)
    for passage in pool:
        endings[passage.kind, passage.field].append(passage)
    rng.shuffle(pool)
    per_patent: Counter[str] = Counter()
    per_kind: Counter[str] = Counter()
    seen: set[tuple[str, str]] = set()
    known = _sample_runs()
    number = 0
    for passage in pool:
        if per_patent[passage.patent] == MOST_PER_PATENT or per_kind[passage.kind] == NUM_ITEMS // 3:
            continue
        wrong = _wrong(passage, endings[passage.kind, passage.field], rng)
        if wrong is None or (passage.prompt, passage.ending) in seen:
            continue
        if not known.isdisjoint(_runs(f"{passage.prompt} {passage.ending}")):
            continue
        seen.add((passage.prompt, passage.ending))
        per_patent[passage.patent] += 1
        per_kind[passage.kind] += 1
        answer = rng.randrange(4)
        choices = [*wrong[:answer], passage.ending, *wrong[answer:]]
        number += 1
        yield {
            "item": f"{passage.kind}-{number:03d}",
            "cluster": passage.patent,
            "prompt": passage.prompt,
            "choices": choices,
            "answer": answer,
        }


def _runs(text: str) -> set[tuple[str, ...]]:
    """All runs of `RUN` words."""
    words = re.findall(r"\w+", text.lower())
    return {tuple(words[i : i + RUN]) for i in range(len(words) - RUN + 1)}


def _sample_runs() -> set[tuple[str, ...]]:
    """The runs of the default sample corpus."""
    texts = (text for batch in SampleSource().read(_refuse) for text in batch.column("text").to_pylist())
    return set().union(*map(_runs, texts))


def _refuse(reason: str, where: str) -> None:
    raise AssertionError(f"the sample rejects its own document: {reason}, {where}")


def _wrong(passage: Passage, others: Iterable[Passage], rng: random.Random) -> list[str] | None:
    """Three endings of other parts that begin alike and have about the same length, or None."""

    def fits(other: Passage) -> bool:
        alike = passage.kind != "description" or other.ending.split()[0] == passage.ending.split()[0]
        close = 0.5 <= len(other.ending) / len(passage.ending) <= 2
        short = len(passage.prompt) + len(other.ending) < LONGEST
        return alike and close and short and other.part != passage.part and other.patent != passage.patent

    true_too = {other.ending for other in others if other.part == passage.part}
    by_part: dict[str, list[str]] = defaultdict(list)
    for other in others:
        if fits(other) and other.ending not in true_too and other.ending not in passage.prompt:
            by_part[other.part].append(other.ending)
    if len(by_part) < 3:
        return None
    wrong = [rng.choice(by_part[part]) for part in rng.sample(sorted(by_part), 3)]
    return wrong if len(set(wrong)) == 3 else None


def encode() -> bytes:
    """The benchmark's file."""
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items()).encode()


if __name__ == "__main__":
    FILE.write_bytes(encode())
