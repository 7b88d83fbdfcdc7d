"""A Hugging Face folder that transformers 4 reads as transformers 5 does.

Measured on one folder of transformers 5.23 read by 4.57: without a warning the rotary base became 10,000 where the
config says 500,000, and the tokenizer was refused. Four edits make the logits equal to the last bit.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from domadapt.artifacts import TOKENIZER_FILES, Checkpoint
from domadapt.errors import DataError
from domadapt.pipeline.store import link_or_copy

PLAIN_ROPE = ("default", "llama3")
LLAMA3_ROPE = {"low_freq_factor": 1.0, "high_freq_factor": 4.0, "original_max_position_embeddings": 8192}
"""What NeMo's Llama 3.1 model has built in."""


def write_for_transformers_4(start: Checkpoint, folder: Path) -> dict[str, Any]:
    """Write `start` into `folder` with the keys that transformers before 5 reads; return its config.

    Weights are linked where the file system allows it, else copied.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = legacy_config(json.loads((start.path / "config.json").read_bytes()))
    (folder / "config.json").write_text(json.dumps(config, indent=2, sort_keys=True) + "\n")
    for file in sorted(start.path.glob("*.safetensors*")):
        link_or_copy(file, folder / file.name)
    for name in (*TOKENIZER_FILES, "generation_config.json"):
        source = start.path / name
        if source.is_file() and name != "tokenizer_config.json":
            link_or_copy(source, folder / name)
    settings = json.loads((start.path / "tokenizer_config.json").read_bytes())
    # the name that every version knows; 5 writes TokenizersBackend, which 4 refuses
    settings["tokenizer_class"] = "PreTrainedTokenizerFast"
    (folder / "tokenizer_config.json").write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n")
    return config


def legacy_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """A config.json with the keys of transformers 4 beside those of 5.

    rope_parameters -> rope_theta and rope_scaling (null for a plain rotary embedding), dtype -> torch_dtype.
    """
    legacy = dict(config)
    rope = dict(config.get("rope_parameters") or {})
    if rope:
        legacy["rope_theta"] = rope.pop("rope_theta")
        legacy["rope_scaling"] = None if rope.get("rope_type", "default") == "default" else rope
    if "dtype" in config:
        legacy["torch_dtype"] = config["dtype"]
    return legacy


def model_arguments(config: Mapping[str, Any], seq_len: int) -> dict[str, Any]:
    """The arguments of NeMo's LlamaConfig (or Llama31Config, where `scale_factor` is among them) for a config.json.

    As NeMo's own importer sets them. config: from `legacy_config`.
    Raises DataError for what NeMo's Llama would compute otherwise than transformers, in silence.
    """
    rope = config.get("rope_scaling") or {}
    wanted = {
        "model_type": config.get("model_type") == "llama",
        "hidden_act": config.get("hidden_act") == "silu",
        "attention_bias": not config.get("attention_bias"),
        "mlp_bias": not config.get("mlp_bias"),
        "rope_scaling": rope.get("rope_type", "default") in PLAIN_ROPE
        and all(rope.get(key, value) == value for key, value in LLAMA3_ROPE.items()),
    }
    if refused := [key for key, fits in wanted.items() if not fits]:
        told = ", ".join(f"{key}: {config.get(key)}" for key in refused)
        raise DataError(f"train: the nemo backend trains Llama models as NeMo builds them, not with {told}")
    vocabulary = config["vocab_size"]
    arguments = {
        "num_layers": config["num_hidden_layers"],
        "hidden_size": config["hidden_size"],
        "ffn_hidden_size": config["intermediate_size"],
        "num_attention_heads": config["num_attention_heads"],
        "num_query_groups": config.get("num_key_value_heads") or config["num_attention_heads"],
        "kv_channels": config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"],
        "init_method_std": config["initializer_range"],
        "layernorm_epsilon": config["rms_norm_eps"],
        "rotary_base": config["rope_theta"],
        "seq_length": seq_len,
        "vocab_size": vocabulary,
        # the largest power of 2 up to 128: the rows that NeMo pads the table to
        "make_vocab_size_divisible_by": min(128, vocabulary & -vocabulary),
        "share_embeddings_and_output_weights": bool(config.get("tie_word_embeddings")),
    }
    return {**arguments, "scale_factor": rope["factor"]} if rope.get("rope_type") == "llama3" else arguments
