"""The job file: all that a rank must know, as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from domadapt.builtin.training.megatron.layout import Layout

JOB, RESULT = "job.json", "result.json"


@dataclass(frozen=True)
class Job:
    """One attempt at a training.

    folder: where this attempt's files are, new for each.  scratch: where checkpoints are.
    resume: the checkpoint to continue from, None to start.  settings: the recipe's `train` section.  made_with: what a
    checkpoint says of its training.
    """

    folder: str
    scratch: str
    out: str
    start: str
    tokens: str
    settings: dict[str, Any]
    made_with: dict[str, Any]
    num_steps: int
    samples_per_step: int
    layout: dict[str, int]
    distributed_optimizer: bool
    async_save: bool
    recompute: bool
    threads: int
    timeout: float
    resume: str | None
    stored_dtype: str

    @property
    def ranks(self) -> Layout:
        """How ranks divide the work."""
        return Layout(**self.layout)

    def write(self) -> Path:
        """Write the job file into its folder."""
        file = Path(self.folder) / JOB
        file.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")
        return file

    @classmethod
    def read(cls, file: Path) -> Job:
        """The job of a file."""
        return cls(**json.loads(file.read_bytes()))
