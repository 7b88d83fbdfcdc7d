"""The technical fields of the sample, read from `fields.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True)
class PartKind:
    """A part that inventions of a field may have. `functions`: verb phrases in the infinitive."""

    name: str
    functions: tuple[str, ...]
    materials: tuple[str, ...]
    pieces: tuple[str, ...]


@dataclass(frozen=True)
class Idea:
    """An inventive feature of a part. `effect`: verb phrase in the third person."""

    part: str
    feature: str
    effect: str


@dataclass(frozen=True)
class Quantity:
    """A quantity of a part with its useful range and what happens outside of it."""

    part: str
    name: str
    unit: str
    low: float
    high: float
    too_small: str
    too_large: str


@dataclass(frozen=True)
class Measure:
    """A test result; `low` to `high` is what known devices reach."""

    name: str
    unit: str
    higher_is_better: bool
    low: float
    high: float


@dataclass(frozen=True)
class Field:
    """A technical field: what its inventions are made of and talk about."""

    name: str
    cpc: tuple[str, ...]
    devices: tuple[str, ...]
    qualities: tuple[str, ...]
    media: tuple[str, ...]
    settings: tuple[str, ...]
    approaches: tuple[str, ...]
    drawbacks: tuple[str, ...]
    joints: tuple[str, ...]
    parts: tuple[PartKind, ...]
    ideas: tuple[Idea, ...]
    parameters: tuple[Quantity, ...]
    measures: tuple[Measure, ...]


def vocabulary() -> bytes:
    """The file the fields are read from."""
    return (files(__package__) / "fields.toml").read_bytes()


@cache
def fields() -> tuple[Field, ...]:
    """All fields, in the order of the file."""
    return tuple(_field(entry) for entry in tomllib.loads(vocabulary().decode())["field"])


def _field(entry: dict[str, Any]) -> Field:
    plain = ("cpc", "devices", "qualities", "media", "settings", "approaches", "drawbacks", "joints")
    return Field(
        name=entry["name"],
        **{key: tuple(entry[key]) for key in plain},
        parts=tuple(PartKind(name, _items(f), _items(m), _items(p)) for name, f, m, p in _cells(entry["parts"])),
        ideas=tuple(Idea(*cells) for cells in _cells(entry["ideas"])),
        parameters=tuple(
            Quantity(part, name, unit, float(low), float(high), small, large)
            for part, name, unit, low, high, small, large in _cells(entry["parameters"])
        ),
        measures=tuple(
            Measure(name, unit, better == "higher", float(low), float(high))
            for name, unit, better, low, high in _cells(entry["measures"])
        ),
    )


def _cells(lines: Sequence[str]) -> list[list[str]]:
    return [line.split(" | ") for line in lines]


def _items(cell: str) -> tuple[str, ...]:
    return tuple(cell.split("; "))
