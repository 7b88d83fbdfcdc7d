"""A share of a corpus for a small run: fewer documents to learn from, the same ones held out.

Documents are taken in the order of a digest of their id until the share of the bytes is reached: the same documents in
every run, a larger share contains a smaller one, and no company or year at the front of a file is preferred. The
documents taken are written down beside the stage, so that whoever reads a corpus by its files reads a small one alike.
"""

from __future__ import annotations

import hashlib
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from domadapt.artifacts import Corpus

if TYPE_CHECKING:
    from pathlib import Path

    import pyarrow as pa

TRAIN = "train/"


class SampledCorpus(Corpus):
    """A corpus whose training split holds a share of the text."""

    def __init__(self, path: Path, share: float, folder: Path) -> None:
        """share: of the bytes of the training documents, in (0, 1].  folder: where the documents taken are written."""
        super().__init__(path)
        object.__setattr__(self, "share", share)
        object.__setattr__(self, "folder", folder)

    share: float
    folder: Path

    @cached_property
    def _chosen(self) -> tuple[np.ndarray, float]:
        """Which training documents are taken, bool [documents], and the share of the bytes that they have."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        order, sizes = [], []
        for file in super().files(TRAIN, ".parquet"):
            for batch in pq.ParquetFile(file).iter_batches(columns=["id", "text"]):
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

    def files(self, prefix: str, suffix: str = "") -> list[Path]:
        """The corpus' files, those of the training split with the documents taken."""
        return self._written if (prefix, suffix) == (TRAIN, ".parquet") else super().files(prefix, suffix)

    @cached_property
    def _written(self) -> list[Path]:
        import pyarrow.parquet as pq

        chosen, at, files = self._chosen[0], 0, []
        self.folder.mkdir(parents=True, exist_ok=True)
        for file in super().files(TRAIN, ".parquet"):
            with (
                pq.ParquetFile(file, page_checksum_verification=True) as given,
                pq.ParquetWriter(self.folder / file.name, given.schema_arrow, write_page_checksum=True) as taken,
            ):
                for batch in given.iter_batches():
                    taken.write_batch(_filtered(batch, chosen[at : at + len(batch)]))
                    at += len(batch)
            files.append(self.folder / file.name)
        return files


def _filtered(batch: pa.RecordBatch, chosen: np.ndarray) -> pa.RecordBatch:
    import pyarrow as pa

    return batch.filter(pa.array(chosen))
