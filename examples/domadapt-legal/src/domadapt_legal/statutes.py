"""Statutes as HTML pages, as gazettes publish them: one act a page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.components import Options, Reject, Source
from domadapt.pipeline.fingerprints import digest_files
from domadapt_legal.reading import SAMPLE, batches, files_with, html_text

if TYPE_CHECKING:
    import pyarrow as pa

TITLE = re.compile(r"<title[^>]*>([^<]*)", re.IGNORECASE)


class StatutesOptions(Options):
    """Options of `legal.statutes`."""

    path: str = str(SAMPLE / "statutes")
    """A file or a folder of .html files, one act each. Default: the sample that comes with the pack."""
    license: str = "CC0-1.0"
    """Licence of the statutes. The sample is in the public domain, as laws are in most countries."""


class Statutes(Source):
    """Acts from HTML pages, without what a page has besides: menus, scripts, footers."""

    name = "legal.statutes"
    version = "1"
    Config = StatutesOptions

    def fingerprint(self) -> str:
        """The files' names and contents."""
        return digest_files([Path(self.config.path)])

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """A page is an act, or is rejected with a reason."""
        yield from batches(self._rows(reject))

    def _rows(self, reject: Reject) -> Iterator[dict[str, Any]]:
        for name, file in files_with((".html", ".htm"), Path(self.config.path), self.name, reject):
            try:
                html = file.read_text(encoding="utf-8")
            except UnicodeDecodeError:
                reject("not UTF-8", name)
                continue
            text = html_text(html)
            if not text:
                reject("no text", name)
                continue
            title = TITLE.search(html)
            yield {
                "id": name,
                "text": text,
                "source": self.name,
                "license": self.config.license,
                "group": name,
                "meta": json.dumps({"title": title[1].strip()} if title else {}),
            }
