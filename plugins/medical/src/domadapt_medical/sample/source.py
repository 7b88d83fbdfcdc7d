"""`medical.sample`: fictional articles, made when they are read, through the same parser as everybody's files.

The default, 320 articles of about 6 KB, takes about 2 seconds on one core: no files to ship, none to download.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from domadapt.components import Options, Reject, Source
from domadapt_medical.source import BATCH_CHARACTERS, Documents

if TYPE_CHECKING:
    import pyarrow as pa


class SampleOptions(Options):
    """Options of `medical.sample`."""

    articles: int = Field(default=320, ge=1, le=100_000)
    """Number of articles. The default gives about 2 MB of text, enough for the starter recipe."""

    seed: int = 0
    """Another seed gives other articles. None equals those of the benchmark."""


class SampleSource(Source):
    """Makes fictional research articles in JATS and reads them."""

    name = "medical.sample"
    version = "1"
    Config = SampleOptions
    caveat = "fictional text for trying things out; a model trained on it knows nothing about medicine"

    @property
    def _seed(self) -> str:
        return f"sample/{self.config.seed}"

    def fingerprint(self) -> str:
        """Digest of the options: with the component's version they say everything about the text."""
        return hashlib.sha256(f"{self.name}/{self.version}/{self._seed}/{self.config.articles}".encode()).hexdigest()

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """The articles, in the order of their numbers."""
        from domadapt_medical.jats import Rejected, parse_articles
        from domadapt_medical.sample.corpus import articles

        documents = Documents(self.name, "article")
        for name, data in articles(self.config.articles, self._seed):
            for article in parse_articles(data):
                # our own files: a rejected one is a mistake of ours
                assert not isinstance(article, Rejected), f"{name}: {article}"
                documents.add(article, name)
            if documents.num_characters >= BATCH_CHARACTERS:
                yield documents.take()
        if documents.num_characters:
            yield documents.take()
