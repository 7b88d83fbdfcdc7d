"""The weights of a Hugging Face folder: what is there, and loading it whole.

transformers fills a tensor that is missing from a checkpoint with random numbers and goes on, and a
truncated download gives an error of no class of ours. Both are refused here, in one sentence.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.errors import DataError

if TYPE_CHECKING:
    import torch

ONE_FILE = "model.safetensors"


def tensor_shapes(folder: Path) -> dict[str, tuple[int, ...]]:
    """Shape of each tensor by name, from the headers alone.

    Raises DataError when a file is missing or damaged, or the index does not say what the files hold.
    """
    from safetensors import SafetensorError, safe_open

    index = folder / f"{ONE_FILE}.index.json"
    shapes: dict[str, tuple[int, ...]] = {}
    found: dict[str, str] = {}
    try:
        stated = json.loads(index.read_bytes())["weight_map"] if index.is_file() else None
        for name in sorted(set(stated.values())) if stated is not None else [ONE_FILE]:
            with safe_open(folder / name, framework="numpy") as tensors:
                for tensor in tensors.keys():  # noqa: SIM118 - not a mapping
                    found[tensor] = name
                    shapes[tensor] = tuple(tensors.get_slice(tensor).get_shape())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise DataError(f"{folder}: its weights cannot be read ({error}); fetch or make them again") from error
    if stated is not None and found != stated:
        wrong = min({*found.items()} ^ {*stated.items()})[0]
        raise DataError(f"{folder}: {index.name} and the files disagree about {wrong}; fetch or make them again")
    return shapes


def load_causal_lm(folder: Path, dtype: torch.dtype) -> Any:
    """The model of a folder, every weight from the folder.

    Raises DataError when transformers cannot load it or a tensor is missing.
    """
    from transformers import AutoModelForCausalLM

    tensor_shapes(folder)
    try:
        model, loaded = AutoModelForCausalLM.from_pretrained(
            folder, dtype=dtype, use_safetensors=True, output_loading_info=True
        )
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(f"{folder}: no causal language model that transformers can load ({error})") from error
    if missing := sorted(loaded["missing_keys"]):
        raise DataError(
            f"{folder}: {len(missing)} of the model's tensors are not in its files ({missing[0]}); "
            "fetch or make the weights again"
        )
    return model
