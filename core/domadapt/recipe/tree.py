"""A recipe as a tree of values that know where they come from.

Errors, `adapt plan` and the lock file all need a place for each value, so places travel with the values
through every merge of layers, instead of being looked up again afterwards.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

Location = tuple[str | int, ...]
Scalar = str | int | float | bool | None

CORE_DEFAULT = "core default"


@dataclass(frozen=True)
class Document:
    """A YAML file that was read. label: how messages name it, the path as the user gave it."""

    label: str
    text: str

    @property
    def name(self) -> str:
        """The file's name without its folder."""
        return PurePath(self.label).name

    def line(self, number: int) -> str:
        """Line `number` (from 1), or "" when there is none."""
        lines = self.text.splitlines()
        return lines[number - 1] if 0 < number <= len(lines) else ""


@dataclass(frozen=True)
class Origin:
    """Where a value comes from.

    layer: "core default", "pack sec", "recipe", "--set", "--merge", ...  document, line, column (from 1):
    for what stands in a file.  written: for an override, how the user wrote it ("--set mix.replay=1.4").
    """

    layer: str
    document: Document | None = None
    line: int = 0
    column: int = 0
    written: str = ""

    def __str__(self) -> str:
        """As `adapt plan` and lock files show it: "starter.yaml:12:7", "pack sec (defaults.yaml:3:5)", "--set"."""
        if self.document is None:
            return self.layer
        place = f"{self.document.name}:{self.line}:{self.column}"
        return f"{self.layer} ({place})" if self.layer.startswith("pack ") else place

    @property
    def place(self) -> str:
        """As errors show it: the path as the user gave it, or the override as written."""
        if self.document is None:
            return self.written or self.layer
        return f"{self.document.label}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Node:
    """A value of a recipe: a scalar, or a mapping or list of nodes."""

    value: Scalar | dict[str, Node] | list[Node]
    origin: Origin

    def plain(self) -> Any:
        """The value as plain data."""
        if isinstance(self.value, dict):
            return {key: child.plain() for key, child in self.value.items()}
        if isinstance(self.value, list):
            return [child.plain() for child in self.value]
        return self.value

    def child(self, key: str | int) -> Node | None:
        """The value under a key or index, or None."""
        if isinstance(self.value, dict) and isinstance(key, str):
            return self.value.get(key)
        if isinstance(self.value, list) and isinstance(key, int) and 0 <= key < len(self.value):
            return self.value[key]
        return None

    def at(self, location: Location) -> Node | None:
        """The value at a location, or None."""
        path, node = self.deepest(location)
        return node if path == location else None

    def deepest(self, location: Location) -> tuple[Location, Node]:
        """The last value that exists on the way to a location, and its own location."""
        node = self
        for depth, key in enumerate(location):
            child = node.child(key)
            if child is None:
                return location[:depth], node
            node = child
        return location, node

    def scalars(self, at: Location = ()) -> Iterator[tuple[Location, Node]]:
        """All values that hold no others (empty mappings and lists included), in order."""
        if isinstance(self.value, dict) and self.value:
            for key, child in self.value.items():
                yield from child.scalars((*at, key))
        elif isinstance(self.value, list) and self.value:
            for index, child in enumerate(self.value):
                yield from child.scalars((*at, index))
        else:
            yield at, self


def node_of(value: Any, origin: Origin) -> Node:
    """Plain data as nodes of one origin. Raises TypeError for data that YAML has no plain form for."""
    if isinstance(value, dict):
        return Node({str(key): node_of(child, origin) for key, child in value.items()}, origin)
    if isinstance(value, (list, tuple)):
        return Node([node_of(child, origin) for child in value], origin)
    if value is None or isinstance(value, (str, int, float, bool)):
        return Node(value, origin)
    raise TypeError(f"a recipe holds no {type(value).__name__}")


def dotted(location: Location) -> str:
    """A location as `--set` takes it: corpus.domain.0.options.path."""
    return ".".join(f'"{key}"' if isinstance(key, str) and "." in key else str(key) for key in location)
