"""Documents on disk: Parquet shards of bounded size, read back batch by batch as they were written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pyarrow as pa

SHARD_BYTES = 64_000_000


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


def stored_batches(folder: Path, *, delete: bool = False) -> Iterator[pa.RecordBatch]:
    """The batches of all shards of a folder, each as it was written. delete: remove shards once they are read."""
    for file in sorted(folder.glob("*.parquet")):
        yield from batches_of(file)
        if delete:
            file.unlink()


def batches_of(file: Path) -> Iterator[pa.RecordBatch]:
    """The batches of one shard, each as it was written."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(file, page_checksum_verification=True) as parquet:
        # a row group is a batch; iter_batches would join small ones into batches of 65,536 documents
        for group in range(parquet.num_row_groups):
            (batch,) = parquet.read_row_group(group).combine_chunks().to_batches()
            yield batch


def write_batches(file: Path, batches: Iterable[pa.RecordBatch]) -> None:
    """One shard with documents that wait for another step: written and read fast rather than small."""
    import pyarrow.parquet as pq

    from domadapt.artifacts import document_schema

    part = file.with_name(f".{file.name}.part")
    with pq.ParquetWriter(part, document_schema(), compression="lz4", write_page_checksum=True) as writer:
        for batch in batches:
            writer.write_batch(batch)
    part.replace(file)


def count_rows(folder: Path) -> int:
    """How many documents the shards of a folder say they hold."""
    import pyarrow.parquet as pq

    return sum(pq.read_metadata(file).num_rows for file in folder.glob("*.parquet"))
