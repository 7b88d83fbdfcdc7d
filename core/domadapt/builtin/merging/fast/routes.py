"""Who does the arithmetic: compiled kernels, or array operators of the same bits.

Kernels need numba once and a cache folder that can be written (compiling anew in every process would take longer
than most merges). Operators need neither: numpy on the CPU, about five times slower than kernels, torch on a GPU.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, Protocol

import numpy as np

from domadapt.errors import MissingError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Flat = Any
"""The entries of a tensor, one dimension: uint16 (bf16), float16 or float32."""
Step = Callable[[int, int, Flat], list[int]]
"""step(start, end, out) merges entries [start, end) of a tensor into `out`; see Route for what it returns."""
RANGE = 1 << 17
"""Entries between two writes: a multiple of every block; what is read of the parents for several candidates, and the
output's buffer, stay in the second-level cache."""
NONE, MAGNITUDE, RANDOM = 0, 1, 2
"""How a task vector is sparsified."""
LANES = 64
RUN = 128
"""Entries of a sample that lie together: each run costs a search for its page, which takes longer than reading it."""
INFINITY_BITS = 0x7F800000
COMPILING = 1_000_000_000
"""Entries that operators read in the time that compiling the kernels takes, ten to fifteen seconds."""


@dataclass
class Deltas:
    """How the task vectors of one tensor are merged; the fields of every model are arrays of length N.

    rounded: arithmetic in bf16.  modes: NONE, MAGNITUDE, RANDOM.  thresholds: uint32, magnitude bits; above it
    all is kept.  budgets: int64, entries at the threshold still to be kept (counted down from range to range).
    keys, cuts: uint64, of the random masks: an entry is kept when its draw is below the cut.  factors: fp32, of
    rescaling.  weights: fp32.  elect: whether signs are elected.  divisor: where they are not.  scale: lambda.
    """

    rounded: bool
    modes: NDArray[np.int64]
    thresholds: NDArray[np.uint32]
    budgets: NDArray[np.int64]
    keys: NDArray[np.uint64]
    cuts: NDArray[np.uint64]
    factors: NDArray[np.float32]
    weights: NDArray[np.float32]
    elect: bool
    normalize: bool
    divisor: np.float32
    scale: np.float32


class Windows(NamedTuple):
    """Where to look in a task vector: magnitude bits [first, last] of windows, and of single frequent magnitudes."""

    ranges: Sequence[tuple[int, int]]
    atoms: Sequence[int]


class Gathered(NamedTuple):
    """What was there: magnitude bits in any window (but atoms), how many above each window, how many of each atom."""

    found: NDArray[np.uint32]
    above: Sequence[int]
    equal: Sequence[int]


class Route(Protocol):
    """The passes of merging. Inputs and `out` are flat; `out` is a range, its inputs the same range but for steps.

    Passes that write return the largest magnitude bits (fp32) of each input and, last, of the output.
    """

    name: Literal["kernels", "operators", "gpu"]
    range_entries: int

    def count_high(self, base: Flat, models: Sequence[Flat], rounded: bool) -> NDArray[np.int64]:
        """How often each upper half of the magnitude bits occurs in the task vectors, [N, 32768]."""

    def count_low(self, base: Flat, model: Flat, wanted: Sequence[int]) -> NDArray[np.int64]:
        """How often each lower half occurs with each of the wanted upper halves, [len(wanted), 65536]."""

    def sample(self, base: Flat, models: Sequence[Flat], rounded: bool, runs: int) -> NDArray[np.uint32]:
        """Magnitude bits of some of each task vector: `runs` times RUN entries, evenly spread, [N, runs, RUN]."""

    def gather(
        self, base: Flat, models: Sequence[Flat], rounded: bool, windows: Sequence[Windows], room: int
    ) -> list[Gathered] | None:
        """What lies in and above the windows of each task vector.

        None when more than `room` entries of one would have to be kept, or when counting is no slower on this route.
        """

    def kept_sums(self, base: Flat, model: Flat, deltas: Deltas, index: int) -> NDArray[np.float64]:
        """Sums of |task vector| before and after sparsifying model `index`, [2, LANES], entry i in lane i % LANES."""

    def products(self, base: Flat | None, models: Sequence[Flat], rounded: bool) -> NDArray[np.float64]:
        """Sums of products of every pair of models (relative to base, when there is one), [N, N, LANES]."""

    def merge_deltas(self, base: Flat, models: Sequence[Flat], deltas: Deltas) -> Step:
        """base + scale * (merged task vectors) of whole tensors, by ranges in order."""

    def combine(
        self, models: Sequence[Flat], weights: Sequence[float], divisor: float, fused: bool, rounded: bool, out: Flat
    ) -> list[int]:
        """Sum of weight * model, divided by the divisor; fused: with one rounding for each model, from +0 on."""

    def stock(self, base: Flat, models: Sequence[Flat], share: float, out: Flat) -> list[int]:
        """share * mean of the models + (1 - share) * base."""


def ranges(size: int, step: int = RANGE) -> Iterator[tuple[int, int]]:
    """Starts and ends that cover `size` entries."""
    for start in range(0, size, step):
        yield start, min(start + step, size)


def num_threads() -> int:
    """Threads to merge with: $OMP_NUM_THREADS where it is set, else one for each processor we may use."""
    stated = os.environ.get("OMP_NUM_THREADS", "")
    if stated.isdigit() and int(stated):
        return int(stated)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def choose(device: str = "auto", work: int = COMPILING) -> Route:
    """The best route there is for so many entries to read.

    device: "auto" (kernels, or operators where kernels cannot be used, or are not compiled yet and compiling them
    would take longer than the work), "kernels", "operators" (numpy), or a torch device ("cuda"): a GPU is used only
    when named, because moving the weights there and back takes longer than merging them here.
    Raises MissingError when what is named cannot be used.
    """
    from domadapt.builtin.merging.fast import compiled
    from domadapt.builtin.merging.fast.operators import NumpyArrays, Operators, TorchArrays

    if device == "operators" or (device == "auto" and work < COMPILING and not compiled.are_compiled()):
        return Operators(NumpyArrays())
    if device in ("auto", "kernels", "cpu"):
        try:
            return compiled.Compiled()
        except compiled.NoKernels as reason:
            if device == "kernels":
                raise MissingError(f"merge: {reason}") from reason
            return Operators(NumpyArrays())
    try:
        return Operators(TorchArrays(device))
    except (RuntimeError, AssertionError) as error:
        raise MissingError(f"merge: the device {device!r} cannot be used ({error})") from error


def narrow(entries: NDArray[np.float32], out: NDArray[np.float16]) -> int:
    """Write fp32 entries as fp16; the largest magnitude bits (of an infinity, when one of them does not fit)."""
    with np.errstate(over="ignore"):
        out[:] = entries
    return 0 if np.isfinite(out).all() else INFINITY_BITS
