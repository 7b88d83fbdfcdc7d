"""The kernels of merging as a route: numpy arrays are given to machine code by their addresses.

Compiling them takes fifteen seconds once a machine, loading them a twentieth of a second
(`domadapt.builtin.object_code`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from domadapt.builtin.merging.fast.operators import NumpyArrays, Operators
from domadapt.builtin.merging.fast.routes import (
    LANES,
    RANGE,
    RUN,
    Deltas,
    Flat,
    Gathered,
    Step,
    Windows,
    narrow,
    ranges,
)
from domadapt.builtin.object_code import Kernel, KernelModule, NoKernels

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Compiled", "NoKernels", "are_compiled", "load"]

_FAST = "domadapt.builtin.merging.fast"
KERNELS = KernelModule(
    "merge",
    f"{_FAST}.kernels",
    uses=(f"{_FAST}.arithmetic", f"{_FAST}.instructions", f"{_FAST}.compiled", "domadapt.builtin.views"),
)


@functools.cache
def load(folder: Path | None = None) -> Mapping[str, Kernel]:
    """The kernels by name. Raises NoKernels when they cannot be had."""
    return KERNELS.load(folder)


def are_compiled() -> bool:
    """Whether the cache folder has the kernels, so that loading them takes no time."""
    return KERNELS.is_compiled()


BLOCK = 512
NOWHERE = 0xFFFFFFFF


class Compiled:
    """The kernels as a `Route`: numpy arrays are given by their addresses. Raises NoKernels when there are none."""

    name: Literal["kernels", "operators", "gpu"] = "kernels"
    range_entries = RANGE

    def __init__(self) -> None:
        self._kernels = load()

    def count_high(self, base: Flat, models: Sequence[Flat], rounded: bool) -> NDArray[np.int64]:
        """See Route."""
        table = np.zeros((len(models), 4, 1 << 15), np.uint32)
        scratch = _scratch(3)
        for inputs, _ in _pieces([base, *models]):
            self._kernels["count_high"](
                inputs.addresses_at, inputs.codes_at, len(models), inputs.size, rounded, _at(table), _at(scratch)
            )
        return table.sum(axis=1, dtype=np.int64)  # type: ignore[no-any-return]

    def count_low(self, base: Flat, model: Flat, wanted: Sequence[int]) -> NDArray[np.int64]:
        """See Route."""
        table = np.zeros((len(wanted), 1 << 16), np.uint32)
        rows, scratch = np.array(wanted, np.uint32), _scratch(3)
        for inputs, _ in _pieces([base, model]):
            self._kernels["count_low"](
                inputs.addresses_at, inputs.codes_at, inputs.size, len(wanted), _at(rows), _at(table), _at(scratch)
            )
        return table.astype(np.int64)

    def sample(self, base: Flat, models: Sequence[Flat], rounded: bool, runs: int) -> NDArray[np.uint32]:
        """See Route."""
        if not _in_place([base, *models]):
            return Operators(NumpyArrays()).sample(base, models, rounded, runs)
        inputs, scratch = _Inputs([base, *models]), _scratch(1)
        found = np.empty((len(models), runs, RUN), np.uint32)
        self._kernels["sample"](
            inputs.addresses_at, inputs.codes_at, len(models), runs, RUN, inputs.size // runs, rounded,
            _at(found), _at(scratch),
        )  # fmt: skip
        return found

    def gather(
        self, base: Flat, models: Sequence[Flat], rounded: bool, windows: Sequence[Windows], room: int
    ) -> list[Gathered] | None:
        """See Route."""
        number = len(models)
        num_windows, num_atoms = max(len(w.ranges) for w in windows), max(len(w.atoms) for w in windows)
        # what pads the shorter lists is beyond every finite magnitude
        bounds = np.full((number, num_windows, 2), NOWHERE, np.uint32)
        atoms = np.full((number, num_atoms), NOWHERE, np.uint32)
        for k, of_model in enumerate(windows):
            bounds[k, : len(of_model.ranges)] = of_model.ranges
            atoms[k, : len(of_model.atoms)] = of_model.atoms
        above, equal = np.zeros((number, num_windows), np.int64), np.zeros((number, num_atoms), np.int64)
        found, totals = np.empty((number, room), np.uint32), np.zeros(number, np.int64)
        scratch = _scratch(4)
        for inputs, _ in _pieces([base, *models]):
            self._kernels["gather"](
                inputs.addresses_at, inputs.codes_at, number, inputs.size, rounded,
                num_windows, _at(bounds), _at(above), num_atoms, _at(atoms), _at(equal),
                room, _at(found), _at(totals), _at(scratch),
            )  # fmt: skip
        if (totals > room).any():
            return None
        return [Gathered(found[k, : totals[k]], above[k].tolist(), equal[k].tolist()) for k in range(number)]

    def kept_sums(self, base: Flat, model: Flat, deltas: Deltas, index: int) -> NDArray[np.float64]:
        """See Route."""
        d, i = deltas, index
        lanes, budget, scratch = np.zeros((2, LANES)), d.budgets[i : i + 1].copy(), _scratch(4)
        for inputs, start in _pieces([base, model]):
            self._kernels["kept_sums"](
                inputs.addresses_at, inputs.codes_at, inputs.size, d.rounded, start,
                int(d.modes[i]), int(d.thresholds[i]), _at(budget), int(d.keys.view(np.int64)[i]), int(d.cuts[i]),
                _at(lanes), _at(scratch),
            )  # fmt: skip
        return lanes

    def products(self, base: Flat | None, models: Sequence[Flat], rounded: bool) -> NDArray[np.float64]:
        """See Route."""
        lanes, scratch = np.zeros((len(models), len(models), LANES)), _scratch(len(models) + 1)
        relative = base is not None
        for inputs, _ in _pieces([base, *models] if relative else models):
            self._kernels["products"](
                inputs.addresses_at, inputs.codes_at, len(models), inputs.size, rounded, relative,
                _at(lanes), _at(scratch),
            )  # fmt: skip
        return lanes

    def merge_deltas(self, base: Flat, models: Sequence[Flat], deltas: Deltas) -> Step:
        """See Route."""
        d, arrays, number = deltas, [base, *models], len(models)
        plan, scratch = np.array([d.elect, d.normalize, d.divisor, d.scale], np.float32), _scratch(number + 6)
        whole = _Inputs(arrays) if _in_place(arrays) else None
        of_models = [_at(each) for each in (d.modes, d.thresholds, d.budgets, d.keys, d.cuts, d.factors, d.weights)]
        kernel = self._kernels["merge_deltas"]

        def step(start: int, end: int, out: Flat) -> list[int]:
            inputs = whole or _Inputs([array[start:end] for array in arrays])
            output = _Output(out, number + 2)
            kernel(
                inputs.addresses_at, inputs.codes_at, number, start if whole else 0, end - start, d.rounded, start,
                *of_models, _at(plan), output.address, output.code, output.largest_at, _at(scratch),
            )  # fmt: skip
            return output.finish()

        return step

    def combine(
        self, models: Sequence[Flat], weights: Sequence[float], divisor: float, fused: bool, rounded: bool, out: Flat
    ) -> list[int]:
        """See Route."""
        inputs, output, scratch = _Inputs(models), _Output(out, len(models) + 1), _scratch(2)
        numbers = np.array([*weights, divisor], np.float32)
        self._kernels["combine"](
            inputs.addresses_at, inputs.codes_at, len(models), inputs.size, rounded, fused, _at(numbers),
            output.address, output.code, output.largest_at, _at(scratch),
        )  # fmt: skip
        return output.finish()

    def stock(self, base: Flat, models: Sequence[Flat], share: float, out: Flat) -> list[int]:
        """See Route."""
        inputs, output, scratch = _Inputs([base, *models]), _Output(out, len(models) + 2), _scratch(3)
        number = np.array([share], np.float32)
        self._kernels["stock"](
            inputs.addresses_at, inputs.codes_at, len(models), inputs.size, _at(number),
            output.address, output.code, output.largest_at, _at(scratch),
        )  # fmt: skip
        return output.finish()


def _at(array: NDArray[Any]) -> int:
    """The address of an array that the caller keeps."""
    return int(array.__array_interface__["data"][0])


def _scratch(blocks: int) -> NDArray[np.float32]:
    return np.empty(blocks * BLOCK, np.float32)


class _Inputs:
    """Addresses and type codes of ranges; fp16 and what is not aligned to its type is copied."""

    def __init__(self, arrays: Sequence[Flat]) -> None:
        self.arrays = [_readable(array) for array in arrays]  # kept: the addresses point into them
        self.size = int(self.arrays[0].size)
        assert all(array.size == self.size for array in self.arrays)
        self.addresses = np.array([_at(array) for array in self.arrays], np.int64)
        self.codes = np.array([array.dtype == np.float32 for array in self.arrays], np.int64)
        self.addresses_at, self.codes_at = _at(self.addresses), _at(self.codes)


def _readable(array: Flat) -> Flat:
    if array.dtype == np.float16:
        return array.astype(np.float32)
    return array if array.flags.aligned and array.flags.c_contiguous else array.copy()


def _in_place(arrays: Sequence[Flat]) -> bool:
    return all(array.dtype != np.float16 and array.flags.aligned for array in arrays)


def _pieces(arrays: Sequence[Flat]) -> Iterator[tuple[_Inputs, int]]:
    """Whole tensors where they can be read in place, else ranges, with their first entry."""
    size = arrays[0].size
    for start, end in ranges(size, max(size, 1) if _in_place(arrays) else RANGE):
        yield _Inputs([array[start:end] for array in arrays]), start


class _Output:
    """Where a kernel writes, and the largest magnitudes that it reports; fp16 goes through fp32."""

    def __init__(self, out: Flat, reported: int) -> None:
        self._out = out
        self._written = np.empty(out.size, np.float32) if out.dtype == np.float16 else out
        self.address, self.code = _at(self._written), int(self._written.dtype == np.float32)
        self.largest = np.zeros(reported, np.uint32)
        self.largest_at = _at(self.largest)

    def finish(self) -> list[int]:
        found: list[int] = self.largest.tolist()
        if self._written is not self._out:
            found[-1] = max(found[-1], narrow(self._written, self._out))
        return found
