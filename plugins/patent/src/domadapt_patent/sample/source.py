"""The source `patent.sample`: fictional patents, written as red-book XML and read back by the pack's own reader.

It needs no download and stands in for weekly files in the starter recipe and in tests.
"""

from __future__ import annotations

import hashlib
import io
import random
from collections.abc import Iterator
from importlib.resources import files
from typing import TYPE_CHECKING

from pydantic import Field

from domadapt.components import Options, Reject, Source
from domadapt_patent.redbook.patent import PARTS
from domadapt_patent.redbook.source import Row, batches, numbered, read_row
from domadapt_patent.redbook.split import split

if TYPE_CHECKING:
    import pyarrow as pa

    from domadapt_patent.sample.publication import Publication

FILE_LENGTH = 40
"""Publications in one generated file."""


class SampleSource(Source):
    """Fictional patents of 14 technical fields, about 7 kB each.

    One invention in 40 is published twice, as an application and as its grant, as happens in real weekly
    files: near-duplicate removal has something to find.
    """

    name = "patent.sample"

    class Config(Options):
        """Options of `patent.sample`."""

        patents: int = Field(300, ge=1, le=100_000)
        """Number of publications. Default: 2 MB of text, enough for the starter recipe's tiny model."""

        seed: int = 0
        """Another seed gives other inventions."""

    def fingerprint(self) -> str:
        """A digest of the generator and its options: what makes the documents, since there are no files."""
        digest = hashlib.sha256(f"{self.config.patents} {self.config.seed}".encode())
        for folder in ("sample", "redbook"):
            for file in sorted((files("domadapt_patent") / folder).iterdir(), key=lambda file: file.name):
                if file.name.endswith((".py", ".toml")):
                    digest.update(file.read_bytes())
        return digest.hexdigest()

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """Yield the patents. Nothing is rejected."""

        def rows() -> Iterator[Row]:
            for place, _, document in numbered(found()):
                yield from read_row(place, document, PARTS, reject)

        def found() -> Iterator[tuple[str, bytes | None]]:
            for position, file in enumerate(weekly_files(self.config.patents, f"sample/{self.config.seed}")):
                for document in split(io.BytesIO(file)):
                    yield f"generated file {position + 1}", document

        yield from batches(rows(), self.name, "Apache-2.0", reject)


def weekly_files(num_patents: int, seed: str) -> Iterator[bytes]:
    """Generated red-book files with `FILE_LENGTH` publications each."""
    from domadapt_patent.sample.publication import weekly_file

    held: list[Publication] = []
    for publication in publications(num_patents, seed):
        held.append(publication)
        if len(held) == FILE_LENGTH:
            yield weekly_file(held)
            held = []
    if held:
        yield weekly_file(held)


def publications(num_patents: int, seed: str) -> Iterator[Publication]:
    """Publications of new inventions; every fortieth invention comes as an application and as a grant."""
    from domadapt_patent.sample.claims import draft_claims
    from domadapt_patent.sample.description import specify
    from domadapt_patent.sample.invention import invent
    from domadapt_patent.sample.publication import Publication

    made = serial = 0
    while made < num_patents:
        serial += 1
        rng = random.Random(f"{seed}/{serial}")
        invention = invent(rng)
        specification = specify(invention, rng)
        both = serial % 40 == 20 and made + 1 < num_patents
        for granted in (False, True) if both else (rng.random() < 0.7,):
            claims = draft_claims(invention, random.Random(f"{seed}/{serial}/claims"), granted=granted)
            yield Publication(invention, specification, claims, serial, granted, again=both and granted)
            made += 1
