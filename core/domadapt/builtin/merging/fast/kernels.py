"""The passes of merging, to be compiled by numba: each over one range of one tensor, block by block.

A kernel works in one thread, with the interpreter's lock released; threads take different tensors. So no result
depends on the number of threads, and what a pass carries from range to range (entries still to keep at the
threshold, sums) needs no locks.

All arguments are int64: sizes, switches and addresses, of inputs (each with a type code), tables and scratch
memory. So one compiled function serves any number of models and any mixture of stored types, and it calls nothing
of Python or numba: `compiled` keeps its machine code and loads it without either. Nothing here may raise.
"""

from __future__ import annotations

import numpy as np

from domadapt.builtin.merging.fast.arithmetic import (
    BF16,
    BLOCK,
    LANES,
    RANDOM,
    add_bf16,
    add_elected_bf16,
    add_elected_fp32,
    add_fp32,
    decode,
    delta_bf16,
    delta_fp32,
    draw,
    elect_bf16,
    elect_fp32,
    encode,
    keep_bf16,
    keep_fp32,
    magnitude,
    to_bf16,
)
from domadapt.builtin.merging.fast.instructions import (
    ROW,
    both,
    differing,
    either,
    first_set,
    fused_add,
    number_set,
    prefetch_line,
    row_above,
    row_between,
    row_equal,
)
from domadapt.builtin.views import (
    doubles_at,
    entries_at,
    inlined,
    longs_at,
    reals_at,
    words_at,
)

AHEAD = 4
"""Runs of a sample that are asked for before they are read."""


@inlined
def _base_and_delta(inputs, codes, k, start, base, delta, rounded):  # type: ignore[no-untyped-def]
    """Model k's task vector of one block, the ancestor's block being read already."""
    if rounded:
        return delta_bf16(base, inputs[k + 1], codes[k + 1], start, delta)
    return delta_fp32(base, inputs[k + 1], codes[k + 1], start, delta)


@inlined
def _sum(kept_blocks, models, rounded, total):  # type: ignore[no-untyped-def]
    """The sum of all models' blocks."""
    count = len(total)
    for i in range(count):
        total[i] = np.float32(0)
    for k in range(models):
        kept = kept_blocks[k * BLOCK : k * BLOCK + count]
        for i in range(count):
            total[i] += kept[i]
    if rounded:
        for i in range(count):
            total[i] = to_bf16(total[i])


def count_high(addresses, codes_at, models, size, rounded, table_at, scratch_at):  # type: ignore[no-untyped-def]
    """Count the upper 16 bits of |model - base| of every model.

    addresses, codes_at: of base and the models.  table_at: uint32 [models, 4, 32768], added to: neighbours go to
    different rows, so that runs of equal magnitudes do not wait for each other.  scratch_at: fp32 [3 * BLOCK].
    """
    inputs, codes = longs_at(addresses, models + 1), longs_at(codes_at, models + 1)
    scratch, bin_block = reals_at(scratch_at, 2 * BLOCK), words_at(scratch_at + 8 * BLOCK, BLOCK)
    for start in range(0, size, BLOCK):
        count = min(BLOCK, size - start)
        base, delta, bins = scratch[:count], scratch[BLOCK : BLOCK + count], bin_block[:count]
        decode(inputs[0], codes[0], start, base, rounded)
        for k in range(models):
            _base_and_delta(inputs, codes, k, start, base, delta, rounded)
            for i in range(count):
                bins[i] = magnitude(delta[i]) >> np.uint32(16)
            one = words_at(table_at + 4 * 32768 * 4 * k, 32768)
            two = words_at(table_at + 4 * 32768 * (4 * k + 1), 32768)
            three = words_at(table_at + 4 * 32768 * (4 * k + 2), 32768)
            four = words_at(table_at + 4 * 32768 * (4 * k + 3), 32768)
            whole = count // 4
            for i in range(whole):
                one[bins[4 * i]] += np.uint32(1)
                two[bins[4 * i + 1]] += np.uint32(1)
                three[bins[4 * i + 2]] += np.uint32(1)
                four[bins[4 * i + 3]] += np.uint32(1)
            for i in range(4 * whole, count):
                one[bins[i]] += np.uint32(1)


