"""events.jsonl: what happened, one JSON object a line, appended by one write so that lines never mix.

For people, `adapt status` and the report's timeline; never a source of truth: state comes from the store.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class EventLog:
    """Appends events to a file."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        if _last_byte(path) != b"\n":
            # a killed writer left half a line: end it, so that the next event is not lost with it
            self._append(b"\n")

    def write(self, stage: str, kind: str, data: Mapping[str, Any]) -> None:
        """Append one event: time (seconds since 1970), stage, kind and its data."""
        line = json.dumps({"t": round(time.time(), 3), "stage": stage, "kind": kind, **data}, default=str) + "\n"
        self._append(line.encode())

    def _append(self, data: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, data)
        finally:
            os.close(descriptor)


def _last_byte(path: Path) -> bytes:
    if not path.exists() or not path.stat().st_size:
        return b"\n"
    with path.open("rb") as file:
        file.seek(-1, os.SEEK_END)
        return file.read()


def read_events(path: Path) -> tuple[list[dict[str, Any]], int]:
    """All readable events in order, and how many damaged lines (a torn tail, say) were passed over."""
    events, damaged = [], 0
    if not path.exists():
        return [], 0
    for line in path.read_bytes().splitlines():
        if not line:
            continue
        try:
            event = json.loads(line)
        except ValueError:
            damaged += 1
            continue
        if isinstance(event, dict) and "kind" in event:
            events.append(event)
        else:
            damaged += 1
    return events, damaged
