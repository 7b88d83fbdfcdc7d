"""The arithmetic of merging as array operators: the same bits as the kernels, nothing to compile.

One text for numpy and torch: what they name alike is used as it is, the rest is the few functions of NumpyArrays
and TorchArrays. Ranges are cut into chunks whose temporaries stay in the cache. On a GPU the float64 sums of
slerp, model_stock and rescaling are added in another order than on the CPU (differences of about 1e-16 of the sum).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from domadapt.builtin.merging.fast.routes import (
    INFINITY_BITS,
    LANES,
    MAGNITUDE,
    NONE,
    RANDOM,
    RANGE,
    RUN,
    Deltas,
    Flat,
    Gathered,
    Step,
    Windows,
    narrow,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

Array = Any
LARGEST_BLOCK = 24 << 20
GAMMA, MIX_1, MIX_2 = 0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class NumpyArrays:
    """numpy: the CPU."""

    name: Literal["kernels", "operators", "gpu"] = "operators"
    chunk = 1 << 15
    gathers = True
    int32: Any = np.int32
    float32: Any = np.float32
    float64: Any = np.float64

    def __init__(self) -> None:
        # glibc gives memory above a threshold back to the system at once, and gets it anew, page by page, for every
        # temporary array; the threshold is the size of the largest block that was ever given back
        np.empty(LARGEST_BLOCK, np.uint8)

    def load(self, entries: Flat) -> tuple[Array, int]:
        """Entries as fp32, in memory of their own, and the largest bits of a magnitude among them."""
        if entries.dtype == np.uint16:
            words = entries.astype(np.uint32)
            words <<= np.uint32(16)
            return words.view(np.float32), _largest(entries) << 16
        loaded = entries.astype(np.float32)
        return loaded, _largest(loaded.view(np.uint32))

    def store(self, entries: Array, out: Flat) -> int:
        """Write fp32 entries in the type of `out`; the largest magnitude bits written."""
        if out.dtype == np.float16:
            return narrow(entries, out)
        if out.dtype == np.uint16:
            words = entries.view(np.uint32)
            rounded = words >> np.uint32(16)
            rounded &= np.uint32(1)
            rounded += np.uint32(0x7FFF)
            rounded += words
            rounded >>= np.uint32(16)
            out[:] = rounded
            return _largest(out) << 16
        out[:] = entries
        return _largest(out.view(np.uint32))

    def full(self, count: int, number: float) -> Array:
        """A number, repeated."""
        return np.full(count, number, np.float32)

    def counts(self, bins: Array, size: int) -> Array:
        """How often each bin occurs."""
        return np.bincount(bins, minlength=size)

    def numbers(self, array: Array) -> NDArray[Any]:
        """An array as numpy's."""
        return array  # type: ignore[no-any-return]

    def astype(self, array: Array, dtype: Any) -> Array:
        """An array in another type."""
        return array.astype(dtype)

    def flags(self, condition: Array) -> Array:
        """int32: all bits where a condition holds, none elsewhere."""
        return np.negative(condition.view(np.int8)).astype(np.int32)

    def positive_part(self, entries: Array) -> Array:
        """What is larger than 0, else 0 of either sign; in place."""
        return np.maximum(entries, np.float32(0), out=entries)

    def number_of(self, condition: Array) -> int:
        """How often a condition holds."""
        return int(np.count_nonzero(condition))

    def draws(self, key: int, start: int, count: int) -> Array:
        """32-bit draws for entries from `start` (even): SplitMix64, two a word."""
        z = np.arange(start // 2 + 1, start // 2 + 1 + (count + 1) // 2, dtype=np.uint64)
        z *= np.uint64(GAMMA)
        z += np.uint64(key)
        for shift, factor in ((30, MIX_1), (27, MIX_2)):
            z ^= z >> np.uint64(shift)
            z *= np.uint64(factor)
        z ^= z >> np.uint64(31)
        return z.view(np.uint32)[:count]

    def lane_sums(self, lanes: NDArray[np.float64], numbers: Array) -> NDArray[np.float64]:
        """Lanes with float64 numbers added row by row, in the kernels' order."""
        rows = np.zeros((1 + -(-numbers.size // LANES), LANES))
        rows[0] = lanes
        rows[1:].reshape(-1)[: numbers.size] = numbers
        return rows.sum(axis=0)  # type: ignore[no-any-return]

    def fused(self, entries: Array, weight: float, total: Array) -> Array:
        """total + entries * weight, rounded once.

        The product is exact in float64; its sum is rounded to odd there, so that rounding it again to fp32 rounds
        as if it were exact (Boldo & Melquiond 2008).
        """
        product, summand = entries.astype(np.float64) * weight, total.astype(np.float64)
        near = product + summand
        back = near - product
        error = (product - (near - back)) + (summand - back)
        bits = near.view(np.int64)
        outward = np.where((error > 0) == (near > 0), 1, -1)
        bits += np.where((error != 0) & (bits & 1 == 0), outward, 0)
        return near.astype(np.float32)


class TorchArrays:
    """torch: a GPU (or, in tests, the CPU)."""

    name: Literal["kernels", "operators", "gpu"] = "gpu"
    chunk = 1 << 24
    gathers = False

    def __init__(self, device: str) -> None:
        import torch

        self._torch, self._device = torch, torch.device(device)
        self.int32, self.float32, self.float64 = torch.int32, torch.float32, torch.float64
        torch.empty(1, device=self._device)

    def load(self, entries: Flat) -> tuple[Array, int]:
        """See NumpyArrays."""
        if entries.dtype == np.uint16:
            # a copy: the memory map cannot be written, which torch does not know
            halves = self._torch.from_numpy(entries.view(np.int16).copy()).to(self._device)
            loaded = (halves.to(self.int32) << 16).view(self.float32)
        else:
            loaded = self._torch.from_numpy(entries.astype(np.float32)).to(self._device)
        return loaded, int(_magnitudes(self, loaded).max())

    def store(self, entries: Array, out: Flat) -> int:
        """See NumpyArrays."""
        if out.dtype == np.uint16:
            halves = entries.to(self._torch.bfloat16)
            out[:] = halves.view(self._torch.int16).cpu().numpy().view(np.uint16)
            return _largest(out) << 16
        if out.dtype == np.float16:
            return narrow(entries.cpu().numpy(), out)
        out[:] = entries.cpu().numpy()
        return int(_magnitudes(self, entries).max())

    def full(self, count: int, number: float) -> Array:
        """See NumpyArrays."""
        return self._torch.full((count,), float(number), dtype=self.float32, device=self._device)

    def counts(self, bins: Array, size: int) -> Array:
        """See NumpyArrays."""
        return self._torch.bincount(bins, minlength=size)

    def numbers(self, array: Array) -> NDArray[Any]:
        """See NumpyArrays."""
        return array.cpu().numpy()  # type: ignore[no-any-return]

    def astype(self, array: Array, dtype: Any) -> Array:
        """See NumpyArrays."""
        return array.to(dtype)

    def flags(self, condition: Array) -> Array:
        """See NumpyArrays."""
        return -condition.to(self.int32)

    def positive_part(self, entries: Array) -> Array:
        """See NumpyArrays."""
        return entries.clamp_(min=0)

    def number_of(self, condition: Array) -> int:
        """See NumpyArrays."""
        return int(condition.sum())

    def draws(self, key: int, start: int, count: int) -> Array:
        """See NumpyArrays; int64, because torch has no unsigned arithmetic: additions and products wrap alike."""
        torch = self._torch
        z = torch.arange(start // 2 + 1, start // 2 + 1 + (count + 1) // 2, device=self._device)
        z = z * _signed(GAMMA) + _signed(key)
        for shift, factor in ((30, MIX_1), (27, MIX_2)):
            z = (z ^ ((z >> shift) & ((1 << (64 - shift)) - 1))) * _signed(factor)
        z = z ^ ((z >> 31) & ((1 << 33) - 1))
        return torch.stack([z & 0xFFFFFFFF, (z >> 32) & 0xFFFFFFFF], dim=1).reshape(-1)[:count]

    def lane_sums(self, lanes: NDArray[np.float64], numbers: Array) -> NDArray[np.float64]:
        """Lanes with float64 numbers added, in the order that is quick here."""
        padded = self._torch.zeros(-(-numbers.numel() // LANES) * LANES, dtype=self.float64, device=self._device)
        padded[: numbers.numel()] = numbers
        return lanes + padded.reshape(-1, LANES).sum(0).cpu().numpy()  # type: ignore[no-any-return]

    def fused(self, entries: Array, weight: float, total: Array) -> Array:
        """See NumpyArrays; torch's own operator is the model."""
        return self._torch.addcmul(total, entries, self.full(1, weight))


def _signed(word: int) -> int:
    return word - (1 << 64) if word >= 1 << 63 else word


def _largest(bits: NDArray[Any]) -> int:
    """The largest magnitude among bits of numbers, signs being their highest bit, without a temporary array."""
    top = 1 << (8 * bits.itemsize - 1)
    unsigned = int(bits.max())
    return max(unsigned - top, int(bits.view(f"i{bits.itemsize}").max())) if unsigned >= top else unsigned


def _magnitudes(xp: Any, entries: Array) -> Array:
    """Bits of |entries|, int32."""
    return entries.view(xp.int32) & 0x7FFFFFFF


class Operators:
    """The passes of `Route` by array operators."""

    def __init__(self, arrays: NumpyArrays | TorchArrays) -> None:
        self._xp: Any = arrays
        self.name = arrays.name
        self.range_entries: int = max(RANGE, arrays.chunk)

    def count_high(self, base: Flat, models: Sequence[Flat], rounded: bool) -> NDArray[np.int64]:
        """See Route."""
        table = np.zeros((len(models), 1 << 15), np.int64)
        for start, end in self._chunks(base):
            b, _ = self._load(base[start:end], rounded)
            for row, model in zip(table, models, strict=True):
                delta, _ = self._delta(b, model[start:end], rounded)
                row += self._xp.numbers(self._xp.counts(_magnitudes(self._xp, delta) >> 16, 1 << 15))
        return table

    def count_low(self, base: Flat, model: Flat, wanted: Sequence[int]) -> NDArray[np.int64]:
        """See Route."""
        table = np.zeros((len(wanted), 1 << 16), np.int64)
        for start, end in self._chunks(base):
            b, _ = self._load(base[start:end], False)
            delta, _ = self._delta(b, model[start:end], False)
            magnitudes = _magnitudes(self._xp, delta)
            for row, high in zip(table, wanted, strict=True):
                # the bins of these few, not of all 65,536: a table that size a chunk would cost more than the counting
                hits = self._xp.numbers(magnitudes[(magnitudes >> 16) == int(high)] & 0xFFFF)
                np.add.at(row, hits, 1)
        return table

    def sample(self, base: Flat, models: Sequence[Flat], rounded: bool, runs: int) -> NDArray[np.uint32]:
        """See Route."""
        step = base.size // runs
        ours, *others = (a[: step * runs].reshape(runs, step)[:, :RUN].reshape(-1) for a in (base, *models))
        b, _ = self._load(ours, rounded)
        deltas = (self._delta(b, entries, rounded)[0] for entries in others)
        found = [self._xp.numbers(_magnitudes(self._xp, delta)).view(np.uint32) for delta in deltas]
        return np.stack(found).reshape(len(models), runs, RUN)

    def gather(
        self, base: Flat, models: Sequence[Flat], rounded: bool, windows: Sequence[Windows], room: int
    ) -> list[Gathered] | None:
        """See Route."""
        if not self._xp.gathers:
            return None
        gathered = [_Gathering(where) for where in windows]
        for start, end in self._chunks(base):
            b, _ = self._load(base[start:end], rounded)
            for some, model in zip(gathered, models, strict=True):
                delta, _ = self._delta(b, model[start:end], rounded)
                some.add(_magnitudes(self._xp, delta).view(np.uint32))
        return [some.result() for some in gathered] if all(some.size <= room for some in gathered) else None

    def kept_sums(self, base: Flat, model: Flat, deltas: Deltas, index: int) -> NDArray[np.float64]:
        """See Route."""
        xp, lanes, budget = self._xp, np.zeros((2, LANES)), int(deltas.budgets[index])
        for start, end in self._chunks(base):
            b, _ = self._load(base[start:end], deltas.rounded)
            delta, _ = self._delta(b, model[start:end], deltas.rounded)
            lanes[0] = xp.lane_sums(lanes[0], xp.astype(abs(delta), xp.float64))
            kept, budget = self._keep(delta, deltas, index, budget, start)
            lanes[1] = xp.lane_sums(lanes[1], xp.astype(abs(kept), xp.float64))
        return lanes

    def products(self, base: Flat | None, models: Sequence[Flat], rounded: bool) -> NDArray[np.float64]:
        """See Route."""
        xp, lanes = self._xp, np.zeros((len(models), len(models), LANES))
        for start, end in self._chunks(models[0]):
            if base is None:
                vectors = [self._load(model[start:end], rounded)[0] for model in models]
            else:
                b, _ = self._load(base[start:end], rounded)
                vectors = [self._delta(b, model[start:end], rounded)[0] for model in models]
            wide = [xp.astype(vector, xp.float64) for vector in vectors]
            for j in range(len(models)):
                for k in range(j, len(models)):
                    lanes[j, k] = xp.lane_sums(lanes[j, k], wide[j] * wide[k])
        return lanes

    def merge_deltas(self, base: Flat, models: Sequence[Flat], deltas: Deltas) -> Step:
        """See Route."""
        return lambda start, end, out: self._merged_deltas(
            base[start:end], [model[start:end] for model in models], deltas, start, out
        )

    def _merged_deltas(self, base: Flat, models: Sequence[Flat], deltas: Deltas, offset: int, out: Flat) -> list[int]:
        d, largest = deltas, [0] * (len(models) + 2)
        for start, end in self._chunks(out):
            b, largest[0] = self._load(base[start:end], d.rounded, largest[0])
            rows = []
            for k, model in enumerate(models):
                delta, largest[k + 1] = self._delta(b, model[start:end], d.rounded, largest[k + 1])
                kept, budget = self._keep(delta, d, k, int(d.budgets[k]), offset + start)
                d.budgets[k] = budget
                if d.factors[k] != 1:
                    kept = self._rounded(kept * float(d.factors[k]), d.rounded)
                kept *= float(d.weights[k])
                rows.append(self._rounded(kept, d.rounded))
            total = self._sum(rows, d.rounded)
            # where the sum is negative all is worked on with its sign changed, which changes no rounding
            signs = total.view(self._xp.int32) & -0x80000000 if d.elect else None
            divisor: Any = float(d.divisor)
            if signs is not None:
                total, divisor = self._elected(rows, signs, d)
            if d.normalize:
                total /= divisor
                total = self._rounded(total, d.rounded)
            if d.scale != 1:
                total = self._rounded(total * float(d.scale), d.rounded)
            if signs is not None:
                bits = total.view(self._xp.int32)
                bits ^= signs
            total += b
            merged = self._rounded(total, d.rounded)
            largest[-1] = max(largest[-1], self._xp.store(merged, out[start:end]))
        return largest

    def combine(
        self, models: Sequence[Flat], weights: Sequence[float], divisor: float, fused: bool, rounded: bool, out: Flat
    ) -> list[int]:
        """See Route."""
        largest = [0] * (len(models) + 1)
        for start, end in self._chunks(out):
            total = self._xp.full(end - start, 0.0 if fused else -0.0)
            for k, (model, weight) in enumerate(zip(models, weights, strict=True)):
                entries, largest[k] = self._load(model[start:end], rounded, largest[k])
                share = float(np.float32(weight))
                total = self._xp.fused(entries, share, total) if fused else total + entries * share
            if divisor != 1:
                total = total / float(np.float32(divisor))
            largest[-1] = max(largest[-1], self._xp.store(self._rounded(total, rounded), out[start:end]))
        return largest

    def stock(self, base: Flat, models: Sequence[Flat], share: float, out: Flat) -> list[int]:
        """See Route."""
        largest = [0] * (len(models) + 2)
        part = np.float32(share)
        rest = np.float32(1) - part
        for start, end in self._chunks(out):
            b, largest[0] = self._load(base[start:end], False, largest[0])
            total = self._xp.full(end - start, 0.0)
            for k, model in enumerate(models):
                entries, largest[k + 1] = self._load(model[start:end], False, largest[k + 1])
                total += entries
            merged = (total / float(len(models))) * float(part) + b * float(rest)
            largest[-1] = max(largest[-1], self._xp.store(merged, out[start:end]))
        return largest

    def _chunks(self, entries: Flat) -> Iterator[tuple[int, int]]:
        for start in range(0, entries.size, self._xp.chunk):
            yield start, min(start + self._xp.chunk, entries.size)

    def _load(self, entries: Flat, rounded: bool, largest: int = 0) -> tuple[Array, int]:
        loaded, here = self._xp.load(entries)
        largest = max(largest, here)
        narrower = rounded and entries.dtype != np.uint16 and largest < INFINITY_BITS
        return self._rounded(loaded, narrower), largest

    def _delta(self, base: Array, entries: Flat, rounded: bool, largest: int = 0) -> tuple[Array, int]:
        delta, largest = self._load(entries, rounded, largest)
        delta -= base
        return self._rounded(delta, rounded), largest

    def _rounded(self, entries: Array, rounded: bool) -> Array:
        """Entries rounded to bf16, ties to even, when asked for."""
        if not rounded:
            return entries
        bits = entries.view(self._xp.int32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) & -0x10000).view(self._xp.float32)

    def _keep(self, delta: Array, deltas: Deltas, k: int, budget: int, start: int) -> tuple[Array, int]:
        xp, mode = self._xp, deltas.modes[k]
        if mode == NONE:
            return delta, budget
        if mode == RANDOM:
            return self._where(xp.draws(int(deltas.keys[k]), start, len(delta)) < int(deltas.cuts[k]), delta), budget
        assert mode == MAGNITUDE
        magnitudes, threshold = _magnitudes(xp, delta), int(deltas.thresholds[k])
        if not budget:
            return self._where(magnitudes > threshold, delta), budget
        keep, equal = magnitudes >= threshold, magnitudes == threshold
        number = xp.number_of(equal)
        if number > budget:  # lowest index first, as in the kernels
            last = int(np.flatnonzero(xp.numbers(equal))[budget - 1])
            equal[: last + 1] = False
            keep ^= equal
        return self._where(keep, delta), budget - min(number, budget)

    def _sum(self, rows: Sequence[Array], rounded: bool) -> Array:
        total = rows[0] + 0.0
        for row in rows[1:]:
            total = total + row
        return self._rounded(total, rounded)

    def _elected(self, rows: Sequence[Array], signs: Array, deltas: Deltas) -> tuple[Array, Array]:
        """The sum of what agrees with the elected signs, without that sign, and the sum of its models' weights."""
        xp = self._xp
        total, divisor = xp.full(len(signs), 0.0), xp.full(len(signs), 0.0)
        for row, weight in zip(rows, deltas.weights, strict=True):
            bits = row.view(xp.int32)
            bits ^= signs
            total += xp.positive_part(row)
            divisor += xp.astype(row > 0, xp.float32) * float(weight)
        total, divisor = self._rounded(total, deltas.rounded), self._rounded(divisor, deltas.rounded)
        divisor += xp.astype(divisor == 0, xp.float32)
        return total, divisor

    def _where(self, condition: Array, entries: Array) -> Array:
        """Entries where the condition holds, 0 elsewhere, in place; numpy's own `where` takes eight times as long."""
        bits = entries.view(self._xp.int32)
        bits &= self._xp.flags(condition)
        return entries


class _Gathering:
    """What one model's chunks hold in its windows."""

    def __init__(self, where: Windows) -> None:
        self._where = where
        self._found: list[NDArray[np.uint32]] = []
        self._above, self._equal = [0] * len(where.ranges), [0] * len(where.atoms)
        self.size = 0

    def add(self, bits: NDArray[np.uint32]) -> None:
        """Look at the magnitude bits of a chunk."""
        inside = None
        for place, (first, last) in enumerate(self._where.ranges):
            self._above[place] += int(np.count_nonzero(bits > np.uint32(last)))
            here = bits - np.uint32(first) <= np.uint32(last - first)
            inside = here if inside is None else np.logical_or(inside, here, out=inside)
        some = bits[inside]
        for place, atom in enumerate(self._where.atoms):
            equal = some == np.uint32(atom)
            self._equal[place] += int(np.count_nonzero(equal))
            some = some[~equal]
        self._found.append(some)
        self.size += some.size

    def result(self) -> Gathered:
        """All of it."""
        return Gathered(np.concatenate(self._found), self._above, self._equal)
