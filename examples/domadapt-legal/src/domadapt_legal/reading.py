"""What both sources share: files by suffix, batches of rows, HTML as text."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.artifacts import document_schema
from domadapt.components import Reject
from domadapt.errors import MissingError
from domadapt.pipeline.fingerprints import named_files

if TYPE_CHECKING:
    import pyarrow as pa

SAMPLE = Path(__file__).parent / "sample"
BATCH = 256


def files_with(suffixes: tuple[str, ...], path: Path, source: str, reject: Reject) -> Iterator[tuple[str, Path]]:
    """Name and place of the files that a source reads; others are rejected. Raises MissingError when there is none."""
    files = list(named_files([path]))
    if not files:
        raise MissingError(f"source {source}: no file in {path}")
    for name, file in files:
        if file.suffix.lower() in suffixes:
            yield name, file
        else:
            reject(f"not {' or '.join(suffixes)}", name)


def batches(rows: Iterable[dict[str, Any]]) -> Iterator[pa.RecordBatch]:
    """Rows of documents as record batches."""
    import pyarrow as pa

    iterator = iter(rows)
    while some := list(itertools.islice(iterator, BATCH)):
        yield pa.RecordBatch.from_pylist(some, schema=document_schema())


def html_text(html: str) -> str:
    """The text of a page without its navigation, scripts and footers."""
    from resiliparse.extract.html2text import extract_plain_text

    return str(extract_plain_text(html, main_content=True, alt_texts=False, preserve_formatting=True)).strip()
