"""`sec.sample`: filings of our own making in the formats of EDGAR, so that a first run needs no network.

The default makes about 380 documents (2 MB of text) of 108 companies in under 2 s on one core. Their bytes go
through the same parser as real filings. What a model learns from them is the language of filings, not facts:
no company in them exists.
"""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from domadapt.components import Options, Reject, Source

if TYPE_CHECKING:
    import pyarrow as pa

    from domadapt_sec.sample_document import Submission
    from domadapt_sec.sample_formats import File

LICENSE = "Apache-2.0"
BATCH_DOCUMENTS = 128


class SampleSource(Source):
    """Invented filings (10-K, 10-Q, 8-K) in every format that EDGAR has had since 1993."""

    name = "sec.sample"
    version = "1"
    caveat = "invented companies: good for trying adapt out, of no use for a model that is to know real filings"

    class Config(Options):
        """How much to make."""

        companies: int = Field(default=108, ge=1, le=2000)
        """Number of companies; each files three to four documents of 2 to 9 kB. The default is what a 1 M-parameter
        model learns from in under a minute on two CPU cores."""
        seed: int = Field(default=0, ge=0)
        """Another seed gives other companies. Companies of the pack's benchmark are never among them."""

    def fingerprint(self) -> str:
        """A digest of version and options, on which alone the documents depend."""
        told = json.dumps([self.name, self.version, self.config.companies, self.config.seed])
        return hashlib.sha256(told.encode()).hexdigest()

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """Make the files and yield what the parser finds in them, company after company."""
        import pyarrow as pa

        from domadapt.artifacts import document_schema
        from domadapt_sec.parsing import Filing, parse_file

        def batch(filings: list[Filing]) -> pa.RecordBatch:
            rows = [
                (f.id, f.text, self.name, LICENSE, f.group, json.dumps(f.meta, ensure_ascii=False, sort_keys=True))
                for f in filings
            ]
            columns = [pa.array(column, pa.string()) for column in zip(*rows, strict=True)]
            return pa.RecordBatch.from_arrays(columns, schema=document_schema())

        waiting: list[Filing] = []
        for file in sample_files(self.config.seed, self.config.companies):
            for name, data in _unpacked(file):
                waiting += parse_file(name, data, reject)
            if len(waiting) >= BATCH_DOCUMENTS:
                yield batch(waiting)
                waiting = []
        if waiting:
            yield batch(waiting)


def sample_files(seed: int, num_companies: int) -> Iterator[File]:
    """The files of all companies, in order; a pure function of its arguments."""
    from domadapt_sec.sample_formats import files

    for number, submission in enumerate(submissions(seed, num_companies)):
        yield from files(submission, random.Random(f"sec.sample/{seed}/files/{number}"))


def submissions(seed: int, num_companies: int, for_benchmark: bool = False) -> Iterator[Submission]:
    """What the companies hand in: a 10-K, then by chance a second one, a 10-Q, an 8-K with or without results.

    A few repeat an earlier one or say nothing, so that the cleaning has something to find.
    """
    from dataclasses import replace

    from domadapt_sec import sample_filings as make
    from domadapt_sec.sample_company import companies

    for number, company in enumerate(companies(seed, num_companies, for_benchmark)):
        rng = random.Random(f"sec.sample/{seed}/{company.cik}")
        year = company.filing_year
        annual = make.annual_report(company, year, rng, 11)
        yield annual
        if rng.random() < 0.08:
            yield make.annual_report(company, year + 1, rng, 12)
        if rng.random() < 0.6:
            yield make.quarterly_report(company, year + 1, rng.randint(1, 3), rng, 21)
        if rng.random() < 0.55:
            yield make.current_report(company, year + 1, rng.randint(1, 3), "results", rng, 31)
        if rng.random() < 0.66:
            event = rng.choice([e for e in make.EVENTS if e != "results"])
            yield make.current_report(company, year, rng.randint(1, 4), event, rng, 32)
        if number % 28 == 9:
            yield make.amended(annual, 41)
        if number % 37 == 20:
            yield replace(annual, number=61)
        if number % 37 == 30:
            yield make.notice(company, annual.filed, 51)


def _unpacked(file: File) -> Iterator[tuple[str, bytes]]:
    import gzip
    import io
    import lzma
    import zipfile

    stem, _, extension = file.name.rpartition(".")
    match extension:
        case "xz":
            yield stem, lzma.decompress(file.data)
        case "gz":
            yield stem, gzip.decompress(file.data)
        case "zip":
            with zipfile.ZipFile(io.BytesIO(file.data)) as archive:
                yield from ((name, archive.read(name)) for name in archive.namelist())
        case _:
            yield file.name, file.data
