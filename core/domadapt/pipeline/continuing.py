"""A training that was stopped goes on with another mixture: its checkpoint is taken over where both begin alike.

Two trainings that differ in nothing but the order of their windows are the same one as long as those are the same; so
are two whose learning rates part only later. A checkpoint of one is a checkpoint of the other up to the first step that
differs: the windows read until then count as read, all others come as the new mixture says, none is lost and none comes
twice. Which checkpoints these are follows from what lies in the store; nothing has to be asked for.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.artifacts import MANIFEST, Checkpoint, TokenStore
from domadapt.components import Stage, TrainRequest
from domadapt.pipeline.keys import effective_options
from domadapt.pipeline.law import SCHEDULE
from domadapt.pipeline.store import is_intact, link_or_copy, manifest_of, publish, remove, write_file

if TYPE_CHECKING:
    from pydantic import BaseModel

    from domadapt.recipe.schema import Train

TRAINING, METRICS = "training.json", "metrics.jsonl"
"""In a training's scratch: what it is apart from its windows, and the lines of its steps."""
STATE = "state.json"
"""In a checkpoint: its position (`builtin.training.checkpoints`)."""


@dataclass(frozen=True)
class Training:
    """What a training is apart from its windows, as JSON. start: digest of the model.  options: of the backend."""

    start: str
    settings: Mapping[str, Any]
    options: Mapping[str, Any]
    steps: int
    samples_per_step: int
    seed: int

    @classmethod
    def of(
        cls, settings: Train, options: BaseModel, *, start: str, steps: int, samples_per_step: int, seed: int
    ) -> Training:
        """A training as a recipe says it."""
        said = settings.model_dump(
            mode="json", exclude={"steps", "checkpoint", "options", "checkpoint_every", "situation"}, by_alias=True
        )
        plain = json.loads(json.dumps(effective_options(options)))
        return cls(start, json.loads(json.dumps(said)), plain, steps, samples_per_step, seed)

    def changes(self, other: Training, until: int, start: Checkpoint) -> list[str]:
        """What makes the steps before `until` others, by the names of recipe keys. start: the model it starts from."""
        found = [f"train.{k}" for k, v in self.settings.items() if k not in SCHEDULE and v != other.settings.get(k)]
        found += [f"train.options.{k}" for k in {**self.options, **other.options} if self._other_option(other, k)]
        named = {"the start model": "start", "mix.seq_len": "samples_per_step", "seed": "seed"}
        found += [name for name, field in named.items() if getattr(self, field) != getattr(other, field)]
        if not found and not self._same_rates(other, until, start):
            found.append(
                f"the learning rates of these steps, which train.schedule {self.settings['schedule']} makes of "
                f"train.lr, train.warmup and the number of steps ({other.steps}, now {self.steps})"
            )
        return found

    def _other_option(self, other: Training, name: str) -> bool:
        return bool(self.options.get(name) != other.options.get(name))

    def _same_rates(self, other: Training, until: int, start: Checkpoint) -> bool:
        from domadapt.builtin.training.schedule import rate_of, starting_rate
        from domadapt.recipe.schema import Train

        if self.settings == other.settings and self.steps == other.steps:
            return True
        one, two = Train.model_validate(self.settings), Train.model_validate(other.settings)
        begins = starting_rate(one, start), starting_rate(two, start)
        return all(
            rate_of(one, step, self.steps, begins[0]) == rate_of(two, step, other.steps, begins[1])
            for step in range(until)
        )


def take_over(request: TrainRequest, options: BaseModel, stage: Stage) -> None:
    """Put the newest checkpoint of another training that began with the same steps into the stage's scratch.

    Nothing is done where the stage has checkpoints of its own, or no other training fits. options: the backend's.
    """
    training = Training.of(
        request.settings,
        options,
        start=request.start.digest or str(request.start.manifest["sha256"]),
        steps=request.num_steps,
        samples_per_step=request.samples_per_step,
        seed=stage.seed,
    )
    write_file(stage.scratch / TRAINING, json.dumps(asdict(training), sort_keys=True).encode())
    if any(stage.scratch.glob("step-????????")):
        return
    others = [path for path in stage.scratch.parent.glob("*.scratch/step-????????") if path.parent != stage.scratch]
    for path in sorted(others, key=lambda path: (path.name, path.parent.name), reverse=True):
        step = _step_of(path)
        before = _read_training(path.parent / TRAINING)
        if before is None or step > request.num_steps or training.changes(before, step, request.start):
            continue
        if is_intact(path) and _begins_alike(path, request.tokens):
            _copy(path, stage.scratch, training, str(request.tokens.manifest["sha256"]))
            stage.event("taken_over", step=step, key=path.parent.stem)
            return
    if others and any(one.get("mixture") for one in request.tokens.plan.get("stages", ())):
        stage.event(
            "warning",
            message="no checkpoint in the store began with the windows and rates of this training: it begins at step 1",
        )


def newest_step(scratch: Path) -> int:
    """The step of the newest checkpoint in a training's scratch, 0 where there is none."""
    return max((_step_of(path) for path in scratch.glob("step-????????") if is_intact(path)), default=0)


def _step_of(checkpoint: Path) -> int:
    return int(checkpoint.name.removeprefix("step-"))


def _read_training(file: Path) -> Training | None:
    read = _read(file)
    try:
        return Training(**read)
    except TypeError:
        return None


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


def _copy(checkpoint: Path, scratch: Path, training: Training, tokens: str) -> None:
    """The checkpoint as one of this training with these tokens; large files are linked, not copied."""
    work = scratch / f"{checkpoint.name}.partial"
    remove(work)
    shutil.copytree(checkpoint, work, copy_function=link_or_copy)
    state = json.loads((work / STATE).read_bytes())
    rates = {name: value for name, value in training.settings.items() if name in SCHEDULE}
    state["made_with"] |= {**rates, "steps": training.steps, "tokens": tokens}
    (work / STATE).unlink()
    (work / STATE).write_text(json.dumps(state, sort_keys=True))
    before = manifest_of(checkpoint) or {}
    (work / MANIFEST).unlink()
    publish(work, scratch / checkpoint.name, {"kind": before.get("kind"), "facts": before.get("facts", {})})
    shutil.copyfile(checkpoint.parent / METRICS, scratch / METRICS)
