"""Keep the part of a corpus that is most like a reference: what the steps that choose have in common.

They see every document before they choose, because a share can only be taken of a whole. 8 bytes a document stay in
memory.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from array import array
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from domadapt.builtin.cleaning.rules import Judge, JudgeOptions
from domadapt.builtin.cleaning.text import keep_rows
from domadapt.builtin.corpora.files import FilesOptions, FilesSource
from domadapt.components import NO_EFFECT, Benchmark, Options, Stage
from domadapt.errors import DataError

if TYPE_CHECKING:
    import pyarrow as pa


class SelectionOptions(JudgeOptions):
    """What every step that chooses takes."""

    # no path counts in a key: the fingerprint of what lies there does
    reference: str | tuple[str, ...] = Field(json_schema_extra=NO_EFFECT)
    """Text, JSONL or Parquet files, or folders of them, of the kind of text that is wanted."""
    text_field: str = "text"
    """Field or column of the reference that holds the text."""
    keep: float = Field(0.3, gt=0, le=1)
    """Share of the judged documents to keep. 0.3: the "head" of CCNet (Wenzek et al. 2020)."""
    min_words: int = Field(100, ge=1)
    """Documents with fewer words and punctuation marks are dropped unjudged: a few words fit any model by chance."""


class Selection(Judge):
    """Drops all but the best documents by a score, higher is better."""

    surveys: ClassVar[int] = 1
    reason: ClassVar[str]
    """Why the others are dropped."""

    def __init__(self, config: Options | None = None) -> None:
        super().__init__(config)
        self._scores = array("d")
        """Of each document in order: NaN when it passes, -inf when it is too short."""
        self._least = -math.inf
        self._next = 0

    def fingerprint(self) -> str:
        """Digest of the reference."""
        return self._reference().fingerprint()

    def prepare(self, stage: Stage, benchmarks: Sequence[Benchmark]) -> None:
        """Learn from the reference. Raises MissingError when it is not there, DataError when it holds no text."""
        super().prepare(stage, benchmarks)
        self.learn(self._reference_texts())

    @abstractmethod
    def learn(self, texts: Iterator[str]) -> None:
        """Learn what is wanted from the texts of the reference."""

    @abstractmethod
    def score(self, text: str) -> float:
        """How much a document is wanted; -inf when it is too short to be judged."""

    def observe(self, text: str, survey: int) -> None:
        """Learn about all documents in the surveys before the last one, when there are several."""

    def survey(self, batch: pa.RecordBatch, number: int) -> None:
        """Score all documents in the last survey."""
        last = number == self.surveys - 1
        for text, judged in zip(batch["text"].to_pylist(), self.judged(batch), strict=True):
            if last:
                self._scores.append(self.score(text) if judged else math.nan)
            elif judged:
                self.observe(text, number)

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Keep the best."""
        if self._next == 0:
            self._choose()
        scores = self._scores[self._next : self._next + batch.num_rows]
        self._next += batch.num_rows
        keep = [math.isnan(score) or (score > -math.inf and score >= self._least) for score in scores]
        short = sum(score == -math.inf for score in scores)
        return keep_rows(batch, keep), {
            f"under {self.config.min_words} words": short,
            self.reason: keep.count(False) - short,
        }

    def _choose(self) -> None:
        import numpy as np

        scores = self.final_scores(np.frombuffer(self._scores, np.float64)) if self._scores else np.empty(0)
        self._scores = array("d", scores.tobytes())
        judged = np.sort(scores[np.isfinite(scores)])[::-1]
        if judged.size:
            self._least = float(judged[max(1, round(self.config.keep * judged.size)) - 1])

    def final_scores(self, scores: Any) -> Any:
        """The scores by which is chosen, float64 [documents]; unchanged unless chance plays a part."""
        return scores

    def _reference(self) -> FilesSource:
        given = self.config.reference
        path = [given] if isinstance(given, str) else list(given)
        return FilesSource(FilesOptions(path=path, text_field=self.config.text_field))

    def _reference_texts(self) -> Iterator[str]:
        rejected: Counter[str] = Counter()
        found = False
        for batch in self._reference().read(lambda reason, where: rejected.update([reason])):
            for text in batch["text"].to_pylist():
                found = True
                yield text
        if not found:
            why = ", ".join(f"{reason} {count}" for reason, count in rejected.most_common(3))
            names = ", ".join(Path(p).name for p in self._reference().config.path)
            raise DataError(f"{self.name}: the reference {names} holds no text ({why or 'it is empty'})")
