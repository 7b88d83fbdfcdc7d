"""Names and shapes of one model in Hugging Face's and in Megatron-Core's layout, both ways, one rank's share at a time.

Megatron fuses projections: the query, key and value rows of each group of key-value heads follow each other, and the
gate and up projections are stacked. A tensor-parallel rank holds a slice of every fused part, not a slice of the
fused matrix: for gate and up these differ. Here every Megatron parameter is a rule: the Hugging Face tensors it is
made of, the dimension that ranks divide, and how the slices are fused and taken apart.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from domadapt.builtin.training.megatron.layout import head_dim

Tensors = list[torch.Tensor]


@dataclass(frozen=True)
class Piece:
    """One Hugging Face tensor: its name, and the dimension that tensor-parallel ranks divide (None: all have it)."""

    name: str
    dim: int | None


@dataclass(frozen=True)
class Rule:
    """What one Megatron parameter is made of.

    fuse: slices of the pieces -> this rank's parameter.  part: the way back.
    vocabulary: rows are tokens, padded in Megatron.
    """

    pieces: tuple[Piece, ...]
    fuse: Callable[[Sequence[torch.Tensor]], torch.Tensor]
    part: Callable[[torch.Tensor], Tensors]
    vocabulary: bool = False


def _alone(piece: Piece, *, vocabulary: bool = False) -> Rule:
    return Rule((piece,), lambda slices: slices[0], lambda tensor: [tensor], vocabulary)


def _gate_up(prefix: str) -> Rule:
    pieces = tuple(Piece(f"{prefix}mlp.{name}_proj.weight", 0) for name in ("gate", "up"))
    return Rule(pieces, torch.cat, lambda tensor: list(tensor.chunk(2)))


def _query_key_value(prefix: str, config: Any) -> Rule:
    """Rows per group of key-value heads: its queries, its key, its value."""
    head = head_dim(config)
    sizes = [config.num_attention_heads // config.num_key_value_heads * head, head, head]

    def fuse(slices: Sequence[torch.Tensor]) -> torch.Tensor:
        hidden = slices[0].shape[-1]
        grouped = [tensor.reshape(-1, size, hidden) for tensor, size in zip(slices, sizes, strict=True)]
        return torch.cat(grouped, dim=1).reshape(-1, hidden)

    def part(tensor: torch.Tensor) -> Tensors:
        hidden = tensor.shape[-1]
        grouped = tensor.reshape(-1, sum(sizes), hidden).split(sizes, dim=1)
        return [group.reshape(-1, hidden) for group in grouped]

    pieces = tuple(Piece(f"{prefix}self_attn.{name}_proj.weight", 0) for name in ("q", "k", "v"))
    return Rule(pieces, fuse, part)


def rule(name: str, first_layer: int, config: Any) -> Rule:
    """The rule of one parameter of Megatron's GPTModel.

    name: as in `named_parameters()`, with Transformer Engine's layers or the local ones.
    first_layer: number of the first layer of this pipeline stage.  config: of the Hugging Face model.
    """
    match name:
        case "embedding.word_embeddings.weight":
            return _alone(Piece("model.embed_tokens.weight", 0), vocabulary=True)
        case "output_layer.weight":  # tied and on another stage than the embedding: a second copy of it
            name = "model.embed_tokens.weight" if config.tie_word_embeddings else "lm_head.weight"
            return _alone(Piece(name, 0), vocabulary=True)
        case "decoder.final_layernorm.weight":
            return _alone(Piece("model.norm.weight", None))
    found = re.fullmatch(r"decoder\.layers\.(\d+)\.(.+)", name)
    assert found is not None, name
    prefix = f"model.layers.{first_layer + int(found[1])}."
    match found[2]:
        case "input_layernorm.weight" | "self_attention.linear_qkv.layer_norm_weight":
            return _alone(Piece(f"{prefix}input_layernorm.weight", None))
        case "pre_mlp_layernorm.weight" | "mlp.linear_fc1.layer_norm_weight":
            return _alone(Piece(f"{prefix}post_attention_layernorm.weight", None))
        case "self_attention.linear_qkv.weight":
            return _query_key_value(prefix, config)
        case "self_attention.linear_proj.weight":
            return _alone(Piece(f"{prefix}self_attn.o_proj.weight", 1))
        case "mlp.linear_fc1.weight":
            return _gate_up(prefix)
        case "mlp.linear_fc2.weight":
            return _alone(Piece(f"{prefix}mlp.down_proj.weight", 1))
    raise AssertionError(name)


def bounds(size: int, parts: int, number: int) -> slice:
    """The slice that one of several ranks holds of a dimension they divide evenly."""
    assert size % parts == 0, (size, parts)
    return slice(size // parts * number, size // parts * (number + 1))
