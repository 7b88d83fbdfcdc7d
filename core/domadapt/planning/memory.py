"""Memory of one rank when a model is split by tensor, pipeline and data parallelism.

Megatron's own theoretical count: it leaves out the framework, communication buffers and fragmentation, which is why
`layout.fits` keeps a tenth of the device free. Two things it does not know make real runs larger by a few percent: a
gated MLP keeps more than 4 bytes a hidden unit unless its activation is fused, and vocabularies are padded.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from domadapt.planning.shapes import ModelShape

Recompute = Literal["none", "selective", "full"]


@dataclass(frozen=True)
class Layout:
    """How a training is split over devices.

    tensor, pipeline, data: ranks of each kind; their product is the number of devices.  micro_batch: sequences of one
    forward pass.  num_micro_batches: forward passes of one step and pipeline.  distributed_optimizer: whether fp32
    weights and moments are shared out over the data-parallel ranks.  recompute: "none" keeps the attention matrix
    (there is no fused attention), "selective" all but that, "full" only each layer's input.
    """

    tensor: int = 1
    pipeline: int = 1
    data: int = 1
    micro_batch: int = 1
    num_micro_batches: int = 1
    distributed_optimizer: bool = True
    recompute: Recompute = "selective"
    sequence_parallel: bool = True

    @property
    def num_devices(self) -> int:
        """Devices in all."""
        return self.tensor * self.pipeline * self.data

    def __str__(self) -> str:
        return f"TP{self.tensor} PP{self.pipeline} DP{self.data}"


@dataclass(frozen=True)
class RankMemory:
    """Bytes on the fullest rank: what stays (weights, gradients, optimizer) and what a step keeps for its backward."""

    parameters: float
    states: float
    activations: float

    @property
    def total(self) -> float:
        """Both together."""
        return self.states + self.activations


def parameters_on_rank(shape: ModelShape, layout: Layout) -> float:
    """Parameters of the fullest rank: that of the embedding, which without pipeline also has the output layer.

    Source: Megatron-LM, theoretical_memory_usage.py.
    """
    tables = shape.embedding * (2 if layout.pipeline == 1 and not shape.tied else 1)
    matrices = (shape.layers * shape.layer_matrices / layout.pipeline + tables) / layout.tensor
    return matrices + (shape.layers * shape.layer_vectors + shape.hidden) / layout.pipeline


def bytes_per_parameter(layout: Layout) -> float:
    """bf16 weight 2, fp32 gradient 4, fp32 weight 4 and two fp32 moments 8; the last 12 shared out over DP ranks.

    Source: Megatron-LM, theoretical_memory_usage.py.
    """
    return 6 + 12 / layout.data if layout.distributed_optimizer else 18


def layer_activation_bytes(shape: ModelShape, seq_len: int, layout: Layout) -> float:
    """Bytes that one layer keeps of one micro-batch for its backward pass, bf16.

    With sequence parallelism everything is split by TP, else the 10 s b h of norms and residuals are not.
    Source: Korthikanti et al. 2022, arXiv 2205.05198, equations 1, 2 and 4 to 6; written with the MLP's width as in
    Megatron-LM (18 + 4 f/h in place of 34).
    """
    sbh = float(seq_len) * layout.micro_batch * shape.hidden
    split = layout.tensor if layout.sequence_parallel else 1
    if layout.recompute == "full":
        return 2 * sbh / split
    matrix = 5 * shape.heads * seq_len / shape.hidden if layout.recompute == "none" else 0.0
    return sbh * (10 / split + (8 + 4 * shape.ffn / shape.hidden + matrix) / layout.tensor)


def rank_memory(shape: ModelShape, seq_len: int, layout: Layout) -> RankMemory:
    """Memory of the fullest rank, the first of a pipeline with the 1F1B schedule.

    It holds the activations of `pipeline` micro-batches of its layers, so of as many layers as the model has, whatever
    the pipeline's length; with full recomputation also those of the one layer at work.
    Source: Megatron-LM, theoretical_memory_usage.py.
    """
    parameters = parameters_on_rank(shape, layout)
    sbh = float(seq_len) * layout.micro_batch * shape.hidden
    split = layout.tensor if layout.sequence_parallel else 1
    in_flight = min(layout.pipeline, layout.num_micro_batches)
    layers = shape.layers / layout.pipeline * layer_activation_bytes(shape, seq_len, layout)
    if layout.recompute == "full":
        working = Layout(**{**layout.__dict__, "recompute": "selective"})
        layers += layer_activation_bytes(shape, seq_len, working) / in_flight
    # token ids of the embedding and the mask of its dropout, as Megatron counts them
    embedded = (8 * seq_len * layout.micro_batch + sbh) / split
    activations = in_flight * (layers + embedded)
    if layout.pipeline == 1:  # inputs of the output layer and of the loss, in fp32
        activations += 4 * sbh * (1 + shape.vocab / shape.hidden) / layout.tensor
    return RankMemory(parameters, parameters * bytes_per_parameter(layout), activations)
