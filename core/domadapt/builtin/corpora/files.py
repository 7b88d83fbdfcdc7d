"""Local text, JSONL and Parquet files as a source, plain or in .gz, .xz and .zst.

A text file is one document; a line of a JSONL file (.jsonl, .ndjson, .json) or a row of a Parquet file is one
document. Files are read in
worker processes with limits of time and memory (`workers`), several at once, in the order of their names.
"""

from __future__ import annotations

import codecs
import gzip
import io
import json
import lzma
import zlib
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, cast

from pydantic import AfterValidator

from domadapt.builtin.corpora.batches import Document, record_batches
from domadapt.components import Options, Reject, Source
from domadapt.errors import MissingError
from domadapt.pipeline.fingerprints import digest_files, named_files

if TYPE_CHECKING:
    import pyarrow as pa

TEXT = (".txt", ".md", ".text")
LINES = (".jsonl", ".ndjson", ".json")
"""Of these, `.json` is what hubs call files of JSON lines too (C4)."""


def _open_zstd(file: Path, mode: str, **how: Any) -> io.TextIOWrapper:
    import pyarrow as pa

    return io.TextIOWrapper(pa.input_stream(str(file), compression="zstd"), **how)


COMPRESSED: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".xz": lzma.open, ".zst": _open_zstd}


def _known_encoding(name: str) -> str:
    try:
        "".encode(name)
    except (LookupError, ValueError):
        raise ValueError("wanted the name of a text encoding that Python knows, such as utf-8 or latin-1") from None
    return name


class RowOptions(Options):
    """What a document is in files of many."""

    text_field: str = "text"
    """Field or column that holds the text, in JSONL and Parquet."""
    id_field: str | None = None
    """Field or column that holds an id. Default: file name and row number."""
    group_field: str | None = None
    """Field or column whose value keeps documents in one held-out split. Default: each document by itself."""
    license: str = ""
    """Licence of all these documents."""
    encoding: Annotated[str, AfterValidator(_known_encoding)] = "utf-8"
    """Encoding of text and JSONL files; bytes that do not fit are replaced."""


class FilesOptions(RowOptions):
    """Options of `files`."""

    path: str | list[str]
    """A file, a folder (read with all its subfolders) or several of them."""


Input = tuple[str, Path, RowOptions]


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
        documents = self._documents(reject)
        yield from record_batches(_distinct(documents, reject) if self.config.id_field else documents, self.name)

    def _documents(self, reject: Reject) -> Iterator[Document]:
        from domadapt.builtin.corpora.workers import parse_in_workers

        files = list(named_files(self._paths()))
        if not files:
            raise MissingError(f"source files: no file in {', '.join(map(str, self._paths()))}")
        yield from parse_in_workers(read_file, self._inputs(files), reject)

    def _inputs(self, files: list[tuple[str, Path]]) -> Iterator[tuple[str, Input]]:
        times = Counter[str]()
        for given, file in files:
            name = _encodable(given)
            times[name] += 1
            if times[name] > 1:  # a/x.txt and b/x.txt, given one by one, are both x.txt
                name = f"{name} ({times[name]})"
            yield name, (name, file, self.config)


def read_file(given: Input, reject: Reject) -> Iterator[Document]:
    """The documents of one file: (its name in ids and rejections, where it lies, options)."""
    name, file, config = given
    yield from _Reader(config).documents(name, file, reject)


class _Reader:
    """Reads files with the options of the source."""

    def __init__(self, config: RowOptions) -> None:
        self.config = config

    def documents(self, name: str, file: Path, reject: Reject) -> Iterator[Document]:
        """What a file of any kind holds; a damaged one is rejected."""
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
        except (OSError, EOFError, UnicodeError, lzma.LZMAError, zlib.error) as error:
            reject("unreadable file", f"{name}: {error}")

    def _open(self, file: Path) -> io.TextIOBase:
        opener = COMPRESSED.get(file.suffix, open)
        # utf-8-sig: without it the first line of a file with a byte-order mark is no JSON
        encoding = "utf-8-sig" if codecs.lookup(self.config.encoding).name == "utf-8" else self.config.encoding
        stream = opener(file, "rt", encoding=encoding, errors="replace")
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
                except (ValueError, RecursionError):
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
            identity, group = (_value(row, field, where) for field in (config.id_field, config.group_field))
            yield Document(identity, _encodable(text), group, config.license, {"file": name})


def _value(row: dict[str, Any], field: str | None, default: str) -> str:
    value = None if field is None else row.get(field)
    return default if value is None or value == "" else _encodable(str(value))


def _encodable(text: str) -> str:
    """json.loads and file systems let lone surrogates through, Arrow does not."""
    return text.encode("utf-8", "replace").decode()


def _distinct(documents: Iterator[Document], reject: Reject) -> Iterator[Document]:
    seen: set[str] = set()
    for document in documents:
        if document.id in seen:
            reject("id seen before", f"{document.meta['file']}: {document.id}")
        else:
            seen.add(document.id)
            yield document
