"""Gather documents into record batches."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from domadapt.artifacts import document_schema

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_DOCUMENTS = 256
BATCH_CHARACTERS = 8_000_000


class Document(NamedTuple):
    """One document; the fields are those of `document_schema()`."""

    id: str
    text: str
    group: str
    license: str
    meta: Mapping[str, Any]


def record_batches(documents: Iterable[Document], source: str) -> Iterator[pa.RecordBatch]:
    """Documents as record batches of at most 256 documents or about 8 million characters."""
    import pyarrow as pa

    schema = document_schema()
    rows: list[tuple[str, ...]] = []
    size = 0
    for document in documents:
        meta = json.dumps(document.meta, ensure_ascii=False, sort_keys=True)
        rows.append((document.id, document.text, source, document.license, document.group, meta))
        size += len(document.text)
        if len(rows) == BATCH_DOCUMENTS or size >= BATCH_CHARACTERS:
            yield pa.RecordBatch.from_arrays(
                [pa.array(column, pa.string()) for column in zip(*rows, strict=True)], schema=schema
            )
            rows, size = [], 0
    if rows:
        yield pa.RecordBatch.from_arrays(
            [pa.array(column, pa.string()) for column in zip(*rows, strict=True)], schema=schema
        )
