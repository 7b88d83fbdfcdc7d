"""Duplicate removal within one corpus: exact, and near-duplicates by MinHash and LSH. The first one stays."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field

from domadapt.builtin.cleaning.text import keep_rows
from domadapt.components import Cleaner, Options

if TYPE_CHECKING:
    import pyarrow as pa

_WORD = re.compile(r"\w+")


class ExactDuplicates(Cleaner):
    """Drops documents whose words were seen before, whatever their spacing and case."""

    name: ClassVar[str] = "dedup.exact"

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

    words: int = Field(5, ge=1)
    """Words of a shingle."""
    bands: int = Field(14, ge=1)
    """Bands of the LSH index. 14 x 8 are FineWeb's: half of the pairs at Jaccard 0.68 become candidates."""
    rows: int = Field(8, ge=1)
    """Hashes in a band."""
    threshold: float = Field(0.72, gt=0, le=1)
    """Least estimated Jaccard similarity of a near-duplicate; candidates below are kept. (1/14)^(1/8) = 0.719."""


class MinHashDuplicates(Cleaner):
    """Drops documents that share most of their word shingles with an earlier one (Broder 1997; rensa).

    A pair of similarity s becomes a candidate with probability 1 - (1 - s^rows)^bands; a candidate is
    dropped when its signature agrees with that of an earlier document in `threshold` of the hashes.
    Signatures of all kept documents stay in memory: 4 bytes x 112 each, and the index.
    """

    name: ClassVar[str] = "dedup.minhash"
    Config: ClassVar[type[Options]] = MinHashOptions

    def __init__(self, config: Options | None = None) -> None:
        super().__init__(config)
        import rensa

        hashes = self.config.bands * self.config.rows
        self._index = rensa.RMinHashLSH(threshold=self.config.threshold, num_perm=hashes, num_bands=self.config.bands)
        self._kept: list[Any] = []

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Keep documents that are no near-duplicate of one kept before."""
        import rensa

        hashes = self.config.bands * self.config.rows
        shingles = [self._shingles(text) for text in batch["text"].to_pylist()]
        keep = []
        for signature in rensa.RMinHash.from_token_sets(shingles, num_perm=hashes, seed=42):
            near = any(signature.jaccard(self._kept[k]) >= self.config.threshold for k in self._index.query(signature))
            keep.append(not near)
            if not near:
                self._index.insert(len(self._kept), signature)
                self._kept.append(signature)
        return keep_rows(batch, keep), {"near-duplicate": keep.count(False)}

    def _shingles(self, text: str) -> list[str]:
        words, n = _WORD.findall(text.lower()), self.config.words
        return list({" ".join(words[i : i + n]) for i in range(max(1, len(words) - n + 1))})
