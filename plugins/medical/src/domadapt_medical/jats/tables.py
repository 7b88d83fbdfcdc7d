"""Tables as lines of cells. Cells that span rows are repeated, so that every line reads on its own.

XHTML tables and the CALS (OASIS) ones that some publishers use. A cell that spans columns is written once and leaves
the others empty: columns stay in their places, and a heading over six columns is not said six times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from domadapt_medical.jats.inline import inline_text
from domadapt_medical.jats.xml import Rejected, local_name

if TYPE_CHECKING:
    from lxml import etree

MAX_SPAN = 1000  # HTML's own limit; a hostile colspan must not cost memory
MAX_COLUMNS = 10 * MAX_SPAN
Spanning = dict[int, tuple[str, int]]  # column -> text of a cell that spans further rows, how many
Cell = tuple[str, int, int]  # text, columns, rows


def table_lines(
    table: etree._Element,
    declared: Mapping[str, str],
    citations: bool = False,
    grow: Callable[[int], None] = lambda size: None,
) -> list[str]:
    """One line a row, cells joined by " | ", empty rows left out.

    grow: told the size of each row, may raise: repeated cells let a small file grow large.
    """
    lines = []
    running: Spanning = {}
    columns = _column_numbers(table)
    for row in _rows(table):
        own = [
            (inline_text(cell, declared, citations), *_spans(cell, columns))
            for cell in row
            if local_name(cell) in ("td", "th", "entry")
        ]
        cells, running = _row(own, running)
        grow(sum(map(len, cells)) + len(cells))
        line = " | ".join(cells).rstrip(" |")
        if line:
            lines.append(line)
    return lines


def _rows(table: etree._Element) -> Iterator[etree._Element]:
    """Rows of this table; those of a table inside a cell are part of that cell's text."""
    for child in table:
        name = local_name(child)
        if name in ("tr", "row"):
            yield child
        elif name in ("thead", "tbody", "tfoot", "tgroup"):
            yield from _rows(child)


def _row(own: Sequence[Cell], running: Spanning) -> tuple[list[str], Spanning]:
    """Place a row's own cells (text, columns, rows) around those that reach down from above."""
    cells: list[str] = []
    below: Spanning = {}

    def place(text: str, rows: int) -> None:
        if rows > 1:
            below[len(cells)] = (text, rows - 1)
        cells.append(text)

    for text, columns, rows in own:
        while len(cells) in running:
            place(*running[len(cells)])
        place(text, rows)
        for _ in range(columns - 1):
            place("", rows)
        if len(cells) > MAX_COLUMNS:
            raise Rejected("oversized table")
    for column in range(len(cells), max(running, default=-1) + 1):
        place(*running.get(column, ("", 1)))
    return cells, below


def _column_numbers(table: etree._Element) -> dict[str, int]:
    """The columns of a CALS table by their names."""
    names = (e.get("colname", "") for e in table.iter("{*}colspec"))
    return {name: number for number, name in enumerate(names) if name}


def _spans(cell: etree._Element, columns: Mapping[str, int]) -> tuple[int, int]:
    """How many columns and rows a cell covers."""
    if local_name(cell) != "entry":
        return _span(cell, "colspan"), _span(cell, "rowspan")
    first, last = (columns.get(cell.get(name, ""), 0) for name in ("namest", "nameend"))
    return min(max(last - first, 0) + 1, MAX_SPAN), _span(cell, "morerows", 0) + 1


def _span(cell: etree._Element, name: str, least: int = 1) -> int:
    value = cell.get(name, "").strip()
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        return least
    return min(max(int(value), least), MAX_SPAN)
