"""The costs of a training in figures: arithmetic first, then time and money, a layout with its memory, disk.

Nothing here is a promise: days rest on an assumed share of the devices' peak, and say so.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from domadapt.planning.devices import Device
from domadapt.planning.figures import Figure, billions, gib, percent, span
from domadapt.planning.flops import flops_per_token, flops_rule_of_thumb, seconds_at, utilization
from domadapt.planning.layout import RESERVE, Found, assess, find_layouts, fits, least_memory
from domadapt.planning.process import ALLOCATOR, PROGRAM, process_memory
from domadapt.planning.training import COPIES, Training

USUAL_MFU = (0.25, 0.55)
"""Published trainings of dense models on hundreds of A100 or H100 in bf16 lie within: Megatron-LM 41 to 48 %,
MPT-70B 43 %, Llama 3 405B 38 to 43 %, Llama 2 39 to 43 %."""


@dataclass(frozen=True)
class Machines:
    """Devices to plan for. mfu: assumed share of their peak.  price: dollars for a device and hour.  assumed: what
    of the devices nobody said."""

    count: int
    device: Device
    per_node: int = 8
    mfu: float = 0.4
    price: float = 2.0
    assumed: str = ""

    def __str__(self) -> str:
        return f"{self.count} x {self.device.name}{self.assumed}"


@dataclass(frozen=True)
class Measured:
    """What an earlier run here took for its training: tokens and seconds of the whole stage."""

    tokens: float
    seconds: float
    run: str


def estimate(
    training: Training, machines: Machines | None, *, days: float | None = None, measured: Measured | None = None
) -> list[Figure]:
    """All figures that can be known. days: a claimed duration, of which the implied MFU is told."""
    figures = [*_model(training), *_compute(training), *_memory(training, machines)]
    if measured is not None and training.tokens is not None:
        figures.append(_as_measured(training.tokens, measured))
    if machines is not None:
        if training.tokens is not None:
            figures += _time(training, machines)
            figures += [] if days is None else _claim(training, machines, days)
        figures += _layouts(training, machines)
    return [*figures, *_disk(training)]


def flops_of(training: Training, tokens: float) -> float:
    """Model FLOPs of so many tokens."""
    return flops_per_token(training.shape, training.batch.seq_len) * tokens


def _model(training: Training) -> Iterator[Figure]:
    shape = training.shape
    text = f"{billions(shape.parameters)}, {billions(shape.matmul_parameters)} of them in matrix products"
    yield Figure("parameters", "parameters", shape.parameters, "parameters", text, "formula")
    tokens, batch = training.tokens, training.batch
    step = f"{batch.samples} windows of {batch.seq_len} a step"
    if tokens is None:
        text = f"one pass over the domain, not counted yet (mix.tokens sets a number); {step}"
        yield Figure("tokens", "tokens", None, "tokens", text, "recipe")
        return
    general = f", {percent(training.replay)} of them general" if training.replay else ""
    text = f"{billions(tokens)}{general}: {training.steps:,} steps, {step}"
    yield Figure("tokens", "tokens", tokens, "tokens", text, "recipe")


def _compute(training: Training) -> Iterator[Figure]:
    shape, seq_len = training.shape, training.batch.seq_len
    each = flops_per_token(shape, seq_len)
    attention = 1 - 6 * shape.matmul_parameters / each
    text = f"{each:.4g} (6 N is {flops_rule_of_thumb(shape.parameters):.4g}), {percent(attention)} of them attention"
    yield Figure("flops_per_token", "FLOPs a token", each, "FLOP", text, "formula")
    if training.tokens is not None:
        total = flops_of(training, training.tokens)
        thumb = flops_rule_of_thumb(shape.parameters, training.tokens)
        yield Figure("flops", "FLOPs", total, "FLOP", f"{total:.4g} (6 N D is {thumb:.4g})", "formula")


def _as_measured(tokens: float, measured: Measured) -> Figure:
    rate = measured.tokens / measured.seconds
    text = f"{span(tokens / rate)} on this machine, at the {rate:,.0f} tokens/s of run {measured.run}"
    return Figure("seconds_here", "time here", tokens / rate, "s", text, "measured")


def _time(training: Training, machines: Machines) -> Iterator[Figure]:
    assert training.tokens is not None
    total, peak = flops_of(training, training.tokens), machines.device.peak_flops
    seconds = seconds_at(total, peak, machines.count, machines.mfu)
    text = f"{span(seconds)} on {machines} at {percent(machines.mfu)} of their peak (--mfu)"
    yield Figure("seconds", "time", seconds, "s", text, "assumed")
    hours = machines.count * seconds / 3600
    yield Figure("gpu_hours", "GPU-hours", hours, "h", f"{hours:,.0f}", "assumed")
    money = hours * machines.price
    text = f"${money:,.0f} at ${machines.price:g} a GPU-hour (--price)"
    yield Figure("money", "money", money, "$", text, "assumed")


def _claim(training: Training, machines: Machines, days: float) -> Iterator[Figure]:
    """What a claimed duration means."""
    assert training.tokens is not None
    seconds = days * 86400
    total = flops_of(training, training.tokens)
    mfu = utilization(total, seconds, machines.device.peak_flops, machines.count)
    rate = training.tokens / seconds / machines.count
    low, high = USUAL_MFU
    if mfu > 1:
        verdict = "; that is more than the devices can do"
    elif mfu > high:
        verdict = f"; more than published bf16 trainings reach ({percent(low)} to {percent(high)}): products in fp8?"
    elif mfu < low:
        verdict = (
            f"; well-run trainings reach {percent(low)} to {percent(high)}, so the time holds waits and faults, "
            "a slow engine, or fewer tokens were trained"
        )
    else:
        verdict = ", as published trainings reach"
    text = f"{days:g} days on {machines} are {percent(mfu)} MFU, {rate:,.0f} tokens/s a GPU{verdict}"
    yield Figure("claimed_mfu", "implied MFU", mfu, "", text, "claimed")
    hours = machines.count * days * 24
    text = f"{hours:,.0f} GPU-hours, ${hours * machines.price:,.0f}"
    yield Figure("claimed_gpu_hours", "of the claim", hours, "h", text, "claimed")


def _memory(training: Training, machines: Machines | None) -> Iterator[Figure]:
    """Memory of a rank where the model is not split: on the GPUs planned for, or of a process on a CPU."""
    if training.splits_model or training.adapters:
        return
    if machines is None:
        one = training.one_pass(training.processes)
        memory = process_memory(training.shape, one, ranks=training.processes)
        text = (
            f"{gib(memory.resident)} on a CPU, training alone: {gib(memory.states)} weights, gradients and optimizer, "
            f"{gib(memory.rest)} of a pass, {gib(PROGRAM)} program and {percent(ALLOCATOR - 1)} for the allocator, "
            "both measured once"
        )
        yield Figure("process_bytes", "memory a process", memory.resident, "B", text, "formula")
        return
    memory = process_memory(training.shape, training.one_pass(machines.count), ranks=machines.count, device="gpu")
    fitting = memory.live <= machines.device.memory * (1 - RESERVE)
    text = (
        f"{gib(memory.live)} of {_usable(machines)}, {'fits' if fitting else 'does NOT fit'}: {gib(memory.states)} "
        f"weights, gradients and optimizer shared out over {machines.count} ranks, {gib(memory.rest)} of a pass"
    )
    yield Figure("rank_bytes", "memory a rank", memory.live, "B", text, "formula")


def _layouts(training: Training, machines: Machines) -> Iterator[Figure]:
    """The recipe's layout and the best one found, with memory, traffic and bubble."""
    if not training.splits_model:
        return
    shape, batch = training.shape, training.batch
    own = training.layout(machines.count)
    if training.tensor * training.pipeline > 1:
        if own is None:
            text = (
                f"TP{training.tensor} PP{training.pipeline} does not divide {machines.count} devices and "
                f"{batch.samples} windows a step"
            )
            yield Figure("layout_fits", "layout (recipe)", None, "", text, "formula")
        else:
            found = assess(shape, batch, own, machines.device, machines.mfu)
            yield from _layout_figures(found, machines, "recipe")
            if fits(found.memory, machines.device):
                return
    best = find_layouts(shape, batch, machines.count, machines.device, per_node=machines.per_node, mfu=machines.mfu)
    if best:
        yield from _layout_figures(best[0], machines, "found")
        return
    least = least_memory(shape, batch, machines.count, machines.per_node)
    if least is None:
        text = f"none: no layout divides {machines.count} devices, {batch.samples} windows and the model evenly"
    else:
        text = f"none fits {machines}: the smallest needs {gib(least.total)} a rank, there are {_usable(machines)}"
    yield Figure("layout_fits", "layout", 0, "", text, "formula")


