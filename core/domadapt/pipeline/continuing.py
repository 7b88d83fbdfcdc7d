"""A training that was stopped goes on with another mixture: its checkpoint is taken over where both begin alike.

Two trainings that differ in nothing but the order of their windows are the same one as long as those are the same. So a
checkpoint of one is a checkpoint of the other up to the first window that differs: the windows read until then count as
read, all others come as the new mixture says, none is lost and none comes twice. Which checkpoints these are follows
from what lies in the store; nothing has to be asked for.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.artifacts import MANIFEST, Checkpoint, TokenStore
from domadapt.components import Stage, TrainRequest
from domadapt.pipeline.keys import effective_options
from domadapt.pipeline.store import is_intact, manifest_of, publish, remove, write_file

if TYPE_CHECKING:
    from pydantic import BaseModel

TRAINING, METRICS = "training.json", "metrics.jsonl"
"""In a training's scratch: what it is apart from its windows, and the lines of its steps."""
STATE = "state.json"
"""In a checkpoint: its position (`builtin.training.checkpoints`)."""


def take_over(request: TrainRequest, options: BaseModel, stage: Stage) -> None:
    """Put the newest checkpoint of another training that began with the same windows into the stage's scratch.

    Nothing is done where the stage has checkpoints of its own, or no other training fits. options: the backend's.
    """
    identity = _identity(request, options, stage.seed)
    begun = any(stage.scratch.glob("step-????????"))
    write_file(stage.scratch / TRAINING, json.dumps(identity, sort_keys=True).encode())
    if begun:
        return
    others = 0
    for scratch in sorted(stage.scratch.parent.glob("*.scratch")):
        if scratch == stage.scratch or _read(scratch / TRAINING) != identity:
            continue
        for path in sorted(scratch.glob("step-????????"), reverse=True):
            others = max(others, int(path.name.removeprefix("step-")))
            if is_intact(path) and _begins_alike(path, request.tokens):
                _copy(path, stage.scratch, str(request.tokens.manifest["sha256"]))
                stage.event("taken_over", step=int(path.name.removeprefix("step-")), key=scratch.stem)
                return
    if others:
        stage.event(
            "warning",
            message=f"a training with another mixture was stopped at step {others}; to go on from there, begin "
            f"mix.schedule with its shares and until_step: {others}",
        )


def _identity(request: TrainRequest, options: BaseModel, seed: int) -> dict[str, Any]:
    settings = request.settings.model_dump(
        mode="json", exclude={"steps", "checkpoint", "options", "checkpoint_every", "situation"}, by_alias=True
    )
    identity = {
        "start": _digest(request.start),
        "settings": settings,
        "options": effective_options(options),
        "steps": request.num_steps,
        "samples_per_step": request.samples_per_step,
        "seed": seed,
    }
    return json.loads(json.dumps(identity))  # type: ignore[no-any-return]


def _digest(start: Checkpoint) -> str:
    return start.digest or str(start.manifest["sha256"])


def _read(file: Path) -> Any:
    try:
        return json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None


def _begins_alike(checkpoint: Path, tokens: TokenStore) -> bool:
    """Whether the windows that a checkpoint has read are the first ones of these tokens, id by id."""
    state = _read(checkpoint / STATE)
    made_with = state.get("made_with", {}).get("tokens") if isinstance(state, dict) else None
    before = next((one for one in _stores(tokens.path.parent) if one.manifest["sha256"] == made_with), None)
    if before is None:
        return False
    count = int(state["samples"])
    old, new = before.order()[:count], tokens.order()[:count]
    if len(old) != count or len(new) != count:
        return False
    return _windows(before) == _windows(tokens) and bool((old == new).all())


def _windows(store: TokenStore) -> list[Any]:
    """The parts of a mixture, each with the digests of its files."""
    files: Mapping[str, Any] = store.manifest["files"]
    names = [part["name"] for part in store.plan["parts"]]
    suffixes = (".bin", ".documents.npy", ".answers.bin")
    return [[name, *(files.get(f"train/{name}{suffix}", {}).get("sha256") for suffix in suffixes)] for name in names]


def _stores(folder: Path) -> Iterator[TokenStore]:
    for path in sorted(folder.iterdir()):
        if manifest_of(path) is not None:
            yield TokenStore(path)


def _copy(checkpoint: Path, scratch: Path, tokens: str) -> None:
    """The checkpoint as one of a training with these tokens; large files are linked, not copied."""
    work = scratch / f"{checkpoint.name}.partial"
    remove(work)
    shutil.copytree(checkpoint, work, copy_function=_link)
    state = json.loads((work / STATE).read_bytes())
    state["made_with"]["tokens"] = tokens
    (work / STATE).unlink()
    (work / STATE).write_text(json.dumps(state, sort_keys=True))
    before = manifest_of(checkpoint) or {}
    (work / MANIFEST).unlink()
    publish(work, scratch / checkpoint.name, {"kind": before.get("kind"), "facts": before.get("facts", {})})
    shutil.copyfile(checkpoint.parent / METRICS, scratch / METRICS)


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
