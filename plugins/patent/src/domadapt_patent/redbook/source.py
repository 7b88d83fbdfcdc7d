"""The source `patent.redbook`: grants and applications of the USPTO in all its full-text formats since 1976."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar, NamedTuple

from pydantic import Field

from domadapt.components import NO_EFFECT, Options, Reject, Source
from domadapt.errors import MissingError
from domadapt_patent.archives import ARCHIVES, PACKED, DamagedArchiveError, bare_name, damage_named, streams
from domadapt_patent.redbook.patent import PARTS, NotAPatentError, Part, Patent, parse
from domadapt_patent.redbook.split import SUFFIXES, documents, is_patent_text

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_CHARACTERS = 4_000_000
"""A record batch is closed at this length: about 70 grants."""

FOREIGN = "not a patent document"


class Row(NamedTuple):
    """A patent as a document. place: which one of its file it is."""

    place: str
    id: str
    text: str
    group: str
    meta: str


class PatentSource(Source):
    """A source that reads patents from files, archives, or folders of these; formats say what a document is."""

    license: ClassVar[str]
    suffixes: ClassVar[tuple[str, ...]]
    origin: ClassVar[str]
    """Where the files come from: the end of the sentence that says that there are none."""
    passes_over: ClassVar[frozenset[str]] = frozenset(
        {"sequence listing", "repeated", "another decision", "another section"}
    )

    def fingerprint(self) -> str:
        """The contents of all files.

        Raises MissingError when a path is not there or a folder holds no file to read.
        """
        from domadapt.pipeline.fingerprints import digest_files

        return digest_files(self.files())

    def files(self) -> list[Path]:
        """The files to read: as listed, those of a folder sorted by their relative names.

        Raises MissingError.
        """
        paths = self.config.path if isinstance(self.config.path, list) else [self.config.path]
        return [file for path in paths for file in self._files(path.expanduser())]

    def _files(self, path: Path) -> list[Path]:
        if path.is_file():
            return [path]
        if not path.is_dir():
            raise MissingError(f"{self.name}: {path} is not there; give `path` {self.origin}")
        found = [file for file in path.rglob("*") if file.is_file() and self.belongs(file)]
        if not found:
            wanted, packed = ", ".join((*self.suffixes, ".zip", ".tar")), " or ".join(PACKED)
            raise MissingError(
                f"{self.name}: no file under {path} ends with {wanted}, or these and {packed}; check `path`"
            )
        return sorted(found, key=lambda file: file.relative_to(path).as_posix())

    def belongs(self, file: Path) -> bool:
        """Whether a file found in a folder is to be read."""
        return bare_name(file.name).endswith(self.suffixes) or file.name.lower().endswith(ARCHIVES)

    @abstractmethod
    def documents(self, file: Path) -> Iterator[tuple[str, bytes | None]]:
        """The documents of a file with the name of the file and member; None for one that is too long.

        Raises DamagedArchiveError after the documents that could be read.
        """

    @abstractmethod
    def parse(self, document: bytes, where: str) -> Patent:
        """Read a document. Raises NotAPatentError."""

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """Yield the patents; what cannot be read is rejected with its reason, each document once.

        One worker process takes files apart, others parse the documents: one that breaks a parser costs no other.
        """
        from domadapt.builtin.corpora.workers import parse_in_workers

        files = ((str(file), file) for file in self.files())
        found = numbered(parse_in_workers(self.read_file, files, reject, workers=1))
        inputs = ((place, (place, where, document)) for place, where, document in found)
        yield from batches(parse_in_workers(self.read_document, inputs, reject), self.name, self.license, reject)

    def read_file(self, file: Path, reject: Reject) -> Iterator[tuple[str, bytes | None]]:
        """The documents of a file as `documents` gives them; a damaged one is rejected after them."""
        empty = True
        try:
            for document in self.documents(file):
                empty = False
                yield document
        except DamagedArchiveError:
            reject("damaged archive", str(file))
        else:
            if empty:
                reject(FOREIGN, str(file))

    def read_document(self, given: tuple[str, str, bytes | None], reject: Reject) -> Iterator[Row]:
        """The row of a document: (its place, the name of its file and member, its bytes)."""
        place, where, document = given
        yield from read_row(place, document, self.config.parts, reject, lambda data: self.parse(data, where))


class RedbookSource(PatentSource):
    """Patents from weekly files, single documents, archives, or folders of these.

    Rejects: "not a patent document", "sequence listing", "damaged XML", "damaged text", "cut short",
    "unknown entity", "no document number", "no text", "repeated", "too long", "damaged archive".

    A document's group is its first-named inventor. An application, its grant and its continuations share
    one specification and must lie on one side of a held-out split; the first inventor is what all of them
    print. An assignee is missing from many applications (it is printed on request), an application
    number changes with each continuation, and a class would put thousands of patents in one group.
    Without an inventor: the application number, then the document's own.
    """

    name = "patent.redbook"
    version = "2"
    license = "public domain (USPTO)"
    suffixes = SUFFIXES
    origin = (
        "the weekly files downloaded from https://data.uspto.gov (Patent Grant or Application Full-Text Data), "
        "or use the source patent.sample"
    )

    class Config(Options):
        """Options of `patent.redbook`."""

        path: Path | Annotated[list[Path], Field(min_length=1)] = Field(json_schema_extra=NO_EFFECT)
        """File, folder or list of these: red-book XML and SGML (since 2001) and Green Book text (1976 to 2001) as the
        USPTO ships them, also packed (`.xz`, `.gz`) or in archives (`.zip`, `.tar`).

        Folders are searched at any depth. It does not count in the key: the contents do.
        """

        parts: tuple[Part, ...] = Field(PARTS, min_length=1)
        """Parts of a patent to keep, printed in the usual order. Default all: claims and description are
        two registers of one domain."""

    def belongs(self, file: Path) -> bool:
        """By suffix; a `.txt` must also begin as the office's do."""
        if not super().belongs(file):
            return False
        return not bare_name(file.name).endswith(".txt") or _is_text_of_patents(file)

    def documents(self, file: Path) -> Iterator[tuple[str, bytes | None]]:
        """The documents of a weekly file or an archive."""
        return documents(file)

    def parse(self, document: bytes, where: str) -> Patent:
        """Read a document, whichever of the office's formats it has."""
        return parse(document)


