"""Merge methods that work on one parameter at a time: what a TensorMerger's author does not have to write.

The author's method gets and gives torch tensors in fp32; reading, types, sharding, random numbers, refusals and
sweeps are done here. One tensor is worked on at a time, with torch's own threads: the author's code need not be
safe in threads, and what is held is one tensor of each parent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.builtin.merging.fast.gradients import Settings
from domadapt.builtin.merging.fast.methods import mask_key
from domadapt.builtin.merging.fast.parents import Parents
from domadapt.builtin.merging.fast.routes import RANGE, Flat
from domadapt.errors import PluginError

if TYPE_CHECKING:
    import torch

    from domadapt.artifacts import Checkpoint
    from domadapt.components import Stage, TensorMerger, WeightedCheckpoint


def run(
    merger: TensorMerger, ancestor: Checkpoint, models: Sequence[WeightedCheckpoint], out: Path, stage: Stage
) -> dict[str, Any]:
    """Merge all tensors by the author's method and write the weights and config.json into `out`; return facts."""
    from domadapt.builtin.merging.fast.engine import write_all

    weights: dict[str, float] = {model.checkpoint.role: model.weight for model in models}
    parents = Parents(ancestor if merger.uses_ancestor else None, [m.checkpoint for m in models], stage.name)
    dtype = parents.models[0].dtype
    job = TensorJob(merger, lambda name, role: {"weight": weights[role]} if role else {}, parents, stage.seed)
    write_all(parents, {out: job}, {out: dtype}, stage, threads=1)
    return {
        "method": merger.name,
        "engine": "tensors",
        "out_dtype": dtype,
        "tensors": len(parents.names),
        "finite": True,
    }


class TensorJob:
    """An author's method with its settings over the parents: merges any tensor into any memory."""

    range_entries, in_ranges = RANGE, False

    def __init__(self, merger: TensorMerger, settings: Settings, parents: Parents, seed: int) -> None:
        self._merger, self._settings, self.parents, self._seed = merger, settings, parents, seed

    def fill(self, tensor: str) -> Callable[[int, int, Flat], None]:
        """Merge a tensor; returns what puts its entries [start, end) somewhere."""
        import torch

        parents, shape = self.parents, self.parents.stored(tensor).shape
        inputs = [_tensor(parent.flat(tensor)).reshape(shape) for parent in parents.all]
        for place, entries in enumerate(inputs):
            if not bool(torch.isfinite(entries).all()):
                raise parents.non_finite(tensor, place, relative=True)
        ancestor = inputs.pop(0) if parents.ancestor is not None else None
        weights = [float(self._settings(tensor, role)["weight"]) for role in parents.roles]
        generator = torch.Generator().manual_seed(mask_key(self._seed, tensor, self._merger.name) >> 1)
        with torch.no_grad():
            merged = self._merger.merge_tensor(tensor, ancestor, inputs, weights, generator)
        if not isinstance(merged, torch.Tensor) or tuple(merged.shape) != shape:
            given = f"a tensor of shape {list(merged.shape)}" if isinstance(merged, torch.Tensor) else repr(merged)
            raise PluginError(
                f"{parents.where}: the merge method {self._merger.name} gave {given} for {tensor}, "
                f"whose shape is {list(shape)}; report it to its author"
            )
        flat = merged.detach().to("cpu", torch.float32).reshape(-1)

        def filled(start: int, end: int, out: Flat) -> None:
            _store(flat[start:end], out)
            if not bool(torch.isfinite(_tensor(out)).all()):
                raise parents.non_finite(tensor, len(parents.all), relative=True)

        return filled


def _tensor(entries: Flat) -> torch.Tensor:
    """Stored entries as fp32, in memory of their own."""
    import numpy as np
    import torch

    if entries.dtype == np.uint16:
        return torch.from_numpy(entries.view(np.int16).copy()).view(torch.bfloat16).float()
    return torch.from_numpy(entries.astype(np.float32))


def _store(entries: torch.Tensor, out: Flat) -> None:
    import numpy as np
    import torch

    if out.dtype == np.uint16:
        out[:] = entries.to(torch.bfloat16).view(torch.int16).numpy().view(np.uint16)
    else:
        out[:] = entries.to(torch.float16 if out.dtype == np.float16 else torch.float32).numpy()


def memory(tensor: torch.Tensor) -> Flat | None:
    """A torch tensor's own memory as flat numpy entries, None when it is elsewhere or of another type."""
    import numpy as np
    import torch

    if tensor.device.type != "cpu" or not tensor.is_contiguous():
        return None
    flat = tensor.detach().view(-1)
    if tensor.dtype == torch.bfloat16:
        return flat.view(torch.int16).numpy().view(np.uint16)
    return flat.numpy() if tensor.dtype in (torch.float16, torch.float32) else None
