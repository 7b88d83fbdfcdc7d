"""The model under evaluation, loaded once for all tasks that score it in a row."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from domadapt.artifacts import Checkpoint
from domadapt.components import LiveModel


def loaded(model: Checkpoint | LiveModel) -> tuple[Any, Any]:
    """(network, tokenizer) of a checkpoint: fp32 on a CPU, bf16 on a GPU. Only the last one is kept.

    A live model is what it is: neither moved nor converted.
    """
    if isinstance(model, LiveModel):
        return model.network, model.tokenizer
    return _load(model.path.resolve())


@lru_cache(maxsize=1)
def _load(folder: Path) -> tuple[Any, Any]:
    import torch

    from domadapt.builtin.models.tokenizer import load_tokenizer
    from domadapt.builtin.models.weights import load_causal_lm

    gpu = torch.cuda.is_available()
    model = load_causal_lm(folder, torch.bfloat16 if gpu else torch.float32)
    return model.to("cuda" if gpu else "cpu").eval(), load_tokenizer(folder)


def context_length(model: Any, most: int) -> int:
    """Tokens of one forward pass: what the model's positions allow, at most `most`."""
    return min(int(getattr(model.config, "max_position_embeddings", most) or most), most)
