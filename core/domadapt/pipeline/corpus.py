"""The corpus stage: sources -> cleaning steps -> two held-out splits and the rest, as Parquet shards.

Every document that a source found is accounted for: seen = kept + duplicates + dropped by reason, step by step and
source by source, proven at the end. Held-out documents are split off here, before anything else sees them, by group: a
company is wholly in one split. Two passes over the clean text, one document batch in memory at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.artifacts import SPLITS, Corpus, Split
from domadapt.components import Benchmark, Cleaner, Source, Stage
from domadapt.errors import DataError
from domadapt.pipeline import cleaning
from domadapt.pipeline.accounts import Accounts, FunnelStep, SourceAccount
from domadapt.pipeline.sharded_cleaning import Shards
from domadapt.pipeline.sharded_reading import ShardedReading
from domadapt.pipeline.sharding import Executor
from domadapt.pipeline.shards import ShardWriter, count_rows, stored_batches

if TYPE_CHECKING:
    import pyarrow as pa

MIN_GROUPS = 3


def build_corpus(
    sources: Sequence[tuple[Source, int | None]],
    cleaners: Sequence[Cleaner],
    *,
    holdout: float,
    holdout_documents: int,
    out: Path,
    stage: Stage,
    benchmarks: Sequence[Benchmark] = (),
    earlier: Corpus | None = None,
    max_reject_rate: float = 1.0,
    executor: Executor | None = None,
    names: Sequence[str] = (),
) -> dict[str, Any]:
    """Read, clean, split and write one corpus into `out`; return its facts.

    sources: each with the largest number of documents to take (None: all).
    holdout: share of the groups in each held-out split.  holdout_documents: most documents of a split.
    benchmarks: those of the recipe, for cleaners that keep their items out of the corpus.
    earlier: the other side's finished corpus, whose documents cleaners that compare see first.
    max_reject_rate: largest share of a source's documents that may be unreadable.
    executor: who reads and cleans shards in parallel, None for nobody; the result is the same.
    names: what the sources are called in the documents and accounts; none: as they are called themselves.
    Facts: funnel, sources (what became of each one's documents), documents and bytes per split, groups, rejected
    examples, and steps (what cleaners state) when there is any.
    Raises DataError when nothing is left, when there are too few groups to split or when a source rejects too much,
    StageError when documents are missing from the accounts.
    """
    accounts = Accounts(names or [source.name for source, _ in sources], [cleaner.name for cleaner in cleaners])
    rejected: dict[str, list[str]] = {}
    cleaning.prepare(cleaners, benchmarks, stage)
    shards = Shards(executor, stage.scratch, stage) if executor is not None else None
    read = {"read": ShardedReading(sources, shards).read} if shards is not None else {}
    batches = cleaning.read_sources(sources, accounts, rejected, stage, max_reject_rate, **read)
    batches = _named(batches, names) if names else batches
    batches = cleaning.clean(batches, cleaners, accounts, out / "waiting", earlier=earlier, shards=shards)
    temporary, groups, sizes_of_groups = out / "unsplit", dict[str, str](), Counter[str]()
    numbers = []
    writer = ShardWriter(temporary, "documents")
    for number, batch in batches:
        for group, meta in zip(batch["group"].to_pylist(), batch["meta"].to_pylist(), strict=True):
            pinned = json.loads(meta).get("split", "")
            if groups.setdefault(group, pinned) != pinned:
                raise DataError(f"{stage.name}: group {group!r} is pinned to two splits by its documents")
            sizes_of_groups[group] += 1
        numbers.append(number)
        writer.write(batch)
    writer.close()
    stated = cleaning.finish(cleaners, accounts, out)
    if not numbers:
        funnel = accounts.funnel()
        raise DataError(f"{stage.name}: no document left of {funnel[0].num_in} read ({_reasons(funnel)})")
    splits = assign_splits(
        groups, holdout, seed=stage.seed, where=stage.name, sizes=sizes_of_groups, most_held=holdout_documents
    )
    _write_splits(temporary, numbers, splits, holdout_documents, accounts, out)
    accounts.close(sum(count_rows(out / split) for split in SPLITS), stage.name)
    documents, sizes = (
        {split: sum(getattr(a, kind)[split] for a in accounts.sources) for split in SPLITS}
        for kind in ("documents", "bytes")
    )
    full = documents["report"] >= holdout_documents
    _warn_of_few_groups(out, stage, "corpus.holdout_documents" if full else "corpus.holdout")
    return {
        "funnel": [step.as_dict() for step in accounts.funnel()],
        "sources": [account.as_dict(sizes["train"]) for account in accounts.sources],
        "documents": documents,
        "bytes": sizes,
        "groups": {split: sum(1 for s in splits.values() if s == split) for split in SPLITS},
        "rejected_examples": rejected,
        **({"steps": stated} if stated else {}),
    }


def _named(batches: Iterator[cleaning.Numbered], names: Sequence[str]) -> Iterator[cleaning.Numbered]:
    """Documents that say which entry of the recipe they come from, where one component reads several."""
    import pyarrow as pa

    for number, batch in batches:
        at, field = batch.schema.get_field_index("source"), batch.schema.field("source")
        yield number, batch.set_column(at, field, pa.repeat(pa.scalar(names[number], field.type), batch.num_rows))


def assign_splits(
    groups: Mapping[str, str],
    holdout: float,
    *,
    seed: int,
    where: str,
    sizes: Mapping[str, int] | None = None,
    most_held: int | None = None,
) -> dict[str, Split]:
    """Which split each group belongs to: the first groups in a seeded order are held out.

    groups: name -> split its source pinned it to, or "". Pinned groups stay where they are; of the others
    round(holdout * count), at least 1, go to each held-out split, unless pinned groups fill it already.
    sizes: documents of each group; a split that has `most_held` of them takes no further group.
    Raises DataError for fewer than three free groups when a split would stay empty.
    """
    splits: dict[str, Split] = {}
    free = []
    for group, pinned in groups.items():
        if pinned in SPLITS:
            splits[group] = pinned
        else:
            free.append(group)
    free.sort(key=lambda g: hashlib.sha256(f"{seed}/holdout/{g}".encode()).digest())
    wanted: list[Split] = [s for s in ("report", "selection") if s not in splits.values()]
    if len(free) < len(wanted) + ("train" not in splits.values()):
        raise DataError(
            f"{where}: {len(groups)} groups of documents, but training and two held-out splits need {MIN_GROUPS}; "
            "add sources, or files"
        )
    share = max(1, min(round(holdout * len(free)), (len(free) - 1) // max(1, len(wanted)) or 1))
    waiting = iter(free)
    for split in wanted:
        taken = documents = 0
        while taken < share and (most_held is None or documents < most_held):
            group = next(waiting)
            splits[group] = split
            taken, documents = taken + 1, documents + (sizes[group] if sizes else 1)
    splits.update((group, "train") for group in waiting)
    return splits


def _write_splits(
    temporary: Path,
    numbers: Sequence[int],
    splits: Mapping[str, Split],
    most_held: int,
    accounts: Accounts,
    out: Path,
) -> None:
    """Sort the documents into their splits and book them. numbers: of the source of each stored batch."""
    import pyarrow as pa

    writers = {split: ShardWriter(out / split, "documents") for split in SPLITS}
    held: Counter[str] = Counter()
    step = len(accounts.names) - 1
    for number, batch in zip(numbers, stored_batches(temporary, delete=True), strict=True):
        of_row = [splits[g] for g in batch["group"].to_pylist()]
        account, kept = accounts.sources[number], 0
        for split in SPLITS:
            part = batch.filter(pa.array([s == split for s in of_row]))
            if split != "train":
                part = part.slice(0, most_held - held[split])
                held[split] += part.num_rows
            if part.num_rows:
                _count(part, split, account)
                writers[split].write(part)
            kept += part.num_rows
        surplus = {f"beyond {most_held} held-out documents": batch.num_rows - kept}
        accounts.book(number, step, batch.num_rows, kept, surplus if batch.num_rows > kept else {})
    temporary.rmdir()
    for writer in writers.values():
        writer.close()


def _count(part: pa.RecordBatch, split: Split, account: SourceAccount) -> None:
    import pyarrow.compute as pc

    sizes = pc.binary_length(part["text"]).to_pylist()
    account.documents[split] += part.num_rows
    account.bytes[split] += sum(sizes)
    if split == "train":
        for license, size in zip(part["license"].to_pylist(), sizes, strict=True):
            counted = account.licenses.setdefault(license, [0, 0])
            counted[0] += 1
            counted[1] += size


def _warn_of_few_groups(out: Path, stage: Stage, setting: str) -> None:
    """Say now what the report would say after the training: too few independent units for any verdict."""
    import pyarrow.parquet as pq

    from domadapt.report.statistics import MIN_CLUSTERS

    held: set[str] = set()
    for file in (out / "report").glob("*.parquet"):
        held.update(pq.ParquetFile(file).read(columns=["group"])["group"].to_pylist())
    if len(held) < MIN_CLUSTERS:
        stage.event(
            "warning",
            message=f"documents of {len(held)} groups (companies, files) are held out for the report; with fewer than "
            f"{MIN_CLUSTERS} no difference of bits per byte can be shown: raise {setting} or add sources",
        )


def _reasons(funnel: Sequence[FunnelStep]) -> str:
    dropped: Counter[str] = sum((step.dropped for step in funnel), Counter())
    return ", ".join(f"{reason} {n}" for reason, n in dropped.most_common(5)) or "the sources are empty"
