"""The forward pass of a Hugging Face folder by transformers itself, with one layer in memory at a time.

A model of any size can so be compared with what was made of it, on the machine that holds only a share of it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch

from domadapt.builtin.training.megatron.weights import HuggingFaceTensors


@torch.no_grad()  # type: ignore[untyped-decorator]
def reference_logits(
    folder: Path, ids: torch.Tensor, positions: torch.Tensor | None, device: torch.device
) -> torch.Tensor:
    """Logits of the folder's model in float32, [rows, length, vocabulary].

    ids, positions: int64 [rows, length]; positions restart with documents that may not see each other, None for one
    text.  Raises DataError when a tensor is missing.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder)
    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(config, dtype=torch.float32).eval()
    # computed when it is made, and in no file
    model.model.rotary_emb = type(model.model.rotary_emb)(config).to(device)
    with HuggingFaceTensors(folder) as tensors:

        def fetch(module: torch.nn.Module, prefix: str) -> None:
            for name, _ in module.named_parameters():
                tied = prefix == "lm_head." and config.tie_word_embeddings
                stored = tensors.read("model.embed_tokens.weight" if tied else prefix + name)
                owner, _, attribute = name.rpartition(".")
                parameter = torch.nn.Parameter(stored.to(device, torch.float32), requires_grad=False)
                setattr(module.get_submodule(owner), attribute, parameter)

        for name, module in _pieces(model):
            module.register_forward_pre_hook(lambda owner, _, prefix=f"{name}.": fetch(owner, prefix))
            module.register_forward_hook(lambda owner, *_: _drop(owner))
        inputs: dict[str, Any] = {"input_ids": ids.to(device)}
        if positions is not None:
            inputs["position_ids"] = positions.to(device)
        return cast(torch.Tensor, model(**inputs, use_cache=False).logits)


def _pieces(model: Any) -> list[tuple[str, torch.nn.Module]]:
    layers = [(f"model.layers.{number}", layer) for number, layer in enumerate(model.model.layers)]
    return [
        ("model.embed_tokens", model.model.embed_tokens),
        *layers,
        ("model.norm", model.model.norm),
        ("lm_head", model.lm_head),
    ]


def _drop(module: torch.nn.Module) -> None:
    module.to("meta")
