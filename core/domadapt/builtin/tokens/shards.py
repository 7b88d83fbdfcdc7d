"""Tokenising a corpus shard by shard: some megabytes of a Parquet file become ids on disk, once, whoever does it.

What an interrupted attempt finished is found again; processes of this machine, Ray and Slurm take shards as they do
for the corpus. Where the recipe names nobody, this process works alone when the quick route uses all cores by threads,
else a process a core.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from domadapt.artifacts import Corpus, Split
from domadapt.builtin.tokens.encoding import (
    Flat,
    Probe,
    Route,
    Slow,
    choose,
    knows_fast_route,
    sample,
    sizes,
)
from domadapt.builtin.tokens.long import encode
from domadapt.builtin.tokens.packing import BLOCK_DOCUMENTS, Block
from domadapt.builtin.tokens.tokenizer import DocumentTokenizer
from domadapt.components import Side, Stage
from domadapt.pipeline.sharding import Executor, Task, attempt, finished
from domadapt.pipeline.store import write_file

IDS, LENGTHS, SOURCES, ROUTE = "ids.bin", "lengths.npy", "sources.npy", "route.json"
PIECE_BYTES = 16 << 20
"""Text of a shard: a second's work or a few for one core."""
BATCH_BYTES = 4 << 20
"""Text encoded at a time: enough for all cores, little enough to hold its ids twice."""


@dataclass(frozen=True)
class How:
    """What a worker needs to know. tokenizer: a `tokenizer.json`, or the folder of one that only transformers has."""

    tokenizer: Path
    bos: int | None
    eos: int | None
    dtype: str


@dataclass
class Routes:
    """Which way the text went, over all shards."""

    shards: dict[str, int] = field(default_factory=dict)
    pieces: int = 0
    num_bytes: int = 0
    differing: int = 0

    def add(self, told: dict[str, Any]) -> None:
        """Count one shard."""
        self.shards[told["route"]] = self.shards.get(told["route"], 0) + 1
        probe = told["probe"] or {}
        self.pieces += probe.get("pieces", 0)
        self.num_bytes += probe.get("num_bytes", 0)
        self.differing += probe.get("differing", 0)

    def facts(self) -> dict[str, Any]:
        """For the artifact: shards by route, and what the probe compared."""
        probe = {"pieces": self.pieces, "bytes": self.num_bytes, "differing": self.differing}
        return {"shards": dict(sorted(self.shards.items())), "probe": probe}


class InTurn:
    """Shards one after the other in this process: the cores are shared by threads."""

    def run(self, tasks: Iterable[Task], stage: Stage) -> Iterator[Task]:
        """See `Executor`."""
        for task in tasks:
            attempt(task)
            yield task


def prepared(tokenizer: DocumentTokenizer, folder: Path) -> How:
    """Write down in `folder` what workers load, without transformers where there is a fast tokenizer."""
    backend = getattr(tokenizer.tokenizer, "backend_tokenizer", None)
    file = tokenizer.folder.resolve()
    if backend is not None:
        text = backend.to_str().encode()
        if backend.truncation is not None or backend.padding is not None:
            text = json.dumps({**json.loads(text), "truncation": None, "padding": None}).encode()
        file = folder.resolve() / f"tokenizer-{hashlib.sha256(text).hexdigest()[:12]}.json"
        folder.mkdir(parents=True, exist_ok=True)
        write_file(file, text)
    return How(file, tokenizer.bos, tokenizer.eos, tokenizer.dtype.name)


@dataclass
class Shards:
    """Where shards of ids lie while the stage works, who makes them and which way the text went.

    folder: survives a kill, and is on all machines.
    """

    how: How
    folder: Path
    executor: Executor | None
    stage: Stage
    routes: Routes = field(default_factory=Routes)

    def make(self, corpus: Corpus, split: Split, side: Side) -> Tokenized:
        """Have the documents of a split tokenised; shards done before are not done again."""
        # other ids, other shards: what another way of tokenising left is not taken for this one's
        way = hashlib.sha256(repr(self.how).encode()).hexdigest()[:12]
        folder = self.folder.resolve() / f"tokens-{way}" / f"{side}-{split}"
        folder.mkdir(parents=True, exist_ok=True)
        files = corpus.files(f"{split}/", ".parquet")
        tasks, size = [], 0
        for file in files:
            for first, last, num_bytes in pieces_of(file):
                size += num_bytes
                work = partial(tokenize_piece, self.how, first, last)
                out = folder / f"{file.stem}-{first:05d}"
                tasks.append(Task(work, file.resolve(), out, num_bytes=num_bytes))
        sources: dict[str, None] = {}
        for task in finished(tasks, self.executor or self._own(size), self.stage):
            told = json.loads((task.out / ROUTE).read_bytes())
            self.routes.add(told)
            sources |= dict.fromkeys(told["sources"])
        return Tokenized([task.out for task in tasks], np.dtype(self.how.dtype), list(sources))

    def _own(self, num_bytes: int) -> Executor:
        """Who works where the recipe names nobody: this process with the threads of fastokens, or else one a core."""
        from domadapt.builtin.executors.processes import ProcessExecutor

        cores = os.cpu_count() or 1
        alone = cores == 1 or num_bytes < 2 * PIECE_BYTES or self.how.tokenizer.is_dir()
        quick = not alone and knows_fast_route(self.how.tokenizer)
        return InTurn() if alone or quick else ProcessExecutor(cores)


