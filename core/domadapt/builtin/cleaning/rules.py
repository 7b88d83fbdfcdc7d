"""What the quality filters share: a document is judged by rules with thresholds, and every rule is counted.

A document is dropped by the first rule that it fails; the tally counts every rule that it fails, because rules overlap
and a threshold can only be chosen by what it takes by itself.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from domadapt.builtin.cleaning.text import keep_rows
from domadapt.components import Benchmark, Cleaner, Options, Side, Stage

if TYPE_CHECKING:
    import pyarrow as pa


class JudgeOptions(Options):
    """Which documents a step judges; all others pass."""

    side: Side | None = None
    """Judge the documents of one corpus only, `domain` or `general`. Default: both. Rules made for web text take tables
    of filings and claims of patents for noise, and a domain's own thresholds are wrong for general text."""
    sources: tuple[str, ...] = ()
    """Judge the documents of these sources only, by `corpus.domain[].name`, else `source`. Default: all."""


class Judge(Cleaner):
    """A step that may be told to leave some documents alone. Its Config is a JudgeOptions."""

    _stage = ""

    def prepare(self, stage: Stage, benchmarks: Sequence[Benchmark]) -> None:
        """Know which corpus is being made."""
        self._stage = stage.name

    def judged(self, batch: pa.RecordBatch) -> list[bool]:
        """Which documents are judged."""
        side, sources = self.config.side, self.config.sources
        if side is not None and self._stage != f"corpus.{side}":
            return [False] * batch.num_rows
        return [not sources or source in sources for source in batch["source"].to_pylist()]


class RuleOptions(JudgeOptions):
    """What every quality filter takes beside its thresholds. A threshold of null switches its rule off."""

    drop: bool = True
    """false: nothing is dropped, the rules are only counted, to see what each would take."""


class RuleFilter(Judge):
    """Drops documents that fail a rule."""

    def __init__(self, config: Options | None = None) -> None:
        super().__init__(config)
        self.tally: Counter[str] = Counter()

    @abstractmethod
    def failures(self, text: str) -> Iterator[str]:
        """The rules that a text fails, each as the reason that the funnel shows, in a fixed order."""

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Keep the documents that fail no rule, and those that are not judged."""
        keep: list[bool] = []
        dropped: Counter[str] = Counter()
        for text, judged in zip(batch["text"].to_pylist(), self.judged(batch), strict=True):
            failed = list(self.failures(text)) if judged else []
            self.tally.update(f"fails: {rule}" for rule in failed)
            stays = not failed or not self.config.drop
            keep.append(stays)
            if not stays:
                dropped[failed[0]] += 1
        return keep_rows(batch, keep), dropped


def over(value: float, most: float | None) -> bool:
    """Whether a value is above a threshold that may be switched off."""
    return most is not None and value > most


def under(value: float, least: float | None) -> bool:
    """Whether a value is below a threshold that may be switched off."""
    return least is not None and value < least