def count_low(addresses, codes_at, size, rows, wanted_at, table_at, scratch_at):  # type: ignore[no-untyped-def]
    """Count the lower 16 bits of |model - base| where the upper bits are those asked for.

    addresses, codes_at: of base and one model.  wanted_at: uint32 [rows], upper halves.  table_at: uint32
    [rows, 65536], added to.  scratch_at: fp32 [3 * BLOCK].
    """
    inputs, codes, wanted = longs_at(addresses, 2), longs_at(codes_at, 2), words_at(wanted_at, rows)
    scratch, bits_at = reals_at(scratch_at, 2 * BLOCK), scratch_at + 8 * BLOCK
    bit_block = words_at(bits_at, BLOCK)
    for start in range(0, size, BLOCK):
        count = min(BLOCK, size - start)
        base, delta, bits = scratch[:count], scratch[BLOCK : BLOCK + count], bit_block[:count]
        decode(inputs[0], codes[0], start, base, False)
        delta_fp32(base, inputs[1], codes[1], start, delta)
        for i in range(count):
            bits[i] = magnitude(delta[i])
        for row in range(rows):
            first, counts = np.uint32(wanted[row] << np.uint32(16)), words_at(table_at + 4 * 65536 * row, 65536)
            for some in range(0, count, ROW):
                there = np.uint32(0xFFFFFFFF) if count - some >= ROW else np.uint32((1 << (count - some)) - 1)
                hits = both(row_between(bits_at + 4 * some, first, np.uint32(first + 0xFFFF)), there)
                while hits != np.uint32(0):
                    counts[bits[some + first_set(hits)] & np.uint32(0xFFFF)] += np.uint32(1)
                    hits = both(hits, np.uint32(hits - np.uint32(1)))


def sample(addresses, codes_at, models, runs, length, step, rounded, found_at, scratch_at):  # type: ignore[no-untyped-def]
    """Write the magnitude bits of the first `length` of every `step` entries of |model - base|.

    addresses, codes_at: of base and the models.  length: at most a block.  found_at: uint32 [models, runs, length].
    scratch_at: fp32 [2 * length].
    """
    inputs, codes = longs_at(addresses, models + 1), longs_at(codes_at, models + 1)
    scratch, found = reals_at(scratch_at, 2 * length), words_at(found_at, models * runs * length)
    base, delta = scratch[:length], scratch[length:]
    for run in range(runs):
        start = run * step
        for k in range(models + 1):  # each run is a miss of every cache: several are waited for at once
            width = 4 if codes[k] else 2
            for line in range(0, length * width, 64):
                prefetch_line(inputs[k] + (start + AHEAD * step) * width + line)
        decode(inputs[0], codes[0], start, base, rounded)
        for k in range(models):
            _base_and_delta(inputs, codes, k, start, base, delta, rounded)
            for i in range(length):
                found[(k * runs + run) * length + i] = magnitude(delta[i])


