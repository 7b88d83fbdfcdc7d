"""A general text that comes with adapt, to replay and to hold out in runs without network.

Documentation of the Python standard library. Its held-out documents were never seen by the built-in
models: the file names the split of each, and the corpus stage keeps to it.
"""

from __future__ import annotations

import json
import lzma
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from domadapt.builtin.corpora.batches import Document, record_batches
from domadapt.components import Reject, Source
from domadapt.pipeline.fingerprints import digest_files

if TYPE_CHECKING:
    import pyarrow as pa

FILE = Path(__file__).with_name("general_sample.jsonl.xz")


class GeneralSample(Source):
    """The general sample text."""

    name: ClassVar[str] = "general.sample"

    def fingerprint(self) -> str:
        """Digest of the shipped file."""
        return digest_files([FILE])

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """All documents in the file's order, each pinned to its split."""
        with lzma.open(FILE, "rt", encoding="utf-8") as lines:
            rows = (json.loads(line) for line in lines)
            documents = (Document(r["id"], r["text"], r["group"], r["license"], {"split": r["split"]}) for r in rows)
            yield from record_batches(documents, self.name)
