"""The lines of metrics.jsonl while they grow: the first rank writes them, a resume takes back what came too late."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from domadapt.builtin.training.rank import Rank

METRICS = "metrics.jsonl"


class Curves:
    """metrics.jsonl in the scratch folder; ranks other than the first write nothing."""

    def __init__(self, scratch: Path, rank: Rank) -> None:
        self._file, self._writes = scratch / METRICS, rank.place.is_first

    def add(self, **line: Any) -> None:
        """One line."""
        if self._writes:
            with self._file.open("a") as file:
                file.write(json.dumps(line) + "\n")

    def cut(self, size: int) -> None:
        """Keep the first `size` bytes."""
        if self._writes:
            self._file.write_bytes(self._file.read_bytes()[:size] if size else b"")

    def flush(self) -> int:
        """Make what is written survive a power cut; return its size, 0 on ranks that write nothing."""
        if not self._writes:
            return 0
        with self._file.open("rb") as file:
            os.fsync(file.fileno())
        return self._file.stat().st_size
