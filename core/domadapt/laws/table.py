"""Tables of measured losses: CSV, Parquet, JSON (a list of objects) and JSON lines, one row a measurement.

Columns that laws know: run, params, tokens, step, lr, domain_share, domain_loss, general_loss, or ratio and loss
(the share of the corpus whose loss it is), and what single laws want besides. An empty cell is a measurement not made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.errors import DataError, MissingError

if TYPE_CHECKING:
    Array = np.ndarray

TEXT = ("run", "domain", "start")
"""Columns that are names; every other one is numbers."""

MOST_NAMED = 10
"""Columns of a table that a message names."""


@dataclass(frozen=True)
class Table:
    """Columns of equal length by name, and where they come from, for messages."""

    columns: Mapping[str, Array]
    where: str

    def __len__(self) -> int:
        """How many rows there are."""
        return len(next(iter(self.columns.values()))) if self.columns else 0

    def __contains__(self, name: str) -> bool:
        """Whether there is such a column with anything in it."""
        column = self.columns.get(name)
        return column is not None and (column.dtype.kind != "f" or bool(np.isfinite(column).any()))

    def __getitem__(self, name: str) -> Array:
        """A column. Raises DataError when it is not there."""
        if name not in self.columns:
            known = ", ".join(list(self.columns)[:MOST_NAMED]) or "none"
            known += f" and {len(self.columns) - MOST_NAMED} more" if len(self.columns) > MOST_NAMED else ""
            raise DataError(
                f"{self.where}: no column '{name}'; there is {known}. `--columns {name}=NAME` says what it is called"
            )
        column = self.columns[name]
        if name not in TEXT and column.dtype.kind == "O" and len(column):
            row = next((i for i, value in enumerate(column) if not _is_number(value)), 0)
            raise DataError(f"{self.where}: column '{name}', row {row + 1}: wanted a number, came {column[row]!r}")
        return column

    def where_known(self, *names: str) -> Table:
        """The rows in which all these columns have a value."""
        known = np.ones(len(self), bool)
        for name in names:
            column = self[name]
            known &= np.isfinite(column) if column.dtype.kind == "f" else column != ""
        return Table({name: column[known] for name, column in self.columns.items()}, self.where)

    def runs(self) -> Array:
        """The run of each row: the column, or what tells runs apart where there is none."""
        if "run" in self:
            return self["run"]
        told = [name for name in ("domain", "start", "params", "domain_share", "ratio") if name in self]
        keys = ["/".join(str(self[name][row]) for name in told) for row in range(len(self))]
        return np.array(keys, dtype=object)


def of_rows(rows: Sequence[Mapping[str, Any]], where: str) -> Table:
    """A table of measurements in memory; what a row does not have is empty."""
    names = dict.fromkeys(name for row in rows for name in row)
    columns: dict[str, Array] = {}
    for name in names:
        if name in TEXT:
            columns[name] = np.array([str(row.get(name, "")) for row in rows], dtype=object)
        else:
            columns[name] = np.array([row.get(name, np.nan) for row in rows], float)
    return Table(columns, where)


def joined(tables: Sequence[Table]) -> Table:
    """Tables below each other; what one has no column for is empty."""
    if len(tables) == 1:
        return tables[0]
    names = dict.fromkeys(name for table in tables for name in table.columns)
    columns = {}
    for name in names:
        empty: Any = "" if name in TEXT else np.nan
        columns[name] = np.concatenate([t.columns.get(name, np.full(len(t), empty)) for t in tables])
    return Table(columns, ", ".join(table.where for table in tables))


def read_table(path: Path, names: Mapping[str, str] | None = None) -> Table:
    """Read a file by its ending: .csv (also .gz), .parquet, .json, .jsonl.

    names: what a column that laws know is called in this file.
    Raises MissingError when it is not there, DataError when it is not such a table.
    """
    if not path.is_file():
        raise MissingError(f"law: there is no file {path}")
    kind = path.suffixes[-2] if path.suffix == ".gz" and len(path.suffixes) > 1 else path.suffix
    try:
        columns = _columns(path, kind)
    except (OSError, ValueError) as error:
        raise DataError(f"{path}: not a {kind.lstrip('.') or 'CSV'} table: {_first_line(error)}") from None
    if len(columns) == 1 and (sign := next((s for s in ";\t|" if s in next(iter(columns))), None)):
        raise DataError(f"{path}: one column, {next(iter(columns))!r}: wanted commas between columns, came {sign!r}")
    for known, given in (names or {}).items():
        if given not in columns:
            raise DataError(f"{path}: no column '{given}' (for '{known}'); there is {', '.join(columns) or 'none'}")
        columns[known] = columns.pop(given)
    if not columns or not len(next(iter(columns.values()))):
        raise DataError(f"{path}: no rows; wanted one measurement a row, with the columns named in the first line")
    return Table({name: _typed(path, name, values) for name, values in columns.items()}, str(path))


def _columns(path: Path, kind: str) -> dict[str, list[Any]]:
    if kind == ".parquet":
        import pyarrow.parquet as pq

        return dict(pq.read_table(path).to_pydict())
    if kind in (".json", ".jsonl"):
        text = path.read_text()
        rows = json.loads(text) if kind == ".json" else [json.loads(line) for line in text.splitlines() if line.strip()]
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise ValueError("wanted a list of objects, one a measurement")
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: [row.get(name) for row in rows] for name in names}
    if kind == ".csv":
        from pyarrow import csv

        return dict(csv.read_csv(path).to_pydict())
    raise ValueError("wanted a file that ends in .csv, .parquet, .json or .jsonl")


def _typed(path: Path, name: str, values: Sequence[Any]) -> Array:
    if name in TEXT or all(isinstance(value, str) for value in values):
        return np.array(["" if value is None else str(value) for value in values], dtype=object)
    try:
        column = np.array([np.nan if value is None or value == "" else float(value) for value in values])
    except (TypeError, ValueError):
        row, wrong = next((i, v) for i, v in enumerate(values) if not _is_number(v))
        raise DataError(f"{path}: column '{name}', row {row + 1}: wanted a number, came {wrong!r}") from None
    if np.isinf(column).any():
        row = int(np.flatnonzero(np.isinf(column))[0])
        raise DataError(f"{path}: column '{name}', row {row + 1}: wanted a number, came infinity")
    return column


def _is_number(value: Any) -> bool:
    try:
        float(value if value not in (None, "") else 0)
    except (TypeError, ValueError):
        return False
    return True


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
