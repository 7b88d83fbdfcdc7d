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

    def write(self, stage: str, kind: str, data: Mapping[str, Any]) -> None:
        """Append one event: time (seconds since 1970), stage, kind and its data."""
        line = json.dumps({"t": round(time.time(), 3), "stage": stage, "kind": kind, **data}, default=str) + "\n"
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, line.encode())
        finally:
            os.close(descriptor)


def read_events(path: Path) -> tuple[list[dict[str, Any]], int]:
    """All readable events in order, and how many damaged lines (a torn tail, say) were passed over."""
    events, damaged = [], 0
    if not path.exists():
        return [], 0
    for line in path.read_bytes().splitlines():
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
