"""The steps of the kernels on a block that stays in the first-level cache, for numba to compile into them.

fp32 numbers, after every operation rounded to bf16 where mergekit's `dtype: bfloat16` is asked for.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from domadapt.builtin.merging.fast.instructions import (
    bits_of,
    both,
    differing,
    from_half,
    high_half,
    number_of,
    plus,
    prefetch_line,
)
from domadapt.builtin.views import (
    halves_at,
    inlined,
    reals_at,
)

BF16, F32 = 0, 1
"""Type codes. fp16 is converted by numpy outside: no checkpoint of today stores it."""
NONE, MAGNITUDE, RANDOM = 0, 1, 2
"""How a task vector is sparsified."""
BLOCK = 512
"""Entries of a block: all that a step reads and writes, and what is asked for ahead, stays in the first-level cache."""
LANES = 64
MAGNITUDE_BITS = np.uint32(0x7FFFFFFF)
INFINITY_BITS = np.uint32(0x7F800000)


@inlined
def _prefetch(address, num_bytes):  # type: ignore[no-untyped-def]
    """Ask for the block after the next one: the processor's own guessing ends at every page."""
    for line in range(0, num_bytes, 64):
        prefetch_line(address + 2 * num_bytes + line)


@inlined
def as_is(number):  # type: ignore[no-untyped-def]
    return number


@inlined
def to_bf16(number):  # type: ignore[no-untyped-def]
    return from_half(high_half(number))


@inlined
def magnitude(number):  # type: ignore[no-untyped-def]
    """The bits of |number|, which are ordered as it is."""
    return both(bits_of(number), MAGNITUDE_BITS)


@inlined
def decode(address, code, start, block, rounded):  # type: ignore[no-untyped-def]
    """Read entries [start, start + len(block)) as fp32; return the largest bits of a magnitude seen."""
    count = len(block)
    largest = np.uint32(0)
    if code == BF16:
        _prefetch(address + 2 * start, 2 * count)
        halves = halves_at(address + 2 * start, count)
        for i in range(count):
            block[i] = from_half(halves[i])
            largest = max(largest, magnitude(block[i]))
    else:
        _prefetch(address + 4 * start, 4 * count)
        words = reals_at(address + 4 * start, count)
        for i in range(count):
            block[i] = words[i]
            largest = max(largest, magnitude(block[i]))
        if rounded and largest < INFINITY_BITS:
            for i in range(count):
                block[i] = to_bf16(block[i])
    return largest


@inlined
def encode(block, address, code, start):  # type: ignore[no-untyped-def]
    """Write fp32 entries in the output's type; return the largest bits of a magnitude, of what is written as well."""
    count = len(block)
    largest = np.uint32(0)
    if code == BF16:
        halves = halves_at(address + 2 * start, count)
        for i in range(count):
            halves[i] = high_half(block[i])
            largest = max(largest, magnitude(block[i]))
        # a NaN's payload may overflow in rounding: the unrounded number counts as well
        return max(largest, magnitude(to_bf16(number_of(largest))))
    words = reals_at(address + 4 * start, count)
    for i in range(count):
        words[i] = block[i]
        largest = max(largest, magnitude(block[i]))
    return largest


