"""What numba would do in 64 bits, or not at all, as LLVM's own instructions.

numba widens its unsigned 32-bit arithmetic to 64 bits, which halves the speed of a vector, and cannot look at a
number's bits. What asks something of a row of entries answers in one word, a bit for each, so that what is rare (an
entry inside a window) costs one test where it is not.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from domadapt.builtin.views import inlined

ROW = 32
"""Entries that one word of flags stands for."""
_WORD, _HALF = ir.IntType(32), ir.IntType(16)
_ROW_OF_WORDS = ir.VectorType(_WORD, ROW)


@intrinsic  # type: ignore[untyped-decorator]
def bits_of(context: Any, number: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], _WORD)

    return types.uint32(types.float32), code


@intrinsic  # type: ignore[untyped-decorator]
def number_of(context: Any, bits: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(arguments[0], ir.FloatType())

    return types.float32(types.uint32), code


@intrinsic  # type: ignore[untyped-decorator]
def high_half(context: Any, number: Any) -> Any:
    """The bf16 nearest to a finite fp32 number, ties to even, as 16 bits."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        bits = builder.bitcast(arguments[0], _WORD)
        odd = builder.and_(builder.lshr(bits, _WORD(16)), _WORD(1))
        rounded = builder.add(builder.add(bits, _WORD(0x7FFF)), odd)
        return builder.trunc(builder.lshr(rounded, _WORD(16)), _HALF)

    return types.uint16(types.float32), code


@intrinsic  # type: ignore[untyped-decorator]
def from_half(context: Any, half: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.bitcast(builder.shl(builder.zext(arguments[0], _WORD), _WORD(16)), ir.FloatType())

    return types.float32(types.uint16), code


@intrinsic  # type: ignore[untyped-decorator]
def prefetch_line(context: Any, address: Any) -> Any:
    """Ask for the cache line at an address, which need not be one of ours: it never fails."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer = ir.IntType(8).as_pointer()
        kind = ir.FunctionType(ir.VoidType(), [pointer, _WORD, _WORD, _WORD])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(prefetch, [builder.inttoptr(arguments[0], pointer), _WORD(0), _WORD(3), _WORD(1)])
        return context.get_dummy_value()

    return types.void(types.int64), code


@intrinsic  # type: ignore[untyped-decorator]
def fused_add(context: Any, factor: Any, other: Any, summand: Any) -> Any:
    """factor * other + summand, rounded once."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.fma(*arguments)

    return types.float32(types.float32, types.float32, types.float32), code


def _on_words(name: str) -> Any:
    @intrinsic  # type: ignore[untyped-decorator]
    def instruction(context: Any, left: Any, right: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            return getattr(builder, name)(*arguments)

        return types.uint32(types.uint32, types.uint32), code

    return instruction


plus, both, either, differing = _on_words("add"), _on_words("and_"), _on_words("or_"), _on_words("xor")


@intrinsic  # type: ignore[untyped-decorator]
def larger(context: Any, left: Any, right: Any) -> Any:
    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.select(builder.icmp_unsigned(">", *arguments), *arguments)

    return types.uint32(types.uint32, types.uint32), code


def _flags(comparison: str) -> Any:
    """Which of the ROW words at an address, less `first`, compare so with a word: a bit for each."""

    @intrinsic  # type: ignore[untyped-decorator]
    def instruction(context: Any, address: Any, first: Any, word: Any) -> Any:
        def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
            words = builder.load(builder.inttoptr(arguments[0], _ROW_OF_WORDS.as_pointer()), align=4)
            words = builder.sub(words, _repeated(builder, arguments[1]))
            return builder.bitcast(
                builder.icmp_unsigned(comparison, words, _repeated(builder, arguments[2])), ir.IntType(ROW)
            )

        return types.uint32(types.int64, types.uint32, types.uint32), code

    return instruction


def _repeated(builder: Any, word: Any) -> Any:
    nothing = ir.Constant(_ROW_OF_WORDS, ir.Undefined)
    return builder.shuffle_vector(
        builder.insert_element(nothing, word, _WORD(0)), nothing, ir.Constant(_ROW_OF_WORDS, [0] * ROW)
    )


_above, _within, _equal = _flags(">"), _flags("<="), _flags("==")


@inlined
def row_above(address, bound):  # type: ignore[no-untyped-def]
    return _above(address, np.uint32(0), bound)


@inlined
def row_equal(address, word):  # type: ignore[no-untyped-def]
    return _equal(address, np.uint32(0), word)


@inlined
def row_between(address, first, last):  # type: ignore[no-untyped-def]
    return _within(address, first, np.uint32(last - first))


@intrinsic  # type: ignore[untyped-decorator]
def number_set(context: Any, flags: Any) -> Any:
    """How many bits are set."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.ctpop(arguments[0]), ir.IntType(64))

    return types.int64(types.uint32), code


@intrinsic  # type: ignore[untyped-decorator]
def first_set(context: Any, flags: Any) -> Any:
    """The place of the lowest bit that is set; one must be."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.zext(builder.cttz(arguments[0], ir.IntType(1)(1)), ir.IntType(64))

    return types.int64(types.uint32), code
