"""A training as a JSON file, for the ranks that do it: the request, the options, and where to write.

Only what the contract knows is written and read: handles, requests, settings, components with their options. A file
that names anything else is refused, so reading one runs no code but adapt's and its plugins'.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from domadapt.artifacts import Artifact
from domadapt.builtin.training.torch_loop import TorchOptions
from domadapt.components import Benchmark, Component, EvalRequest, TrainRequest
from domadapt.errors import PluginError

_KIND, _CLASS, _VALUES = "is", "class", "values"


@dataclass(frozen=True)
class TorchJob:
    """One attempt of the torch backend on several ranks.

    folder: through which ranks and their parent speak, new for each attempt.  resume: the checkpoint to continue from.
    """

    request: TrainRequest
    options: TorchOptions
    out: Path
    folder: Path
    scratch: Path
    key: str
    seed: int
    resume: Path | None


_DATA = (Artifact, Benchmark, EvalRequest, TrainRequest, TorchJob)


def encode(value: Any) -> Any:
    """A value of the contract as plain data."""
    if isinstance(value, Path):
        return {_KIND: "path", _VALUES: str(value)}
    if isinstance(value, Component):
        return _named("component", value, value.config.model_dump(mode="json"))
    if isinstance(value, BaseModel):
        return _named("model", value, value.model_dump(mode="json", by_alias=True))
    if is_dataclass(value) and not isinstance(value, type):
        return _named("data", value, {f.name: encode(getattr(value, f.name)) for f in fields(value)})
    if isinstance(value, Mapping):
        return {_KIND: "mapping", _VALUES: {str(key): encode(child) for key, child in value.items()}}
    if isinstance(value, (list, tuple)):
        return [encode(child) for child in value]
    return value


def _named(kind: str, value: object, values: Any) -> dict[str, Any]:
    return {_KIND: kind, _CLASS: f"{type(value).__module__}:{type(value).__qualname__}", _VALUES: values}


def decode(value: Any) -> Any:
    """The value again. Raises PluginError for a class that is not of the contract."""
    if isinstance(value, list):
        return [decode(child) for child in value]
    if not isinstance(value, dict):
        return value
    values = value[_VALUES]
    match value[_KIND]:
        case "path":
            return Path(values)
        case "mapping":
            return {key: decode(child) for key, child in values.items()}
        case "component":
            component = _class(value[_CLASS], (Component,))
            return component(component.Config.model_validate(values))
        case "model":
            return _class(value[_CLASS], (BaseModel,)).model_validate(values)
        case _:
            return _class(value[_CLASS], _DATA)(**{name: decode(child) for name, child in values.items()})


def _class(name: str, allowed: tuple[type, ...]) -> Any:
    module, _, qualname = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, allowed)):
        raise PluginError(f"train: {name} is no {' or '.join(cls.__name__ for cls in allowed)}")
    return found


def write_job(job: TorchJob, file: Path) -> None:
    """Write a job for its ranks."""
    file.write_text(json.dumps(encode(job), indent=1) + "\n")


def read_job(file: Path) -> TorchJob:
    """The job of a file."""
    job: TorchJob = decode(json.loads(file.read_bytes()))
    return job
