"""The merge method `max_magnitude`: every weight goes where the model that changed it most wants it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from domadapt import hookimpl
from domadapt.components import Merger, TensorMerger


class MaxMagnitude(TensorMerger):
    """For each weight the largest change from the ancestor, by magnitude times share; of equal ones the first."""

    name = "max_magnitude"
    version = "1"
    uses_ancestor = True

    def merge_tensor(self, name: str, ancestor: Any, tuned: Sequence[Any], weights: Sequence[float], rng: Any) -> Any:
        """One parameter: torch tensors in fp32 on the CPU."""
        import torch

        models = torch.stack(list(tuned))
        shares = torch.tensor(weights).reshape(-1, *[1] * ancestor.ndim)
        winner = (shares * (models - ancestor).abs()).argmax(0, keepdim=True)
        return models.gather(0, winner).squeeze(0)


@hookimpl
def adapt_register_mergers() -> Iterable[type[Merger]]:
    """`adapt run --merge max_magnitude`."""
    return [MaxMagnitude]
