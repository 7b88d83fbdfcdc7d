"""Write benchmarks out of the structure of patents: their class, their claims beside their abstract, their signs.

Three tasks, none of which needs an annotator:

- `patent_cpc_section`: title and first claim; which of the eight sections of the CPC? (Only patents whose symbols all
  lie in one section, so that the answer is one.)
- `patent_claim_abstract`: the first claim; which of four abstracts (first sentences) is its patent's? The others are
  of the same field where there are enough.
- `patent_sign_cloze`: a passage with parts and their reference signs breaks off before a part; which of four parts of
  the patent carries the sign? All choices end in the same sign.

The packaged files come from fictional patents of a seed that the source `patent.sample` cannot have; no item shares 13
words in a row with that corpus as it is by default. Give files of the USPTO to make items of real patents, and keep
these out of training:

    python -m domadapt_patent.benchmarks.structured FOLDER [FILE ...]
"""

from __future__ import annotations

import json
import random
import re
import shutil
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from domadapt_patent.benchmarks.make import known_runs, runs
from domadapt_patent.redbook.patent import NotAPatentError, Patent, parse

SECTIONS = (
    "Human necessities", "Performing operations; transporting", "Chemistry; metallurgy", "Textiles; paper",
    "Fixed constructions", "Mechanical engineering; lighting; heating; weapons; blasting", "Physics", "Electricity",
)  # fmt: skip
"""Titles of the sections A to H of the Cooperative Patent Classification."""

NUM_PATENTS = 700
NUM_ITEMS = 120
MOST_PER_ANSWER = 24
"""Of one section: four sections cannot fill the classification task."""

MOST_PER_RANK = 33
"""Items whose answer is the shortest of its choices, the second shortest and so on: length must not tell."""

NUM_CHOICES = 4
MOST_SHARED = 0.5
LONGEST_CLAIM = 300
LONGEST_ABSTRACT = 260
LONGEST_PASSAGE = 460
"""Characters: prompt and choice fit 256 tokens of a small vocabulary, the starter recipe's `seq_len`."""

HERE = Path(__file__).parent
Item = dict[str, Any]
_SENTENCE = re.compile(r"(?<=[\w)]\.) (?=[A-Z])")
_SIGNED = re.compile(r"\b(?:[Tt]he|[Aa]n?|said) ((?:[a-z-]+ ){0,2}[a-z-]{3,}) (\d{1,3})(?=[ ,.;)])")


def cpc_section(patents: Sequence[Patent], rng: random.Random) -> Iterator[Item]:
    """Title and first claim to the section of the classification."""
    for patent in patents:
        # Before 2013 there is the IPC alone; its sections are the same.
        sections = {symbol[0] for symbol in patent.meta.get("cpc") or patent.meta.get("ipc", ())}
        if len(sections) != 1 or not patent.claims or not (section := sections.pop()) <= "H":
            continue
        claim = _shortened(patent.claims[0].text, LONGEST_CLAIM)
        prompt = f"{patent.title}\n\n{claim}\n\nSection of the Cooperative Patent Classification:"
        yield _item(patent, prompt, list(SECTIONS), ord(section) - ord("A"))


def claim_abstract(patents: Sequence[Patent], rng: random.Random) -> Iterator[Item]:
    """The first claim to its patent's abstract, among those of other inventors' patents."""
    fields: dict[str, list[Patent]] = defaultdict(list)
    usable = [patent for patent in patents if patent.abstract and patent.claims]
    for patent in usable:
        fields[_field(patent)].append(patent)
    for patent in usable:
        near = [other for other in fields[_field(patent)] if other.group != patent.group]
        others = near if len(near) >= NUM_CHOICES - 1 else [other for other in usable if other.group != patent.group]
        own = _first(patent)
        abstracts = dict.fromkeys(_first(other) for other in rng.sample(others, min(12, len(others))))
        wrong = [abstract for abstract in abstracts if _shared(abstract, own) < MOST_SHARED][: NUM_CHOICES - 1]
        if len(wrong) == NUM_CHOICES - 1:
            answer = rng.randrange(NUM_CHOICES)
            prompt = f"{_shortened(patent.claims[0].text, LONGEST_CLAIM)}\n\nABSTRACT\n\n"
            yield _item(patent, prompt.rstrip(), [*wrong[:answer], own, *wrong[answer:]], answer)


def sign_cloze(patents: Sequence[Patent], rng: random.Random) -> Iterator[Item]:
    """A passage that breaks off before a part whose name and sign it has printed before."""
    for patent in patents:
        names = _signed_parts(patent)
        sentences = [s for paragraph in patent.description for s in _SENTENCE.split(paragraph) if "\n" not in s]
        for place in rng.sample(range(len(sentences)), len(sentences)):
            item = _broken_before_a_part(patent, names, sentences, place, rng)
            if item is not None:
                yield item
                break


