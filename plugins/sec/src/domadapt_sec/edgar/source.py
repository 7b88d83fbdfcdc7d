"""`sec.edgar`: filings straight from EDGAR, fetched once and kept.

About 8 filings a second, which is what the SEC allows one user however many programs run; 10,000 10-Ks take 20
minutes and 20 to 60 GB. An interrupted fetch goes on where it was.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import closing
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import Field, field_validator, model_validator

from domadapt.components import NO_EFFECT, Options, Reject, Source
from domadapt.errors import MissingError
from domadapt_sec.filings import Input, batches, read_file

if TYPE_CHECKING:
    import pyarrow as pa

    from domadapt_sec.edgar.archive import Archive
    from domadapt_sec.edgar.client import Patience
    from domadapt_sec.edgar.index import Entry
    from domadapt_sec.parsing import Filing


class EdgarSource(Source):
    """Filings from EDGAR by date, form and company; needs the network and SEC_USER_AGENT, or what was fetched."""

    name = "sec.edgar"
    version = "2"
    passes_over = frozenset({"uuencoded", "XBRL or XML data", "form not wanted"})
    caveat = "tried against a copy of EDGAR's answers and faults on one machine, not yet against sec.gov itself"
    patience: Patience | None = None

    class Config(Options):
        """Which filings, and where they are kept."""

        start: date | None = None
        """First day filed. EDGAR begins in 1993. Needed unless accessions are named."""
        end: date | None = None
        """Last day filed. Needed with `start`, so that a recipe means the same filings whenever it is run."""
        forms: list[str] = Field(default=["10-K", "10-K405", "10-KSB", "10-Q", "8-K"])
        """Types of the submissions; `*` stands for anything."""
        parts: list[str] | None = None
        """Types of their documents, e.g. [10-K, "EX-13*"]. Not given: all that are text, exhibits included."""
        ciks: list[str] | None = None
        """Companies by CIK, through the submissions API (one or two requests a company). Not given: all."""
        accessions: list[str] | None = None
        """These filings and no others, as CIK/ACCESSION: 320193/0000320193-24-000123."""
        index: Literal["full", "daily"] = "full"
        """The list to look in: one file a quarter (5 to 50 MB), or one a day, for spans of days."""
        limit: int | None = Field(default=None, ge=1)
        """At most so many filings, the earliest."""
        documents: Literal["filing", "item"] = "filing"
        """One document a part of a submission, or one an item of it; as in `sec.filings`."""
        furniture: Literal["drop", "keep"] = "keep"
        """Page numbers, running heads and feet; as in `sec.filings`."""
        offline: bool = Field(default=False, json_schema_extra=NO_EFFECT)
        """Ask nobody; use what has been fetched."""
        folder: str | None = Field(default=None, json_schema_extra=NO_EFFECT)
        """Where filings are kept. Not given: `edgar` in adapt's cache folder ($ADAPT_HOME)."""
        url: str = Field(default="https://www.sec.gov", json_schema_extra=NO_EFFECT)
        """EDGAR, or a mirror of its `Archives`."""
        data_url: str = Field(default="https://data.sec.gov", json_schema_extra=NO_EFFECT)
        """EDGAR's data APIs, or a mirror of them."""

        @field_validator("ciks")
        @classmethod
        def _numbers(cls, ciks: list[str] | None) -> list[str] | None:
            if wrong := [cik for cik in ciks or [] if not re.fullmatch(r"\d{1,10}", cik)]:
                raise ValueError(f"{wrong[0]!r} is no CIK; write up to ten digits in quotation marks: '320193'")
            return ciks

        @field_validator("accessions")
        @classmethod
        def _filings(cls, names: list[str] | None) -> list[str] | None:
            if wrong := [name for name in names or [] if not re.fullmatch(r"\d{1,10}/\d{10}-\d{2}-\d{6}", name)]:
                raise ValueError(f"{wrong[0]!r} is no CIK/ACCESSION; write 320193/0000320193-24-000123")
            return names

        @model_validator(mode="after")
        def _days(self) -> EdgarSource.Config:
            if self.accessions is None and (self.start is None or self.end is None):
                raise ValueError("`start` and `end` are needed: the first and the last day filed, as 2023-01-01")
            if self.start and self.end and self.start > self.end:
                raise ValueError(f"`start` {self.start} is after `end` {self.end}")
            return self

    def requirements(self) -> list[str]:
        """A name for the SEC, unless nothing is asked of it."""
        from domadapt_sec.edgar.client import identity

        try:
            if not self.config.offline:
                identity()
        except MissingError as error:
            return [str(error)]
        return []

    def fingerprint(self) -> str:
        """A digest of which filings are meant. EDGAR does not change a filing, so their numbers stand for them."""
        with closing(self._archive()) as archive:
            told = [f"{entry.cik}/{entry.accession}" for entry in self._entries(archive)]
        return hashlib.sha256(json.dumps([self.name, self.version, told]).encode()).hexdigest()

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """Fetch what is not there yet, then yield the documents in the order of date and accession."""
        with closing(self._archive()) as archive:
            entries = self._entries(archive)
            if not self.config.offline:
                archive.fetch_all(entries)
            yield from batches(self._filings(archive, entries, reject), self.name, self.config.documents)

    def _filings(self, archive: Archive, entries: list[Entry], reject: Reject) -> Iterator[Filing]:
        from domadapt.builtin.corpora.workers import parse_in_workers
        from domadapt_sec.parsing import Reading

        reading = Reading(self.config.parts, self.config.furniture)

        def inputs() -> Iterator[tuple[str, Input]]:
            for entry in entries:
                if body := archive.submission(entry):
                    yield f"{entry.accession}.txt", (f"{entry.accession}.txt", body, reading)
                else:
                    reject("not on EDGAR", f"{entry.cik}/{entry.accession}")

        yield from parse_in_workers(read_file, inputs(), reject)

    def _entries(self, archive: Archive) -> list[Entry]:
        from domadapt_sec.edgar.listing import Wanted, entries

        config = self.config
        wanted = Wanted(
            start=config.start or date(1993, 1, 1),
            end=config.end or date(1993, 1, 1),
            index=config.index,
            ciks=tuple(config.ciks or ()),
            accessions=tuple(config.accessions or ()),
            forms=tuple(form.upper() for form in config.forms),
            limit=config.limit,
        )
        found = entries(archive, wanted)
        if not found:
            raise MissingError(
                "sec.edgar: EDGAR lists no filing of these forms, companies and days;"
                " look at `start`, `end`, `forms` and `ciks`"
            )
        return found

    def _archive(self) -> Archive:
        from domadapt.pipeline.fingerprints import cache_folder
        from domadapt_sec.edgar.archive import Archive
        from domadapt_sec.edgar.pace import Pace
        from domadapt_sec.edgar.shelf import Shelf

        config = self.config
        shared = cache_folder() / "edgar"  # wherever filings are kept, one user has one limit
        shelf = Shelf(Path(config.folder).expanduser() if config.folder else shared)
        return Archive(shelf, Pace(shared), config.url, config.data_url, offline=config.offline, patience=self.patience)
