"""A share of a corpus for a small run: fewer documents to learn from, the same ones held out.

Documents are taken in the order of a digest of their id until the share of the bytes is reached: the same documents in
every run, a larger share contains a smaller one, and no company or year at the front of a file is preferred.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from domadapt.artifacts import Corpus, Split

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa


class SampledCorpus(Corpus):
    """A corpus whose training split holds a share of the text."""

    def __init__(self, path: Path, share: float) -> None:
        """share: of the bytes of the training documents, in (0, 1]."""
        super().__init__(path)
        object.__setattr__(self, "share", share)

    share: float

    @cached_property
    def _chosen(self) -> tuple[np.ndarray, float]:
        """Which training documents are taken, bool [documents], and the share of the bytes that they have."""
        import pyarrow.compute as pc

        order, sizes = [], []
        for batch in super().batches("train", ["id", "text"]):
            sizes.append(pc.binary_length(batch["text"]).to_numpy(zero_copy_only=False))
            order += [hashlib.sha256(str(name).encode()).digest()[:8] for name in batch["id"].to_pylist()]
        num_bytes = np.concatenate(sizes).astype(np.int64) if sizes else np.zeros(0, np.int64)
        ranked = np.argsort(np.array(order, dtype="S8"), kind="stable")
        reached = np.cumsum(num_bytes[ranked])
        total = int(num_bytes.sum())
        # the document that steps over the share is taken when that comes nearer to it
        count = int(np.searchsorted(reached - num_bytes[ranked] / 2, self.share * total))
        chosen = np.zeros(len(num_bytes), bool)
        chosen[ranked[: max(1, count)]] = True
        return chosen, float(num_bytes[chosen].sum() / total) if total else 1.0

    @property
    def achieved(self) -> float:
        """The share of the bytes of the training documents that was reached."""
        return self._chosen[1]

    def batches(self, split: Split, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
        """The documents taken, in the corpus' order."""
        if split != "train":
            yield from super().batches(split, columns)
            return
        import pyarrow as pa

        chosen, at = self._chosen[0], 0
        for batch in super().batches(split, columns):
            yield batch.filter(pa.array(chosen[at : at + len(batch)]))
            at += len(batch)
