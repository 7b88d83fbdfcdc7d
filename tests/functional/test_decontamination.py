"""Planted leaks of real benchmark items through the command line: dropped, counted, and reported apart.

Recall is asked for at 13-grams (GPT-3's rule); precision is stated for every source.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from domadapt.builtin.cleaning.benchmark_items import Item, benchmark_items
from domadapt.builtin.corpora.general import GeneralSample
from domadapt.builtin.evaluating.lm_eval_tasks import LmEval
from domadapt.cli.frame import open_registry
from domadapt.components import Benchmark
from domadapt.pipeline.benchmarks import with_data

from .conftest import Adapt

RECALL = 0.99
SCORED = 120
RECIPE = f"""
version: 1
name: leaks
domain: sec
model: {{base: "builtin:tiny", instruct: "builtin:tiny-instruct", start: base}}
corpus:
  domain: [{{source: files, options: {{path: domain.jsonl, id_field: id, group_field: id}}}}]
  general: [{{source: files, options: {{path: general.jsonl, id_field: id, group_field: id}}}}]
  clean: [normalize, decontaminate, dedup.exact]
  holdout: 0.1
mix: {{seq_len: 64}}
train: {{steps: 1, batch_tokens: 512, eval_every: 1, eval_windows: 4}}
merge: {{methods: [linear]}}
eval: {{domain: [sec_continuation], perplexity: false, probes: false, limit: {SCORED}}}
"""


def general_texts() -> Iterator[str]:
    for batch in GeneralSample().read(lambda *_: None):
        yield from batch["text"].to_pylist()


def write_documents(file: Path, texts: Sequence[str]) -> None:
    rows = ({"id": f"{file.stem}-{number}", "text": text} for number, text in enumerate(texts))
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def disguised(words: Sequence[str], draw: random.Random) -> str:
    """The same words in another typesetting."""
    cased = (word.upper() if draw.random() < 0.1 else word.capitalize() for word in words)
    return "".join(word + draw.choice([" ", " ", ", ", "\n", " - "]) for word in cased)


def plant(texts: list[str], items: Sequence[Item], every: int, draw: random.Random) -> dict[int, str]:
    """Put 13 words or more of an item into every so-manieth text; return the item's name by the text's number."""
    planted = {}
    for number, item in zip(range(0, len(texts), every), items, strict=False):
        words = max(item.texts, key=len)
        start = draw.randrange(len(words) - 12)
        place = draw.randrange(len(texts[number]) + 1)
        leaked = disguised(words[start : start + draw.randrange(13, len(words) - start + 1)], draw)
        texts[number] = f"{texts[number][:place]}\n{leaked}\n{texts[number][place:]}"
        planted[number] = item.name
    return planted


def kept_ids(corpus: Path) -> set[str]:
    """Ids of all documents of a corpus, of any split."""
    files = [file for split in ("train", "selection", "report") for file in (corpus / split).glob("*.parquet")]
    return {name for file in files for name in pq.read_table(file)["id"].to_pylist()}


def found_in(corpus: Path) -> set[tuple[str, str]]:
    lines = (corpus / "contaminated.jsonl").read_text(encoding="utf-8").splitlines()
    return {(one["task"], one["item"]) for one in map(json.loads, lines)}


def measure_of(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    report = json.loads((folder / "report.json").read_bytes())
    return report, next(m for m in report["ledger"]["measures"] if m["main"] and m["task"] == "sec_continuation")


def test_leaked_items_are_dropped_from_the_corpus_and_scored_apart_in_the_report(adapt: Adapt) -> None:
    draw = random.Random(5)
    texts = list(itertools.islice(general_texts(), 420))
    (benchmark,) = sec_benchmarks()
    items = [i for i in benchmark_items(benchmark, adapt.folder / "scratch", 8) if len(max(i.texts, key=len)) >= 13]
    assert len(items) >= 240
    leaking = draw.sample(items, 75)
    domain, general = texts[:300], texts[300:]
    planted = plant(domain, leaking[:60], 5, draw)
    planted_general = plant(general, leaking[60:], 8, draw)
    write_documents(adapt.folder / "domain.jsonl", domain)
    write_documents(adapt.folder / "general.jsonl", general)
    (adapt.folder / "recipe.yaml").write_text(RECIPE)
    adapt("run", "recipe.yaml")
    run = adapt.folder / "runs" / "leaks"
    marked: set[tuple[str, str]] = set()
    for side, given, leaks in (("domain", domain, planted), ("general", general, planted_general)):
        corpus = run / "stages" / f"corpus.{side}"
        dropped = {f"{side}-{number}" for number in range(len(given))} - kept_ids(corpus)
        guilty = {f"{side}-{number}" for number in leaks}
        assert len(dropped & guilty) >= RECALL * len(guilty)
        # the precision of this source: nothing of it is in an item by chance
        assert dropped == guilty
        found = found_in(corpus)
        assert len({("sec_continuation", name) for name in leaks.values()} & found) >= RECALL * len(leaks)
        stated = json.loads((corpus / "artifact.json").read_bytes())["facts"]
        assert stated["steps"]["decontaminate"]["documents"] == {"files": len(dropped)}
        assert stated["steps"]["decontaminate"]["tasks"]["sec_continuation"]["found"] == len(found)
        assert stated["sources"][0]["reasons"] == {
            "decontaminate": {"holds items of sec_continuation": len(dropped)},
        }
        marked |= found
    scored = [item.name for item in benchmark_items(benchmark, adapt.folder / "scratch", 8)][:SCORED]
    dirty = {name for _, name in marked if name in scored}
    assert 0 < len(dirty) < SCORED
    report, measure = measure_of(run)
    assert (measure["dirty_items"], measure["dirty_dropped"]) == (len(dirty), True)
    assert (measure["clean"]["n"], measure["dirty"]["n"]) == (SCORED - len(dirty), len(dirty))
    for label in ("base", "instruct", "cpt", "linear"):
        table = pq.read_table(run / "stages" / f"eval.{label}.sec_continuation" / "samples.parquet").to_pylist()
        rows = [row for row in table if row["metric"] == measure["metric"]]
        for subset, wanted in (("clean", False), ("dirty", True)):
            own = [row for row in rows if (row["item"] in dirty) is wanted]
            value = next(s["value"] for s in measure[subset]["scores"] if s["model"] == label)
            assert value == pytest.approx(sum(r["value"] for r in own) / sum(r["weight"] for r in own), rel=1e-5)
    said = f"{len(dirty)} of {SCORED} items of sec_continuation"
    sentence = next(s for s in report["verdict"]["sentences"] if s.startswith(said))
    assert (
        "were found in documents of the sources, which were dropped before training; on the others CPT is" in sentence
    )
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Clean and contaminated items apart" in page
    assert said in page

    # marked only: the documents stay, the report says so, and the scores of base and instruct are those from before
    before = len(adapt.done("leaks"))
    adapt("run", "recipe.yaml", "--set", "corpus.clean.1.options.drop=false")
    executed = adapt.done("leaks")[before:]
    assert {"corpus.domain", "corpus.general", "train", "report"} <= set(executed)
    assert not {"eval.base.sec_continuation", "eval.instruct.sec_continuation"} & set(executed)
    report, measure = measure_of(run)
    assert (measure["dirty_items"], measure["dirty_dropped"]) == (len(dirty), False)
    assert any("occur in the training text" in s and s.startswith(said) for s in report["verdict"]["sentences"])
    assert kept_ids(run / "stages" / "corpus.domain") == {f"domain-{number}" for number in range(300)}


def sec_benchmarks() -> list[Benchmark]:
    from domadapt_sec.plugin import adapt_register_benchmarks

    return [b for b in adapt_register_benchmarks() if b.name == "sec_continuation"]


REAL_TASKS = {
    "mmlu_professional_law": "general/bench/mmlu",
    "mmlu_professional_accounting": "general/bench/mmlu",
    "mmlu_college_medicine": "medical/bench/mmlu",
    "pubmedqa": "medical/bench/pubmedqa",
    "medmcqa": "medical/bench/medmcqa",
}
REAL_SOURCES = {
    "filings": ("sec.filings", "sec/era_10k"),
    "articles": ("medical.jats", "medical/plos_jats"),
    "grants": ("patent.redbook", "patent/redbook"),
    "wikipedia": ("files", "general/wikipedia_en"),
}
PIECE, PIECES = 20_000, 150
"""Characters of a document, so that there are enough of them; most documents of a source."""


def test_planted_items_of_public_benchmarks_are_found_in_real_text_of_every_domain(adapt: Adapt) -> None:
    if not (root := os.environ.get("ADAPT_REAL_DATA")):
        pytest.skip("ADAPT_REAL_DATA is not set: no public benchmarks and no real text to plant them in")
    draw, real = random.Random(7), Path(root)
    items = [
        (name, item)
        for name, folder in REAL_TASKS.items()
        for task in LmEval.find_tasks(name)
        for item in benchmark_items(with_data(task, real / folder), adapt.folder / "scratch", 8)
        if len(max(item.texts, key=len, default=())) >= 13
    ]
    draw.shuffle(items)
    leaks: dict[str, dict[int, str]] = {}
    tasks_of = {}
    for source, texts in real_texts(real).items():
        mine, items = items[: len(texts) // 4], items[len(texts) // 4 :]
        leaks[source] = plant(texts, [item for _, item in mine], 4, draw)
        tasks_of |= {(source, number): task for number, (task, _) in zip(leaks[source], mine, strict=False)}
        write_documents(adapt.folder / f"{source}.jsonl", texts)
    recipe = {
        "version": 1,
        "name": "leaks",
        "domain": "sec",
        "model": {"base": "builtin:tiny"},
        "corpus": {
            "domain": [
                {"source": "files", "options": {"path": f"{source}.jsonl", "id_field": "id"}} for source in leaks
            ],
            "clean": ["normalize", "decontaminate"],
        },
        "mix": {"replay": 0, "seq_len": 64},
        "train": {"batch_tokens": 64},
        "merge": {"methods": []},
        "eval": {
            "domain": [{"task": task, "data_dir": str(real / folder)} for task, folder in REAL_TASKS.items()],
            "perplexity": False,
        },
    }
    (adapt.folder / "recipe.yaml").write_text(json.dumps(recipe))
    adapt("corpus", "build", "recipe.yaml")
    corpus = adapt.folder / "runs" / "leaks" / "stages" / "corpus.domain"
    kept, found = kept_ids(corpus), found_in(corpus)
    facts = json.loads((corpus / "artifact.json").read_bytes())["facts"]
    for (source, planted), account in zip(leaks.items(), facts["sources"], strict=True):
        dropped = {n for n in range(account["seen"]) if f"{source}-{n}" not in kept}
        guilty = set(planted)
        recall, precision = len(dropped & guilty) / len(guilty), len(dropped & guilty) / len(dropped)
        marked = sum((tasks_of[source, number], item) in found for number, item in planted.items())
        print(f"{source}: {account['seen']} documents, {len(guilty)} leaks, recall {recall:.3f} of documents and "
              f"{marked / len(guilty):.3f} of items, precision {precision:.3f}")  # fmt: skip
        assert recall >= RECALL
        assert marked >= RECALL * len(guilty)
        assert precision >= 0.95


def real_texts(real: Path) -> dict[str, list[str]]:
    """Pieces of real documents by source."""
    registry = open_registry()
    texts = {}
    for name, (source, folder) in REAL_SOURCES.items():
        cls = registry.find("source", source)
        batches = cls(cls.Config(path=str(real / folder))).read(lambda *_: None)
        whole = (text for batch in batches for text in batch["text"].to_pylist())
        pieces = (text[i : i + PIECE] for text in whole for i in range(0, len(text), PIECE))
        texts[name] = list(itertools.islice((piece for piece in pieces if len(piece) > 1000), PIECES))
    return texts
