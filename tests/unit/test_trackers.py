"""Trackers see a run and cannot change it."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from domadapt.builtin.tracking.mlflow import MlflowOptions, MlflowTracker
from domadapt.builtin.tracking.tensorboard import TensorboardTracker
from domadapt.builtin.tracking.watching import watched
from domadapt.components import Stage, Tracker

LINES = [
    {"step": 0, "heldout_domain": 3.5},
    {"step": 1, "loss": 3.25, "lr": 0.001, "grad_norm": 1.5, "tokens": 512},
    {"step": 2, "loss": 3.0, "lr": 0.0005, "grad_norm": 1.25, "tokens": 1024},
]
SCORE = {"task": "law.orders", "metric": "acc", "side": "domain", "value": 0.625}


class Watcher(Tracker):
    name = "watcher"

    def __init__(self, fails_at: str = "") -> None:
        super().__init__()
        self.seen: list[str] = []
        self.fails_at = fails_at

    def _see(self, what: str) -> None:
        self.seen.append(what)
        if what == self.fails_at:
            raise ConnectionError("the chat room is closed\nfor ever")

    def begin(self, stage: Stage) -> None:
        self._see(f"begin {stage.name}")

    def event(self, stage: Stage, kind: str, data: Mapping[str, Any]) -> None:
        self._see(kind)

    def end(self, stage: Stage, out: Path) -> None:
        self._see(f"end {stage.name}")


def stage(name: str, run: Path, trackers: list[Tracker], told: list[tuple[str, Mapping[str, Any]]]) -> Stage:
    def work(stage: Stage, inputs: Mapping[str, Any], out: Path) -> dict[str, Any]:
        raise NotImplementedError

    return Stage(
        name,
        "0" * 16,
        seed=0,
        component="x",
        work=work,
        scratch=run / "scratch",
        emit=lambda kind, data: told.append((kind, data)),
        run=run,
        trackers=trackers,
    )


def train(tracker: Tracker, run: Path) -> list[tuple[str, Mapping[str, Any]]]:
    """A training of two steps and an evaluation, as the engine shows them."""
    told: list[tuple[str, Mapping[str, Any]]] = []
    out = run / "work"
    (out / "training").mkdir(parents=True)
    for name in ("train", "eval.control.x.law.orders", "report"):
        working = stage(name, run, [tracker], told)
        with watched(working, out):
            if name == "train":
                working.progress(1, 2, "steps", loss=3.25, tokens=512)
                working.event("heldout", step=0, heldout_domain=3.5)
                (out / "training" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in LINES))
            else:
                (out / "scores.json").write_text(json.dumps({"rows": [SCORE]}))
                if name == "report":
                    (out / "scores.json").unlink()
    return told


def test_a_tracker_sees_begin_events_and_end_and_the_run_is_told_the_same(tmp_path: Path) -> None:
    told: list[tuple[str, Mapping[str, Any]]] = []
    watcher = Watcher()
    working = stage("mix", tmp_path, [watcher], told)
    with watched(working, tmp_path):
        working.event("note", text="x")
        working.progress(1, 2, "documents")
    working.event("after")
    assert watcher.seen == ["begin mix", "note", "progress", "end mix"]
    assert [kind for kind, _ in told] == ["note", "progress", "after"]


@pytest.mark.parametrize("moment", ["begin mix", "note", "end mix"])
def test_a_tracker_that_fails_is_left_out_with_a_warning_and_the_run_goes_on(tmp_path: Path, moment: str) -> None:
    told: list[tuple[str, Mapping[str, Any]]] = []
    failing, other = Watcher(moment), Watcher()
    for _ in range(2):
        working = stage("mix", tmp_path, [failing, other], told)
        with watched(working, tmp_path):
            working.event("note")
    assert failing.seen[-1] == moment
    assert other.seen == ["begin mix", "note", "end mix"] * 2
    (warning,) = [data["message"] for kind, data in told if kind == "warning"]
    assert warning == ("tracker watcher failed and sees no more of this run (ConnectionError: the chat room is closed)")


def test_a_stage_that_fails_passes_its_error_on_and_has_no_end(tmp_path: Path) -> None:
    watcher = Watcher()
    with pytest.raises(KeyError, match="x"), watched(stage("mix", tmp_path, [watcher], []), tmp_path):
        raise KeyError("x")
    assert watcher.seen == ["begin mix"]


def test_tensorboard_has_every_number_of_training_once_and_every_score(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="tensorboard is not installed")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert train(TensorboardTracker(), tmp_path)[0][0] == "progress"
    curves = EventAccumulator(str(tmp_path / "tensorboard" / "train")).Reload()
    for name in ("loss", "lr", "heldout_domain"):
        found = [(point.step, point.value) for point in curves.Scalars(name)]
        assert found == [(line["step"], pytest.approx(line[name])) for line in LINES if name in line]
    scores = EventAccumulator(str(tmp_path / "tensorboard" / "control.x")).Reload()
    assert [point.value for point in scores.Scalars("domain/law.orders/acc")] == [0.625]


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # of SQLAlchemy, through mlflow
def test_mlflow_has_every_number_of_training_and_every_score_and_continues_its_run(tmp_path: Path) -> None:
    pytest.importorskip("mlflow", reason="mlflow is not installed")
    from mlflow import MlflowClient

    told = train(MlflowTracker(), tmp_path)
    assert [data for kind, data in told if kind == "warning"] == []
    kept = json.loads((tmp_path / "mlflow.json").read_bytes())
    client = MlflowClient(tracking_uri=kept["uri"])
    history = client.get_metric_history(kept["run_id"], "train/loss")
    assert [(point.step, point.value) for point in history] == [(1, 3.25), (2, 3.0)]
    run = client.get_run(kept["run_id"])
    assert run.data.metrics["control.x/domain/law.orders/acc"] == 0.625
    assert run.info.status == "FINISHED"
    again = MlflowTracker()
    again.begin(stage("train", tmp_path, [], []))
    assert json.loads((tmp_path / "mlflow.json").read_bytes()) == kept


@pytest.mark.parametrize("tracker", [TensorboardTracker, MlflowTracker])
def test_a_tracker_without_its_package_is_refused_before_anything_runs(
    tracker: type[Tracker], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (missing,) = tracker().requirements()
    assert f"pip install 'domadapt[{tracker.name}]'" in missing


def test_mlflow_stays_on_this_machine_unless_told_otherwise() -> None:
    assert MlflowOptions().uri == ""
