"""Cleaning steps that look at one document: unicode normalisation and a minimum length."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from domadapt.components import Cleaner, Options

if TYPE_CHECKING:
    import pyarrow as pa

# form feeds too: removed like other control characters, they would join the last and the first word of two pages
_LINE_END = re.compile(r"\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u2060\ufeff\ufffe\uffff]")
_SPACES_AT_END = re.compile(r"[^\S\n]+$", re.MULTILINE)
_BLANK_LINES = re.compile(r"\n{3,}")


def replace_text(batch: pa.RecordBatch, texts: Sequence[str]) -> pa.RecordBatch:
    """The batch with other texts."""
    import pyarrow as pa

    return batch.set_column(
        batch.schema.get_field_index("text"), batch.schema.field("text"), pa.array(texts, pa.string())
    )


def keep_rows(batch: pa.RecordBatch, keep: Sequence[bool]) -> pa.RecordBatch:
    """The rows marked true."""
    import pyarrow as pa

    return batch.filter(pa.array(keep, pa.bool_()))


class NormalizeOptions(Options):
    """Options of `normalize`."""

    form: Literal["NFC", "NFKC"] = "NFC"
    """Unicode normalisation. NFC keeps what a reader sees; NFKC also unfolds ligatures and widths."""


class Normalize(Cleaner):
    """One way to write the same text: unicode form, line ends, no control characters, no trailing spaces.

    Runs of spaces inside a line stay: tables of filings are laid out with them.
    """

    name: ClassVar[str] = "normalize"
    independent: ClassVar[bool] = True
    Config: ClassVar[type[Options]] = NormalizeOptions

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Normalise every text; drop those that are empty afterwards."""
        texts = [self._normalize(t) for t in batch["text"].to_pylist()]
        keep = [bool(t) for t in texts]
        return keep_rows(replace_text(batch, texts), keep), {"empty": keep.count(False)}

    def _normalize(self, text: str) -> str:
        text = _LINE_END.sub("\n", text).replace("\xa0", " ")
        # in this order: an accent behind an invisible character joins its letter once that is gone
        text = unicodedata.normalize(self.config.form, _CONTROL.sub("", text))
        return _BLANK_LINES.sub("\n\n", _SPACES_AT_END.sub("", text)).strip("\n")


class MinLengthOptions(Options):
    """Options of `min_length`."""

    characters: int = Field(200, ge=1)
    """Fewest characters of a document. 200: shorter ones are cover sheets, forms and fragments."""


class MinLength(Cleaner):
    """Drops short documents."""

    name: ClassVar[str] = "min_length"
    independent: ClassVar[bool] = True
    Config: ClassVar[type[Options]] = MinLengthOptions

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Keep the documents with at least so many characters."""
        keep = [len(t) >= self.config.characters for t in batch["text"].to_pylist()]
        return keep_rows(batch, keep), {f"under {self.config.characters} characters": keep.count(False)}
