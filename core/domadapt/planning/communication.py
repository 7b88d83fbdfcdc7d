"""What ranks send each other, and the bubble of a pipeline. Volumes of ring algorithms; latencies are left out."""

from __future__ import annotations

from dataclasses import dataclass

from domadapt.planning.memory import Layout, parameters_on_rank
from domadapt.planning.shapes import ModelShape


@dataclass(frozen=True)
class Traffic:
    """Bytes that one rank sends.

    tensor: in one micro-batch, over all layers of the rank.  pipeline: in one micro-batch to the next stage, each
    way.  data: in one step.
    """

    tensor: float
    pipeline: float
    data: float


def traffic(shape: ModelShape, seq_len: int, layout: Layout) -> Traffic:
    """Bytes a rank sends under a layout, bf16 activations, fp32 gradients, bf16 weights.

    Tensor parallelism: the equivalent of four all-reduces a layer, two in each pass, of 2 s b h bytes; with sequence
    parallelism as all-gathers and reduce-scatters of the same volume. Pipeline: one activation, split by TP.
    Data: reduce-scatter of gradients and all-gather of weights (without distributed optimizer an all-reduce of
    gradients).
    Source: Narayanan et al. 2021, arXiv 2104.04473, section 3.2; Korthikanti et al. 2022, arXiv 2205.05198,
    section 4.2.
    """
    message = 2.0 * seq_len * layout.micro_batch * shape.hidden
    tp, dp = layout.tensor, layout.data
    tensor = shape.layers / layout.pipeline * 4 * 2 * (tp - 1) / tp * message
    pipeline = message / tp if layout.pipeline > 1 else 0.0
    each = 4 + 2 if layout.distributed_optimizer else 2 * 4
    return Traffic(tensor, pipeline, parameters_on_rank(shape, layout) * each * (dp - 1) / dp)


def bubble_fraction(layout: Layout) -> float:
    """Share of a step in which a stage of the pipeline waits: (PP - 1) / (m + PP - 1).

    Source: Narayanan et al. 2021, arXiv 2104.04473, section 2.2 (there as a share of the work, t_pb / t_id).
    """
    return (layout.pipeline - 1) / (layout.num_micro_batches + layout.pipeline - 1)
