"""Checkpoints for resuming, in Megatron's distributed format: written by all ranks, read by any layout.

A checkpoint holds, for every parameter, the fp32 weight and AdamW's moments as Megatron's sharded tensors: saved at
two tensor-parallel ranks it is read by two pipeline stages or by one process. The files are written by forked
processes while training goes on; when all ranks are done, the first one publishes the folder with the sha256 of
every file. Its metadata is a pickle, which is read in folders of that kind only.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from megatron.core import dist_checkpointing, parallel_state
from megatron.core.dist_checkpointing.dict_utils import nested_values
from megatron.core.dist_checkpointing.mapping import ShardedTensorFactory
from megatron.core.dist_checkpointing.strategies.async_utils import AsyncCallsQueue
from megatron.core.dist_checkpointing.utils import extract_sharded_tensors_and_factories

from domadapt.builtin.training.checkpoints import KEEP, STATE
from domadapt.builtin.training.megatron.optimizer import KINDS, Trainee
from domadapt.pipeline.store import publish, remove

State = dict[str, Any]
Value = Callable[[torch.nn.Parameter, str], torch.Tensor]


class CheckpointWriter:
    """Saves a trainee; at most one save is under way."""

    def __init__(self, folder: Path, attempt: str, published: Callable[[State], None], *, background: bool) -> None:
        """attempt: a name that no other attempt has, so that what a killed one still writes is not in the way.

        published: called on the first rank with the state of a checkpoint that is complete.
        background: whether training goes on while files are written.
        """
        self.folder, self.attempt, self.published, self.background = folder, attempt, published, background
        self._queue = AsyncCallsQueue()
        self._publisher = ThreadPoolExecutor(1)
        self._publishing: Future[None] | None = None

    def save(self, trainee: Trainee, state: State) -> None:
        """Write `step-XXXXXXXX`; every rank calls it. state: the step, and what else resuming needs, JSON."""
        self.wait()
        work = self.folder / f"step-{state['step']:08d}.{self.attempt}.partial"
        if torch.distributed.get_rank() == 0:
            work.mkdir(parents=True)
        torch.distributed.barrier()
        request = dist_checkpointing.save(
            sharded_states(trainee, KINDS, _saved(trainee)),
            str(work),
            sharded_strategy=("torch_dist", 1),
            async_sharded_save=True,
        )
        request.add_finalize_fn(lambda: self._publish(work, state))
        if self.background:
            self._queue.schedule_async_request(request)
        else:
            request.execute_sync()
            self.wait()

    def poll(self) -> None:
        """Publish what has been written meanwhile; every rank calls it after each step."""
        self._queue.maybe_finalize_async_calls(blocking=False)
        if self._publishing is not None and self._publishing.done():
            self._publishing.result()
            self._publishing = None

    def wait(self) -> None:
        """Until all that was asked for is published; every rank calls it."""
        self._queue.maybe_finalize_async_calls(blocking=True)
        if self._publishing is not None:
            self._publishing.result()
            self._publishing = None
        torch.distributed.barrier()

    def _publish(self, work: Path, state: State) -> None:
        if torch.distributed.get_rank() != 0:
            return
        step = state["step"]

        def run() -> None:
            (work / STATE).write_text(json.dumps(state, sort_keys=True))
            publish(work, self.folder / f"step-{step:08d}", {"kind": "training checkpoint", "facts": {"step": step}})
            self.published(state)
            for old in sorted(self.folder.glob("step-????????"))[:-KEEP]:
                remove(old)

        self._publishing = self._publisher.submit(run)  # sha256 and fsync of large files take their time


def discard_unfinished(folder: Path) -> None:
    """Remove what attempts that were killed have left half written."""
    for work in folder.glob("step-*.partial"):
        shutil.rmtree(work, ignore_errors=True)


def load_checkpoint(path: Path, trainee: Trainee) -> State:
    """Read a published checkpoint into a trainee of any layout; every rank calls it. Returns its state."""
    state: State = json.loads((path / STATE).read_bytes())
    first = parallel_state.get_data_parallel_rank() == 0
    for kind in KINDS:  # one after the other: the first of the data-parallel ranks holds one whole state at a time
        wanted: dict[str, Any] = {kind: {}}
        if first:
            wanted = sharded_states(trainee, (kind,), lambda parameter, _: torch.empty(parameter.shape))
        found = dist_checkpointing.load(wanted, str(path))
        for name, parameter in trainee.parameters():
            trainee.set_whole(parameter, kind, from_first(found[kind][name] if first else None, parameter))
    trainee.set_step(state["step"])
    return state


def from_first(value: torch.Tensor | None, like: torch.Tensor) -> torch.Tensor:
    """The fp32 tensor that the first data-parallel rank has, on all of them; the others bring None."""
    device = like.device
    whole = torch.empty(like.shape, device=device) if value is None else value.to(device, torch.float32)
    if parallel_state.get_data_parallel_world_size() > 1:
        source = parallel_state.get_data_parallel_src_rank()
        torch.distributed.broadcast(whole, source, group=parallel_state.get_data_parallel_group())
    return whole


def _saved(trainee: Trainee) -> Value:
    """What is saved: the states in host memory on the first data-parallel rank, no data on those that have copies."""
    first = parallel_state.get_data_parallel_rank() == 0

    def value(parameter: torch.nn.Parameter, kind: str) -> torch.Tensor:
        whole = trainee.whole(parameter, kind)
        return whole.cpu() if first else torch.empty(parameter.shape, device="meta")

    return value


def sharded_states(trainee: Trainee, kinds: Sequence[str], value: Value) -> dict[str, dict[str, Any]]:
    """Megatron's sharded tensors of the states, kind -> parameter name -> tensor.

    They are divided as the model's own sharded tensors say: which part of which whole this rank has.
    """
    group = parallel_state.get_data_parallel_group(with_context_parallel=True)
    described, _ = extract_sharded_tensors_and_factories(
        trainee.model.sharded_state_dict(metadata={"dp_cp_group": group})
    )
    by_parameter = {id(entry.data): entry for entry in nested_values(described)}
    states: dict[str, dict[str, Any]] = {kind: {} for kind in kinds}
    for name, parameter in trainee.parameters():
        entry = by_parameter[id(parameter)]
        for kind in kinds:
            changed = {"key": f"{kind}.{entry.key}", "data": value(parameter, kind)}
            if not isinstance(entry, ShardedTensorFactory):
                changed["dtype"] = torch.float32
            states[kind][name] = replace(entry, **changed)
    return states
