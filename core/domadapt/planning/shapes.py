"""The dimensions of a Llama-like decoder, and how many parameters follow from them.

Known are the families whose layer is q, k, v, o and a gated MLP between two norms: llama, mistral, qwen2, qwen3. Others
are refused: a count that is wrong by a few percent would look like a count.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domadapt.errors import DataError

FAMILIES = ("llama", "mistral", "qwen2", "qwen3")


@dataclass(frozen=True)
class ModelShape:
    """A decoder's dimensions.

    heads, kv_heads: query heads and key-value heads of one layer, each `head_dim` wide.  ffn: width of the gated MLP.
    tied: whether the output layer is the embedding.  qkv_bias, out_bias, mlp_bias: which products add a bias.
    qk_norm: whether queries and keys are normed by head.  context: most positions.  source: where this was read.
    """

    name: str
    hidden: int
    layers: int
    ffn: int
    heads: int
    kv_heads: int
    head_dim: int
    vocab: int
    tied: bool = False
    qkv_bias: bool = False
    out_bias: bool = False
    mlp_bias: bool = False
    qk_norm: bool = False
    context: int | None = None
    source: str = ""

    @property
    def attention_width(self) -> int:
        """Width of all query heads together."""
        return self.heads * self.head_dim

    @property
    def layer_matrices(self) -> int:
        """Parameters of one layer's matrices: q, k, v, o, gate, up, down."""
        kv_width = self.kv_heads * self.head_dim
        return self.hidden * (2 * self.attention_width + 2 * kv_width) + 3 * self.hidden * self.ffn

    @property
    def layer_vectors(self) -> int:
        """Parameters of one layer's norms and biases."""
        width, kv_width = self.attention_width, self.kv_heads * self.head_dim
        biases = (width + 2 * kv_width) * self.qkv_bias + self.hidden * self.out_bias
        biases += (2 * self.ffn + self.hidden) * self.mlp_bias
        return 2 * self.hidden + 2 * self.head_dim * self.qk_norm + biases

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, and of an output layer of its own."""
        return self.vocab * self.hidden

    @property
    def parameters(self) -> int:
        """All parameters. Source: the shapes of transformers' LlamaForCausalLM."""
        tables = self.embedding * (1 if self.tied else 2)
        return self.layers * (self.layer_matrices + self.layer_vectors) + self.hidden + tables

    @property
    def matmul_parameters(self) -> int:
        """Parameters that every token is multiplied with: the layers' matrices and the output layer.

        The embedding is looked up, not multiplied; it counts once where it is the output layer.
        """
        return self.layers * self.layer_matrices + self.embedding


def shape_of(config: Mapping[str, Any], name: str, source: str) -> ModelShape:
    """The dimensions in a Hugging Face config.json (of transformers 4 or 5).

    Raises DataError when the family is not known here or a dimension is missing.
    """
    family = config.get("model_type")
    if family not in FAMILIES:
        raise DataError(f"{source}: model_type is {family!r}; costs are known for {', '.join(FAMILIES)}")
    wanted = ("hidden_size", "num_hidden_layers", "intermediate_size", "num_attention_heads", "vocab_size")
    for key in wanted:
        if not isinstance(config.get(key), int) or config[key] < 1:
            raise DataError(f"{source}: {key} is {config.get(key)!r}; a positive whole number is wanted")
    heads = config["num_attention_heads"]
    attention_bias = bool(config.get("attention_bias", False))
    return ModelShape(
        name=name,
        hidden=config["hidden_size"],
        layers=config["num_hidden_layers"],
        ffn=config["intermediate_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        vocab=config["vocab_size"],
        tied=bool(config.get("tie_word_embeddings", False)),
        qkv_bias=attention_bias or family == "qwen2",
        out_bias=attention_bias and family != "qwen2",
        mlp_bias=bool(config.get("mlp_bias", False)),
        qk_norm=family == "qwen3",
        context=config.get("max_position_embeddings"),
        source=source,
    )


def read_shape(folder: Path, name: str | None = None) -> ModelShape:
    """The dimensions of the model in a Hugging Face folder, from its config.json alone.

    Raises DataError when it cannot be read or its family is not known here.
    """
    file = folder / "config.json"
    try:
        config = json.loads(file.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    if not isinstance(config, dict):
        raise DataError(f"{file}: is no JSON object")
    return shape_of(config, name or folder.name, str(file))
