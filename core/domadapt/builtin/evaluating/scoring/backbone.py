"""The parts of a transformers causal LM that scoring needs: hidden states under a mask of our own, and the projection.

Going around the model's own forward pass is what saves the time, and is only right where the network is what it seems:
attention that obeys the mask, one linear projection behind it. What is known not to be so is refused by name here;
what is not known shows in the engine's comparison with the model's own logits.
"""

from __future__ import annotations

from typing import Any

import torch
from transformers.cache_utils import Cache, DynamicLayer


class Backbone:
    """A network taken apart.

    B rows, L tokens a row, P tokens of a header in front of each, H hidden size, N scored positions, V vocabulary.
    """

    def __init__(self, network: Any) -> None:
        self.network, self.config = network, network.config
        self.body, self.head = network.base_model, network.get_output_embeddings()
        self.dtype = self.head.weight.dtype

    def header(self, ids_P: torch.Tensor) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Keys and values of each layer for a header, [1, heads, P, size]."""
        cache = self.body(input_ids=ids_P[None], use_cache=True).past_key_values
        if not all(isinstance(layer, DynamicLayer) and layer.keys.shape[2] == len(ids_P) for layer in cache.layers):
            raise TypeError(f"a cache of {', '.join(sorted({type(layer).__name__ for layer in cache.layers}))}")
        return [(layer.keys, layer.values) for layer in cache.layers]

    def hidden(
        self,
        ids_BL: torch.Tensor,
        depth_BL: torch.Tensor,
        mask_BLL: torch.Tensor | None,
        header: list[tuple[torch.Tensor, torch.Tensor]] | None,
    ) -> torch.Tensor:
        """Hidden states [B, L, H]. mask_BLL: None when every row is one sequence padded on the right."""
        if mask_BLL is None and header is None:
            return self.body(input_ids=ids_BL, use_cache=False).last_hidden_state
        given = {}
        length = 0
        if header is not None:
            given["past_key_values"] = Cache(layers=[Shared(*layer) for layer in header])
            length = header[0][0].shape[2]
        assert mask_BLL is not None
        # as numbers to add: right for both of transformers' kinds of attention that take a mask
        mask = torch.zeros(*mask_BLL.shape[:2], length + mask_BLL.shape[2], dtype=self.dtype, device=ids_BL.device)
        mask[:, :, length:].masked_fill_(~mask_BLL, torch.finfo(self.dtype).min)
        return self.body(
            input_ids=ids_BL,
            attention_mask=mask[:, None],
            position_ids=depth_BL,
            use_cache=header is not None,
            **given,
        ).last_hidden_state

    def logits(self, hidden_NH: torch.Tensor) -> torch.Tensor:
        """Logits [N, V] in float32, scaled or capped as the architecture does it."""
        logits_NV = self.head(hidden_NH).float()
        if scale := getattr(self.config, "logits_scaling", None):  # Granite
            logits_NV = logits_NV / scale
        if scale := getattr(self.config, "logit_scale", None):  # Cohere
            logits_NV = logits_NV * scale
        if cap := getattr(self.config, "final_logit_softcapping", None):  # Gemma 2
            logits_NV = torch.tanh(logits_NV / cap) * cap
        return logits_NV


class Shared(DynamicLayer):  # type: ignore[misc] # transformers is untyped
    """Keys and values of one header in front of every row of a batch; what comes behind is not kept."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor) -> None:
        super().__init__()
        self.keys, self.values, self.dtype, self.device = keys, values, keys.dtype, keys.device
        self.is_initialized = True

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The header's states and the given ones, in every row."""
        rows = len(key_states)
        return (
            torch.cat([self.keys.expand(rows, -1, -1, -1), key_states], dim=-2),
            torch.cat([self.values.expand(rows, -1, -1, -1), value_states], dim=-2),
        )


def refusal(network: Any, longest: int) -> str:
    """Why a network cannot be taken apart for sequences of `longest` tokens; "" when nothing speaks against it."""
    if not hasattr(network, "base_model") or not hasattr(network, "get_output_embeddings"):
        return f"{type(network).__name__} is not a model of transformers"
    config = network.config
    if network.base_model is network or network.get_output_embeddings() is None:
        return f"{type(network).__name__} has no separate output projection"
    if getattr(config, "is_encoder_decoder", False):
        return f"{type(network).__name__} has an encoder"
    attention = getattr(config, "_attn_implementation", None)
    if attention not in ("sdpa", "eager"):
        return f"attention {attention!r} takes no mask of ours"
    kinds = set(getattr(config, "layer_types", None) or [])
    window = getattr(config, "sliding_window", None) if getattr(config, "use_sliding_window", True) else None
    if window is not None and window < longest:
        return f"it attends to a window of {window} tokens, shorter than the {longest} to score"
    if others := sorted(kinds - {"full_attention", *(["sliding_attention"] if window is not None else [])}):
        return f"its layers are of kind {', '.join(others)}"
    return ""
