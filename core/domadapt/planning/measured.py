"""What an earlier run here took: the one number of a plan that is neither arithmetic nor assumption."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from domadapt.artifacts import Checkpoint
from domadapt.errors import DataError
from domadapt.planning.estimate import Measured

if TYPE_CHECKING:
    from domadapt.pipeline.engine import Run


def measured_here(run: Run) -> Measured | None:
    """Tokens and seconds of the training that this run's folder last made; None when there is none.

    The recipe may have changed since: the figure says which run it comes from.
    """
    try:
        stages = json.loads((run.folder / "state.json").read_bytes())["stages"]
        entry = stages["train"]
        made = run.store.find("train", entry["key"])
        tokens = Checkpoint(made).facts["tokens"] if made is not None else 0
        seconds = float(entry["seconds"])
    except (OSError, ValueError, KeyError, TypeError, DataError):
        return None  # never run, or not to its end
    return Measured(float(tokens), seconds, run.folder.name) if tokens and seconds else None
