"""Checkpoints for resuming: weights, optimizer state and position, each in a published folder.

One process writes safetensors and JSON. Several ranks write their shards with torch's distributed checkpoints (DCP)
into a folder of ours: DCP alone loses the old checkpoint when a save into its place fails. Either kind continues on any
number of ranks. The newest intact one counts; one that fails its sha256 is set aside with a warning, never loaded.
"""

from __future__ import annotations

import contextlib
import errno
import json
import shutil
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.components import Stage, TrainRequest
from domadapt.errors import DataError, MissingError, StageError
from domadapt.pipeline.engine import is_disk_full
from domadapt.pipeline.store import publish, remove, verify

if TYPE_CHECKING:
    import torch

    from domadapt.builtin.training.peers import Peers

KEEP = 2
WEIGHTS, OPTIMIZER, SHARDED, STATE = "model.safetensors", "optimizer.safetensors", "sharded", "state.json"
MOMENTS = ("exp_avg", "exp_avg_sq")
POSITION = {"step", "samples", "consumed", "metrics_bytes", "made_with"}
_BLOCKED = (errno.EACCES, errno.EPERM, errno.EROFS)


@dataclass(frozen=True)
class Held:
    """What a checkpoint holds of a training in progress: tensors that are saved, or overwritten when loading.

    trained: parameters by name.  peers: the ranks whose shards they are.
    """

    trained: Mapping[str, torch.nn.Parameter]
    optimizer: torch.optim.Optimizer
    peers: Peers

    def moments(self) -> dict[str, Any]:
        """The optimizer's tensors by parameter and key; those of a fresh optimizer are made."""
        import torch

        found: dict[str, Any] = {}
        for name, parameter in self.trained.items():
            state = self.optimizer.state[parameter]
            for key in () if state else MOMENTS:
                state[key] = torch.zeros_like(parameter, requires_grad=False)
            if "step" not in state:  # where AdamW keeps it: beside the parameter when fused, else on the CPU
                fused = self.optimizer.param_groups[0]["fused"]
                state["step"] = torch.zeros((), device=self.peers.device if fused else "cpu")
            found |= {f"{name}/{key}": value.detach() for key, value in state.items()}
        return found

    def generators(self) -> dict[str, torch.Tensor]:
        """States of this rank's generators."""
        import torch

        states = {"rng/torch": torch.get_rng_state()}
        if self.peers.device.type == "cuda":
            states["rng/cuda"] = torch.cuda.get_rng_state(self.peers.device)
        return states

    def set_generators(self, saved: Mapping[str, torch.Tensor]) -> None:
        """Go on drawing where a checkpoint stopped."""
        import torch

        torch.set_rng_state(saved["rng/torch"])
        if "rng/cuda" in saved and self.peers.device.type == "cuda":
            torch.cuda.set_rng_state(saved["rng/cuda"], self.peers.device)


def save_checkpoint(folder: Path, step: int, held: Held, state: Mapping[str, Any]) -> None:
    """Publish `folder/step-XXXXXXXX` and drop all but the newest two. Every rank calls it.

    state: the position, as `POSITION` names it.
    Raises MissingError when the disk is full or cannot be written; checkpoints that were there stay.
    """
    work, peers = folder / f"step-{step:08d}.partial", held.peers
    with _told(folder, step):
        if peers.is_first:
            _check_room(folder, held)
            shutil.rmtree(work, ignore_errors=True)
            work.mkdir(parents=True)
        peers.wait()
        if peers.size > 1:
            _save_shards(work, held)
        else:
            _save_whole(work, held)
        peers.wait()
        if peers.is_first:
            (work / STATE).write_text(json.dumps(state, sort_keys=True))
            publish(work, folder / f"step-{step:08d}", {"kind": "training checkpoint", "facts": {"step": step}})
            for old in sorted(folder.glob("step-????????"))[:-KEEP]:
                remove(old)
        peers.wait()


def _save_whole(work: Path, held: Held) -> None:
    from safetensors.torch import save_file

    save_file({n: p.detach().contiguous() for n, p in held.trained.items()}, work / WEIGHTS)
    moments = {name: value.contiguous() for name, value in held.moments().items()}
    save_file({**moments, **held.generators()}, work / OPTIMIZER)


def _save_shards(work: Path, held: Held) -> None:
    import torch.distributed.checkpoint as dcp

    drawn = {f"{name}/{held.peers.rank}": value for name, value in held.generators().items()}
    weights = {f"weights/{n}": p.detach() for n, p in held.trained.items()}
    moments = {f"moments/{n}": value for n, value in held.moments().items()}
    dcp.save({**weights, **moments, **drawn}, checkpoint_id=work / SHARDED)


def _check_room(folder: Path, held: Held) -> None:
    """Raises MissingError before anything is written when the disk cannot take a checkpoint."""
    folder.mkdir(parents=True, exist_ok=True)
    needed = 12 * sum(p.numel() for p in held.trained.values())  # weights and two moments, float32
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise MissingError(
            f"train: a checkpoint needs {needed / 1e9:.3g} GB in {folder}, where {free / 1e9:.3g} GB are free; make "
            "room and run the same command again"
        )


