"""Local text, JSONL and Parquet files as a source, plain or in .gz and .xz.

A text file is one document; a line of a JSONL file or a row of a Parquet file is one document.
"""

from __future__ import annotations

import gzip
import io
import json
import lzma
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from pydantic import Field

from domadapt.builtin.corpora.batches import Document, record_batches
from domadapt.components import Options, Reject, Source
from domadapt.errors import MissingError
from domadapt.pipeline.fingerprints import digest_files, named_files

if TYPE_CHECKING:
    import pyarrow as pa

TEXT = (".txt", ".md", ".text")
LINES = (".jsonl", ".ndjson")
COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open}


class FilesOptions(Options):
    """Options of `files`."""

    path: str | list[str]
    """A file, a folder (read with all its subfolders) or several of them."""
    text_field: str = "text"
    """Field or column that holds the text, in JSONL and Parquet."""
    id_field: str | None = None
    """Field or column that holds an id. Default: file name and row number."""
    group_field: str | None = None
    """Field or column whose value keeps documents in one held-out split. Default: each document by itself."""
    license: str = ""
    """Licence of all these documents."""
    encoding: str = Field("utf-8", pattern=r"^[A-Za-z0-9_.-]+$")
    """Encoding of text and JSONL files; bytes that do not fit are replaced."""


class FilesSource(Source):
    """Text, JSONL and Parquet files."""

    name: ClassVar[str] = "files"
    Config: ClassVar[type[Options]] = FilesOptions

    def _paths(self) -> list[Path]:
        given = [self.config.path] if isinstance(self.config.path, str) else self.config.path
        return [Path(p).expanduser() for p in given]

    def fingerprint(self) -> str:
        """Digest of the files' names and contents."""
        return digest_files(self._paths())

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """Files in the order of their names."""
        yield from record_batches(self._documents(reject), self.name)

    def _documents(self, reject: Reject) -> Iterator[Document]:
        files = list(named_files(self._paths()))
        if not files:
            raise MissingError(f"source files: no file in {', '.join(map(str, self._paths()))}")
        for name, file in files:
            kind = file.with_suffix("").suffix if file.suffix in COMPRESSED else file.suffix
            try:
                if kind in TEXT:
                    yield from self._text(name, file, reject)
                elif kind in LINES:
                    yield from self._lines(name, file, reject)
                elif kind == ".parquet" and file.suffix == ".parquet":
                    yield from self._rows(name, file, reject)
                else:
                    reject("not text, JSONL or Parquet", name)
            except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
                reject("unreadable file", f"{name}: {error}")

    def _open(self, file: Path) -> io.TextIOBase:
        opener = COMPRESSED.get(file.suffix, open)
        stream = opener(file, "rt", encoding=self.config.encoding, errors="replace")
        return cast("io.TextIOBase", stream)

    def _text(self, name: str, file: Path, reject: Reject) -> Iterator[Document]:
        with self._open(file) as stream:
            text = stream.read()
        if not text.strip():
            reject("no text", name)
            return
        yield Document(name, text, name, self.config.license, {"file": name})

    def _lines(self, name: str, file: Path, reject: Reject) -> Iterator[Document]:
        with self._open(file) as stream:
            for number, line in enumerate(stream, 1):
                if not line.strip():
                    continue
                try:
                    row = json.loads(line)
                except ValueError:
                    row = None
                if not isinstance(row, dict):
                    reject("not a JSON object", f"{name}:{number}")
                    continue
                yield from self._row(row, name, number, reject)

    def _rows(self, name: str, file: Path, reject: Reject) -> Iterator[Document]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        columns = [c for c in (self.config.text_field, self.config.id_field, self.config.group_field) if c]
        number = 0
        try:
            with pq.ParquetFile(file) as parquet:
                present = [c for c in columns if c in parquet.schema_arrow.names]
                for batch in parquet.iter_batches(batch_size=1024, columns=present):
                    for row in batch.to_pylist():
                        number += 1
                        yield from self._row(row, name, number, reject)
        except pa.ArrowException as error:
            reject("unreadable file", f"{name}: {error}")

    def _row(self, row: dict[str, Any], name: str, number: int, reject: Reject) -> Iterator[Document]:
        where, config = f"{name}:{number}", self.config
        text = row.get(config.text_field)
        if not isinstance(text, str):
            reject(f"no field {config.text_field!r}", where)
        elif not text.strip():
            reject("no text", where)
        else:
            # json.loads lets lone surrogates through, Arrow does not
            text = text.encode("utf-8", "replace").decode()
            identity = str(row.get(config.id_field) or where) if config.id_field else where
            group = str(row.get(config.group_field) or where) if config.group_field else where
            yield Document(identity, text, group, config.license, {"file": name})
