"""What every cleaning step and every rule takes from every kind of text, by itself, at its default options.

    python bench/cleaning.py             # the packs' samples; with ADAPT_REAL_DATA=DIR real filings, articles, ... too
    python bench/cleaning.py --quick     # a quarter of the text

Rules made for web pages take tables and claims for noise: a threshold is chosen by what it takes from the text at hand,
not by the paper it comes from. The first table has the steps: documents dropped, and, where a step removes lines or
masks words, text removed from the others (after the comma). The second has the rules, alone: the share of documents
that fail each, whatever the other rules say. Both in percent; rules that take nothing anywhere are left out. The third
plants items of benchmarks in every fourth document: what `decontaminate` finds of them, and what else it takes. All
parsers are those of the packs. The last line is one JSON object; nothing here is timed.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from domadapt.builtin.cleaning.benchmark_items import Item, benchmark_items
from domadapt.builtin.cleaning.decontamination import FILE, Decontamination
from domadapt.builtin.cleaning.text import replace_text
from domadapt.cli.frame import open_registry
from domadapt.components import Benchmark, Cleaner

if TYPE_CHECKING:
    import pyarrow as pa

    from domadapt_registry import Registry

MOST_BYTES = 4_000_000
"""Text read of each kind."""
SAMPLES = {f"{name}.sample": (f"{name}.sample", "") for name in ("sec", "medical", "patent", "general")}
REAL = {
    "10-K 1994-2013": ("sec.filings", ["sec/era_10k"]),
    "10-K, 10-Q iXBRL": ("sec.filings", ["sec/ixbrl"]),
    "8-K": ("sec.filings", ["sec/8k_html"]),
    "PLOS articles": ("medical.jats", ["medical/plos_jats"]),
    "PubMed abstracts": ("medical.pubmed", ["medical/medline"]),
    "patents": ("patent.redbook", ["patent/redbook", "patent/go_uspto", "patent/uspto_samples"]),
    "web": ("files", ["general/web/cc_en_head-0091.jsonl.xz", "general/redpajama"]),
    "books": ("files", ["general/books"]),
}
STEPS = (
    "unicode", "normalize", "min_length", "language", "quality.gopher", "quality.repetition", "quality.fineweb",
    "quality.c4", "pii", "boilerplate.lines", "dedup.exact", "dedup.minhash",
)  # fmt: skip
BENCHMARKS = ("sec_continuation", "instruct_format")
REAL_BENCHMARKS = {
    "mmlu_professional_law": "general/bench/mmlu",
    "mmlu_college_medicine": "medical/bench/mmlu",
    "pubmedqa": "medical/bench/pubmedqa",
    "medmcqa": "medical/bench/medmcqa",
}
Batches = list["pa.RecordBatch"]


def documents(registry: Registry, source: str, path: Sequence[Path], most: int) -> Batches:
    """The first documents of a source."""
    cls = registry.find("source", source)
    batches, size = [], 0
    for batch in cls(cls.Config(path=[str(p) for p in path]) if path else None).read(lambda reason, where: None):
        batches.append(batch)
        size += batch["text"].nbytes
        if size >= most:
            break
    return batches


def removed(registry: Registry, step: str, batches: Batches) -> dict[str, Any]:
    """What a step takes: shares of documents and of the characters of those kept, and documents failing each rule."""
    cls = registry.find("cleaner", step)
    counted = {"drop": False} if "drop" in cls.Config.model_fields else {}
    cleaner: Cleaner = cls(cls.Config.model_validate(counted))
    count = sum(batch.num_rows for batch in batches)
    rules = Counter[str]()
    if counted:
        run(cleaner, batches)
        fails = {what.removeprefix("fails: "): n for what, n in cleaner.tally.items() if what.startswith("fails: ")}
        rules.update(fails)
        cleaner = cls()
    dropped, before, after = run(cleaner, batches)
    if not counted:
        for reason, n in dropped.items():
            rules["another language" if step == "language" else reason] += n
    return {
        "documents": dropped.total() / count,
        "text": 1 - after / before if before else 0.0,
        "rules": {rule: n / count for rule, n in rules.items() if n},
    }


def run(cleaner: Cleaner, batches: Batches) -> tuple[Counter[str], int, int]:
    """Documents dropped by reason, and the characters of those kept before and after."""
    for number in range(cleaner.surveys):
        for batch in batches:
            cleaner.survey(batch, number)
    dropped, before, after = Counter[str](), 0, 0
    for batch in batches:
        kept, why = cleaner.clean(batch)
        dropped.update(why)
        lengths = dict(zip(batch["id"].to_pylist(), map(len, batch["text"].to_pylist()), strict=True))
        before += sum(lengths[name] for name in kept["id"].to_pylist())
        after += sum(map(len, kept["text"].to_pylist()))
    return dropped, before, after


def leaks(batches: Batches, decontaminate: type[Cleaner], tasks: Sequence[Sequence[Item]]) -> dict[str, float]:
    """Recall and precision of documents and recall of items, with 13 words or more of an item in every fourth one."""
    draw, cleaner = random.Random(1), cast(Decontamination, decontaminate())
    for items in tasks:
        cleaner.add_items(items)
    long = [item for items in tasks for item in items if len(max(item.texts, key=len, default=())) >= 13]
    draw.shuffle(long)
    planted = dict(zip(range(0, sum(batch.num_rows for batch in batches), 4), long, strict=False))
    guilty = taken = number = 0
    for batch in batches:
        for row, text in enumerate(batch["text"].to_pylist()):
            if item := planted.get(number):
                text = with_leak(text, max(item.texts, key=len), draw)
            gone = cleaner.clean(replace_text(batch.slice(row, 1), [text]))[0].num_rows == 0
            taken, guilty, number = taken + gone, guilty + (gone and item is not None), number + 1
    with tempfile.TemporaryDirectory() as folder:
        cleaner.finish(Path(folder))
        lines = (Path(folder) / FILE).read_text(encoding="utf-8").split("\n")[:-1]
    found = {(one["task"], one["item"]) for one in map(json.loads, lines)}
    marked = sum((item.task, item.name) in found for item in planted.values())
    return {
        "planted": len(planted),
        "recall": guilty / len(planted),
        "items": marked / len(planted),
        "precision": guilty / taken if taken else 0.0,
    }


def with_leak(text: str, words: Sequence[str], draw: random.Random) -> str:
    """The text with a run of at least 13 of the words somewhere in it, typeset in its own way."""
    start = draw.randrange(len(words) - 12)
    run = words[start : start + draw.randrange(13, len(words) - start + 1)]
    place = draw.randrange(len(text) + 1)
    leaked = " ".join(word.upper() if draw.random() < 0.1 else word for word in run).replace(" ", ", ", 3)
    return f"{text[:place]}\n{leaked}\n{text[place:]}"


def tables(measured: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, float]]) -> Iterator[str]:
    """The three tables as Markdown, ready for docs/benchmarks.md."""
    kinds = list(measured)
    yield from header("step, default options: documents, text (%)", kinds)
    for step in STEPS:
        cells = [cell(measured[kind][step]["documents"], measured[kind][step]["text"]) for kind in kinds]
        yield row(f"`{step}`", cells)
    yield ""
    yield from header("rule, alone: documents that fail it (%)", kinds)
    for step in STEPS:
        for rule in dict.fromkeys(rule for kind in kinds for rule in measured[kind][step]["rules"]):
            shares = [measured[kind][step]["rules"].get(rule, 0.0) for kind in kinds]
            yield row(f"{step.removeprefix('quality.')}: {rule}", map(percent, shares))
    yield ""
    yield from header("planted leaks", ["planted", "recall of documents", "of items", "precision"])
    for kind, one in found.items():
        yield row(kind, [f"{one['planted']:.0f}", *(f"{one[name]:.3f}" for name in ("recall", "items", "precision"))])


def header(first: str, columns: Sequence[str]) -> list[str]:
    """Head of a table."""
    return [row(first, columns), row("---", ["---"] * len(columns))]


def row(first: str, cells: Any) -> str:
    """A line of a table."""
    return f"| {first} | {' | '.join(cells)} |"


def cell(dropped: float, text: float) -> str:
    """Documents dropped and text removed."""
    return percent(dropped) + (f", {percent(text)}" if abs(text) >= 0.0005 else "")


def percent(share: float) -> str:
    """A share of 1 in percent, without the sign."""
    return f"{100 * share:.1f}" if abs(share) >= 0.0005 else "0"


def planted_items(registry: Registry, root: Path | None) -> list[list[Item]]:
    """Items of the packs' benchmarks, or of public ones where there are real texts."""
    from domadapt.builtin.evaluating.lm_eval_tasks import LmEval
    from domadapt.pipeline.benchmarks import with_data

    found: list[Benchmark] = [registry.find("benchmark", name) for name in BENCHMARKS]
    if root is not None:
        real = REAL_BENCHMARKS.items()
        found = [with_data(task, root / folder) for name, folder in real for task in LmEval.find_tasks(name)]
    with tempfile.TemporaryDirectory() as folder:
        return [benchmark_items(benchmark, Path(folder), 8) for benchmark in found]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a quarter of the text")
    most = MOST_BYTES // 4 if parser.parse_args().quick else MOST_BYTES
    registry = open_registry()
    root = Path(given) if (given := os.environ.get("ADAPT_REAL_DATA")) else None
    kinds: dict[str, tuple[str, list[Path]]] = {name: (source, []) for name, (source, _) in SAMPLES.items()}
    if root is not None:
        kinds = {name: (source, [root / f for f in folders]) for name, (source, folders) in REAL.items()} | kinds
    decontaminate = registry.find("cleaner", "decontaminate")
    measured: dict[str, Any] = {}
    found: dict[str, Any] = {}
    sizes: dict[str, Any] = {}
    own, public = planted_items(registry, None), planted_items(registry, root) if root is not None else []
    for kind, (source, path) in kinds.items():
        batches = documents(registry, source, path, most)
        sizes[kind] = {"documents": sum(b.num_rows for b in batches), "bytes": sum(b["text"].nbytes for b in batches)}
        print(f"{kind}: {sizes[kind]['documents']:,} documents, {sizes[kind]['bytes'] / 1e6:.1f} MB", flush=True)
        measured[kind] = {step: removed(registry, step, batches) for step in STEPS}
        found[kind] = leaks(batches, decontaminate, own if kind in SAMPLES else public)
    print("", *tables(measured, found), "", sep="\n")
    print(json.dumps({"bench": "cleaning", "texts": sizes, "removed": measured, "leaks": found, "equal": True}))


if __name__ == "__main__":
    main()