def gather(  # type: ignore[no-untyped-def]
    addresses, codes_at, models, size, rounded, num_windows, windows_at, above_at, num_atoms, atoms_at, equal_at,
    room, found_at, totals_at, scratch_at,
):  # fmt: skip
    """Gather the magnitudes of |model - base| that lie in windows; count those above each, and single frequent ones.

    addresses, codes_at: of base and the models.  windows_at: uint32 [models, num_windows, 2], first and last bits;
    above_at: int64 [models, num_windows], how many are larger than the last.  atoms_at: uint32 [models, num_atoms],
    magnitudes that are counted, not gathered; equal_at: int64 [models, num_atoms].  found_at: uint32 [models, room],
    the rest, in order; totals_at: int64 [models], how many (more than `room` when not all were kept).
    scratch_at: fp32 [3 * BLOCK].
    """
    inputs, codes = longs_at(addresses, models + 1), longs_at(codes_at, models + 1)
    totals = longs_at(totals_at, models)
    scratch, bits_at = reals_at(scratch_at, 2 * BLOCK), scratch_at + 8 * BLOCK
    bit_block = words_at(bits_at, BLOCK)
    for start in range(0, size, BLOCK):
        count = min(BLOCK, size - start)
        base, delta, bits = scratch[:count], scratch[BLOCK : BLOCK + count], bit_block[:count]
        decode(inputs[0], codes[0], start, base, rounded)
        for k in range(models):
            windows = words_at(windows_at + 8 * num_windows * k, 2 * num_windows)
            above = longs_at(above_at + 8 * num_windows * k, num_windows)
            equal = longs_at(equal_at + 8 * num_atoms * k, num_atoms)
            atoms = words_at(atoms_at + 4 * num_atoms * k, num_atoms)
            _base_and_delta(inputs, codes, k, start, base, delta, rounded)
            for i in range(count):
                bits[i] = magnitude(delta[i])
            found, number = words_at(found_at + 4 * room * k, room), totals[k]
            if number + count > room:
                totals[k] = room + 1
                continue
            for row in range(0, count, ROW):
                at = bits_at + 4 * row
                there = np.uint32(0xFFFFFFFF) if count - row >= ROW else np.uint32((1 << (count - row)) - 1)
                inside = np.uint32(0)
                for w in range(num_windows):
                    above[w] += number_set(both(row_above(at, windows[2 * w + 1]), there))
                    inside = either(inside, row_between(at, windows[2 * w], windows[2 * w + 1]))
                inside = both(inside, there)
                for j in range(num_atoms):
                    same = both(row_equal(at, atoms[j]), there)
                    equal[j] += number_set(same)
                    inside = both(inside, differing(same, np.uint32(0xFFFFFFFF)))
                while inside != np.uint32(0):
                    found[number] = bits[row + first_set(inside)]
                    number += 1
                    inside = both(inside, np.uint32(inside - np.uint32(1)))
            totals[k] = number


