"""What the cleaning steps did to one document: the sources are read and cleaned again until it has gone through.

It is the recipe's own steps on the same documents in the same order, so a duplicate is a duplicate here too. It costs
up to the time of the corpus stage; nothing is stored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, cast

from domadapt.artifacts import Corpus
from domadapt.components import Cleaner, Side, Source, Stage
from domadapt.errors import UsageError
from domadapt.pipeline import cleaning
from domadapt.pipeline.accounts import Accounts
from domadapt.recipe.resolved import ResolvedRecipe

if TYPE_CHECKING:
    import pyarrow as pa

    Numbered = tuple[int, pa.RecordBatch]


@dataclass(frozen=True)
class Passage:
    """One step of a document: its text before and after. after: None when it was dropped, for `reason`."""

    step: str
    before: str
    after: str | None
    reason: str = ""


@dataclass
class Trail:
    """A document's way through the steps; it ends where it was dropped."""

    source: str
    id: str
    group: str
    license: str
    text: str
    passages: list[Passage] = field(default_factory=list)


class _Enough(Exception):  # noqa: N818 - not a fault
    """What was wanted is known."""


def trace(resolved: ResolvedRecipe, side: Side, wanted: str | None, earlier: Corpus | None = None) -> Trail:
    """The way of one document. wanted: its id, or SOURCE:ID where several sources have that id; None: the first one.

    earlier: the domain's corpus, where the general one was compared with it.
    Raises UsageError when no source has it.
    """
    trail: Trail | None = None

    def seen(step: int, before: pa.RecordBatch, after: pa.RecordBatch, dropped: Mapping[str, int]) -> None:
        if trail is None or not _is_this(before, trail):
            return
        text = after["text"][0].as_py() if after.num_rows else None
        reason = ", ".join(reason for reason, count in dropped.items() if count)
        trail.passages.append(Passage(resolved.cleaners[step - 1].name, before["text"][0].as_py(), text, reason))
        if text is None or step == len(resolved.cleaners):
            raise _Enough

    def alone(batches: Iterable[Numbered]) -> Iterator[Numbered]:
        """The same documents, the wanted one in a batch of its own."""
        nonlocal trail
        for number, batch in batches:
            row = _find(batch, wanted) if trail is None else None
            if row is None:
                yield number, batch
                continue
            one = batch.slice(row, 1).to_pylist()[0]
            trail = Trail(*(one[name] for name in ("source", "id", "group", "license", "text")))
            parts = (batch.slice(0, row), batch.slice(row, 1), batch.slice(row + 1))
            yield from ((number, part) for part in parts if part.num_rows)

    _run(resolved, side, seen, alone, earlier)
    if trail is None:
        raise UsageError(f"no document {wanted!r} among those of corpus.{side}, or it was rejected when read")
    return trail


def first_touched(resolved: ResolvedRecipe, side: Side, step: str, earlier: Corpus | None = None) -> str:
    """SOURCE:ID of the first document that a step changed or dropped. Raises UsageError when there is none."""
    names = [choice.name for choice in resolved.cleaners]
    if step not in names:
        raise UsageError(f"the recipe has no cleaning step {step!r}; it has {', '.join(names) or 'none'}")
    touched: list[str] = []

    def seen(number: int, before: pa.RecordBatch, after: pa.RecordBatch, dropped: Mapping[str, int]) -> None:
        if names[number - 1] != step:
            return
        keys = [(row["source"], row["id"], row["text"]) for row in before.to_pylist()]
        stayed = {(row["source"], row["id"], row["text"]) for row in after.to_pylist()}
        touched.extend(f"{source}:{name}" for source, name, text in keys if (source, name, text) not in stayed)
        if touched:
            raise _Enough

    _run(resolved, side, seen, lambda batches: batches, earlier)
    if not touched:
        raise UsageError(f"step {step} changed and dropped no document of corpus.{side}")
    return touched[0]


def _run(
    resolved: ResolvedRecipe,
    side: Side,
    seen: cleaning.Seen,
    apart: Callable[[Iterable[Numbered]], Iterable[Numbered]],
    earlier: Corpus | None,
) -> None:
    """Read and clean until `seen` raises _Enough. apart: regroups what was read."""
    sources = [
        (cast(Source, choice.cls(choice.config)), take)
        for choice, take in zip(resolved.sources[side], resolved.takes[side], strict=True)
    ]
    cleaners = [cast(Cleaner, choice.cls(choice.config)) for choice in resolved.cleaners]
    accounts = Accounts([source.name for source, _ in sources], [cleaner.name for cleaner in cleaners])
    with TemporaryDirectory(prefix="adapt-") as folder, suppress(_Enough):
        name = f"corpus.{side}"
        stage = Stage(name, "", resolved.recipe.seed, name, lambda *_: {}, Path(folder) / "scratch")
        cleaning.prepare(cleaners, [one for tasks in resolved.benchmarks.values() for one in tasks], stage)
        batches = apart(cleaning.read_sources(sources, accounts, {}, stage))
        waiting = Path(folder) / "waiting"
        for _ in cleaning.clean(batches, cleaners, accounts, waiting, earlier=earlier, seen=seen):
            if not cleaners:
                return


def _find(batch: pa.RecordBatch, wanted: str | None) -> int | None:
    """The row of the wanted document, None when it is not in the batch."""
    if wanted is None:
        return 0
    for row, (source, name) in enumerate(zip(batch["source"].to_pylist(), batch["id"].to_pylist(), strict=True)):
        if wanted in (name, f"{source}:{name}"):
            return row
    return None


def _is_this(batch: pa.RecordBatch, trail: Trail) -> bool:
    return batch.num_rows == 1 and (batch["source"][0].as_py(), batch["id"][0].as_py()) == (trail.source, trail.id)
