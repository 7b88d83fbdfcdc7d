"""Let a run's trackers see a stage: its begin, every event, its end. A tracker that fails is left out from then on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from domadapt.components import Stage, Tracker
from domadapt.hookspecs import ENTRY_POINT_GROUP
from domadapt_registry import plugin_of

_FAILED = "_adapt_failed"


@contextmanager
def watched(stage: Stage, out: Path) -> Iterator[None]:
    """The stage's work is done inside the block; `stage.emit` tells the trackers too."""
    tell = stage.emit

    def each(action: Callable[[Tracker], None]) -> None:
        for tracker in stage.trackers:
            if getattr(tracker, _FAILED, False):
                continue
            try:
                action(tracker)
            except Exception as error:  # whatever a tracker does, the run is worth more
                setattr(tracker, _FAILED, True)
                reason = f"{type(error).__name__}: {error}".strip().splitlines()[0]
                plugin = plugin_of(type(tracker).__module__, ENTRY_POINT_GROUP)
                name = f"{tracker.name} of {plugin}" if plugin else tracker.name
                tell("warning", {"message": f"tracker {name} failed and sees no more of this run ({reason})"})

    def emit(kind: str, data: Mapping[str, Any]) -> None:
        tell(kind, data)
        each(lambda tracker: tracker.event(stage, kind, data))

    if not stage.trackers:
        yield
        return
    each(lambda tracker: tracker.begin(stage))
    stage.emit = emit
    try:
        yield
    finally:
        stage.emit = tell
    each(lambda tracker: tracker.end(stage, out))
