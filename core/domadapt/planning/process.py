"""Memory of a training that is not split: one process, or ranks that share out weights and optimizer between them.

Counted is what autograd keeps of transformers' Llama run operation by operation, which is more than Megatron's fused
layers keep: with autocast the residual stream stays in fp32 and every matrix has a bf16 copy for as long as a pass
lasts. The counts are exact to the byte; what a C library's allocator keeps of freed blocks comes on top on a CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

from domadapt.planning.devices import GIB
from domadapt.planning.shapes import ModelShape

PROGRAM = 0.42 * GIB
"""Resident on a CPU before any tensor, measured: Python 3.11, torch 2.13 and transformers 5.23 on Linux."""
ALLOCATOR = 1.19
"""Resident over live bytes on a CPU, measured: glibc keeps freed blocks; 1.17 to 1.23 at 10 to 56 M parameters."""
MOST_LOGITS = {"cpu": 2**23, "gpu": 2**27}
"""Logits that are held at once where the loss is made in parts."""


@dataclass(frozen=True)
class Pass:
    """One forward and backward pass: `micro_batch` windows of `seq_len` tokens.

    autocast: whether products are bf16 over fp32 weights.  recompute: whether layers keep their input alone.
    accumulates: whether a step has several passes, so that gradients are there before the last one.
    """

    seq_len: int
    micro_batch: int
    autocast: bool
    recompute: bool
    accumulates: bool

    @property
    def tokens(self) -> int:
        """Tokens of the pass."""
        return self.seq_len * self.micro_batch


@dataclass(frozen=True)
class ProcessMemory:
    """Live bytes at the fullest moment. states: weights, gradients and moments.  rest: all that a pass makes."""

    states: float
    rest: float

    @property
    def live(self) -> float:
        """Both together."""
        return self.states + self.rest

    @property
    def resident(self) -> float:
        """What a process on a CPU occupies."""
        return ALLOCATOR * (PROGRAM + self.live)


def layer_bytes(shape: ModelShape, one: Pass) -> float:
    """Bytes that autograd keeps of one layer's activations, without the bf16 copies of its matrices.

    Counted from the tensors that transformers 5.23's Llama saves with fused attention: twice input and normed input of
    a norm, input of every matrix, queries, keys, values, and four tensors of the gated MLP.
    """
    hidden, width, keys = shape.hidden, shape.attention_width, shape.kv_heads * shape.head_dim
    statistics = 4 * shape.heads + 8
    if one.autocast:  # norms in fp32; a bf16 copy of the normed input for each of five matrices
        each = 16 * hidden + 2 * (5 * hidden + width) + 2 * width + 4 * keys + 8 * shape.ffn
    else:
        each = 4 * (6 * hidden + 2 * width + 2 * keys + 4 * shape.ffn)
    return float(one.tokens * (each + statistics))


def process_memory(shape: ModelShape, one: Pass, *, ranks: int = 1, device: str = "cpu") -> ProcessMemory:
    """Live bytes of one rank when the backward pass of a step's last micro-batch begins, or when the optimizer steps.

    ranks: share weights, gradients and moments, 16 bytes a parameter in fp32; a layer is whole only while it computes.
    device: "cpu" or "gpu", which sets how many logits are held at once.
    """
    parameters = float(shape.parameters)
    states = 16 * parameters / ranks
    gradients = 4 * parameters / ranks
    whole_layer = 2.0 * shape.layer_matrices if one.autocast else 4.0 * shape.layer_matrices
    if ranks > 1:  # the layer at work, the one that is fetched meanwhile, and the table of the output layer
        copies = 2 * whole_layer + (2.0 if one.autocast else 4.0) * shape.embedding
    else:
        copies = 2.0 * shape.matmul_parameters if one.autocast else 0.0
    kept = layer_bytes(shape, one)
    inputs = shape.layers * 4.0 * one.tokens * shape.hidden
    layers = inputs + kept if one.recompute else shape.layers * kept
    last = one.tokens * shape.hidden * (10.0 if one.autocast else 12.0)
    logits = min(one.tokens * shape.vocab, MOST_LOGITS[device])
    in_parts = one.tokens * shape.vocab > MOST_LOGITS[device]
    # log-softmax, its gradient, and the logits in either type; made in parts, the gradients of both sides at once
    loss = 8.0 * logits + 4.0 * (one.tokens * shape.hidden + shape.embedding) if in_parts else 12.0 * logits
    backward = copies + layers + last + loss - (0 if one.accumulates else gradients)
    return ProcessMemory(states, max(0.0, backward))
