"""Many merges of the same parents, without writing any: candidates go straight into a network's memory.

The parents are mapped once and read from the page cache; what candidates share is found once, the counts behind the
thresholds of every density above all. A TIES candidate of 0.5 B parameters takes about a third of a second on two
cores. A candidate's weights are the bits that `engine.run` would write.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.builtin.merging.fast.checkpoint import OUTPUT
from domadapt.builtin.merging.fast.engine import Job, Merge, context_of, write_all
from domadapt.builtin.merging.fast.gradients import Settings
from domadapt.builtin.merging.fast.methods import METHODS, kept_numbers
from domadapt.builtin.merging.fast.parents import Parents
from domadapt.builtin.merging.fast.routes import num_threads, ranges
from domadapt.builtin.merging.fast.tensorwise import TensorJob, memory
from domadapt.errors import StageError

if TYPE_CHECKING:
    import torch

    from domadapt.artifacts import Checkpoint
    from domadapt.components import Stage, TensorMerger

MANY = 100
"""Readings of a model's weights that a sweep is worth: candidates times parents."""


@dataclass(frozen=True)
class Candidate:
    """A point of a sweep: a method by name, or an author's TensorMerger, with its settings."""

    method: str | TensorMerger
    settings: Settings


class Sweep:
    """Merges of one set of parents in memory.

    ancestor: None when no candidate's method needs one.  models: as in `engine.run`.  seed: of random masks.
    where: what messages begin with.
    """

    def __init__(
        self,
        ancestor: Checkpoint | None,
        models: Sequence[Checkpoint],
        *,
        seed: int,
        dtype: str = "float32",
        device: str = "auto",
        where: str = "merge",
    ) -> None:
        self._seed = seed
        self._with = Parents(ancestor, models, where) if ancestor is not None else None
        self._without = Parents(None, models, where)
        self._context = context_of(dtype, seed, device, MANY * self._without.size)

    def prepare(self, candidates: Iterable[Candidate]) -> None:
        """Find the thresholds of all TIES candidates at once: one reading of the parents for every density."""
        settings = [candidate.settings for candidate in candidates if candidate.method == "ties"]
        if not settings:
            return
        parents = self._parents(uses_ancestor=True)

        def count(name: str) -> None:
            groups = [parents.group(name, numbers) for numbers in settings]
            kept = [set[int]().union(*numbers) for numbers in zip(*map(kept_numbers, groups), strict=True)]
            first = groups[0]
            assert first.base is not None
            self._context.thresholds.find(self._context.route, name, first.base, first.models, first.roles, kept)

        self._each(count, [name for name in parents.names if parents.is_merged(name)], parents)

    def load_into(self, network: torch.nn.Module | Mapping[str, torch.Tensor], candidate: Candidate) -> None:
        """Put a candidate's weights into a network of the parents' architecture, in the types that it has.

        network: or its tensors by name.
        Raises StageError when the network has a tensor that the parents have not, or of another shape.
        """
        self._fill(candidate, network if isinstance(network, Mapping) else network.state_dict())

    def state_dict(self, candidate: Candidate, out_dtype: str | None = None) -> dict[str, torch.Tensor]:
        """A candidate's weights as tensors of their own. out_dtype: None for the type the first model stores."""
        import torch

        parents = self._job(candidate).parents
        dtype = getattr(torch, out_dtype or parents.models[0].dtype)
        merged = [name for name in parents.names if parents.is_merged(name)]
        tensors = {name: torch.empty(parents.stored(name).shape, dtype=dtype) for name in merged}
        self._fill(candidate, tensors)
        return tensors

    def write(
        self,
        candidates: Mapping[Path, Candidate],
        stage: Stage,
        *,
        out_dtype: str | None = None,
        max_shard_bytes: int | None = None,
    ) -> None:
        """Write candidates as checkpoints, all from one reading of the parents."""
        self.prepare(candidates.values())
        jobs = {out: self._job(candidate) for out, candidate in candidates.items()}
        dtype = out_dtype or self._without.models[0].dtype
        write_all(self._without, jobs, dict.fromkeys(jobs, dtype), stage, max_shard_bytes)

    def _job(self, candidate: Candidate) -> Merge:
        if not isinstance(candidate.method, str):
            merger = candidate.method
            return TensorJob(merger, candidate.settings, self._parents(merger.uses_ancestor), self._seed)
        method = METHODS[candidate.method]
        parents = self._parents(method.uses_ancestor)
        return Job(method, candidate.method, candidate.settings, parents, self._context)

    def _parents(self, uses_ancestor: bool) -> Parents:
        if not uses_ancestor:
            return self._without
        assert self._with is not None, "a candidate's method needs the ancestor"
        return self._with

    def _fill(self, candidate: Candidate, tensors: Mapping[str, torch.Tensor]) -> None:
        job = self._job(candidate)
        parents = job.parents
        self._check(parents, tensors)
        targets = {name: tensor for name, tensor in tensors.items() if name in parents.names}

        def fill(name: str) -> None:
            _fill_one(job, name, targets[name])

        self._each(fill, list(targets), parents, one_by_one=isinstance(job, TensorJob))

    def _check(self, parents: Parents, tensors: Mapping[str, torch.Tensor]) -> None:
        names = set(parents.names)
        for name, tensor in tensors.items():
            stored = parents.stored(name).shape if name in names else None
            if name == OUTPUT and stored is None:
                continue  # a tied network shows its embedding under both names
            if stored != tuple(tensor.shape):
                there = "not there" if stored is None else f"of shape {list(stored)}"
                raise StageError(
                    f"{parents.where}: {name} of the network has shape {list(tensor.shape)} and is {there} in the "
                    "checkpoints; build the network from one of them"
                )
        if OUTPUT in names and OUTPUT in tensors:
            embedding = [t for n, t in tensors.items() if n.endswith("embed_tokens.weight")]
            if any(tensor.data_ptr() == tensors[OUTPUT].data_ptr() for tensor in embedding):
                raise StageError(
                    f"{parents.where}: the network's output layer is tied to its embedding and the merged one is not; "
                    "build the network from a checkpoint with an output layer"
                )

    def _each(
        self, work: Callable[[str], None], names: Sequence[str], parents: Parents, one_by_one: bool = False
    ) -> None:
        threads = 1 if one_by_one else num_threads()
        wanted = set(names)
        with ThreadPoolExecutor(threads, thread_name_prefix="merge") as pool:
            for _ in pool.map(work, [name for name in parents.by_size(threads) if name in wanted]):
                pass


def _fill_one(job: Merge, name: str, target: torch.Tensor) -> None:
    """Merge a tensor into a network's, in place where its memory can be written, else through a copy."""
    import torch

    if not job.parents.is_merged(name):
        entries = torch.from_numpy(np.array(job.parents.buffer(name)))
        target.copy_(entries.view(target.dtype).reshape(target.shape))
        return
    flat = memory(target)
    if flat is not None:
        _fill_flat(job, name, flat)
        return
    dtype = target.dtype if target.dtype in (torch.bfloat16, torch.float16) else torch.float32
    whole = torch.empty(target.shape, dtype=dtype)
    _fill_flat(job, name, memory(whole))
    with torch.no_grad():
        target.copy_(whole)


def _fill_flat(job: Merge, name: str, flat: Any) -> None:
    fill = job.fill(name)
    for start, end in ranges(flat.size, job.range_entries):
        fill(start, end, flat[start:end])
