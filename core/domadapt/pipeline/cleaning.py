"""Documents through the cleaning steps, one batch in memory at a time, every document booked.

A step sees all documents of a corpus in order. One that must know them all before it can decide (which lines are
everywhere, which documents are the best tenth) has `surveys`, the number of times it wants to see them first: they
wait on the disk meanwhile. One that compares documents sees those of the other side's finished corpus before them.
"""

from __future__ import annotations

import bisect
import itertools
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.artifacts import SPLITS, Corpus, document_schema
from domadapt.components import Benchmark, Cleaner, Reject, Source, Stage
from domadapt.errors import DataError, StageError
from domadapt.pipeline.accounts import DUPLICATE, Accounts, SourceAccount
from domadapt.pipeline.sharded_cleaning import Shards, clean_in_shards
from domadapt.pipeline.shards import ShardWriter, stored_batches

if TYPE_CHECKING:
    import pyarrow as pa

    Numbered = tuple[int, pa.RecordBatch]

Seen = Callable[[int, "pa.RecordBatch", "pa.RecordBatch", Mapping[str, int]], None]
"""Called with (number of the step, batch before, batch after, dropped by reason)."""
EARLIER = -1
"""In place of the number of a source: documents of the other side's corpus, which are not booked."""
EXAMPLES = 5
"""Rejected documents of each reason that are remembered by name."""


def read_sources(
    sources: Sequence[tuple[Source, int | None]],
    accounts: Accounts,
    rejected: dict[str, list[str]],
    stage: Stage,
    max_reject_rate: float = 1.0,
    read: Callable[[Source, Reject], Iterator[pa.RecordBatch]] = lambda source, reject: source.read(reject),
) -> Iterator[Numbered]:
    """All documents of all sources in order, each batch with the number of its source.

    sources: each with the largest number of documents to take (None: all). rejected: filled with a few places of
    what was rejected, by reason. max_reject_rate: largest share of a source's documents that may be unreadable.
    read: gives the documents of a source.
    Raises DataError behind a source that is above it.
    """
    schema, kept = document_schema(), 0
    for number, (source, take) in enumerate(sources):
        left = take
        for batch in read(source, _rejecting(number, accounts, rejected)):
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
        _judge_rejections(source, accounts.sources[number], rejected, stage, max_reject_rate)


def _judge_rejections(
    source: Source, account: SourceAccount, rejected: Mapping[str, list[str]], stage: Stage, most: float
) -> None:
    """Refuse a source of which little could be read: a corpus of that little would look like a success."""
    read = account.steps[0]
    failed = Counter({r: n for r, n in read.dropped.items() if r not in source.passes_over and DUPLICATE not in r})
    judged = failed.total() + read.kept
    if failed.total() > most * judged:
        why = ", ".join(f"{reason} {count:,}" for reason, count in failed.most_common(3))
        place = next(iter(rejected.get(failed.most_common(1)[0][0], ())), "")
        raise DataError(
            f"{stage.name}: source {source.name} could not read {failed.total():,} of {judged:,} documents ({why}"
            f"{f'; for example {place}' if place else ''}), and corpus.max_reject_rate allows {most:.0%}; mend the "
            "source or its options, or raise corpus.max_reject_rate"
        )
    if read.num_in and not read.kept:
        why = ", ".join(f"{reason} {count:,}" for reason, count in read.dropped.most_common(3))
        message = f"source {source.name}: none of {read.num_in:,} documents was taken ({why})"
        stage.event("warning", message=message)


def _rejecting(number: int, accounts: Accounts, rejected: dict[str, list[str]]) -> Reject:
    def reject(reason: str, where: str) -> None:
        accounts.book(number, 0, 1, 0, {reason: 1})
        # the first ones by name: in which order places come may depend on how fast they are read
        examples = rejected.setdefault(reason, [])
        bisect.insort(examples, where)
        del examples[EXAMPLES:]

    return reject


def prepare(cleaners: Sequence[Cleaner], benchmarks: Sequence[Benchmark], stage: Stage) -> None:
    """Let every cleaner get ready. benchmarks: of a task that stands in the recipe twice, the cleaners see one."""
    distinct = list({benchmark.name: benchmark for benchmark in benchmarks}.values())
    for cleaner in cleaners:
        cleaner.prepare(stage, distinct)


def clean(
    batches: Iterable[Numbered],
    cleaners: Sequence[Cleaner],
    accounts: Accounts,
    folder: Path,
    *,
    earlier: Corpus | None = None,
    shards: Shards | None = None,
    seen: Seen = lambda step, before, after, dropped: None,
) -> Iterator[Numbered]:
    """What is left of the documents after all steps.

    folder: for documents that wait; it is made and removed. earlier: the other side's corpus, whose documents come
    first for the steps that compare. shards: where steps that treat each document by itself are done in parallel;
    `seen` is then told of the other steps only.
    """
    together: list[Cleaner] = []
    for step, cleaner in enumerate(cleaners, 1):
        if cleaner.across_corpora and earlier is not None:
            batches = itertools.chain(_documents_of(earlier), batches)
        if cleaner.surveys:
            batches = _surveyed(batches, cleaner, folder / f"step-{step}")
        if shards is None or not cleaner.independent:
            batches = apply_step(batches, cleaner, accounts, step, seen)
            continue
        together = [*together, cleaner]
        following = next(iter(cleaners[step:]), None)
        if following is None or not following.independent or following.surveys:
            batches = clean_in_shards(batches, together, step - len(together) + 1, accounts, shards)
            together = []
    yield from batches
    shutil.rmtree(folder, ignore_errors=True)


def finish(cleaners: Sequence[Cleaner], accounts: Accounts, out: Path) -> dict[str, Any]:
    """Facts of the cleaners that state any, by name; their tallies go into the accounts."""
    facts: dict[str, Any] = {}
    for step, cleaner in enumerate(cleaners, 1):
        accounts.tallies[step] = dict(cleaner.tally)
        if stated := cleaner.finish(out):
            facts[cleaner.name if cleaner.name not in facts else f"{cleaner.name} (step {step})"] = stated
    return facts


def _documents_of(corpus: Corpus) -> Iterator[Numbered]:
    return ((EARLIER, batch) for split in SPLITS for batch in corpus.batches(split))


def apply_step(
    batches: Iterable[Numbered],
    cleaner: Cleaner,
    accounts: Accounts,
    step: int,
    seen: Seen = lambda step, before, after, dropped: None,
) -> Iterator[Numbered]:
    """What one step leaves of the documents. step: its number."""
    for source, batch in batches:
        after, dropped = cleaner.clean(batch)
        if after.num_rows + sum(dropped.values()) != batch.num_rows:
            raise StageError(
                f"cleaner {cleaner.name}: {batch.num_rows} documents in, {after.num_rows} out and "
                f"{sum(dropped.values())} dropped; the two must add up"
            )
        if source == EARLIER:
            continue
        accounts.book(source, step, batch.num_rows, after.num_rows, dropped)
        seen(step, batch, after, dropped)
        if after.num_rows:
            yield source, after


def _surveyed(batches: Iterable[Numbered], cleaner: Cleaner, folder: Path) -> Iterator[Numbered]:
    """The same batches, after the cleaner has seen them all."""
    numbers: list[int] = []
    writer = ShardWriter(folder, "documents")
    for number, batch in batches:
        numbers.append(number)
        cleaner.survey(batch, 0)
        writer.write(batch)
    writer.close()
    for survey in range(1, cleaner.surveys):
        for batch in stored_batches(folder):
            cleaner.survey(batch, survey)
    yield from zip(numbers, stored_batches(folder, delete=True), strict=True)
