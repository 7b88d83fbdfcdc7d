"""A finished run, read back from its folder: the report's numbers, the recipe, and the artifacts they were made from.

Everything is taken as the report's stage recorded it. A run that was started again with other settings and has not
finished is refused, so that a card never describes one attempt with another's numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domadapt.artifacts import Artifact, Checkpoint, Corpus, Scorecard, TokenStore
from domadapt.components import Side
from domadapt.errors import DataError, UsageError

REPORT = "report.json"
LOCK = "recipe.lock.yaml"


@dataclass(frozen=True)
class FinishedRun:
    """One finished run.

    data: report.json.  recipe: the resolved recipe, nested.  resolved: versions and digests of the lock file.
    keys: stage -> content key of every stage that the report was made from.
    """

    folder: Path
    data: Mapping[str, Any]
    recipe: Mapping[str, Any]
    resolved: Mapping[str, Any]
    keys: Mapping[str, str]

    @property
    def name(self) -> str:
        """The run's name."""
        return str(self.data["name"])

    def model(self, label: str) -> Mapping[str, Any] | None:
        """A model as the report describes it: label, role, digest, facts."""
        return next((m for m in self.data["models"] if m["label"] == label), None)

    def labels(self, *roles: str) -> list[str]:
        """Labels of the models with one of these roles, in the report's order."""
        return [m["label"] for m in self.data["models"] if m["role"] in roles]

    def corpora(self) -> dict[Side, Corpus]:
        """The clean corpora by side."""
        sides: tuple[Side, ...] = ("domain", "general")
        return {side: Corpus(path) for side in sides if (path := self._stage(f"corpus.{side}")) is not None}

    def tokens(self) -> TokenStore | None:
        """What was trained on; None when the CPT model was made elsewhere."""
        path = self._stage("tokens")
        return None if path is None else TokenStore(path)

    def checkpoint(self, label: str) -> Checkpoint | None:
        """A model that this run made; None for one that it was given."""
        model = self.model(label)
        if model is None:
            return None
        path = self._stage("train" if model["role"] == "cpt" else f"merge.{label}")
        return None if path is None else Checkpoint(path, model["role"], model["digest"])

    def scorecard(self, label: str, task: str) -> Scorecard | None:
        """The scores of one model on one task with their samples."""
        path = self._stage(f"eval.{label}.{task}")
        return None if path is None else Scorecard(path)

    def _stage(self, name: str) -> Path | None:
        """The result of a stage that the report was made from."""
        if name not in self.keys:
            return None
        path = (self.folder / "stages" / name).resolve()
        if path.name != self.keys[name] or not path.is_dir():
            raise DataError(
                f"{self.folder / 'stages' / name}: the result that the report was made from is not there; "
                "run the same `adapt run` command again"
            )
        return path


def finished_runs(root: Path) -> list[Path]:
    """Folders of the runs below `root` that have a report, by name."""
    return sorted(file.parent for file in root.glob(f"*/{REPORT}") if not file.parent.name.startswith("."))


def open_run(folder: Path) -> FinishedRun:
    """Read a run's folder. Raises UsageError when there is no finished run, DataError when it cannot be read."""
    if not (folder / REPORT).is_file():
        known = ", ".join(path.name for path in finished_runs(folder.parent)) or "none"
        raise UsageError(f"there is no finished run {folder.name!r} in {folder.parent}; there is {known}")
    data = _read(folder / REPORT, json.loads)
    lock = _read(folder / LOCK, _yaml)
    manifest = Artifact(folder / "stages" / "report").manifest
    resolved = lock.pop("resolved", None) or {}
    if resolved.get("stages", {}).get("report") != manifest["key"]:
        raise UsageError(
            f"run {folder.name!r} was started again with other settings and has not finished; "
            "run the same `adapt run` command to the end first"
        )
    return FinishedRun(folder, data, lock, resolved, manifest["inputs"])


def _read(file: Path, parse: Any) -> dict[str, Any]:
    try:
        found = parse(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); run the same `adapt run` command again") from None
    except ValueError as error:
        raise DataError(f"{file}: damaged ({error}); run the same `adapt run` command again") from None
    if not isinstance(found, dict):
        raise DataError(f"{file}: damaged (no mapping); run the same `adapt run` command again")
    return found


def _yaml(data: bytes) -> Any:
    import yaml

    try:
        return yaml.safe_load(data)
    except yaml.YAMLError as error:
        raise ValueError(" ".join(str(error).split())) from None
