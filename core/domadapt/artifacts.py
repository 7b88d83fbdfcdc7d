"""Artifacts: frozen handles on the directories that stages hand to each other.

A handle knows where things lie in its directory and how to read them; it holds no data. Readers take
file names from the manifest that the store wrote (`artifact.json`), never from a glob, so that a stray
file is never read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from domadapt.errors import DataError

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

MANIFEST = "artifact.json"

Split = Literal["train", "selection", "report"]
SPLITS: tuple[Split, ...] = ("train", "selection", "report")
Role = Literal["base", "instruct", "cpt", "merged", "control"]


def document_schema() -> pa.Schema:
    """The columns of a document, in every record batch that a source yields and every corpus shard.

    id: unique in its source.  text: the document.  source: the component that read it, or what the
    recipe calls this source.
    license: SPDX name or the publisher's words, "" when unknown.
    group: documents of one group (a company, a journal, a patent family) never lie on both sides of
    a held-out split.  meta: a JSON object with what the source knows about the document.
    """
    import pyarrow as pa

    text = pa.string()
    names = ("id", "text", "source", "license", "group", "meta")
    return pa.schema([pa.field(name, text, nullable=False) for name in names])


@dataclass(frozen=True)
class Artifact:
    """A directory with its kind. `path` may be relocated; nothing inside it is absolute."""

    path: Path
    kind: ClassVar[str] = "artifact"

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """What the store wrote when the artifact was published: files with sizes and sha256, facts."""
        file = self.path / MANIFEST
        try:
            return json.loads(file.read_bytes())  # type: ignore[no-any-return]
        except FileNotFoundError:
            raise DataError(f"{self.path}: no {MANIFEST} here, so this is not a finished {self.kind}") from None

    @property
    def facts(self) -> Mapping[str, Any]:
        """Numbers about the artifact that its maker stated (documents, tokens, shares, ...)."""
        return self.manifest["facts"]  # type: ignore[no-any-return]

    def files(self, prefix: str, suffix: str = "") -> list[Path]:
        """The files whose manifest name starts with `prefix` and ends with `suffix`, sorted."""
        return [self.path / n for n in sorted(self.manifest["files"]) if n.startswith(prefix) and n.endswith(suffix)]


@dataclass(frozen=True)
class Corpus(Artifact):
    """Parquet shards of clean documents in three splits: `train/`, `selection/`, `report/`."""

    kind: ClassVar[str] = "corpus"

    def batches(self, split: Split, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The documents of one split in their order, as record batches."""
        import pyarrow.parquet as pq

        for file in self.files(f"{split}/", ".parquet"):
            with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
                yield from parquet.iter_batches(columns=columns)


@dataclass(frozen=True)
class TokenStore(Artifact):
    """Tokenised windows in Megatron's `.bin/.idx`, one sequence of `seq_len` tokens per window.

    train/PART.{bin,idx}            the windows of a part ("domain", "general", or a source: "domain.sec.filings")
    selection/SIDE, report/SIDE     the held-out documents of that side, packed the same way
    train/PART.documents.npy        where documents start: token offsets in the part's stream
    train/PART.answers.bin          of conversations only: one byte a token, 1 where it is an answer (each split)
    order.npy                       int64 [num_samples, 2]: (part number, window) in training order
    plan.json                       the mixture: parts with shares asked and achieved, epochs, seed
    windows.json                    what the windows are made of; another mixture of the text takes them as they are
    """

    kind: ClassVar[str] = "tokens"

    @cached_property
    def plan(self) -> Mapping[str, Any]:
        """The mixture as planned and achieved."""
        return json.loads((self.path / "plan.json").read_bytes())  # type: ignore[no-any-return]

    @property
    def sides(self) -> list[str]:
        """The sides that have held-out windows: "domain", "general"."""
        return list(dict.fromkeys(part.get("side", part["name"]) for part in self.plan["parts"]))

    def order(self) -> np.ndarray:
        """Training order, int64 [num_samples, 2]: part number (position in plan["parts"]), window."""
        import numpy as np

        return np.load(self.path / "order.npy", mmap_mode="r", allow_pickle=False)  # type: ignore[no-any-return]

    def windows(self, split: Split, part: str) -> np.ndarray:
        """All windows of one part as a memory map, uint16 or int32 [num_windows, seq_len]."""
        import numpy as np

        dtype = np.dtype(self.facts["dtype"])
        file = self.path / split / f"{part}.bin"
        expected = self.facts["windows"][split][part] * self.facts["seq_len"] * dtype.itemsize
        if file.stat().st_size != expected:
            raise DataError(
                f"{file}: {expected} bytes expected, {file.stat().st_size} found; delete the artifact and run again"
            )
        if not expected:
            return np.empty((0, self.facts["seq_len"]), dtype)
        return np.memmap(file, dtype=dtype, mode="r").reshape(-1, self.facts["seq_len"])


@dataclass(frozen=True)
class Checkpoint(Artifact):
    """A Hugging Face folder: safetensors, config, tokenizer, chat template. `path` loads with transformers.

    A checkpoint made by a stage has a manifest; one that a user brings has none, and its `digest` is
    that of its files.
    """

    role: Role = "base"
    digest: str = ""
    kind: ClassVar[str] = "checkpoint"

    @property
    def tokenizer_files(self) -> list[Path]:
        """Files that make the tokenizer and its chat template, those that exist, sorted by name."""
        return [self.path / n for n in TOKENIZER_FILES if (self.path / n).is_file()]


TOKENIZER_FILES = (
    "added_tokens.json",
    "chat_template.jinja",
    "merges.txt",
    "special_tokens_map.json",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
)


@dataclass(frozen=True)
class ScoreRow:
    """One number with its uncertainty.

    value = sum(sample values) / sum(sample weights); stderr and the 95 % interval [low, high] come from
    the samples, clustered where items share a passage.  side: which side of the ledger it counts for.
    """

    task: str
    metric: str
    side: Literal["domain", "general"]
    value: float
    stderr: float
    low: float
    high: float
    n: int
    unit: str
    higher_is_better: bool
    protocol: str


@dataclass(frozen=True)
class Scorecard(Artifact):
    """Scores of one model on one task: `scores.json` (rows) and `samples.parquet`.

    samples: item, cluster, value, weight; a metric is sum(value) / sum(weight) (accuracy: weight 1;
    bits per byte: value bits, weight bytes), so that one paired statistic serves all.
    items.jsonl (optional): {item, prompt, wanted, given} of each item, short texts.
    answers.jsonl (optional): {item, prompt, answer, ended} of each generated answer.
    """

    kind: ClassVar[str] = "scorecard"

    def rows(self) -> list[ScoreRow]:
        """The scores."""
        return [ScoreRow(**row) for row in json.loads((self.path / "scores.json").read_bytes())["rows"]]

    def samples(self, metric: str) -> pa.Table:
        """The samples of one metric, columns item, cluster, value, weight, in the order of the items."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        table = pq.read_table(self.path / "samples.parquet")
        return table.filter(pc.equal(table["metric"], metric)).drop_columns(["metric"])


@dataclass(frozen=True)
class Sweep(Artifact):
    """Merge candidates scored in memory on the selection split: `sweep.json`."""

    kind: ClassVar[str] = "sweep"

    @cached_property
    def data(self) -> Mapping[str, Any]:
        """Anchors (instruct, cpt) and candidates with settings, scores of both sides, front and veto."""
        return json.loads((self.path / "sweep.json").read_bytes())  # type: ignore[no-any-return]


@dataclass(frozen=True)
class Report(Artifact):
    """report.json and report.html."""

    kind: ClassVar[str] = "report"
