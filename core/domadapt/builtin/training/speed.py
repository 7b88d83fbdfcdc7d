"""How fast a training is: tokens a second, and the share of the device's peak that its model FLOPs are (MFU)."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from domadapt.errors import DataError
from domadapt.planning.devices import device_of
from domadapt.planning.flops import flops_per_token, utilization
from domadapt.planning.shapes import ModelShape, read_shape

if TYPE_CHECKING:
    from domadapt.recipe.schema import Train

RECENT = 20
"""Steps that a shown speed is the mean of."""


class Speed:
    """Speed of the last steps; what is measured and saved between them does not count.

    peak_flops: of one device, a second.  num_devices: how many train.
    """

    def __init__(self, model: Path, peak_flops: float, num_devices: int) -> None:
        self.peak_flops, self.num_devices = peak_flops, num_devices
        self.shape: ModelShape | None = None
        try:
            self.shape = read_shape(model)
        except DataError:  # of a family whose FLOPs are not known here
            self.shape = None
        self._recent: deque[tuple[float, int, float]] = deque(maxlen=RECENT)
        self._is_warm = False

    def add(self, seconds: float, num_tokens: int, attended: float) -> None:
        """One more step. attended: what stands for the sequence length in its attention."""
        flops = flops_per_token(self.shape, attended) * num_tokens if self.shape is not None else 0.0
        if not self._is_warm and self._recent:  # the very first step warms up
            self._recent.clear()
            self._is_warm = True
        self._recent.append((seconds, num_tokens, flops))

    def shown(self) -> dict[str, Any]:
        """Values for the progress: tokens a second, and MFU where it is known."""
        seconds, tokens, flops = (sum(column) for column in zip(*self._recent, strict=True))
        told: dict[str, Any] = {"tokens/s": round(tokens / seconds)}
        if flops:
            told["MFU"] = f"{utilization(flops, seconds, self.peak_flops, self.num_devices):.1%}"
        return told


def attended_length(positions: np.ndarray) -> float:
    """What stands for the sequence length where positions restart with each document.

    A piece of n tokens has the positions 0 .. n - 1, whose mean weighted by tokens is (sum n^2 / sum n - 1) / 2.
    """
    return float(2 * positions.mean() + 1)


def sheet_flops(device: torch.device, settings: Train) -> float | None:
    """The peak of the device's data sheet; None where it is not known (a CPU, another type than bf16)."""
    if device.type != "cuda" or settings.precision != "bf16":
        return None
    known = device_of(torch.cuda.get_device_name(device))
    return known.peak_flops if known is not None else None


def matmul_flops(device: torch.device, precision: str) -> float:
    """Floating-point operations a second of a large matrix product here.

    The best of a few products of 0.1 s in all, in the type of the training's products. It touches no generator.
    """
    size = 8192 if device.type == "cuda" else 1024
    one = torch.ones(size, size, dtype=torch.bfloat16 if precision == "bf16" else torch.float32, device=device)
    best = float("inf")
    for _ in range(4):  # the first one warms up
        started = time.perf_counter()
        product = one @ one
        float(product[0, 0])  # waits for the device
        best = min(best, time.perf_counter() - started)
    return 2 * size**3 / best
