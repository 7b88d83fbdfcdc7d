"""Documents through the cleaning steps, one batch in memory at a time, every document booked.

A step sees all documents of a corpus in order. One that must know them all before it can decide (which lines are
everywhere, which documents are the best tenth) has `surveys`, the number of times it wants to see them first: they
wait on the disk meanwhile.

What a cleaner may have beside `clean`, all of it optional:
surveys (int), survey(batch, number): see every document `surveys` times, number = 0, 1, ..., before the first `clean`.
prepare(stage, benchmarks): called once before everything; the benchmarks are those of the recipe.
tally (mapping): what it counted besides, shown with its line of the funnel.
finish(out): called once after the last document; may write files into the corpus, returns facts.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.artifacts import document_schema
from domadapt.components import Benchmark, Cleaner, Reject, Source, Stage
from domadapt.errors import StageError
from domadapt.pipeline.accounts import Accounts
from domadapt.pipeline.shards import ShardWriter, stored_batches

if TYPE_CHECKING:
    import pyarrow as pa

    Numbered = tuple[int, pa.RecordBatch]

Seen = Callable[[int, "pa.RecordBatch", "pa.RecordBatch", Mapping[str, int]], None]
"""Called with (number of the step, batch before, batch after, dropped by reason)."""
EXAMPLES = 5
"""Rejected documents of each reason that are remembered by name."""


def read_sources(
    sources: Sequence[tuple[Source, int | None]], accounts: Accounts, rejected: dict[str, list[str]], stage: Stage
) -> Iterator[Numbered]:
    """All documents of all sources in order, each batch with the number of its source.

    sources: each with the largest number of documents to take (None: all). rejected: filled with a few places of
    what was rejected, by reason.
    """
    schema, kept = document_schema(), 0
    for number, (source, take) in enumerate(sources):
        left = take
        for batch in source.read(_rejecting(number, accounts, rejected)):
            if batch.schema != schema:
                raise StageError(
                    f"{stage.name}: source {source.name} gave columns {batch.schema.names}, not {schema.names}"
                )
            if left is not None:
                batch = batch.slice(0, left)
                left -= batch.num_rows
            accounts.book(number, 0, batch.num_rows, batch.num_rows, {})
            kept += batch.num_rows
            stage.progress(number, len(sources), "sources", documents=kept)
            if batch.num_rows:
                yield number, batch
            if left == 0:
                break


def _rejecting(number: int, accounts: Accounts, rejected: dict[str, list[str]]) -> Reject:
    def reject(reason: str, where: str) -> None:
        accounts.book(number, 0, 1, 0, {reason: 1})
        examples = rejected.setdefault(reason, [])
        if len(examples) < EXAMPLES:
            examples.append(where)

    return reject


def prepare(cleaners: Sequence[Cleaner], benchmarks: Sequence[Benchmark], stage: Stage) -> None:
    """Let every cleaner that wants it get ready."""
    for cleaner in cleaners:
        if (own := getattr(cleaner, "prepare", None)) is not None:
            own(stage, benchmarks)


def clean(
    batches: Iterable[Numbered],
    cleaners: Sequence[Cleaner],
    accounts: Accounts,
    folder: Path,
    seen: Seen = lambda step, before, after, dropped: None,
) -> Iterator[Numbered]:
    """What is left of the documents after all steps. folder: for documents that wait; it is made and removed."""
    for step, cleaner in enumerate(cleaners, 1):
        if surveys := getattr(cleaner, "surveys", 0):
            batches = _surveyed(batches, cleaner, surveys, folder / f"step-{step}")
        batches = _step(batches, cleaner, accounts, step, seen)
    yield from batches
    shutil.rmtree(folder, ignore_errors=True)


def finish(cleaners: Sequence[Cleaner], accounts: Accounts, out: Path) -> dict[str, Any]:
    """Facts of the cleaners that have any, by name; their tallies go into the accounts."""
    facts: dict[str, Any] = {}
    for step, cleaner in enumerate(cleaners, 1):
        tally: Mapping[str, int] | None = getattr(cleaner, "tally", None)
        accounts.tallies[step] = dict(tally or {})
        if (own := getattr(cleaner, "finish", None)) is not None:
            facts[cleaner.name] = own(out)
    return facts


def _step(
    batches: Iterable[Numbered], cleaner: Cleaner, accounts: Accounts, step: int, seen: Seen
) -> Iterator[Numbered]:
    for source, batch in batches:
        after, dropped = cleaner.clean(batch)
        if after.num_rows + sum(dropped.values()) != batch.num_rows:
            raise StageError(
                f"cleaner {cleaner.name}: {batch.num_rows} documents in, {after.num_rows} out and "
                f"{sum(dropped.values())} dropped; the two must add up"
            )
        accounts.book(source, step, batch.num_rows, after.num_rows, dropped)
        seen(step, batch, after, dropped)
        if after.num_rows:
            yield source, after


def _surveyed(batches: Iterable[Numbered], cleaner: Any, surveys: int, folder: Path) -> Iterator[Numbered]:
    """The same batches, after the cleaner has seen them all."""
    numbers: list[int] = []
    writer = ShardWriter(folder, "documents")
    for number, batch in batches:
        numbers.append(number)
        cleaner.survey(batch, 0)
        writer.write(batch)
    writer.close()
    for survey in range(1, surveys):
        for batch in stored_batches(folder):
            cleaner.survey(batch, survey)
    yield from zip(numbers, stored_batches(folder, delete=True), strict=True)