def _broken_before_a_part(
    patent: Patent, names: dict[str, str], sentences: Sequence[str], place: int, rng: random.Random
) -> Item | None:
    before: list[str] = []
    for sentence in reversed(sentences[:place]):
        if sum(map(len, before)) + len(sentence) + len(sentences[place]) > LONGEST_PASSAGE:
            break
        before.insert(0, sentence)
    passage = " ".join(before)
    known = {(found[1], found[2]) for found in _SIGNED.finditer(passage)}
    for found in _SIGNED.finditer(sentences[place]):
        part, sign = found[1], found[2]
        cut = found.start(1)
        if (part, sign) not in known or names.get(sign) != part or len(sentences[place][:cut].split()) < 4:
            continue
        others = sorted({name for name, other in known if other != sign and names.get(other) == name and name != part})
        if len(others) < NUM_CHOICES - 1:
            continue
        wrong = rng.sample(others, NUM_CHOICES - 1)
        answer = rng.randrange(NUM_CHOICES)
        choices = [f"{name} {sign}" for name in [*wrong[:answer], part, *wrong[answer:]]]
        return _item(patent, f"{passage} {sentences[place][:cut]}".strip(), choices, answer)
    return None


def _signed_parts(patent: Patent) -> dict[str, str]:
    """Sign to part, where one name is printed with it at least twice and no other."""
    counted: dict[str, Counter[str]] = defaultdict(Counter)
    for paragraph in patent.description:
        for found in _SIGNED.finditer(paragraph):
            counted[found[2]][found[1]] += 1
    return {sign: next(iter(parts)) for sign, parts in counted.items() if len(parts) == 1 and max(parts.values()) >= 2}


def _field(patent: Patent) -> str:
    symbols = patent.meta.get("cpc") or patent.meta.get("ipc") or [""]
    return str(symbols[0])[:4]


def _shared(one: str, other: str) -> float:
    """Share of the words of both that are in both: inventions on one idea have abstracts that fit both claims."""
    first, second = (set(re.findall(r"\w+", text.lower())) for text in (one, other))
    return len(first & second) / max(1, len(first | second))


def _first(patent: Patent) -> str:
    return _shortened(_SENTENCE.split(" ".join(patent.abstract))[0], LONGEST_ABSTRACT)


def _shortened(text: str, longest: int) -> str:
    """Whole sentences or claim elements up to a length; at least the first, cut at a word."""
    kept = ""
    for piece in re.split(r"(?<=[.;:,]) |\n", text):
        if kept and len(kept) + 1 + len(piece) > longest:
            break
        kept = f"{kept} {piece.strip()}".strip()
    return kept if len(kept) <= longest else kept[:longest].rsplit(" ", 1)[0]


def _item(patent: Patent, prompt: str, choices: list[str], answer: int) -> Item:
    return {"cluster": patent.id, "prompt": prompt, "choices": choices, "answer": answer}


TASKS: dict[str, Callable[[Sequence[Patent], random.Random], Iterator[Item]]] = {
    "patent_cpc_section": cpc_section,
    "patent_claim_abstract": claim_abstract,
    "patent_sign_cloze": sign_cloze,
}


def items(task: str, patents: Sequence[Patent], known: frozenset[tuple[str, ...]] = frozenset()) -> list[Item]:
    """The items of a task, in their order, at most `NUM_ITEMS`, one a patent.

    known: runs of words that no prompt with its answer may hold.
    """
    rng = random.Random(f"benchmark/{task}")
    # All abstracts pass one sieve, or the right one would be known by what the sieve leaves (short ones).
    patents = [patent for patent in patents if known.isdisjoint(runs(_first(patent)))]
    made: list[Item] = []
    taken: Counter[str] = Counter()
    ranked: Counter[int] = Counter()
    for item in TASKS[task](patents, rng):
        answer = item["choices"][item["answer"]]
        rank = sum(len(choice) < len(answer) for choice in item["choices"])
        if TASKS[task] is not cpc_section and ranked[rank] == MOST_PER_RANK:
            continue
        if known.isdisjoint(runs(f"{item['prompt']} {answer}")) and taken[answer] < MOST_PER_ANSWER:
            taken[answer] += 1
            ranked[rank] += 1
            made.append({"item": f"{task.removeprefix('patent_')}-{len(made) + 1:03d}", **item})
        if len(made) == NUM_ITEMS:
            break
    return made


def fictional() -> list[Patent]:
    """Patents that no corpus has; of an invention published twice, the first."""
    from domadapt_patent.sample.publication import document
    from domadapt_patent.sample.source import publications

    made = publications(NUM_PATENTS, "benchmark/structured")
    return [parse(document(publication)) for publication in made if not publication.again]


def published(files: Iterable[Path]) -> list[Patent]:
    """Patents out of files of the USPTO, each number once; what cannot be read is left out."""
    from domadapt_patent.redbook.split import documents

    found: dict[str, Patent] = {}
    for file in files:
        for _, document in documents(file):
            try:
                patent = parse(document or b"")
            except NotAPatentError:
                continue
            found.setdefault(patent.id, patent)
    return list(found.values())


def encode(task: str, patents: Sequence[Patent], known: frozenset[tuple[str, ...]] = frozenset()) -> bytes:
    """A task's file, JSON lines."""
    return "".join(json.dumps(item, ensure_ascii=False) + "\n" for item in items(task, patents, known)).encode()


def main(folder: Path, files: Sequence[Path]) -> None:
    """Write the tasks and their YAML into a folder."""
    patents, known = (published(files), frozenset[tuple[str, ...]]()) if files else (fictional(), known_runs())
    folder.mkdir(parents=True, exist_ok=True)
    for task in TASKS:
        (folder / f"{task}.jsonl").write_bytes(encode(task, patents, known))
        if folder.resolve() != HERE.resolve():
            shutil.copy(HERE / f"{task}.yaml", folder)


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE, [Path(name) for name in sys.argv[2:]])
