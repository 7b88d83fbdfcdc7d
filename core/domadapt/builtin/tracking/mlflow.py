"""The tracker `mlflow`: a run of adapt is a run of MLflow, with its settings, curves and scores.

Kept in a file of the run's folder (`mlflow ui --backend-store-uri sqlite:///runs/NAME/mlflow.db`) unless `uri` names a
server. MLflow takes seconds to make that file.
"""

from __future__ import annotations

import importlib.util
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from domadapt.builtin.tracking.measures import of_event, of_scores, of_training
from domadapt.components import Options, Stage, Tracker

_BATCH = 500
"""Metrics of one request; a server takes at most 1000."""


class MlflowOptions(Options):
    """Options of `mlflow`."""

    uri: str = ""
    """Tracking server or store, e.g. http://localhost:5000. Default: mlflow.db in the run's folder."""
    experiment: str = "adapt"
    """Experiment that the run is put under."""


class MlflowTracker(Tracker):
    """An MLflow store or server."""

    name: ClassVar[str] = "mlflow"
    Config: ClassVar[type[Options]] = MlflowOptions

    def __init__(self, config: Options | None = None) -> None:
        super().__init__(config)
        self._client: Any = None
        self._id = ""
        self._told: set[tuple[str, int]] = set()

    def requirements(self) -> list[str]:
        """The package mlflow."""
        if importlib.util.find_spec("mlflow") is None:
            return ["tracker 'mlflow' needs mlflow, which is not installed: pip install 'domadapt[mlflow]'"]
        return []

    def begin(self, stage: Stage) -> None:
        """Open the run; a run that was interrupted is continued under its id."""
        if self._client is not None:
            return
        from mlflow import MlflowClient

        uri = self.config.uri or f"sqlite:///{(stage.run / 'mlflow.db').resolve()}"
        self._client = MlflowClient(tracking_uri=uri)
        kept = stage.run / "mlflow.json"
        before = json.loads(kept.read_bytes()) if kept.is_file() else {}
        if before.get("uri") == uri:
            self._id = before["run_id"]
            return
        known = self._client.get_experiment_by_name(self.config.experiment)
        experiment = known.experiment_id if known else self._client.create_experiment(self.config.experiment)
        self._id = self._client.create_run(experiment, run_name=stage.run.name).info.run_id
        kept.write_text(json.dumps({"uri": uri, "run_id": self._id}))

    def event(self, stage: Stage, kind: str, data: Mapping[str, Any]) -> None:
        """Numbers of training, as they come."""
        if (found := of_event(stage.name, kind, data)) is not None:
            self._log([(f"train/{name}", value, found[0]) for name, value in found[1].items()])

    def end(self, stage: Stage, out: Path) -> None:
        """The rest of the curves, the scores by model; the report closes the run."""
        if stage.name == "train":
            curve = of_training(out)
            self._log([(f"train/{name}", value, step) for step, numbers in curve for name, value in numbers.items()])
            for key, value in stage.facts.items():
                if isinstance(value, (str, int, float)):
                    self._client.log_param(self._id, f"train.{key}", value)
        elif scored := of_scores(stage.name, out):
            self._log([(f"{scored[0]}/{name}", value, 0) for name, value in scored[1].items()])
        elif stage.name == "report":
            self._client.set_terminated(self._id)

    def _log(self, points: list[tuple[str, float, int]]) -> None:
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        new = [point for point in points if (point[0], point[2]) not in self._told]
        self._told |= {(name, step) for name, _, step in new}
        for at in range(0, len(new), _BATCH):
            metrics = [Metric(_allowed(name), value, now, step) for name, value, step in new[at : at + _BATCH]]
            self._client.log_batch(self._id, metrics=metrics)


def _allowed(name: str) -> str:
    """A metric's name as MLflow takes it: letters, digits and `_-. :/`."""
    return "".join(c if c.isalnum() or c in "_-. :/" else "_" for c in name)