@inlined
def draw(words, key, start):  # type: ignore[no-untyped-def]
    """Two 32-bit draws a word for entries from `start` (even): SplitMix64 as a counter-based generator.

    Source: Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators".
    """
    first = np.uint64(start // 2 + 1)
    for i in range(len(words)):
        z = key + (first + np.uint64(i)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        words[i] = z ^ (z >> np.uint64(31))


def _arithmetic(r: Any) -> tuple[Any, ...]:
    """The steps of a block with every result put through `r`: kept as fp32, or rounded to bf16."""

    @inlined
    def delta(base, address, code, start, block):  # type: ignore[no-untyped-def]
        """The task vector of one block; returns the largest bits of the model's magnitudes."""
        count = len(block)
        largest = np.uint32(0)
        if code == BF16:
            _prefetch(address + 2 * start, 2 * count)
            halves = halves_at(address + 2 * start, count)
            for i in range(count):
                entry = from_half(halves[i])
                largest = max(largest, magnitude(entry))
                block[i] = r(entry - base[i])
        else:
            _prefetch(address + 4 * start, 4 * count)
            words = reals_at(address + 4 * start, count)
            for i in range(count):
                entry = words[i]
                largest = max(largest, magnitude(entry))
                block[i] = r(r(entry) - base[i])
        return largest

    @inlined
    def keep(delta, kept, mode, threshold, budget, draws, cut, factor, weight):  # type: ignore[no-untyped-def]
        """What survives of a task vector, rescaled and weighted, zero elsewhere; returns the budget that is left.

        MAGNITUDE: every entry above the threshold, and of those at it the first `budget`.  RANDOM: draw < cut.
        """
        zero, least, equal = np.float32(0), np.uint32(0), np.uint32(0)
        count = len(delta)
        if mode == RANDOM:
            for i in range(count):
                kept[i] = r(r(delta[i] * factor) * weight) if draws[i] < cut else zero
            return budget
        if mode == MAGNITUDE:
            least = np.uint32(threshold + np.int64(budget == 0))
        if factor == np.float32(1):
            for i in range(count):
                bits = magnitude(delta[i])
                equal = plus(equal, np.uint32(bits == threshold))
                kept[i] = r(delta[i] * weight) if bits >= least else zero
        else:
            for i in range(count):
                bits = magnitude(delta[i])
                equal = plus(equal, np.uint32(bits == threshold))
                kept[i] = r(r(delta[i] * factor) * weight) if bits >= least else zero
        if mode == NONE or budget == 0:
            return budget
        if equal <= budget:
            return budget - equal
        for i in range(count):  # the one block in which the budget ends
            if magnitude(delta[i]) == threshold:
                if budget > 0:
                    budget -= 1
                else:
                    kept[i] = zero
        return budget

    @inlined
    def add_elected(base, first, second, weights, normalize, scale):  # type: ignore[no-untyped-def]
        """base += scale * (the models that agree with each entry's elected sign [/ their weights]): two models.

        Where the sum is negative both are worked on with their signs changed, which changes no rounding.
        """
        zero, one = np.float32(0), np.float32(1)
        left, right = weights[0], weights[1]
        as_it_is, negative = np.uint32(0), np.uint32(0x80000000)
        for i in range(len(base)):
            flip = as_it_is if r(first[i] + second[i]) >= zero else negative
            a, b = number_of(differing(bits_of(first[i]), flip)), number_of(differing(bits_of(second[i]), flip))
            agrees_a, agrees_b = a > zero, b > zero
            total = r((a if agrees_a else zero) + (b if agrees_b else zero))
            share = r((left if agrees_a else zero) + (right if agrees_b else zero))
            if normalize:
                total = r(total / (share if share != zero else one))
            base[i] += number_of(differing(bits_of(r(total * scale)), flip))

    @inlined
    def elect(kept_blocks, weights, total, divisor, signs):  # type: ignore[no-untyped-def]
        """The sum of the models that agree with each entry's elected sign, and of their weights."""
        zero, one = np.float32(0), np.float32(1)
        count = len(total)
        for i in range(count):
            signs[i] = zero
        for k in range(len(weights)):
            kept = kept_blocks[k * BLOCK : k * BLOCK + count]
            for i in range(count):
                signs[i] += kept[i]
        for i in range(count):
            signs[i] = one if r(signs[i]) >= zero else -one
            total[i] = zero
            divisor[i] = zero
        for k in range(len(weights)):
            kept = kept_blocks[k * BLOCK : k * BLOCK + count]
            for i in range(count):
                agrees = kept[i] * signs[i] > zero
                total[i] += kept[i] if agrees else zero
                divisor[i] += weights[k] if agrees else zero
        for i in range(count):
            total[i] = r(total[i])
            share = r(divisor[i])
            divisor[i] = share if share != zero else one

    @inlined
    def add(base, total, divisor, normalize, scale):  # type: ignore[no-untyped-def]
        """base += scale * total [/ divisor]; the output's type rounds the last sum."""
        if normalize:
            for i in range(len(base)):
                base[i] += r(r(total[i] / divisor[i]) * scale)
        else:
            for i in range(len(base)):
                base[i] += r(total[i] * scale)

    return delta, keep, add_elected, elect, add


delta_fp32, keep_fp32, add_elected_fp32, elect_fp32, add_fp32 = _arithmetic(as_is)
delta_bf16, keep_bf16, add_elected_bf16, elect_bf16, add_bf16 = _arithmetic(to_bf16)