def _is_text_of_patents(file: Path) -> bool:
    try:
        with damage_named():
            return any(is_patent_text(stream.read(512)) for _, stream in streams(file, lambda member: False))
    except DamagedArchiveError:
        return True  # to be counted


def numbered(found: Iterable[tuple[str, bytes | None]]) -> Iterator[tuple[str, str, bytes | None]]:
    """Documents with their places: which one of its file each is, where it is from, its bytes."""
    counted: Counter[str] = Counter()
    for where, document in found:
        counted[where] += 1
        yield f"{where} document {counted[where]}", where, document


def read_row(
    place: str, document: bytes | None, parts: Sequence[Part], reject: Reject, read: Callable[[bytes], Patent] = parse
) -> Iterator[Row]:
    """The row of a document, unless it is rejected. document: None for one that is too long."""
    if document is None:
        reject("too long", place)
        return
    try:
        patent = read(document)
    except NotAPatentError as error:
        reject(error.reason, place)
        return
    if text := patent.text(tuple(parts)):
        yield Row(place, patent.id, text, patent.group, json.dumps(patent.meta, ensure_ascii=False, sort_keys=True))
    else:
        reject("no text", place)


def batches(rows: Iterable[Row], source: str, license: str, reject: Reject) -> Iterator[pa.RecordBatch]:
    """Rows as record batches of about `BATCH_CHARACTERS`; the second of one id is rejected."""
    import pyarrow as pa

    from domadapt.artifacts import document_schema

    schema = document_schema()
    held: list[dict[str, str]] = []
    num_characters = 0
    # Ids only: a decade of grants is 3 million, some 300 MB.
    seen: set[str] = set()
    for row in rows:
        if row.id in seen:
            reject("repeated", row.place)
            continue
        seen.add(row.id)
        facts = {"id": row.id, "text": row.text, "group": row.group, "meta": row.meta}
        held.append({**facts, "source": source, "license": license})
        num_characters += len(row.text)
        if num_characters >= BATCH_CHARACTERS:
            yield pa.RecordBatch.from_pylist(held, schema)
            held, num_characters = [], 0
    if held:
        yield pa.RecordBatch.from_pylist(held, schema)
