"""Remove lines that stand in many documents: headers, legal notices, navigation.

Two passes: all documents are counted first, so that every copy of such a line goes, the first as well as the last.
Counts are kept in a table of fixed size (a count-min sketch, Cormode and Muthukrishnan 2005): memory does not grow
with the corpus, and a count is never too low. It is too high, so that a rare line is lost, for fewer than one line in
a million of up to 50 million different ones.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from domadapt.builtin.cleaning.text import keep_rows, replace_text
from domadapt.components import Cleaner, Options

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

ROWS = 4
BITS = 24


class LineCounts:
    """In how many documents a line was seen, up to 255, in 64 MB."""

    def __init__(self, bits: int = BITS) -> None:
        import numpy as np

        self._mask = np.uint64((1 << bits) - 1)
        self._table = np.zeros((ROWS, 1 << bits), np.uint8)

    def add(self, lines: set[str]) -> None:
        """Count each of a document's lines once."""
        import numpy as np

        if not lines:
            return
        cells = self._cells(sorted(lines))
        counts = np.minimum(self._counts(cells), 254) + 1
        for row in range(ROWS):  # only what is below the new count rises, so that chance meetings add little
            np.maximum.at(self._table[row], cells[row], counts)

    def seen(self, lines: list[str]) -> np.ndarray:
        """In how many documents each line was seen, uint8 [lines]."""
        return self._counts(self._cells(lines))

    def _counts(self, cells: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.min([self._table[row][cells[row]] for row in range(ROWS)], axis=0)  # type: ignore[no-any-return]

    def _cells(self, lines: list[str]) -> np.ndarray:
        import numpy as np

        digests = b"".join(hashlib.blake2b(line.encode(), digest_size=8 * ROWS).digest() for line in lines)
        return (np.frombuffer(digests, "<u8").reshape(-1, ROWS) & self._mask).astype(np.int64).T


class BoilerplateOptions(Options):
    """Options of `boilerplate.lines`."""

    documents: int = Field(10, ge=2, le=250)
    """In how many documents a line must stand to be boilerplate."""
    share: float = Field(0.002, ge=0, le=1)
    """And in what share of all documents, at least: what ten of a million documents say alike may well be content.
    The larger of the two numbers counts, 250 at most."""
    characters: int = Field(30, ge=1)
    """Shorter lines stay: headings, table rows."""
    letters: float = Field(0.5, ge=0, le=1)
    """Least share of letters in a line that may go: rows of numbers stay."""


class BoilerplateLines(Cleaner):
    """Removes lines that many documents share; the tally counts lines and characters removed."""

    name: ClassVar[str] = "boilerplate.lines"
    independent: ClassVar[bool] = True
    Config: ClassVar[type[Options]] = BoilerplateOptions
    surveys: ClassVar[int] = 1

    def __init__(self, config: Options | None = None) -> None:
        super().__init__(config)
        self.tally: Counter[str] = Counter()
        self._counts: LineCounts | None = None
        self._documents = 0

    def survey(self, batch: pa.RecordBatch, number: int) -> None:
        """Count the lines of all documents."""
        self._counts = self._counts or LineCounts()
        self._documents += batch.num_rows
        for text in batch["text"].to_pylist():
            self._counts.add({key for line in text.split("\n") if (key := self._key(line))})

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Remove the lines; drop the documents that were nothing else."""
        texts = [self._without(text) for text in batch["text"].to_pylist()]
        keep = [bool(text.strip()) for text in texts]
        return keep_rows(replace_text(batch, texts), keep), {"only boilerplate": keep.count(False)}

    def _without(self, text: str) -> str:
        lines = text.split("\n")
        keys = [self._key(line) for line in lines]
        places = [place for place, key in enumerate(keys) if key]
        if not places or self._counts is None:
            return text
        wanted = min(250, max(self.config.documents, round(self.config.share * self._documents)))
        seen = self._counts.seen([keys[place] for place in places])
        gone = {place for place, count in zip(places, seen.tolist(), strict=True) if count >= wanted}
        if not gone:
            return text
        self.tally["lines"] += len(gone)
        self.tally["characters"] += sum(len(lines[place]) for place in gone)
        return "\n".join(line for place, line in enumerate(lines) if place not in gone)

    def _key(self, line: str) -> str:
        """What makes a line equal to another, whatever its case and spaces; "" for a line that stays."""
        key = " ".join(line.lower().split())
        if len(key) < self.config.characters or sum(map(str.isalpha, key)) < self.config.letters * len(key):
            return ""
        return key
