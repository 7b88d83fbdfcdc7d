"""The source `patent.bigpatent`: abstracts and descriptions of 1.3 million US grants (BIGPATENT), files as published.

Its hub repository loads by a script, which current `datasets` refuses; its files (JSON lines in `train/a/data_0.gz`,
loose or in the published archives) are read here as they are. BIGPATENT is CC-BY-4.0.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from domadapt.components import NO_EFFECT, Options
from domadapt_patent.archives import bare_name
from domadapt_patent.datasets.records import paragraphs, record, records, text
from domadapt_patent.redbook.patent import Facts, NotAPatentError, Patent
from domadapt_patent.redbook.source import PatentSource

Section = Literal["a", "b", "c", "d", "e", "f", "g", "h", "y"]
_NUMBER = re.compile(r"(?:US)?-?([A-Z]{0,2}\d{5,11})-?([A-Z]\d?)?")
_FILE = re.compile(r"(?:.*/)?(?:data_\d+|[^/]*\.(?:jsonl|ndjson|json))")


class BigpatentSource(PatentSource):
    """Grants of BIGPATENT; the CPC section is the name of the folder (`a` to `h`, `y`).

    Rejects: "not a patent document", "damaged JSON", "another section", "no document number", "no text", "repeated",
    "too long", "damaged archive". A document's group is its application: the data set names no inventors, so
    continuations, which repeat a description, are left to near-duplicate removal.
    """

    name = "patent.bigpatent"
    license = "CC-BY-4.0"
    suffixes = (".jsonl", ".ndjson", ".json", "data_N.gz")
    origin = "the files of BIGPATENT (https://evasharma.github.io/bigpatent), or use patent.sample"

    class Config(Options):
        """Options of `patent.bigpatent`."""

        path: Path | Annotated[list[Path], Field(min_length=1)] = Field(json_schema_extra=NO_EFFECT)
        """File, folder or list of these. It does not count in the key: the contents do."""

        parts: tuple[Literal["abstract", "description"], ...] = Field(("abstract", "description"), min_length=1)
        """Parts to keep, abstract first. Default both."""

        sections: tuple[Section, ...] | None = Field(None, min_length=1)
        """Keep these CPC sections alone. Default: all."""

    def belongs(self, file: Path) -> bool:
        """`data_0.gz` and JSON lines, loose or in archives."""
        return _FILE.fullmatch(bare_name(file.name)) is not None or super().belongs(file)

    def documents(self, file: Path) -> Iterator[tuple[str, bytes | None]]:
        """The records of a file or an archive; the folder of a file tells the section."""
        for name, found in records(file, lambda member: _FILE.fullmatch(member) is not None):
            yield f"{file.parent.name}/{name}", found

    def parse(self, document: bytes, where: str) -> Patent:
        """Read a record. Raises NotAPatentError: see the class."""
        folders = where.lower().split("/")[:-1]
        section = next((folder for folder in reversed(folders) if re.fullmatch("[a-hy]", folder)), "")
        if self.config.sections is not None and section not in self.config.sections:
            raise NotAPatentError("another section")
        found = record(document)
        printed = text(found, "publication_number")
        if not printed:
            raise NotAPatentError("no document number")
        number = _NUMBER.fullmatch(printed)
        facts = Facts(
            "bigpatent",
            "grant",
            number=number[1] if number else printed,
            country="US" if number else "",
            kind=(number[2] or "") if number else "",
            application=text(found, "application_number"),
        )
        further = {"section": section.upper()}
        return facts.patent(
            paragraphs(text(found, "abstract")), paragraphs(text(found, "description")), claims=(), **further
        )
