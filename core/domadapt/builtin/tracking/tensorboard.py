"""The tracker `tensorboard`: curves of training as they grow, scores by model, in files below the run's folder.

`tensorboard --logdir runs/NAME/tensorboard` shows them. Nothing leaves the machine.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from domadapt.builtin.tracking.measures import of_event, of_scores, of_training
from domadapt.components import Options, Stage, Tracker


class TensorboardTracker(Tracker):
    """TensorBoard's event files."""

    name: ClassVar[str] = "tensorboard"

    def __init__(self, config: Options | None = None) -> None:
        super().__init__(config)
        self._writer: Any = None
        self._told: set[tuple[str, int]] = set()

    def requirements(self) -> list[str]:
        """The package tensorboard."""
        if importlib.util.find_spec("tensorboard") is None:
            return [
                "tracker 'tensorboard' needs tensorboard, which is not installed: pip install 'domadapt[tensorboard]'"
            ]
        return []

    def event(self, stage: Stage, kind: str, data: Mapping[str, Any]) -> None:
        """Numbers of training, as they come."""
        found = of_event(stage.name, kind, data)
        if found is None:
            return
        if self._writer is None:
            self._writer = self._open(stage.run, "train")
        self._add(*found)

    def end(self, stage: Stage, out: Path) -> None:
        """What events did not tell (rates, gradient norms); the scores of an evaluation as the model's one point."""
        if stage.name == "train":
            writer = self._writer = self._writer or self._open(stage.run, "train")
            for step, numbers in of_training(out):
                self._add(step, numbers)
            writer.close()
            self._writer, self._told = None, set()
        elif scored := of_scores(stage.name, out):
            writer = self._open(stage.run, scored[0])
            for name, value in scored[1].items():
                writer.add_scalar(name, value, 0)
            writer.close()

    def _add(self, step: int, numbers: Mapping[str, float]) -> None:
        for name, value in numbers.items():
            if (name, step) not in self._told:
                self._told.add((name, step))
                self._writer.add_scalar(name, value, step)

    def _open(self, run: Path, folder: str) -> Any:
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(run / "tensorboard" / folder))
