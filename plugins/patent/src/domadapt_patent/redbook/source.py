"""The source `patent.redbook`: grants and applications of the USPTO from red-book XML (ICE 4.x, since 2005).

Older formats (PAP applications, SGML and Green Book grants) are rejected as "not red-book XML".
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from pydantic import Field

from domadapt.components import NO_EFFECT, Options, Reject, Source
from domadapt.errors import MissingError
from domadapt_patent.redbook.patent import PARTS, NotAPatentError, Part, parse
from domadapt_patent.redbook.split import SUFFIXES, DamagedArchiveError, documents

if TYPE_CHECKING:
    import pyarrow as pa

BATCH_CHARACTERS = 4_000_000
"""A record batch is closed at this length: about 70 grants."""


class RedbookSource(Source):
    """Patents from weekly files, single documents, archives, or folders of these.

    A document's group is its first-named inventor. An application, its grant and its continuations share
    one specification and must lie on one side of a held-out split; the first inventor is what all of them
    print. An assignee is missing from many applications (it is printed on request), an application
    number changes with each continuation, and a class would put thousands of patents in one group.
    Without an inventor: the application number, then the document's own.
    """

    name = "patent.redbook"

    class Config(Options):
        """Options of `patent.redbook`."""

        path: Path | Annotated[list[Path], Field(min_length=1)] = Field(json_schema_extra=NO_EFFECT)
        """File, folder or list of these: `.xml` as the USPTO ships it, also `.xml.xz`, `.xml.gz`, `.zip`.

        Folders are searched at any depth. It does not count in the key: the contents do.
        """

        parts: tuple[Part, ...] = Field(PARTS, min_length=1)
        """Parts of a patent to keep, printed in the usual order. Default all: claims and description are
        two registers of one domain."""

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
        return [file for path in paths for file in _files(path.expanduser())]

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """Yield the patents. Rejects: "not red-book XML", "sequence listing", "damaged XML", "unknown entity",
        "no document number", "no text", "repeated", "too long", "damaged archive".
        """

        def found() -> Iterator[tuple[str, bytes | None]]:
            for file in self.files():
                empty = True
                try:
                    for document in documents(file):
                        empty = False
                        yield document
                except DamagedArchiveError:
                    reject("damaged archive", str(file))
                else:
                    if empty:
                        reject("not red-book XML", str(file))

        yield from batches(found(), self.config.parts, self.name, "public domain (USPTO)", reject)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise MissingError(
            f"patent.redbook: {path} is not there; give `path` the weekly files downloaded from "
            "https://data.uspto.gov (Patent Grant or Application Full-Text Data, XML), or use the source patent.sample"
        )
    found = [file for file in path.rglob("*") if file.name.lower().endswith(SUFFIXES) and file.is_file()]
    if not found:
        raise MissingError(f"patent.redbook: no file under {path} ends with {', '.join(SUFFIXES)}; check `path`")
    return sorted(found, key=lambda file: file.relative_to(path).as_posix())


def batches(
    found: Iterable[tuple[str, bytes | None]], parts: tuple[Part, ...], source: str, license: str, reject: Reject
) -> Iterator[pa.RecordBatch]:
    """Parse XML documents and yield them as record batches of about `BATCH_CHARACTERS`.

    found: (where it is from, the document or None when it is too long).
    """
    import pyarrow as pa

    from domadapt.artifacts import document_schema

    schema = document_schema()
    rows: list[dict[str, str]] = []
    held = 0
    # Ids only: a decade of grants is 3 million, some 300 MB.
    seen: set[str] = set()
    counted: Counter[str] = Counter()
    for where, document in found:
        counted[where] += 1
        row = _row(document, parts, seen, reject, f"{where} document {counted[where]}")
        if row is None:
            continue
        rows.append({**row, "source": source, "license": license})
        held += len(row["text"])
        if held >= BATCH_CHARACTERS:
            yield pa.RecordBatch.from_pylist(rows, schema)
            rows, held = [], 0
    if rows:
        yield pa.RecordBatch.from_pylist(rows, schema)


def _row(
    document: bytes | None, parts: tuple[Part, ...], seen: set[str], reject: Reject, where: str
) -> dict[str, str] | None:
    if document is None:
        reject("too long", where)
        return None
    try:
        patent = parse(document)
    except NotAPatentError as error:
        reject(error.reason, where)
        return None
    text = patent.text(parts)
    if not text or patent.id in seen:
        reject("repeated" if text else "no text", where)
        return None
    seen.add(patent.id)
    meta = json.dumps(patent.meta, ensure_ascii=False, sort_keys=True)
    return {"id": patent.id, "text": text, "group": patent.group, "meta": meta}
