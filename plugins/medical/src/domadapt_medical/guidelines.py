"""`medical.guidelines`: clinical guidelines as JSON lines, in the form of epfl-llm/guidelines.

Chen et al. 2023, arXiv 2311.16079. One object a line with id, source, title, clean_text, raw_text, url and overview;
not every source fills each of them. Other collections are read by naming their fields. A line is read whole, the file
is not: its 878 MB take the memory of their longest line.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Literal

from pydantic import Field

from domadapt.components import NO_EFFECT, Options, Reject
from domadapt_medical.files import DAMAGE, FileSource, open_file

if TYPE_CHECKING:
    import pyarrow as pa

    from domadapt.builtin.corpora.batches import Document

MAX_LINE = 32 << 20
"""Longest line in bytes. The 37,970 guidelines of epfl-llm/guidelines have 23 kB on average."""


class GuidelinesOptions(Options):
    """Options of `medical.guidelines`."""

    path: Path | tuple[Path, ...] = Field(json_schema_extra=NO_EFFECT)
    """A file, a folder (read with its subfolders) or a list of them: `.jsonl` or `.ndjson`, plain, `.gz` or `.xz`."""

    text_field: str = "clean_text"
    """Field that holds the text."""

    title_field: str = "title"
    """Field whose text goes in front, unless the text begins with it. "" for none."""

    overview_field: str = ""
    """Field whose text goes between title and text: `overview` holds NICE's summaries. Default: none."""

    id_field: str = "id"
    """Field that names the guideline; a second one of the same name is dropped. Without it: file and line."""

    source_field: str = "source"
    """Field that says who published the guideline; see `sources`."""

    sources: tuple[str, ...] = ()
    """Take only what these publish: `cco`, `cdc`, `cma`, `icrc`, `nice`, `pubmed`, `spor`, `who`, `wikidoc` in the
    public part of epfl-llm/guidelines. Default: all."""

    licenses: dict[str, str] = Field(default_factory=dict)
    """Licence of what each source publishes, by the source's name, e.g. `{wikidoc: CC-BY-SA-3.0}`: the files name
    none. `"*"` stands for all others."""

    group: Literal["guideline", "source"] = "guideline"
    """What never lies on both sides of a held-out split. `guideline`: what comes from one address (`url`).
    `source`: all of a publisher; with fewer than three publishers there is no split."""


class GuidelinesSource(FileSource):
    """Reads clinical guidelines from JSON lines."""

    name = "medical.guidelines"
    version = "1"
    passes_over = frozenset({"source not wanted"})
    Config = GuidelinesOptions

    suffixes = tuple(kind + packed for kind in (".jsonl", ".ndjson") for packed in ("", ".gz", ".xz"))
    what = "guidelines in JSON lines"

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """The guidelines, in the order of the files' names and of their lines."""
        from domadapt.builtin.corpora.batches import record_batches

        return record_batches(self._documents(reject), self.name)

    def _documents(self, reject: Reject) -> Iterator[Document]:
        from domadapt.builtin.corpora.workers import parse_in_workers

        seen: set[bytes] = set()
        inputs = ((name, (name, path, self.config)) for name, path in self.files())
        for where, document in parse_in_workers(read_guidelines, inputs, reject):
            # 16 bytes each, whatever the ids are
            mark = hashlib.blake2b(document.id.encode(), digest_size=16).digest()
            if mark in seen:
                reject("duplicate guideline", where)
                continue
            seen.add(mark)
            yield document


def read_guidelines(given: tuple[str, Path, GuidelinesOptions], reject: Reject) -> Iterator[tuple[str, Document]]:
    """The guidelines of one file that the options take, with their places: (its name, where it lies, options)."""
    name, path, config = given
    for where, row in _rows(name, path, reject):
        document = _document(row, where, config)
        if isinstance(document, str):
            reject(document, where)
        else:
            yield where, document


def _document(row: Mapping[str, Any], where: str, config: GuidelinesOptions) -> Document | str:
    """The guideline of a row, or why there is none."""
    from domadapt.builtin.corpora.batches import Document

    publisher = _text(row, config.source_field)
    if config.sources and publisher not in config.sources:
        return "source not wanted"
    if config.text_field not in row:
        return f"no field {config.text_field!r}"
    text, title = _text(row, config.text_field), _text(row, config.title_field)
    if not text:
        return "no text"
    overview = _text(row, config.overview_field)
    front = [] if not title or _begins_with(text, title) else [title]
    facts = {"title": title, "publisher": publisher, "url": _text(row, "url")}
    identity = _text(row, config.id_field) or where
    by_publisher = publisher if config.group == "source" else ""
    return Document(
        id=identity,
        text="\n\n".join([*front, *([overview] if overview else []), text]),
        group=by_publisher or facts["url"] or identity,
        license=config.licenses.get(publisher, config.licenses.get("*", "")),
        meta={key: value for key, value in facts.items() if value},
    )


def _begins_with(text: str, title: str) -> bool:
    """Whether a text begins with its title, apart from marks of a heading and from case."""
    start = text[: len(title) + 20].lstrip("#*=_ \t\n").casefold()
    return start.startswith(title.strip("#*=_ ").casefold())


def _text(row: Mapping[str, Any], field: str) -> str:
    value = row.get(field) if field else None
    if value is None or isinstance(value, dict | list):
        return ""
    # json lets lone surrogates through, Arrow does not
    return str(value).encode("utf-8", "replace").decode().strip()


def _rows(name: str, path: Path, reject: Reject) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """The objects of one file with their places."""
    try:
        with open_file(path) as stream:
            for number, line in _lines(stream):
                where = f"{name}:{number}"
                row = _parsed(line)
                if isinstance(row, str):
                    reject(row, where)
                elif row:
                    yield where, row
    except DAMAGE:
        reject("damaged file", name)


def _lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes | None]]:
    """The lines with their numbers; None for one that is too long, which is run over in pieces."""
    number = 0
    while line := stream.readline(MAX_LINE):
        number += 1
        if len(line) < MAX_LINE or line.endswith(b"\n"):
            yield number, line
            continue
        while rest := stream.readline(MAX_LINE):
            if rest.endswith(b"\n"):
                break
        yield number, None


def _parsed(line: bytes | None) -> Mapping[str, Any] | str:
    """A line's object, empty for an empty line, or why there is none."""
    if line is None:
        return "over 32 MiB"
    try:
        text = line.decode("utf-8-sig")
    except UnicodeDecodeError:
        return "wrong encoding"
    if not text.strip():
        return {}
    try:
        row = json.loads(text)
    except RecursionError:
        return "nested too deeply"
    except ValueError:
        return "damaged JSON"
    return row if isinstance(row, dict) and row else "not a JSON object"
