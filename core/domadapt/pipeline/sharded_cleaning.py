"""Cleaning steps that treat each document by itself, over shards in parallel.

Shards are consecutive documents of a fixed size, so their order is that of the sources and what comes out is what one
process would have made, batch for batch. Steps that compare documents or choose among all of them stay with the one
process that sees them in order.
"""

from __future__ import annotations

import json
import pickle
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.components import Cleaner, Stage
from domadapt.pipeline.accounts import Accounts
from domadapt.pipeline.sharding import Executor, Task, finished
from domadapt.pipeline.shards import batches_of, write_batches
from domadapt.pipeline.store import write_file

if TYPE_CHECKING:
    import pyarrow as pa

    Numbered = tuple[int, pa.RecordBatch]

SHARD_BYTES = 16 << 20
"""Text of a shard: a second's work or a few."""
DOCUMENTS, BOOKS, NOTES = "documents.parquet", "books.json", "notes.pickle"


@dataclass(frozen=True)
class Shards:
    """Where shards lie and who works on them. folder: survives a kill, and is on all machines."""

    executor: Executor
    folder: Path
    stage: Stage


def clean_in_shards(
    batches: Iterable[Numbered], cleaners: Sequence[Cleaner], first: int, accounts: Accounts, shards: Shards
) -> Iterator[Numbered]:
    """What is left of the documents after steps that are `independent`, of which `first` is the number of the first.

    Tallies and notes of the workers' copies come to the cleaners given, in the order of the documents.
    """
    folder = shards.folder.resolve() / f"step-{first}"
    folder.mkdir(parents=True, exist_ok=True)
    sources: list[list[int]] = []

    def tasks() -> Iterator[Task]:
        for number, shard in enumerate(_shards_of(batches)):
            if number == 0:  # behind the surveys, which go before the first document
                write_file(folder / "cleaners.pickle", pickle.dumps(list(cleaners)))
            sources.append([source for source, _ in shard])
            given = folder / f"{number:06d}.parquet"
            write_batches(given, (batch for _, batch in shard))
            yield Task(partial(clean_shard, folder / "cleaners.pickle"), given, folder / given.stem)

    for number, task in enumerate(finished(tasks(), shards.executor, shards.stage)):
        books = json.loads((task.out / BOOKS).read_bytes())
        for source, lines in zip(sources[number], books["booked"], strict=True):
            for step, (num_in, kept, dropped) in enumerate(lines, first):
                accounts.book(source, step, num_in, kept, dropped)
        _take_over(cleaners, books["tallies"], pickle.loads((task.out / NOTES).read_bytes()))  # noqa: S301 - our own
        for batch, documents in zip(books["kept"], batches_of(task.out / DOCUMENTS), strict=True):
            yield sources[number][batch], documents
        sources[number] = []


def _shards_of(batches: Iterable[Numbered]) -> Iterator[list[Numbered]]:
    shard: list[Numbered] = []
    size = 0
    for source, batch in batches:
        shard.append((source, batch))
        size += batch.nbytes
        if size >= SHARD_BYTES:
            yield shard
            shard, size = [], 0
    if shard:
        yield shard


def _take_over(cleaners: Sequence[Cleaner], tallies: Sequence[Mapping[str, int]], notes: Sequence[Any]) -> None:
    for cleaner, tally, noted in zip(cleaners, tallies, notes, strict=True):
        if tally:
            counted = Counter(cleaner.tally)
            counted.update(tally)
            cleaner.tally = counted
        cleaner.add_notes(noted)


def clean_shard(cleaners_file: Path, given: Path, out: Path) -> None:
    """Clean one shard with copies of the cleaners, whose surveys have been made. For workers."""
    from domadapt.pipeline.cleaning import apply_step

    cleaners: list[Cleaner] = pickle.loads(cleaners_file.read_bytes())  # noqa: S301 - our own
    before = [dict(cleaner.tally) for cleaner in cleaners]
    batches: Iterable[Numbered] = list(enumerate(batches_of(given)))
    # batches take the place of sources: the books of each are closed by whoever knows the source
    accounts = Accounts([str(number) for number, _ in batches], [cleaner.name for cleaner in cleaners])
    for step, cleaner in enumerate(cleaners, 1):
        batches = apply_step(batches, cleaner, accounts, step)
    kept = list[int]()

    def documents() -> Iterator[pa.RecordBatch]:
        for number, batch in batches:
            kept.append(number)
            yield batch

    write_batches(out / DOCUMENTS, documents())
    booked = [
        [(line.num_in, line.kept, line.dropped) for line in account.steps[1 : len(cleaners) + 1]]
        for account in accounts.sources
    ]
    tallies = [
        {what: count - start.get(what, 0) for what, count in cleaner.tally.items()}
        for cleaner, start in zip(cleaners, before, strict=True)
    ]
    (out / BOOKS).write_text(json.dumps({"booked": booked, "kept": kept, "tallies": tallies}))
    (out / NOTES).write_bytes(pickle.dumps([cleaner.notes() for cleaner in cleaners]))
