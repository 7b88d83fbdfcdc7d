"""`medical.jats`: articles of PubMed Central, PLOS and others who publish in JATS.

Measured on 83 articles of 17 journals: 140 articles (6 MB of text) a second on one core. They are parsed in worker
processes with limits of time and memory: one that breaks the parser is counted and costs no other.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from domadapt.components import NO_EFFECT, Options, Reject
from domadapt_medical.files import SUFFIXES, FileSource, holds_many, read_documents
from domadapt_medical.seen import Numbers

if TYPE_CHECKING:
    import pyarrow as pa

    from domadapt_medical.jats import Article

BATCH_CHARACTERS = 4_000_000


class JatsOptions(Options):
    """Options of `medical.jats`."""

    # the fingerprint speaks for what is read; where it lies changes nothing
    path: Path | tuple[Path, ...] = Field(json_schema_extra=NO_EFFECT)
    """A file, a folder (read with its subfolders) or a list of them: `.xml` and `.nxml`, plain, `.gz` or
    `.xz`, and `.zip`, `.tar`, `.tar.gz`, `.tar.xz` of those."""

    captions: bool = True
    """Keep captions of figures, tables and supplements: they state results in full sentences."""

    tables: bool = True
    """Keep the rows of tables, cells separated by ` | `."""

    citations: bool = False
    """Keep numeric citation marks such as [3,4]. What they point to is dropped, so they are noise."""

    references: bool = False
    """Keep the list of references, a line each. Names, journals and years: much text, little sense."""

    boilerplate: bool = False
    """Keep acknowledgements, funding, competing interests, contributions of authors, availability of data and lists
    of supplements, wherever they stand. They are told by their headings."""

    licenses: tuple[str, ...] = ()
    """Take only articles under these licences: SPDX names with a version (`CC-BY-4.0`) or without for all versions
    (`CC-BY`, which does not cover `CC-BY-NC`), `commercial` for those that allow it (CC0, CC-BY, CC-BY-SA,
    CC-BY-ND, public domain), `""` for articles that name none. Default: all."""

    group: Literal["article", "journal"] = "article"
    """What never lies on both sides of a held-out split. `article`: the article with its corrections and
    companions. `journal`: all of a journal, a stricter test that needs many journals of like size: of
    PLOS's articles most come from one journal, and with a single journal there is no split at all."""


Input = tuple[str, Path | bytes, JatsOptions]


class JatsSource(FileSource):
    """Reads JATS articles: title, abstract, body, tables and captions as text."""

    name = "medical.jats"
    version = "2"
    passes_over = frozenset({"licence not wanted", "no licence named"})
    Config = JatsOptions

    suffixes = SUFFIXES
    what = "JATS articles"

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """The articles, in the order of the files' names."""
        from domadapt.builtin.corpora.workers import parse_in_workers

        columns = Documents(self.name, self.config.group)
        for where, article in parse_in_workers(read_articles, self._inputs(reject), reject):
            if not columns.add(article, where):
                reject("duplicate article", where)
            if columns.num_characters >= BATCH_CHARACTERS:
                yield columns.take()
        if columns.num_characters:
            yield columns.take()

    def _inputs(self, reject: Reject) -> Iterator[tuple[str, Input]]:
        """Files, and the members of archives, which a process of its own unpacks."""
        from domadapt.builtin.corpora.workers import parse_in_workers

        for name, path in self.files():
            if holds_many(path):
                for where, data in parse_in_workers(read_documents, [(name, (name, path))], reject, workers=1):
                    yield where, (where, data, self.config)
            else:
                yield name, (name, path, self.config)


def read_articles(given: Input, reject: Reject) -> Iterator[tuple[str, Article]]:
    """The articles of one document that the options take: (where it is from, its place or its bytes, options)."""
    from domadapt_medical.jats import Kept, Rejected, parse_articles
    from domadapt_medical.jats.licences import is_taken

    name, content, config = given
    kept = Kept(config.captions, config.tables, config.citations, config.references, config.boilerplate)
    for where, data in read_documents((name, content), reject) if isinstance(content, Path) else [(name, content)]:
        try:
            for article in parse_articles(data, kept):
                if isinstance(article, Rejected):
                    reject(str(article), where)
                elif config.licenses and not is_taken(article.license, config.licenses):
                    reject("licence not wanted" if article.license else "no licence named", where)
                else:
                    yield where, article
        except Rejected as rejected:
            reject(str(rejected), where)


class Documents:
    """Collects articles into record batches and keeps their ids unique.

    source: name of the component.  group: "article" or "journal".
    """

    def __init__(self, source: str, group: str) -> None:
        self._source, self._group = source, group
        self._seen: set[str] = set()
        self._seen_numbers = Numbers()  # of PubMed Central, where millions come
        self._rows: list[dict[str, str]] = []
        self.num_characters = 0

    def add(self, article: Article, where: str) -> bool:
        """Take an article, or return False when one with its identifier was there before.

        where: the file; its stem names an article without an identifier, numbered when taken.
        """
        name = article.id
        if not name:
            stem = PurePosixPath(where.rpartition("!")[2]).name.partition(".")[0]
            number = 1
            while not self._is_new(name := stem if number == 1 else f"{stem}-{number}"):
                number += 1
        elif not self._is_new(name):
            return False
        journal = article.facts.get("issn") or article.facts.get("journal", "")
        self._rows.append(
            {
                "id": name,
                "text": article.text,
                "source": self._source,
                "license": article.license,
                "group": (journal if self._group == "journal" else "") or article.family or name,
                "meta": json.dumps(article.facts, ensure_ascii=False, sort_keys=True),
            }
        )
        self.num_characters += len(article.text)
        return True

    def _is_new(self, name: str) -> bool:
        """Whether a name was not there before; it was from now on."""
        digits = name.removeprefix("PMC")
        if digits != name and digits.isascii() and digits.isdigit() and len(digits) <= 8 and digits[0] != "0":
            is_new = int(digits) not in self._seen_numbers
            self._seen_numbers.add(int(digits))
        else:
            is_new = name not in self._seen
            self._seen.add(name)
        return is_new

    def take(self) -> pa.RecordBatch:
        """What was collected since the last time."""
        import pyarrow as pa

        from domadapt.artifacts import document_schema

        batch = pa.RecordBatch.from_pylist(self._rows, schema=document_schema())
        self._rows, self.num_characters = [], 0
        return batch
