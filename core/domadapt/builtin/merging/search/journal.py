"""What a sweep has found out so far, one line a finding, so that an interrupted one goes on where it stopped.

A line is complete or it does not count: the process may die while writing the last one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any


class Journal:
    """Findings by kind and name. A finding is written once and read back as it was."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._found: dict[tuple[str, str], Any] = {}
        complete = 0
        text = path.read_bytes() if path.is_file() else b""
        for line in text.splitlines(keepends=True):
            try:
                entry = json.loads(line)
                kind, name, finding = entry["kind"], entry["name"], entry["finding"]
            except (ValueError, KeyError, TypeError):
                break
            if not line.endswith(b"\n"):
                break
            self._found[kind, name] = finding
            complete += len(line)
        if complete < len(text):
            with path.open("rb+") as file:
                file.truncate(complete)

    def __len__(self) -> int:
        return len(self._found)

    def get(self, kind: str, name: str) -> Any:
        """A finding, None when there is none yet."""
        return self._found.get((kind, name))

    def add(self, kind: str, name: str, finding: Any) -> Any:
        """Write a finding to the disk; return it as it will be read."""
        line = json.dumps({"kind": kind, "name": name, "finding": finding}, sort_keys=True, allow_nan=False)
        with self._path.open("ab") as file:
            file.write(line.encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
        self._found[kind, name] = json.loads(line)["finding"]
        return self._found[kind, name]
