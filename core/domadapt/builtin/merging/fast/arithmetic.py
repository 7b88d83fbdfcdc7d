"""The steps of the kernels on a block that stays in the first-level cache, for numba to compile into them.

fp32 numbers, after every operation rounded to bf16 where mergekit's `dtype: bfloat16` is asked for. What numba
would do in 64 bits (its unsigned 32-bit arithmetic) or not at all (looking at a number's bits) is LLVM's own
instructions here.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

BF16, F32 = 0, 1
"""Type codes. fp16 is converted by numpy outside: no checkpoint of today stores it."""
NONE, MAGNITUDE, RANDOM = 0, 1, 2
"""How a task vector is sparsified."""
BLOCK = 2048
LANES = 64
MAGNITUDE_BITS = np.uint32(0x7FFFFFFF)
INFINITY_BITS = np.uint32(0x7F800000)

# error_model: a division by zero gives infinity, not an exception, and loops with divisions are vectorised
inlined = numba.njit(error_model="numpy")


@intrinsic  # type: ignore[untyped-decorator]
def pointer(context: Any, address: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.inttoptr(arguments[0], cgutils.voidptr_t)

    return types.voidptr(types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def bits_of(context: Any, number: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.IntType(32))

    return types.uint32(types.float32), code


@intrinsic  # type: ignore[untyped-decorator]
def _number(context: Any, bits: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), code


@intrinsic  # type: ignore[untyped-decorator]
def _high_half(context: Any, number: Any) -> Any:
    """The bf16 nearest to a finite fp32 number, ties to even, as 16 bits.

    Written in 32-bit instructions: numba would widen the additions to 64 bits and halve the speed.
    """

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word, half = ir.IntType(32), ir.IntType(16)
        bits = builder.bitcast(arguments[0], word)
        odd = builder.and_(builder.lshr(bits, word(16)), word(1))
        rounded = builder.add(builder.add(bits, word(0x7FFF)), odd)
        return builder.trunc(builder.lshr(rounded, word(16)), half)

    return types.uint16(types.float32), code


@intrinsic  # type: ignore[untyped-decorator]
def _from_half(context: Any, half: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        word = ir.IntType(32)
        return builder.bitcast(builder.shl(builder.zext(arguments[0], word), word(16)), ir.FloatType())

    return types.float32(types.uint16), code


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch_line(context: Any, address: Any) -> Any:
    """Ask for the cache line at an address, which need not be one of ours: it never fails."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(prefetch, [builder.inttoptr(arguments[0], pointer), word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def fused_add(context: Any, factor: Any, other: Any, summand: Any) -> Any:
    """factor * other + summand, rounded once."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), code


@inlined
def longs(address, count):  # type: ignore[no-untyped-def]
    return numba.carray(pointer(address), count, np.int64)


@inlined
def words_at(address, count):  # type: ignore[no-untyped-def]
    return numba.carray(pointer(address), count, np.uint32)


@inlined
def reals(address, count):  # type: ignore[no-untyped-def]
    return numba.carray(pointer(address), count, np.float32)


@inlined
def doubles(address, count):  # type: ignore[no-untyped-def]
    return numba.carray(pointer(address), count, np.float64)


@inlined
def _prefetch(address, num_bytes):  # type: ignore[no-untyped-def]
    """Ask for the next block while this one is worked on: a block is a page, where the processor's guessing ends."""
    for line in range(0, num_bytes, 64):
        _prefetch_line(address + num_bytes + line)


@inlined
def as_is(number):  # type: ignore[no-untyped-def]
    return number


@inlined
def to_bf16(number):  # type: ignore[no-untyped-def]
    return _from_half(_high_half(number))


@inlined
def decode(address, code, start, block, rounded):  # type: ignore[no-untyped-def]
    """Read entries [start, start + len(block)) as fp32; return the largest bits of a magnitude seen."""
    count = len(block)
    largest = np.uint32(0)
    if code == BF16:
        _prefetch(address + 2 * start, 2 * count)
        halves = numba.carray(pointer(address + 2 * start), count, np.uint16)
        for i in range(count):
            block[i] = _from_half(halves[i])
            largest = max(largest, np.uint32(bits_of(block[i]) & MAGNITUDE_BITS))
    else:
        _prefetch(address + 4 * start, 4 * count)
        words = numba.carray(pointer(address + 4 * start), count, np.float32)
        for i in range(count):
            block[i] = words[i]
            largest = max(largest, np.uint32(bits_of(block[i]) & MAGNITUDE_BITS))
        if rounded and largest < INFINITY_BITS:
            for i in range(count):
                block[i] = to_bf16(block[i])
    return largest