def pieces_of(file: Path) -> Iterator[tuple[int, int, int]]:
    """Row groups of a Parquet file, about PIECE_BYTES of them at a time: first, behind the last, bytes."""
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(file)
    first = size = 0
    for number in range(metadata.num_row_groups):
        size += metadata.row_group(number).total_byte_size
        if size >= PIECE_BYTES or number == metadata.num_row_groups - 1:
            yield first, number + 1, size
            first, size = number + 1, 0


@dataclass(frozen=True)
class Tokenized:
    """A split as ids on disk. sources: names of the sources of its documents."""

    shards: Sequence[Path]
    dtype: np.dtype
    sources: Sequence[str]

    def blocks(self, source: str | None = None) -> Iterator[Block]:
        """The documents, those of one source or all, with begin and end, in their order."""
        for shard in self.shards:
            yield from _read(shard, self.dtype, source)


def _read(shard: Path, dtype: np.dtype, source: str | None) -> Iterator[Block]:
    lengths = np.load(shard / LENGTHS, allow_pickle=False)
    names = json.loads((shard / ROUTE).read_bytes())["sources"]
    if not len(lengths) or (source is not None and source not in names):
        return
    ids = np.memmap(shard / IDS, dtype=dtype, mode="r")
    ends = np.cumsum(lengths)
    starts = ends - lengths
    if source is None or len(names) == 1:
        for first in range(0, len(lengths), BLOCK_DOCUMENTS):
            last = min(first + BLOCK_DOCUMENTS, len(lengths))
            yield np.asarray(ids[starts[first] : ends[last - 1]]), lengths[first:last]
        return
    rows = np.flatnonzero(np.load(shard / SOURCES, allow_pickle=False) == names.index(source))
    for first in range(0, len(rows), BLOCK_DOCUMENTS):
        some = rows[first : first + BLOCK_DOCUMENTS]
        yield np.concatenate([ids[starts[row] : ends[row]] for row in some.tolist()]), lengths[some]


def tokenize_piece(how: How, first: int, last: int, given: Path, out: Path) -> None:
    """Encode the documents of some row groups of a Parquet file. For workers."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(given, page_checksum_verification=True) as parquet:
        table = parquet.read_row_groups(range(first, last), ["text", "source"])
    column, sources = table["text"], table["source"].combine_chunks().dictionary_encode()
    route, probe = _route(how, column)
    lengths = []
    with (out / IDS).open("wb") as ids:
        for texts in _batches(column):
            flat, whole = _with_ends(encode(route, texts), how)
            flat.tofile(ids)
            lengths.append(whole)
    np.save(out / LENGTHS, np.concatenate([np.empty(0, np.int64), *lengths]), allow_pickle=False)
    np.save(out / SOURCES, np.array(sources.indices.to_pylist(), np.int32), allow_pickle=False)
    told = {
        "route": route.name,
        "probe": vars(probe) if probe else None,
        "sources": sources.dictionary.to_pylist(),
    }
    (out / ROUTE).write_text(json.dumps(told))


def _route(how: How, column: Any) -> tuple[Route, Probe | None]:
    if how.tokenizer.is_dir():
        return Slow(how.tokenizer), None
    return choose(how.tokenizer, sample(column))


def _batches(column: Any) -> Iterator[list[str]]:
    """The texts of an Arrow column, about BATCH_BYTES of them at a time; a longer one by itself."""
    ends = np.cumsum(sizes(column))
    first = 0
    while first < len(ends):
        limit = (ends[first - 1] if first else 0) + BATCH_BYTES
        last = max(first + 1, int(np.searchsorted(ends, limit, side="right")))
        yield column.slice(first, last - first).to_pylist()
        first = last


def _with_ends(encoded: Flat, how: How) -> Flat:
    """Ids with the tokens that open and close each document, in the type that they are stored in."""
    ids, lengths = encoded
    opening = int(how.bos is not None)
    whole = lengths + opening + 1
    ends = np.cumsum(whole)
    flat = np.empty(int(ends[-1]) if len(ends) else 0, np.dtype(how.dtype))
    starts = ends - whole
    if how.bos is not None:
        flat[starts] = how.bos
    flat[ends - 1] = how.eos
    at = 0
    for start, size in zip((starts + opening).tolist(), lengths.tolist(), strict=True):
        flat[start : start + size] = ids[at : at + size]
        at += size
    return flat, whole
