"""`medical_sections`: which part of an article is a sentence from? Asked of the very documents that a run holds out.

Structured abstracts and articles label their own parts, so the benchmark needs no annotators and no download, and since
its items are made of the held-out split of the run's corpus, no model of the run has seen them. Scores of two runs
compare only when they held out the same documents. Labels as in PubMed 200k RCT (Dernoncourt and Lee 2017, 1710.06071).
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from domadapt.components import Benchmark, EvalRequest, Evaluator
from domadapt.errors import DataError, StageError

if TYPE_CHECKING:
    from domadapt.artifacts import Checkpoint, ScoreRow
    from domadapt.components import LiveModel, Stage

PARTS = ("background", "objective", "methods", "results", "conclusions")
_HEADINGS = {
    "background": "background|introduction|context|rationale|importance|background and significance",
    "objective": "objectives?|aims?|purpose|goals?|study objectives?|aims of the study|objective of the study",
    "methods": (
        "methods?|methodology|(?:materials?|patients|subjects|participants|design|data) and methods?|methods and "
        "materials|study design|design|experimental design|procedures?"
    ),
    "results": "results?|findings|main results|principal findings|key results",
    "conclusions": (
        "conclusions?|conclusions?/significance|authors?[’'] conclusions?|interpretation|discussion|conclusions and "
        "relevance|discussion and conclusions?|significance"
    ),
}
_PART_OF = {part: re.compile(pattern, re.IGNORECASE) for part, pattern in _HEADINGS.items()}
_LABELLED = re.compile(r"([A-Z][A-Za-z’'/&, -]{2,40}): (?=\S)")
_NUMBER = re.compile(r"^\d{1,2}[.)]?\s+")
_SENTENCE_END = re.compile(r"(?<=[a-z0-9)%][.?!])\s+(?=[A-Z])")
MIN_WORDS, MAX_WORDS = 8, 60


def part_of(heading: str) -> str:
    """The part that a heading or a label names, "" for any other."""
    bare = _NUMBER.sub("", heading.strip(" .:"))
    return next((part for part, pattern in _PART_OF.items() if pattern.fullmatch(bare)), "")


def passages(text: str) -> Iterator[tuple[str, str]]:
    """(part, paragraph) of a document as the pack's sources write it: at most one paragraph of each part.

    A part is named by a label in front of its paragraph ("METHODS: ...", PubMed) or by a heading above it (JATS).
    """
    seen = set()
    above = ""
    for block in text.split("\n\n"):
        label = _LABELLED.match(block)
        part = part_of(label[1]) if label else ""
        if label and part:
            above, block = part, block[label.end() :]
        elif named := part_of(block):
            above = named
            continue
        if above and above not in seen and "\n" not in block and " | " not in block and _sentences(block):
            seen.add(above)
            yield above, block
        above = ""


def _sentences(paragraph: str) -> list[str]:
    found = (sentence.strip() for sentence in _SENTENCE_END.split(paragraph))
    return [s for s in found if MIN_WORDS <= len(s.split()) <= MAX_WORDS and s[-1] in ".?!" and s[0].isupper()]


def items(documents: Iterable[tuple[str, str, str]]) -> list[dict[str, object]]:
    """The items of documents (id, group, text), in an order that is as good as random and the same for all models.

    A sentence of each part, chosen by the document's id. Documents of one group share a cluster.
    """
    made: dict[bytes, dict[str, object]] = {}
    for identity, group, text in documents:
        for part, paragraph in passages(text):
            item = f"{identity}/{part}"
            digest = hashlib.sha256(item.encode()).digest()
            sentences = _sentences(paragraph)
            sentence = sentences[int.from_bytes(digest[:4], "big") % len(sentences)]
            made[digest] = {"item": item, "cluster": group, "sentence": sentence, "label": PARTS.index(part)}
    return [made[digest] for digest in sorted(made)]


class Sections(Evaluator):
    """Asks which part of an article a sentence is from, on the corpus's held-out documents."""

    name: ClassVar[str] = "medical.sections"
    version: ClassVar[str] = "1"
    reads_corpus: ClassVar[bool] = True

    def evaluate(self, model: Checkpoint | LiveModel, request: EvalRequest, out: Path, stage: Stage) -> list[ScoreRow]:
        """The accuracy, scored by lm-eval on a task whose data are made here."""
        from domadapt.builtin.evaluating.lm_eval_tasks import LmEval

        if request.benchmark is None or request.corpus is None:
            raise StageError(f"{stage.name}: {self.name} needs a corpus, and a benchmark for its question")
        if request.num_fewshot:
            raise DataError(f"{stage.name}: {request.benchmark.name} has no solved examples; set its num_fewshot to 0")
        columns = ["id", "group", "text"]
        asked = items(
            row
            for batch in request.corpus.batches(request.split, columns)
            for row in zip(*(batch[column].to_pylist() for column in columns), strict=True)
        )
        if not asked:
            raise DataError(
                f"{stage.name}: no held-out document of the {request.side} corpus has a part with a known heading; "
                f"{request.benchmark.name} is for structured abstracts and articles (medical.pubmed with labels: true, "
                "medical.jats)"
            )
        folder = stage.scratch / "sections"
        benchmark = write_task(request.benchmark, asked, folder)
        return LmEval().evaluate(model, replace(request, benchmark=benchmark, corpus=None), out, stage)


def write_task(benchmark: Benchmark, asked: Iterable[dict[str, object]], folder: Path) -> Benchmark:
    """The benchmark with its data beside it: the packaged YAML and a line an item."""
    import yaml

    folder.mkdir(parents=True, exist_ok=True)
    task = yaml.safe_load((benchmark.path / f"{benchmark.name}.yaml").read_text("utf-8"))
    data = "items.jsonl"
    lines = (json.dumps(item, ensure_ascii=False) + "\n" for item in asked)
    (folder / data).write_text("".join(lines), encoding="utf-8", newline="\n")
    task["dataset_kwargs"] = {"data_files": {"test": data}}
    text = yaml.safe_dump(task, sort_keys=False, allow_unicode=True)
    (folder / f"{benchmark.name}.yaml").write_text(text, encoding="utf-8")
    return replace(benchmark, path=folder, evaluator="lm_eval")
