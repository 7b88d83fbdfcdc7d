"""Court decisions as JSON lines: an object a decision, its opinion as plain text or as HTML."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.components import Options, Reject, Source
from domadapt.pipeline.fingerprints import digest_files
from domadapt_legal.reading import SAMPLE, batches, files_with, html_text

if TYPE_CHECKING:
    import pyarrow as pa


class DecisionsOptions(Options):
    """Options of `legal.decisions`."""

    path: str = str(SAMPLE / "decisions")
    """A file or a folder of .jsonl files. Default: the sample that comes with the pack."""
    license: str = "CC0-1.0"
    """Licence of the decisions. The sample is in the public domain; many countries' decisions are."""


class Decisions(Source):
    """Court decisions from JSON lines: `plain_text` or `html`, and `id`, `court`, `docket`, `case_name`, `date_filed`.

    Decisions of one docket (an appeal, what came after it was sent back) never lie on both sides of a held-out split.
    """

    name = "legal.decisions"
    version = "1"
    Config = DecisionsOptions

    def fingerprint(self) -> str:
        """The files' names and contents."""
        return digest_files([Path(self.config.path)])

    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """A line is a decision, or is rejected with a reason."""
        yield from batches(self._rows(reject))

    def _rows(self, reject: Reject) -> Iterator[dict[str, Any]]:
        for name, file in files_with((".jsonl",), Path(self.config.path), self.name, reject):
            with file.open("rb") as lines:
                for number, line in enumerate(lines, 1):
                    row = self._row(line, f"{name}:{number}", reject)
                    if row is not None:
                        yield row

    def _row(self, line: bytes, where: str, reject: Reject) -> dict[str, Any] | None:
        try:
            given = json.loads(line)
        except (ValueError, RecursionError):
            reject("no JSON", where)
            return None
        if not isinstance(given, dict):
            reject("no object", where)
            return None
        # JSON may hold lone surrogates, which no text is made of
        fields = {key: value.encode("utf-8", "replace").decode() for key, value in given.items() if type(value) is str}
        text = fields.get("plain_text", "").strip() or html_text(fields.get("html", ""))
        if not text:
            reject("no text", where)
            return None
        docket = f"{fields.get('court', '')} {fields.get('docket', '')}".strip()
        meta = {key: fields[key] for key in ("court", "docket", "case_name", "date_filed") if key in fields}
        return {
            "id": where,
            "text": text,
            "source": self.name,
            "license": self.config.license,
            "group": docket or where,
            "meta": json.dumps(meta),
        }
