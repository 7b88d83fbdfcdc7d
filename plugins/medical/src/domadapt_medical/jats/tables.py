"""Tables as lines of cells. Cells that span rows are repeated, so that every line reads on its own.

A cell that spans columns is written once and leaves the others empty: columns stay in their places, and a
heading over six columns is not said six times.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from domadapt_medical.jats.inline import inline_text
from domadapt_medical.jats.xml import local_name

if TYPE_CHECKING:
    from lxml import etree

MAX_SPAN = 1000  # HTML's own limit; a hostile colspan must not cost memory


Spanning = dict[int, tuple[str, int]]  # column -> text of a cell that spans further rows, how many


def table_lines(table: etree._Element, declared: Mapping[str, str], citations: bool = False) -> list[str]:
    """One line a row, cells joined by " | ", empty rows left out."""
    lines = []
    running: Spanning = {}
    for row in table.iter("{*}tr"):
        own = [
            (inline_text(cell, declared, citations), _span(cell, "colspan"), _span(cell, "rowspan"))
            for cell in row
            if local_name(cell) in ("td", "th")
        ]
        cells, running = _row(own, running)
        line = " | ".join(cells).rstrip(" |")
        if line:
            lines.append(line)
    return lines


def _row(own: Sequence[tuple[str, int, int]], running: Spanning) -> tuple[list[str], Spanning]:
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
    for column in range(len(cells), max(running, default=-1) + 1):
        place(*running.get(column, ("", 1)))
    return cells, below


def _span(cell: etree._Element, name: str) -> int:
    value = cell.get(name, "1").strip()
    if not (value.isascii() and value.isdigit() and len(value) <= 9):
        return 1
    return min(max(int(value), 1), MAX_SPAN)
