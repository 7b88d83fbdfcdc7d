"""`sec.filings`: documents from EDGAR filings in files and folders, as EDGAR and its mirrors give them.

Files are parsed in worker processes with limits of time and memory, 50 MB of HTML a second and core; one that breaks
the parser is counted and costs no other. Nothing is fetched from the network.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from domadapt.components import NO_EFFECT, Options, Reject, Source
from domadapt.errors import MissingError
from domadapt_sec.archives import is_archive, unpacked
from domadapt_sec.rejection import Rejection

if TYPE_CHECKING:
    import pyarrow as pa

    # the parsers' patterns take longer to compile than all the rest of the plugin's registration
    from domadapt_sec.parsing import Filing, Reading

LICENSE = "public record (EDGAR)"
BATCH_DOCUMENTS = 256
BATCH_CHARACTERS = 8 << 20
Input = tuple[str, Path | bytes, "Reading"]


class FilingsSource(Source):
    """EDGAR filings in files and folders: full submissions, HTML, inline XBRL, plain text, EDGAR-CORPUS JSON."""

    name = "sec.filings"
    version = "3"
    passes_over = frozenset({"uuencoded", "XBRL or XML data", "form not wanted"})

    class Config(Options):
        """Where the filings are and which documents of them are wanted."""

        path: str | list[str] = Field(json_schema_extra=NO_EFFECT)
        """A file, a folder (read with all its folders) or a list of them; `.xz`, `.gz` and `.zip` are read as they are.
        What counts is what the files contain, not where they lie."""
        forms: list[str] | None = None
        """Types of the documents wanted, e.g. [10-K, 10-K405, "EX-99*"]; `*` stands for anything. Not given: all
        that are text, exhibits included."""
        documents: Literal["filing", "item"] = "filing"
        """What one document is: a part of a submission as filed, with the places of its items in `meta.sections`, or
        one item of it (what precedes the first and follows the last is a document of its own)."""
        furniture: Literal["drop", "keep"] = "keep"
        """Page numbers, running heads and feet, repeated links to the contents: kept as filed, or dropped, since they
        cut sentences in two and say the same on every page (1 % of the words of a 10-K, 3 % of the bare numbers)."""

    def fingerprint(self) -> str:
        """A digest of the files' relative names and contents."""
        from domadapt.pipeline.fingerprints import digest_files

        self._files()
        return digest_files(self._roots())

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """Yield the documents, files in the order of their relative paths, parts in the order of the file."""
        yield from batches(self._filings(reject), self.name, self.config.documents)

    def _filings(self, reject: Reject) -> Iterator[Filing]:
        from domadapt.builtin.corpora.workers import parse_in_workers

        yield from parse_in_workers(read_file, self._inputs(reject), reject)

    def _inputs(self, reject: Reject) -> Iterator[tuple[str, Input]]:
        """Files, and the members of archives, which a process of its own unpacks."""
        from domadapt.builtin.corpora.workers import parse_in_workers
        from domadapt_sec.parsing import Reading

        reading = Reading(self.config.forms, self.config.furniture, cover=True)
        for name, file in self._files():
            if is_archive(file):
                for member, data in parse_in_workers(read_archive, [(name, (name, file))], reject, workers=1):
                    yield member, (member, data, reading)
            else:
                yield name, (name, file, reading)

    def _roots(self) -> list[Path]:
        paths = self.config.path
        return [Path(path).expanduser() for path in ([paths] if isinstance(paths, str) else paths)]

    def _files(self) -> list[tuple[str, Path]]:
        """(relative path, file) in reading order. Hidden files are not read.

        Raises MissingError when a path does not exist or there is no file in it.
        """
        from domadapt.pipeline.fingerprints import named_files

        files: list[tuple[str, Path]] = []
        for root in self._roots():
            found = list(named_files([root])) if root.exists() else []
            if not found:
                what = "has no files" if root.exists() else "does not exist"
                raise MissingError(
                    f"sec.filings: path '{root}' {what}; set `options: {{path: FOLDER}}` to a file or folder of filings"
                    " downloaded from EDGAR, or use the source sec.sample"
                )
            files += found
        return files


def read_file(given: Input, reject: Reject) -> Iterator[Filing]:
    """The documents of one file: (its name, where it lies or its bytes, how it is read)."""
    from domadapt_sec.parsing import parse_file

    name, content, reading = given
    for member, data in unpacked(content, name) if isinstance(content, Path) else [(name, content)]:
        if isinstance(data, Rejection):
            reject(data.reason, member)
        else:
            yield from parse_file(member, data, reject, reading)


def read_archive(given: tuple[str, Path], reject: Reject) -> Iterator[tuple[str, bytes]]:
    """The members of an archive with their bytes: (its name, where it lies)."""
    name, path = given
    for member, data in unpacked(path, name):
        if isinstance(data, Rejection):
            reject(data.reason, member)
        else:
            yield member, data


def batches(filings: Iterable[Filing], source: str, documents: Literal["filing", "item"]) -> Iterator[pa.RecordBatch]:
    """Filings, or their items, as record batches of a few hundred documents."""
    from domadapt_sec.item_documents import by_item

    batch: list[Filing] = []
    size = 0
    for filing in _unique(filings):
        for document in [filing] if documents == "filing" else by_item(filing):
            batch.append(document)
            size += len(document.text)
            if len(batch) >= BATCH_DOCUMENTS or size >= BATCH_CHARACTERS:
                yield record_batch(batch, source)
                batch, size = [], 0
    if batch:
        yield record_batch(batch, source)


def _unique(filings: Iterable[Filing]) -> Iterator[Filing]:
    """An id seen before gets ~2, ~3, ... at its end."""
    seen: dict[str, int] = {}
    for filing in filings:
        seen[filing.id] = number = seen.get(filing.id, 0) + 1
        yield filing if number == 1 else replace(filing, id=f"{filing.id}~{number}")


def record_batch(filings: list[Filing], source: str) -> pa.RecordBatch:
    """Filings as one record batch with `document_schema()`."""
    import pyarrow as pa

    from domadapt.artifacts import document_schema

    columns = [
        [filing.id for filing in filings],
        [filing.text for filing in filings],
        [source] * len(filings),
        [LICENSE] * len(filings),
        [filing.group for filing in filings],
        [json.dumps(_meta(filing), ensure_ascii=False, sort_keys=True) for filing in filings],
    ]
    return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], schema=document_schema())


def _meta(filing: Filing) -> dict[str, Any]:
    sections = [{key: value for key, value in vars(section).items() if value != ""} for section in filing.sections]
    return {**filing.meta, "sections": sections} if sections else dict(filing.meta)
