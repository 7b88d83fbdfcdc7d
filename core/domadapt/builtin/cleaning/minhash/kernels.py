"""The passes of near-duplicate removal, to be compiled by numba: text to signatures, signatures to duplicates.

All arguments are int64: sizes and addresses. So the machine code calls nothing of Python or numba and is kept as an
object file (`domadapt.builtin.object_code`). Nothing here may raise or allocate. What is computed is defined in
`arithmetic`; `arrays` does the same by array operators, bit for bit.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from domadapt.builtin.cleaning.minhash.arithmetic import (
    BAND,
    BLOCK,
    CHUNK_BITS,
    IDEOGRAPHS,
    LARGEST,
    LETTER,
    MIX_1,
    MIX_2,
    SPREAD,
    WORD,
)
from domadapt.builtin.views import bytes_at, entries_at, inlined, longs_at, words_at


@intrinsic  # type: ignore[untyped-decorator]
def _multiply_add(context: Any, factor: Any, number: Any, summand: Any) -> Any:
    """factor * number + summand modulo 2^32: numba would compute in 64 bits, at half the speed."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        factor, number, summand = arguments
        return builder.add(builder.mul(factor, number), summand)

    return types.uint32(types.uint32, types.uint32, types.uint32), code


@intrinsic  # type: ignore[untyped-decorator]
def _prefetch(context: Any, address: Any) -> Any:
    """Ask for the cache line at an address."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        pointer, word = ir.IntType(8).as_pointer(), ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [pointer, word, word, word])
        prefetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0i8")
        builder.call(prefetch, [builder.inttoptr(arguments[0], pointer), word(0), word(3), word(1)])
        return context.get_dummy_value()

    return types.void(types.int64), code


@inlined
def _mixed(value):  # type: ignore[no-untyped-def]
    value = (value ^ (value >> np.uint64(33))) * MIX_1
    value = (value ^ (value >> np.uint64(33))) * MIX_2
    return value ^ (value >> np.uint64(33))


@inlined
def _following(text, place):  # type: ignore[no-untyped-def]
    """The six bits of a continuation byte."""
    return np.uint32(text[place]) & np.uint32(0x3F)


@inlined
def _decoded(text, place):  # type: ignore[no-untyped-def]
    """The code point of a character beyond ASCII and the bytes it takes; the text is valid UTF-8."""
    byte = np.uint32(text[place])
    if byte < 0xE0:
        return (byte & np.uint32(0x1F)) << np.uint32(6) | _following(text, place + 1), 2
    code = _following(text, place + 1) << np.uint32(6) | _following(text, place + 2)
    if byte < 0xF0:
        return (byte & np.uint32(0x0F)) << np.uint32(12) | code, 3
    return (byte & np.uint32(0x07)) << np.uint32(18) | code << np.uint32(6) | _following(text, place + 3), 4


@inlined
def _lower_minima(shingles, count, factors, summands, row):  # type: ignore[no-untyped-def]
    """Lower the minima of a row to those of `count` shingles more."""
    for i in range(len(row)):
        factor, summand, least = factors[i], summands[i], row[i]
        for s in range(count):
            value = _multiply_add(factor, shingles[s], summand)
            if value < least:
                least = value
        row[i] = least


def sign(  # type: ignore[no-untyped-def]
    text_at, starts_at, first, last, folded_at, known, words, hashes, factors_at, summands_at, out_at, scratch_at
):
    """Signatures of the documents [first, last).

    text_at: UTF-8.  starts_at: where each document starts in it, and where the last one ends.  folded_at: uint32
    [known], a character's lower case, 0 for one that is no part of a word.  words: of a shingle.  factors_at,
    summands_at: uint32 [hashes].  out_at: uint32 [all documents, hashes].  scratch_at: uint64 [words + BLOCK].
    """
    starts, folded = longs_at(starts_at, last + 1), words_at(folded_at, known)
    factors, summands = words_at(factors_at, hashes), words_at(summands_at, hashes)
    ring, shingles = entries_at(scratch_at, words), words_at(scratch_at + 8 * words, BLOCK)
    oldest = np.uint64(1)
    for _ in range(words):
        oldest *= WORD
    for document in range(first, last):
        row = words_at(out_at + 4 * hashes * document, hashes)
        for i in range(hashes):
            row[i] = LARGEST
        size = starts[document + 1] - starts[document]
        text = bytes_at(text_at + starts[document], size)
        place, number, waiting, slot, shingle = 0, 0, 0, 0, np.uint64(0)
        while place < size:
            word, start, length = np.uint64(0), place, 0
            while place < size:
                code, length = np.uint32(text[place]), 1
                if code >= 0x80:
                    code, length = _decoded(text, place)
                letter = folded[code] if code < known else (code if code < IDEOGRAPHS else np.uint32(0))
                if letter == 0:
                    break
                word = word * LETTER + np.uint64(letter)
                place += length
            if place > start:
                word = _mixed(word)
                shingle = shingle * WORD + word
                if number >= words:
                    shingle -= ring[slot] * oldest
                ring[slot] = word
                slot = slot + 1 if slot + 1 < words else 0
                number += 1
                if number >= words:
                    shingles[waiting] = np.uint32(_mixed(shingle) >> np.uint64(32))
                    waiting += 1
                    if waiting == BLOCK:
                        _lower_minima(shingles, waiting, factors, summands, row)
                        waiting = 0
            if place < size:
                place += length  # what ended the word
        if number < words:  # a short document is one shingle
            shingles[0] = np.uint32(_mixed(shingle) >> np.uint64(32))
            waiting = 1
        _lower_minima(shingles, waiting, factors, summands, row)


@inlined
def _slot(key, size):  # type: ignore[no-untyped-def]
    """Where a key of 32 bits belongs in a table, in the order of the keys."""
    return np.int64(key * np.uint64(size) >> np.uint64(32))


@inlined
def _agreeing(one, other):  # type: ignore[no-untyped-def]
    count = 0
    for i in range(len(one)):
        count += one[i] == other[i]
    return count


def find(  # type: ignore[no-untyped-def]
    rows_at, count, bands, rows, least, tables_at, sizes_at, chunks_at, kept_at, scratch_at, found_at
):
    """Look for near-duplicates among the documents kept so far, and keep those that have none, one after the other.

    rows_at: uint32 [count, bands * rows], signatures.  least: hashes that must agree.  tables_at, sizes_at: address and
    entries of each band's table; an entry is a key in the upper 32 bits, a kept document's number + 1 in the lower, 0
    when empty.  chunks_at: addresses of the kept documents' short signatures, uint8 [2^CHUNK_BITS, hashes] each.
    kept_at: how many there are, int64 [1].  scratch_at: int64 [bands], uint32 [bands], uint8 [hashes].
    found_at: int64 [count], the first kept document that is near, -1 for one that is kept.
    """
    hashes = bands * rows
    tables, sizes, chunks = longs_at(tables_at, bands), longs_at(sizes_at, bands), longs_at(chunks_at, 1)
    kept, found = longs_at(kept_at, 1), longs_at(found_at, count)
    slots, keys = longs_at(scratch_at, bands), words_at(scratch_at + 8 * bands, bands)
    short = bytes_at(scratch_at + 12 * bands, hashes)
    mask = (1 << CHUNK_BITS) - 1
    for document in range(count):
        row = words_at(rows_at + 4 * hashes * document, hashes)
        for band in range(bands):
            value = np.uint64(0)
            for i in range(band * rows, band * rows + rows):
                value = _mixed(value * BAND + np.uint64(row[i]))
            keys[band] = np.uint32(value)
            slots[band] = _slot(np.uint64(keys[band]), sizes[band])
            _prefetch(tables[band] + 8 * slots[band])
        for i in range(hashes):
            short[i] = np.uint8(_multiply_add(SPREAD, row[i], np.uint32(0)) >> np.uint32(24))
        nearest, refused = np.int64(-1), np.int64(-1)
        for band in range(bands):
            table, slot, key = entries_at(tables[band], sizes[band]), slots[band], np.uint64(keys[band])
            while table[slot] != 0:
                if table[slot] >> np.uint64(32) == key:
                    number = np.int64(table[slot] & np.uint64(0xFFFFFFFF)) - np.int64(1)
                    if number != refused and (nearest < 0 or number < nearest):
                        place = chunks[number >> CHUNK_BITS] + hashes * (number & mask)
                        if _agreeing(short, bytes_at(place, hashes)) >= least:
                            nearest = number
                        else:
                            refused = number
                slot = slot + 1 if slot + 1 < sizes[band] else 0
            slots[band] = slot
        found[document] = nearest
        if nearest < 0:
            number = kept[0]
            kept[0] = number + 1
            for band in range(bands):
                table = entries_at(tables[band], sizes[band])
                table[slots[band]] = np.uint64(keys[band]) << np.uint64(32) | np.uint64(number + 1)
            place = bytes_at(chunks[number >> CHUNK_BITS] + hashes * (number & mask), hashes)
            for i in range(hashes):
                place[i] = short[i]


def move(old_at, old_size, new_at, new_size):  # type: ignore[no-untyped-def]
    """Put the entries of a table into a larger, empty one."""
    old, new = entries_at(old_at, old_size), entries_at(new_at, new_size)
    for i in range(old_size):
        if old[i] != 0:
            slot = _slot(old[i] >> np.uint64(32), new_size)
            while new[slot] != 0:
                slot = slot + 1 if slot + 1 < new_size else 0
            new[slot] = old[i]


KERNELS = (sign, find, move)
