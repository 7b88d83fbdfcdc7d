"""Duplicate removal within one corpus: exact, and near-duplicates by MinHash and LSH. The first one stays."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from domadapt.builtin.cleaning.text import keep_rows
from domadapt.components import Cleaner, Options

if TYPE_CHECKING:
    import pyarrow as pa


class ExactDuplicates(Cleaner):
    """Drops documents whose words were seen before, whatever their spacing and case."""

    name: ClassVar[str] = "dedup.exact"
    across_corpora: ClassVar[bool] = True

    def __init__(self, config: Options | None = None) -> None:
        super().__init__(config)
        self._seen: set[bytes] = set()

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Keep the first document of each text."""
        keep = []
        for text in batch["text"].to_pylist():
            digest = hashlib.blake2b(" ".join(text.lower().split()).encode(), digest_size=16).digest()
            keep.append(digest not in self._seen)
            self._seen.add(digest)
        return keep_rows(batch, keep), {"duplicate": keep.count(False)}


class MinHashOptions(Options):
    """Options of `dedup.minhash`."""

    words: int = Field(5, ge=1, le=100)
    """Words of a shingle."""
    bands: int = Field(14, ge=1, le=1000)
    """Bands of the LSH index. 14 x 8 are FineWeb's: half of the pairs at Jaccard 0.68 become candidates."""
    rows: int = Field(8, ge=1, le=100)
    """Hashes in a band."""
    threshold: float = Field(0.72, gt=0, le=1)
    """Least estimated Jaccard similarity of a near-duplicate; candidates below are kept. (1/14)^(1/8) = 0.719."""


class MinHashDuplicates(Cleaner):
    """Drops documents that share most of their word shingles with an earlier one (Broder 1997).

    A pair of similarity s becomes a candidate with probability 1 - (1 - s^rows)^bands; a candidate is
    dropped when its signature agrees with that of an earlier document in `threshold` of the hashes.
    Of kept documents about 310 bytes each stay in memory, of dropped ones nothing.
    """

    name: ClassVar[str] = "dedup.minhash"
    version: ClassVar[str] = "2"
    across_corpora: ClassVar[bool] = True
    Config: ClassVar[type[Options]] = MinHashOptions

    def __init__(self, config: Options | None = None) -> None:
        super().__init__(config)
        from domadapt.builtin.cleaning.minhash.clusters import NearDuplicates

        given = self.config
        self._near = NearDuplicates(given.words, given.bands, given.rows, given.threshold)

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Keep documents that are no near-duplicate of one kept before."""
        keep = (self._near.find(batch["text"]) < 0).tolist()
        return keep_rows(batch, keep), {"near-duplicate": keep.count(False)}