def kept_sums(  # type: ignore[no-untyped-def]
    addresses, codes_at, size, rounded, offset, mode, threshold, budget_at, key, cut, lanes_at, scratch_at
):
    """Add |model - base| before and after sparsifying to lanes, float64 [2, LANES], entry i to lane i % LANES.

    offset: index of the range's first entry in its tensor, a multiple of LANES.  budget_at: int64, reduced by what
    was kept.  key: uint64 bits.  scratch_at: fp32 [4 * BLOCK].
    """
    inputs, codes, budget, lanes = (
        longs_at(addresses, 2),
        longs_at(codes_at, 2),
        longs_at(budget_at, 1),
        doubles_at(lanes_at, 128),
    )
    scratch, draws = reals_at(scratch_at, 3 * BLOCK), words_at(scratch_at + 12 * BLOCK, BLOCK)
    words = entries_at(scratch_at + 12 * BLOCK, BLOCK // 2)
    one, before, after = np.float32(1), lanes[:LANES], lanes[LANES:]
    for start in range(0, size, BLOCK):
        count = min(BLOCK, size - start)
        base, delta, kept = scratch[:count], scratch[BLOCK : BLOCK + count], scratch[2 * BLOCK : 2 * BLOCK + count]
        decode(inputs[0], codes[0], start, base, rounded)
        _base_and_delta(inputs, codes, 0, start, base, delta, rounded)
        if mode == RANDOM:
            draw(words, np.uint64(key), offset + start)
        budget[0] = keep_fp32(delta, kept, mode, np.uint32(threshold), budget[0], draws, np.uint64(cut), one, one)
        for row in range(0, count - count % LANES, LANES):
            whole, part = delta[row : row + LANES], kept[row : row + LANES]
            for lane in range(LANES):
                before[lane] += np.float64(abs(whole[lane]))
                after[lane] += np.float64(abs(part[lane]))
        for i in range(count - count % LANES, count):
            before[i % LANES] += np.float64(abs(delta[i]))
            after[i % LANES] += np.float64(abs(kept[i]))


def merge_deltas(  # type: ignore[no-untyped-def]
    addresses, codes_at, models, first, size, rounded, offset, modes_at, thresholds_at, budgets_at, keys_at, cuts_at,
    factors_at, weights_at, plan_at, out, out_code, largest_at, scratch_at,
):  # fmt: skip
    """Write base + lambda * (sum of weighted, sparsified task vectors [/ divisor]) of one range.

    addresses, codes_at: of base and the models.  first: the range's first entry there; offset: in the tensor.  For
    each model: modes, thresholds (uint32), budgets (int64, reduced by what was kept), keys and cuts (uint64),
    factors (fp32, of rescaling), weights (fp32).
    plan_at: fp32 [4]: whether signs are elected, whether to divide, the divisor where signs are not elected, lambda.
    largest_at: uint32 [models + 2], largest magnitude bits of each input and of the output.
    scratch_at: fp32 [(models + 6) * BLOCK].
    """
    inputs, codes = longs_at(addresses, models + 1), longs_at(codes_at, models + 1)
    modes, thresholds, budgets = (
        longs_at(modes_at, models),
        words_at(thresholds_at, models),
        longs_at(budgets_at, models),
    )
    keys = entries_at(keys_at, models)
    cuts = entries_at(cuts_at, models)
    factors, weights, plan = reals_at(factors_at, models), reals_at(weights_at, models), reals_at(plan_at, 4)
    elect, normalize, scale = plan[0] != 0, plan[1] != 0, plan[3]
    largest = words_at(largest_at, models + 2)
    scratch = reals_at(scratch_at, 5 * BLOCK)
    draws = words_at(scratch_at + 20 * BLOCK, BLOCK)
    words = entries_at(scratch_at + 20 * BLOCK, BLOCK // 2)
    kept_blocks = reals_at(scratch_at + 24 * BLOCK, models * BLOCK)
    for start in range(0, size, BLOCK):
        count = min(BLOCK, size - start)
        base, delta = scratch[:count], scratch[BLOCK : BLOCK + count]
        total, divisor = scratch[2 * BLOCK : 2 * BLOCK + count], scratch[3 * BLOCK : 3 * BLOCK + count]
        largest[0] = max(largest[0], decode(inputs[0], codes[0], first + start, base, rounded))
        for k in range(models):
            kept = kept_blocks[k * BLOCK : k * BLOCK + count]
            mode, threshold, budget = modes[k], thresholds[k], budgets[k]
            if mode == RANDOM:
                draw(words, keys[k], offset + start)
            seen = _base_and_delta(inputs, codes, k, first + start, base, delta, rounded)
            if rounded:
                budgets[k] = keep_bf16(delta, kept, mode, threshold, budget, draws, cuts[k], factors[k], weights[k])
            else:
                budgets[k] = keep_fp32(delta, kept, mode, threshold, budget, draws, cuts[k], factors[k], weights[k])
            largest[k + 1] = max(largest[k + 1], seen)
        if elect and models == 2:
            if rounded:
                add_elected_bf16(
                    base, kept_blocks[:count], kept_blocks[BLOCK : BLOCK + count], weights, normalize, scale
                )
            else:
                add_elected_fp32(
                    base, kept_blocks[:count], kept_blocks[BLOCK : BLOCK + count], weights, normalize, scale
                )
        else:
            if not elect:
                _sum(kept_blocks, models, rounded, total)
                for i in range(count):
                    divisor[i] = plan[2]
            elif rounded:
                elect_bf16(kept_blocks, weights, total, divisor, scratch[4 * BLOCK : 4 * BLOCK + count])
            else:
                elect_fp32(kept_blocks, weights, total, divisor, scratch[4 * BLOCK : 4 * BLOCK + count])
            if rounded:
                add_bf16(base, total, divisor, normalize, scale)
            else:
                add_fp32(base, total, divisor, normalize, scale)
        if rounded and out_code != BF16:
            for i in range(count):
                base[i] = to_bf16(base[i])
        largest[models + 1] = max(largest[models + 1], encode(base, out, out_code, start))


def combine(  # type: ignore[no-untyped-def]
    addresses, codes_at, models, size, rounded, fused, weights_at, out, out_code, largest_at, scratch_at
):
    """Write the sum of weight * model, divided by the divisor unless it is 1.

    fused: each product is added to the sum (from +0 on) with one rounding, as torch's addcmul does; otherwise with
    two, from -0 on, which changes no term, not even the sign of a zero.  weights_at: fp32 [models + 1], the divisor
    last.  largest_at: uint32 [models + 1], largest magnitude bits of each model and of the output.
    scratch_at: fp32 [2 * BLOCK].
    """
    inputs, codes, weights = longs_at(addresses, models), longs_at(codes_at, models), reals_at(weights_at, models + 1)
    largest, scratch = words_at(largest_at, models + 1), reals_at(scratch_at, 2 * BLOCK)
    divisor = weights[models]
    first = np.float32(0) if fused else -np.float32(0)
    for start in range(0, size, BLOCK):
        count = min(BLOCK, size - start)
        entries, total = scratch[:count], scratch[BLOCK : BLOCK + count]
        for i in range(count):
            total[i] = first
        for k in range(models):
            largest[k] = max(largest[k], decode(inputs[k], codes[k], start, entries, rounded))
            weight = weights[k]
            if fused:
                for i in range(count):
                    total[i] = fused_add(entries[i], weight, total[i])
            else:
                for i in range(count):
                    total[i] += entries[i] * weight
        if divisor != np.float32(1):
            for i in range(count):
                total[i] /= divisor
        if rounded and out_code != BF16:
            for i in range(count):
                total[i] = to_bf16(total[i])
        largest[models] = max(largest[models], encode(total, out, out_code, start))


def products(addresses, codes_at, models, size, rounded, relative, lanes_at, scratch_at):  # type: ignore[no-untyped-def]
    """Add the products of every pair of vectors to lanes, float64 [models, models, LANES] (upper triangle).

    The vectors are the models, or when `relative` their differences from the base, which then comes first in
    addresses and codes_at.  scratch_at: fp32 [(models + 1) * BLOCK].
    """
    inputs, codes = longs_at(addresses, models + 1), longs_at(codes_at, models + 1)
    scratch, blocks = reals_at(scratch_at, BLOCK), reals_at(scratch_at + 4 * BLOCK, models * BLOCK)
    for start in range(0, size, BLOCK):
        count = min(BLOCK, size - start)
        base = scratch[:count]
        if relative:
            decode(inputs[0], codes[0], start, base, rounded)
        for k in range(models):
            block = blocks[k * BLOCK : k * BLOCK + count]
            if relative:
                _base_and_delta(inputs, codes, k, start, base, block, rounded)
            else:
                decode(inputs[k], codes[k], start, block, rounded)
        for j in range(models):
            for k in range(j, models):
                sums = doubles_at(lanes_at + 8 * LANES * (models * j + k), LANES)
                left, right = blocks[j * BLOCK : j * BLOCK + count], blocks[k * BLOCK : k * BLOCK + count]
                for row in range(0, count - count % LANES, LANES):
                    one, other = left[row : row + LANES], right[row : row + LANES]
                    for lane in range(LANES):
                        sums[lane] += np.float64(one[lane]) * np.float64(other[lane])
                for i in range(count - count % LANES, count):
                    sums[i % LANES] += np.float64(left[i]) * np.float64(right[i])


def stock(addresses, codes_at, models, size, share_at, out, out_code, largest_at, scratch_at):  # type: ignore[no-untyped-def]
    """Write share * mean of the models + (1 - share) * base.

    share_at: fp32 [1].  largest_at: uint32 [models + 2], largest magnitude bits of each input and of the output.
    scratch_at: fp32 [3 * BLOCK].
    """
    inputs, codes, share = longs_at(addresses, models + 1), longs_at(codes_at, models + 1), reals_at(share_at, 1)[0]
    largest, scratch = words_at(largest_at, models + 2), reals_at(scratch_at, 3 * BLOCK)
    rest, number = np.float32(1) - share, np.float32(models)
    for start in range(0, size, BLOCK):
        count = min(BLOCK, size - start)
        base, entries, total = scratch[:count], scratch[BLOCK : BLOCK + count], scratch[2 * BLOCK : 2 * BLOCK + count]
        largest[0] = max(largest[0], decode(inputs[0], codes[0], start, base, False))
        for i in range(count):
            total[i] = np.float32(0)
        for k in range(models):
            largest[k + 1] = max(largest[k + 1], decode(inputs[k + 1], codes[k + 1], start, entries, False))
            for i in range(count):
                total[i] += entries[i]
        for i in range(count):
            total[i] = share * (total[i] / number) + rest * base[i]
        largest[models + 1] = max(largest[models + 1], encode(total, out, out_code, start))


KERNELS = (count_high, count_low, sample, gather, kept_sums, merge_deltas, combine, products, stock)
"""What `compiled` compiles."""
