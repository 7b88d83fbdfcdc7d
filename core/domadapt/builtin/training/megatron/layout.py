"""How ranks divide a model and a batch, and which models can be divided: checked before a rank is started."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domadapt.errors import StageError

if TYPE_CHECKING:
    from pathlib import Path

FAMILIES = ("llama", "mistral")
"""Families of one architecture: RMSNorm, SwiGLU, rotary positions, grouped queries, no biases."""

ROPE_TYPES = ("default", "linear", "llama3")
"""Rotary embeddings whose frequencies depend on the config alone. The others scale attention or grow with the text."""

VOCABULARY_MULTIPLE = 128


@dataclass(frozen=True)
class Layout:
    """Numbers of tensor-parallel, pipeline-parallel and data-parallel ranks."""

    tensor: int
    pipeline: int
    data: int

    @property
    def world(self) -> int:
        """Ranks in all."""
        return self.tensor * self.pipeline * self.data

    def shares_sequence(self, seq_len: int) -> bool:
        """Whether tensor-parallel ranks share the positions of a window, which they must divide evenly."""
        return self.tensor > 1 and seq_len % self.tensor == 0

    def padded_vocabulary(self, vocabulary: int) -> int:
        """Rows of the embedding: a multiple of 128 that tensor-parallel ranks divide evenly.

        The same for all usual layouts, so that a checkpoint of one fits another.
        """
        multiple = math.lcm(VOCABULARY_MULTIPLE, self.tensor)
        return -(-vocabulary // multiple) * multiple


def head_dim(config: Any) -> int:
    """Width of one attention head."""
    return int(getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads)


def load_config(folder: Path) -> Any:
    """The config of a Hugging Face folder."""
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(folder)


def check_family(folder: Path, seq_len: int) -> Any:
    """The config of a model that Megatron's GPT with our options computes exactly.

    seq_len: tokens of a training window.  Raises StageError naming what is not supported.
    """
    config = load_config(folder)
    if config.model_type not in FAMILIES:
        raise StageError(
            f"train: the megatron backend trains models of the Llama family ({', '.join(FAMILIES)}), "
            f"{folder} is a {config.model_type}; set train.backend: torch"
        )
    rope = config.rope_parameters or {}
    window = getattr(config, "sliding_window", None)
    wanted: list[tuple[str, Any, bool]] = [
        ("hidden_act", config.hidden_act, config.hidden_act == "silu"),
        ("attention_bias", getattr(config, "attention_bias", False), not getattr(config, "attention_bias", False)),
        ("mlp_bias", getattr(config, "mlp_bias", False), not getattr(config, "mlp_bias", False)),
        ("attention_dropout", config.attention_dropout, not config.attention_dropout),
        ("rope_parameters.rope_type", rope.get("rope_type"), rope.get("rope_type") in ROPE_TYPES),
        ("rope_parameters.partial_rotary_factor", rope.get("partial_rotary_factor"), _whole(rope)),
        ("sliding_window", window, window is None or window >= seq_len),
        ("quantization_config", "set", getattr(config, "quantization_config", None) is None),
    ]
    for key, value, supported in wanted:
        if not supported:
            raise StageError(
                f"train: the megatron backend does not support {key}: {value} of {folder}; set train.backend: torch"
            )
    return config


def _whole(rope: dict[str, Any]) -> bool:
    return rope.get("partial_rotary_factor") in (None, 1.0)


def check_division(config: Any, layout: Layout) -> None:
    """Raises StageError unless the layout divides the model evenly."""
    for name, option, parts in (
        ("num_key_value_heads", "tensor_parallel", layout.tensor),
        ("num_attention_heads", "tensor_parallel", layout.tensor),
        ("intermediate_size", "tensor_parallel", layout.tensor),
        ("num_hidden_layers", "pipeline_parallel", layout.pipeline),
    ):
        size = getattr(config, name)
        if size % parts:
            raise StageError(
                f"train: train.options.{option} must divide the model's {name} evenly; {size} / {parts} is not whole"
            )