def _layout_figures(found: Found, machines: Machines, whose: str) -> Iterator[Figure]:
    layout, memory, sent = found.layout, found.memory, found.traffic
    fitting = fits(memory, machines.device)
    recompute = ", all activations recomputed" if layout.recompute == "full" else ""
    text = (
        f"{layout} ({whose}): {layout.tensor} ways by tensor, {layout.pipeline} stages, {layout.data} replicas, "
        f"micro-batch {layout.micro_batch} x {layout.num_micro_batches}{recompute}"
    )
    yield Figure("layout_fits", "layout", float(fitting), "", text, "formula")
    verdict = "fits" if fitting else "does NOT fit"
    text = (
        f"{gib(memory.total)} of {_usable(machines)}, {verdict}: {gib(memory.states)} weights, gradients and optimizer "
        f"({billions(memory.parameters)} parameters), {gib(memory.activations)} activations"
    )
    yield Figure("rank_bytes", "memory a rank", memory.total, "B", text, "formula")
    step = layout.num_micro_batches
    parts = []
    if layout.tensor > 1:
        seconds = sent.tensor / machines.device.link
        parts.append(f"tensor {gib(sent.tensor)} a micro-batch ({1000 * seconds:.0f} ms at the link's rate)")
    if layout.pipeline > 1:
        parts.append(f"pipeline {gib(sent.pipeline)} each way")
    if layout.data > 1:
        parts.append(f"data {gib(sent.data)} a step ({sent.data / machines.device.network:.2f} s)")
    total = step * (sent.tensor + 2 * sent.pipeline) + sent.data
    yield Figure("traffic_bytes", "sent by a rank", total, "B", "; ".join(parts) or "nothing", "formula")
    yield Figure("bubble", "pipeline bubble", found.bubble, "", f"{percent(found.bubble)} of a step", "formula")


def _usable(machines: Machines) -> str:
    return f"{gib(machines.device.memory)} ({percent(RESERVE)} kept free)"


def _disk(training: Training) -> Iterator[Figure]:
    """Checkpoints for resuming, token store, models."""
    shape = training.shape
    # weights and two moments in fp32; where bf16 weights stand beside fp32 ones, two bytes more
    each = shape.parameters * (14 if training.splits_model else 12)
    text = f"{gib(COPIES * each)} at most: {gib(each)} each, two kept while the next is written"
    yield Figure("checkpoint_bytes", "disk: checkpoints", COPIES * each, "B", text, "formula")
    models = training.num_models * 2 * shape.parameters
    names = "the CPT model" + (f" and {training.num_models - 1} merged" if training.num_models > 1 else "")
    yield Figure("model_bytes", "disk: models", models, "B", f"{gib(models)}: {names}, 2 bytes a parameter", "formula")
    if training.tokens is not None:
        size = training.tokens * (2 if shape.vocab < 2**16 else 4)
        yield Figure("token_bytes", "disk: tokens", size, "B", f"{gib(size)}, without repeats less", "formula")
