"""A table as the page shows it and as CSV: each cell is text for people and carries the raw values for programs.

The CSV is a data: link, so that it can be saved from the page without a script or a server. Rows beyond MAX_ROWS
are left to report.json: a page with hundreds of thousands of cells helps nobody and opens slowly.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from urllib.parse import quote

MAX_ROWS = 700
LONG = 40
"""More rows than this are left out when the page is printed."""

Raw = float | int | str | None


@dataclass(frozen=True)
class Cell:
    """Text, and the CSV fields it stands for: "1.21 to 1.34" is two numbers."""

    text: str
    raw: tuple[Raw, ...]

    def __str__(self) -> str:
        return self.text


Rows = list[list[str | Cell]]


@dataclass(frozen=True)
class Table:
    """Cells by row; a plain string is its own CSV field.

    fields: names of the CSV fields.  text_columns: how many columns on the left are text, the rest are set in
    tabular figures at the right edge.  name: of the CSV file, without its ending.  grouped: whether neighbouring rows
    with the same first cell share it.
    """

    name: str
    caption: str
    headers: Sequence[str]
    fields: Sequence[str]
    rows: Sequence[Sequence[str | Cell]]
    text_columns: int = 1
    grouped: bool = False
    num_left_out: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "num_left_out", max(0, len(self.rows) - MAX_ROWS))
        object.__setattr__(self, "rows", self.rows[:MAX_ROWS])

    @property
    def numeric_columns(self) -> int:
        """How many columns on the right are numbers."""
        return len(self.headers) - self.text_columns

    def groups(self) -> Iterator[tuple[str | Cell, Sequence[Sequence[str | Cell]]]]:
        """First cell and the rest of the rows that share it; every row by itself where they are not grouped."""
        if not self.grouped:
            yield from ((row[0], [row[1:]]) for row in self.rows)
            return
        for _, same in groupby(self.rows, key=lambda row: str(row[0])):
            rows = list(same)
            yield rows[0][0], [row[1:] for row in rows]

    @property
    def is_long(self) -> bool:
        """Whether it would fill pages of paper."""
        return len(self.rows) > LONG

    @property
    def csv(self) -> str:
        """The rows as CSV with a header line; unknown values are empty."""
        file = io.StringIO()
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(self.fields)
        for row in self.rows:
            raw = [value for cell in row for value in (cell.raw if isinstance(cell, Cell) else (cell,))]
            writer.writerow([_written(value) for value in raw])
        return file.getvalue()

    @property
    def csv_link(self) -> str:
        """The CSV as a data: address."""
        return "data:text/csv;charset=utf-8," + quote(self.csv, safe=",.:;/()[]{}=+-_*!~$@?|")


def _written(value: Raw) -> Raw:
    """Text that a spreadsheet would run as a formula is marked as text."""
    return "'" + value if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