@inlined
def encode(block, address, code, start):  # type: ignore[no-untyped-def]
    """Write fp32 entries in the output's type; return the largest bits of a magnitude written, as fp32."""
    count = len(block)
    largest = np.uint32(0)
    if code == BF16:
        halves = numba.carray(pointer(address + 2 * start), count, np.uint16)
        for i in range(count):
            halves[i] = _high_half(block[i])
            # a NaN's payload may overflow in rounding: the unrounded number counts as well
            written = np.uint32(bits_of(_from_half(halves[i])) & MAGNITUDE_BITS)
            largest = max(largest, max(np.uint32(bits_of(block[i]) & MAGNITUDE_BITS), written))
    else:
        words = numba.carray(pointer(address + 4 * start), count, np.float32)
        for i in range(count):
            words[i] = block[i]
            largest = max(largest, np.uint32(bits_of(block[i]) & MAGNITUDE_BITS))
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
            halves = numba.carray(pointer(address + 2 * start), count, np.uint16)
            for i in range(count):
                entry = _from_half(halves[i])
                largest = max(largest, np.uint32(bits_of(entry) & MAGNITUDE_BITS))
                block[i] = r(entry - base[i])
        else:
            _prefetch(address + 4 * start, 4 * count)
            words = numba.carray(pointer(address + 4 * start), count, np.float32)
            for i in range(count):
                entry = words[i]
                largest = max(largest, np.uint32(bits_of(entry) & MAGNITUDE_BITS))
                block[i] = r(r(entry) - base[i])
        return largest

    @inlined
    def keep(delta, kept, mode, threshold, budget, draws, cut, factor, weight):  # type: ignore[no-untyped-def]
        """What survives of a task vector, rescaled and weighted, zero elsewhere; returns the budget that is left.

        MAGNITUDE: every entry above the threshold, and of those at it the first `budget`.  RANDOM: draw < cut.
        """
        count = len(delta)
        zero = np.float32(0)
        if mode == RANDOM:
            for i in range(count):
                kept[i] = r(r(delta[i] * factor) * weight) if draws[i] < cut else zero
        elif mode == NONE:
            for i in range(count):
                kept[i] = r(delta[i] * weight)
        elif budget == 0:
            for i in range(count):
                above = np.uint32(bits_of(delta[i]) & MAGNITUDE_BITS) > threshold
                kept[i] = r(r(delta[i] * factor) * weight) if above else zero
        elif budget >= count:
            equal = np.int32(0)
            for i in range(count):
                magnitude = np.uint32(bits_of(delta[i]) & MAGNITUDE_BITS)
                equal += np.int32(magnitude == threshold)
                kept[i] = r(r(delta[i] * factor) * weight) if magnitude >= threshold else zero
            budget -= equal
        else:
            for i in range(count):
                magnitude = np.uint32(bits_of(delta[i]) & MAGNITUDE_BITS)
                above = magnitude > threshold
                if magnitude == threshold and budget > 0:
                    above = True
                    budget -= 1
                kept[i] = r(r(delta[i] * factor) * weight) if above else zero
        return budget

    @inlined
    def elect_two(first, second, weights, total, divisor):  # type: ignore[no-untyped-def]
        """Elect each entry's sign and keep the models that agree: two models, where the sum has one order only."""
        zero, one = np.float32(0), np.float32(1)
        left, right = weights[0], weights[1]
        for i in range(len(total)):
            a, b = first[i], second[i]
            sign = one if r(a + b) >= zero else -one
            agrees_a, agrees_b = a * sign > zero, b * sign > zero
            total[i] = r((a if agrees_a else zero) + (b if agrees_b else zero))
            share = r((left if agrees_a else zero) + (right if agrees_b else zero))
            divisor[i] = share if share != zero else one

    @inlined
    def elect(kept_blocks, weights, total, divisor, signs):  # type: ignore[no-untyped-def]
        """The same for any number of models."""
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

    return delta, keep, elect_two, elect, add


delta_fp32, keep_fp32, elect_two_fp32, elect_fp32, add_fp32 = _arithmetic(as_is)
delta_bf16, keep_bf16, elect_two_bf16, elect_bf16, add_bf16 = _arithmetic(to_bf16)
