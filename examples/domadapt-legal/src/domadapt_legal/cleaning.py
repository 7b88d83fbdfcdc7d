"""What only reports of cases carry: the page numbers of the printed reporter, in the middle of sentences."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING

from domadapt.components import Cleaner, Options

if TYPE_CHECKING:
    import pyarrow as pa

STAR_PAGE = re.compile(r"(?<!\S)\[?\*\d{1,5}\]?(?:[ \t]+|(?=\s|$))")


class StarPagesOptions(Options):
    """`legal.star_pages` has no options."""


class StarPages(Cleaner):
    """Removes star pages (`*412`, `[*412]`), which say where the printed page began; the tally counts them."""

    name = "legal.star_pages"
    version = "1"
    independent = True
    Config = StarPagesOptions

    def __init__(self, config: StarPagesOptions | None = None) -> None:
        super().__init__(config)
        self.tally: Counter[str] = Counter()

    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Every document, without its star pages; none is dropped."""
        import pyarrow as pa

        texts = []
        for text in batch["text"].to_pylist():
            cleaned, times = STAR_PAGE.subn("", text)
            texts.append(cleaned)
            self.tally["star pages"] += times
        at = batch.schema.get_field_index("text")
        return batch.set_column(at, batch.schema.field(at), pa.array(texts, pa.string())), {}