@contextlib.contextmanager
def _told(folder: Path, step: int) -> Iterator[None]:
    """Failures of the disk in one sentence, whatever library met them."""
    try:
        yield
    except MissingError:
        raise
    except Exception as error:
        causes = [*_chain(error)]
        if any(isinstance(e, Exception) and is_disk_full(e) for e in causes) or _is_short_write(causes, folder):
            free = shutil.disk_usage(folder).free / 1e9
            raise MissingError(
                f"train: the disk is full ({free:.3g} GB free): the checkpoint of step {step} is not written, earlier "
                "ones are; make room and run the same command again"
            ) from error
        blocked = next((e for e in causes if isinstance(e, OSError) and e.errno in _BLOCKED), None)
        if blocked is not None:
            raise MissingError(
                f"train: {folder} cannot be written ({blocked}): the checkpoint of step {step} is not written; make it "
                "writable and run the same command again"
            ) from error
        raise


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        yield from (f for f in getattr(error, "failures", {}).values() if isinstance(f, tuple) for f in f[:1])
        error = error.__cause__ or error.__context__


def _is_short_write(causes: list[BaseException], folder: Path) -> bool:
    """torch says "unexpected pos 704 vs 598" for a full disk."""
    return any("unexpected pos" in str(e) for e in causes) and shutil.disk_usage(folder).free < 2**20


def newest_checkpoint(stage: Stage) -> Path | None:
    """The newest intact checkpoint in the stage's scratch; damaged ones are set aside with a warning.

    Raises StageError when there are checkpoints but none is intact: starting over must be asked for.
    """
    for path in sorted(stage.scratch.glob("step-????????"), reverse=True):
        try:
            verify(path)
            _check_position(path)
        except DataError as error:
            stage.event("warning", message=f"checkpoint set aside: {error}")
            remove(path.with_name(f"bad-{path.name}"))
            path.rename(path.with_name(f"bad-{path.name}"))
            continue
        return path
    if bad := sorted(stage.scratch.glob("bad-step-????????")):
        raise StageError(
            f"{stage.name}: none of the {len(bad)} checkpoints in {stage.scratch} is intact; "
            "delete that folder to start over"
        )
    return None


def _check_position(path: Path) -> None:
    state = json.loads((path / STATE).read_bytes())
    if missing := sorted(POSITION - set(state)):
        raise DataError(f"{path}: {STATE} does not say {', '.join(missing)}")


def decisive(request: TrainRequest, seed: int, **options: Any) -> dict[str, Any]:
    """What must be the same when a training continues: all that decides its weights, as JSON.

    options: those of the backend without which a checkpoint is another training's.
    """
    kept = request.settings.model_dump(
        mode="json",
        exclude={"backend", "situation", "checkpoint", "steps", "options", "checkpoint_every"},
        by_alias=True,
    )
    return {
        **kept,
        **options,
        "steps": request.num_steps,
        "samples_per_step": request.samples_per_step,
        "tokens": request.tokens.manifest["sha256"],
        "seed": seed,
    }


def check_made_with(path: Path, before: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    """Raises StageError with the difference when a checkpoint is another training's."""
    changed = [k for k in {**before, **now} if before.get(k) != now.get(k)]
    if changed:
        told = ", ".join(f"{key} {before.get(key)!r} (now {now.get(key)!r})" for key in changed)
        raise StageError(
            f"train: {path.name} was made with {told}; take that back to continue, or delete {path.parent} to start "
            "over"
        )


def load_checkpoint(path: Path, held: Held, made_with: Mapping[str, Any]) -> dict[str, Any]:
    """Load an intact checkpoint into what is held; return its position. Every rank calls it.

    Raises StageError when it was made by a training with other settings, or lacks a tensor.
    """
    state: dict[str, Any] = json.loads((path / STATE).read_bytes())
    check_made_with(path, state["made_with"], made_with)
    if (path / SHARDED).is_dir():
        _load_shards(path / SHARDED, held)
    else:
        _load_whole(path, held)
    return state


def _load_whole(path: Path, held: Held) -> None:
    import torch
    from safetensors.torch import load_file

    weights, others = load_file(path / WEIGHTS), load_file(path / OPTIMIZER)
    moments = held.moments()
    _check_names(path, {*weights, *others}, {*held.trained, *moments, "rng/torch"})
    with torch.no_grad():
        for name, parameter in held.trained.items():
            _overwrite(parameter, weights[name])
        for name, value in moments.items():
            _overwrite(value, others[name])
    if held.peers.size == 1:
        held.set_generators(others)


def _overwrite(target: Any, saved: torch.Tensor) -> None:
    """Copy a whole tensor over one that may be a shard."""
    if hasattr(target, "device_mesh"):
        from torch.distributed.tensor import distribute_tensor

        saved = saved.to(target.device)
        # every rank has the whole tensor already: nothing is sent
        saved = distribute_tensor(saved, target.device_mesh, target.placements, src_data_rank=None)
    target.copy_(saved)


def _load_shards(folder: Path, held: Held) -> None:
    import torch.distributed.checkpoint as dcp

    there = set(dcp.FileSystemReader(folder).read_metadata().state_dict_metadata)
    weights = {f"weights/{n}": p.detach() for n, p in held.trained.items()}
    moments = {f"moments/{n}": value for n, value in held.moments().items()}
    _check_names(folder, there, {*weights, *moments, "rng/torch/0"})
    rank = held.peers.rank
    drawn = {f"{name}/{rank}": value.clone() for name, value in held.generators().items() if f"{name}/{rank}" in there}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # one process has no process group to load with, which is what is meant
        # weights and moments are loaded in place
        dcp.load({**weights, **moments, **drawn}, checkpoint_id=folder, no_dist=held.peers.size == 1)
    if drawn:  # a rank that was not there before goes on with a generator of its own
        held.set_generators({name.removesuffix(f"/{rank}"): value for name, value in drawn.items()})


def _check_names(path: Path, there: set[str], wanted: set[str]) -> None:
    if missing := sorted(wanted - there):
        raise StageError(
            f"train: {path} lacks {len(missing)} tensors ({missing[0]}): without them the training would go on as "
            "another one; delete it to continue from the checkpoint before"
        )
