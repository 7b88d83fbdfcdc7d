"""Floating-point operations of training, and what share of a device's peak a speed is (MFU).

Model FLOPs: what the arithmetic of one forward and one backward pass needs, whatever is recomputed on the way. Two
counts: the exact one, which knows that embeddings are not multiplied and that attention grows with the sequence, and
the rule of thumb 6 N. For Llama-3-70B at 8,192 tokens they are 6 % apart, for Llama-3-8B 7 %.
"""

from __future__ import annotations

from collections.abc import Sequence

from domadapt.planning.shapes import ModelShape


def flops_per_token(shape: ModelShape, seq_len: float) -> float:
    """Floating-point operations of one training token, forward and backward.

    6 for each parameter of a matrix product, and 6 * layers * width * seq_len for causal attention (scores and their
    product with the values, of which causality leaves half).  seq_len: tokens that attend to each other, where
    documents are masked from each other `attended_length`.
    Source: Megatron-LM, num_floating_point_operations; Narayanan et al. 2021, arXiv 2104.04473, appendix A, halved
    for causality.
    """
    return 6.0 * shape.matmul_parameters + 6.0 * shape.layers * shape.attention_width * seq_len


def flops_rule_of_thumb(parameters: float, tokens: float = 1) -> float:
    """6 N D. Source: Kaplan et al. 2020, arXiv 2001.08361, section 2.1."""
    return 6.0 * parameters * tokens


def attended_length(document_lengths: Sequence[float]) -> float:
    """What stands for seq_len in `flops_per_token` where attention stops at document boundaries.

    document_lengths: tokens of the pieces of documents in the windows. Sum of squares over sum.
    """
    return sum(n * n for n in document_lengths) / sum(document_lengths)


def utilization(flops: float, seconds: float, peak_flops: float, num_devices: int = 1) -> float:
    """Model FLOPs utilisation (MFU): the share of the devices' peak that `flops` model operations in `seconds` are.

    peak_flops: of one device, a second, in the type of the products, without sparsity.
    Source: Chowdhery et al. 2022, arXiv 2204.02311, appendix B.
    """
    return flops / (seconds * num_devices * peak_flops)


def seconds_at(flops: float, peak_flops: float, num_devices: int, mfu: float) -> float:
    """Seconds that `flops` model operations take at a utilisation: the inverse of `utilization`."""
    return flops / (num_devices * peak_flops * mfu)
