"""Find how to split a training over devices: the layouts that fit, the one with the least overhead first.

The order is by a model of one step (bubble, traffic at the links' full rate, recomputation) that is good for comparing
layouts, not for predicting days.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from domadapt.planning.communication import Traffic, bubble_fraction, traffic
from domadapt.planning.devices import Device
from domadapt.planning.flops import flops_per_token
from domadapt.planning.memory import Layout, RankMemory, Recompute, rank_memory
from domadapt.planning.shapes import ModelShape

RESERVE = 0.1
"""Share of a device's memory kept free for the framework, communication buffers and fragmentation. Ours."""


@dataclass(frozen=True)
class Batch:
    """What a step trains on: windows of `seq_len` tokens, `micro_batch` of them in a forward pass."""

    seq_len: int
    samples: int
    micro_batch: int


@dataclass(frozen=True)
class Found:
    """A layout with its costs. overhead: time of a step over the time of its arithmetic alone, minus 1."""

    layout: Layout
    memory: RankMemory
    traffic: Traffic
    bubble: float
    overhead: float


def fits(memory: RankMemory, device: Device) -> bool:
    """Whether a rank's memory leaves the reserve free."""
    return memory.total <= device.memory * (1 - RESERVE)


def assess(shape: ModelShape, batch: Batch, layout: Layout, device: Device, mfu: float) -> Found:
    """The costs of one layout. mfu: what the arithmetic alone reaches of the peak."""
    sent = traffic(shape, batch.seq_len, layout)
    bubble = bubble_fraction(layout)
    tokens = batch.seq_len * batch.micro_batch
    recomputed = 4 / 3 if layout.recompute == "full" else 1.0
    arithmetic = flops_per_token(shape, batch.seq_len) * tokens / (layout.tensor * layout.pipeline)
    seconds = arithmetic / (device.peak_flops * mfu)
    busy = seconds * recomputed + sent.tensor / device.link + 2 * sent.pipeline / device.network
    # gradients and weights travel while the last micro-batch and the next step's first one are at work
    exposed = max(0.0, sent.data / device.network - busy)
    step = busy * layout.num_micro_batches / (1 - bubble) + exposed
    overhead = step / (seconds * layout.num_micro_batches) - 1
    return Found(layout, rank_memory(shape, batch.seq_len, layout), sent, bubble, overhead)


def find_layouts(
    shape: ModelShape, batch: Batch, num_devices: int, device: Device, *, per_node: int = 8, mfu: float = 0.4
) -> list[Found]:
    """Layouts of exactly `num_devices` that fit the device, the least overhead first; none when none fits.

    Tensor parallelism stays within a node. Recomputation is chosen only where nothing fits without.
    """
    for recompute in ("selective", "full"):
        found = [
            assess(shape, batch, lay, device, mfu) for lay in _layouts(shape, batch, num_devices, per_node, recompute)
        ]
        fitting = [f for f in found if fits(f.memory, device)]
        if fitting:
            return sorted(fitting, key=lambda f: (f.overhead, f.memory.total))
    return []


def least_memory(shape: ModelShape, batch: Batch, num_devices: int, per_node: int = 8) -> RankMemory | None:
    """Memory of the layout that needs least, to say how far off it is; None when no layout divides the work."""
    layouts = list(_layouts(shape, batch, num_devices, per_node, "full"))
    return min((rank_memory(shape, batch.seq_len, lay) for lay in layouts), key=lambda m: m.total, default=None)


def _layouts(
    shape: ModelShape, batch: Batch, num_devices: int, per_node: int, recompute: Recompute
) -> Iterator[Layout]:
    for tensor in _divisors(min(per_node, num_devices)):
        if any(n % tensor for n in (shape.heads, shape.kv_heads, shape.ffn, num_devices)):
            continue
        for pipeline in _divisors(num_devices // tensor):
            data = num_devices // (tensor * pipeline)
            if shape.layers % pipeline or batch.samples % (data * batch.micro_batch):
                continue
            layout = Layout(tensor, pipeline, data, batch.micro_batch, recompute=recompute)
            yield replace(layout, num_micro_batches=batch.samples // (data * batch.micro_batch))


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]
