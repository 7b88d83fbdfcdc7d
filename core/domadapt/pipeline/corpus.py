"""The corpus stage: sources -> cleaning steps -> two held-out splits and the rest, as Parquet shards.

Every document that a source found is accounted for: documents in = kept + dropped by reason, step by
step (the funnel). Held-out documents are split off here, before anything else sees them, by group: a
company is wholly in one split. Two passes over the clean text, one document batch in memory at a time.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.artifacts import SPLITS, Split, document_schema
from domadapt.components import Cleaner, Source, Stage
from domadapt.errors import DataError, StageError

if TYPE_CHECKING:
    import pyarrow as pa

SHARD_BYTES = 64_000_000
MIN_GROUPS = 3


@dataclass
class FunnelStep:
    """One line of the funnel: what came in, what stayed, what was dropped and why."""

    step: str
    num_in: int = 0
    kept: int = 0
    dropped: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, reasons in order of frequency."""
        dropped = dict(sorted(self.dropped.items(), key=lambda item: (-item[1], item[0])))
        return {"step": self.step, "in": self.num_in, "kept": self.kept, "dropped": dropped}


class ShardWriter:
    """Writes record batches into `PREFIX-00000.parquet`, ... of about SHARD_BYTES of text each."""

    def __init__(self, folder: Path, prefix: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder, self._prefix = folder, prefix
        self._writer: Any = None
        self._bytes = self._shards = 0

    def write(self, batch: pa.RecordBatch) -> None:
        """Append a batch."""
        import pyarrow.parquet as pq

        if self._writer is None:
            file = self._folder / f"{self._prefix}-{self._shards:05d}.parquet"
            self._writer = pq.ParquetWriter(file, batch.schema, compression="zstd", write_page_checksum=True)
            self._shards, self._bytes = self._shards + 1, 0
        self._writer.write_batch(batch)
        self._bytes += batch.nbytes
        if self._bytes >= SHARD_BYTES:
            self.close()

    def close(self) -> None:
        """Finish the shard."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None


def build_corpus(
    sources: Sequence[tuple[Source, int | None]],
    cleaners: Sequence[Cleaner],
    *,
    holdout: float,
    holdout_documents: int,
    out: Path,
    stage: Stage,
) -> dict[str, Any]:
    """Read, clean, split and write one corpus into `out`; return its facts.

    sources: each with the largest number of documents to take (None: all).
    holdout: share of the groups in each held-out split.  holdout_documents: most documents of a split.
    Facts: funnel, documents and bytes per split, groups, rejected examples.
    Raises DataError when nothing is left or when there are too few groups to split.
    """
    funnel = [FunnelStep("read"), *(FunnelStep(c.name) for c in cleaners)]
    rejected: dict[str, list[str]] = {}
    groups: dict[str, str] = {}
    sizes_of_groups: Counter[str] = Counter()
    temporary = out / "unsplit"
    writer = ShardWriter(temporary, "documents")
    for batch in _clean(_read(sources, funnel[0], rejected, stage), cleaners, funnel):
        for group, meta in zip(batch["group"].to_pylist(), batch["meta"].to_pylist(), strict=True):
            pinned = json.loads(meta).get("split", "")
            if groups.setdefault(group, pinned) != pinned:
                raise DataError(f"{stage.name}: group {group!r} is pinned to two splits by its documents")
            sizes_of_groups[group] += 1
        writer.write(batch)
    writer.close()
    if not funnel[-1].kept:
        raise DataError(f"{stage.name}: no document left of {funnel[0].num_in} read ({_reasons(funnel)})")
    splits = assign_splits(
        groups, holdout, seed=stage.seed, where=stage.name, sizes=sizes_of_groups, most_held=holdout_documents
    )
    documents, sizes, surplus = _write_splits(temporary, splits, holdout_documents, out)
    last = FunnelStep("holdout", funnel[-1].kept, funnel[-1].kept - surplus)
    if surplus:
        last.dropped[f"beyond {holdout_documents} held-out documents"] = surplus
    full = documents["report"] >= holdout_documents
    _warn_of_few_groups(out, stage, "corpus.holdout_documents" if full else "corpus.holdout")
    return {
        "funnel": [step.as_dict() for step in [*funnel, last]],
        "documents": documents,
        "bytes": sizes,
        "groups": {split: sum(1 for s in splits.values() if s == split) for split in SPLITS},
        "rejected_examples": rejected,
    }


def _read(
    sources: Sequence[tuple[Source, int | None]], step: FunnelStep, rejected: dict[str, list[str]], stage: Stage
) -> Iterator[pa.RecordBatch]:
    def reject(reason: str, where: str) -> None:
        step.num_in += 1
        step.dropped[reason] += 1
        examples = rejected.setdefault(reason, [])
        if len(examples) < 5:
            examples.append(where)

    schema = document_schema()
    for number, (source, take) in enumerate(sources):
        left = take
        for batch in source.read(reject):
            if batch.schema != schema:
                raise StageError(
                    f"{stage.name}: source {source.name} gave columns {batch.schema.names}, not {schema.names}"
                )
            if left is not None:
                batch = batch.slice(0, left)
                left -= batch.num_rows
            step.num_in += batch.num_rows
            step.kept += batch.num_rows
            stage.progress(number, len(sources), "sources", documents=step.kept)
            if batch.num_rows:
                yield batch
            if left == 0:
                break


def _clean(
    batches: Iterable[pa.RecordBatch], cleaners: Sequence[Cleaner], funnel: Sequence[FunnelStep]
) -> Iterator[pa.RecordBatch]:
    for batch in batches:
        for cleaner, step in zip(cleaners, funnel[1:], strict=True):
            num_in = batch.num_rows
            batch, dropped = cleaner.clean(batch)
            if batch.num_rows + sum(dropped.values()) != num_in:
                raise StageError(
                    f"cleaner {cleaner.name}: {num_in} documents in, {batch.num_rows} out and "
                    f"{sum(dropped.values())} dropped; the two must add up"
                )
            step.num_in += num_in
            step.kept += batch.num_rows
            step.dropped.update(dropped)
        if batch.num_rows:
            yield batch


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
    temporary: Path, splits: Mapping[str, Split], most_held: int, out: Path
) -> tuple[dict[str, int], dict[str, int], int]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    writers = {split: ShardWriter(out / split, "documents") for split in SPLITS}
    documents: dict[str, int] = dict.fromkeys(SPLITS, 0)
    sizes: dict[str, int] = dict.fromkeys(SPLITS, 0)
    surplus = 0
    for file in sorted(temporary.glob("*.parquet")):
        for batch in pq.ParquetFile(file).iter_batches():
            of_row = [splits[g] for g in batch["group"].to_pylist()]
            for split in SPLITS:
                part = batch.filter(pa.array([s == split for s in of_row]))
                if split != "train":
                    room = most_held - documents[split]
                    surplus += max(0, part.num_rows - room)
                    part = part.slice(0, room)
                if part.num_rows:
                    documents[split] += part.num_rows
                    sizes[split] += sum(len(t.encode()) for t in part["text"].to_pylist())
                    writers[split].write(part)
        file.unlink()
    temporary.rmdir()
    for writer in writers.values():
        writer.close()
    return documents, sizes, surplus


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
