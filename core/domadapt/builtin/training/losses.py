"""The loss of a causal language model, and where its largest tensor goes.

The logits of a micro-batch are by far its largest tensor: 32,768 positions of a vocabulary of 128,256 are 17 GB in
float32, more than once. Above `LOGITS` numbers they are made, used and dropped in parts, gradients included: on 2 CPU
cores 1.2 times the speed of a plain loop (10 M parameters, 4,096 tokens, a vocabulary of 8,192). Below it the loss is
the plain one, as transformers computes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

IGNORE = -100
LOGITS = {"cpu": 2**23, "cuda": 2**27}
"""Most logits held at once: 32 MB in float32 stay near a processor's cache, 512 MB fill a GPU."""


class SumOfLosses(torch.nn.Module):  # type: ignore[misc] # torch is untyped
    """A network whose forward pass gives the sum of the next-token losses in nats, float32.

    B rows, T tokens a row, H hidden size, V vocabulary, N positions that are scored.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network
        head = network.get_output_embeddings()
        self.head = head if type(head) is torch.nn.Linear and head.bias is None and _unscaled(network.config) else None

    def forward(
        self, ids_BT: torch.Tensor, labels_BT: torch.Tensor, scored_N: torch.Tensor, positions_BT: torch.Tensor | None
    ) -> torch.Tensor:
        """labels_BT: not shifted, IGNORE where nothing is scored.  scored_N: what `scored` gave for them.

        positions_BT: restart with each document, whose attention then stops there; None for whole rows.
        """
        inputs: dict[str, Any] = {"input_ids": ids_BT, "use_cache": False}
        if positions_BT is not None:  # transformers derives block-diagonal attention from restarting positions
            inputs["position_ids"] = positions_BT
        most = LOGITS["cpu" if ids_BT.device.type == "cpu" else "cuda"]
        vocabulary = self.network.config.vocab_size
        if self.head is None or ids_BT.numel() * vocabulary <= most:
            logits_BTV = self.network(**inputs).logits
            return torch.nn.functional.cross_entropy(
                logits_BTV[:, :-1].float().flatten(0, 1),
                labels_BT[:, 1:].flatten(),
                reduction="sum",
                ignore_index=IGNORE,
            )
        hidden_NH = self.network.base_model(**inputs).last_hidden_state.flatten(0, 1)[scored_N]
        targets_N = labels_BT.flatten()[scored_N + 1]
        return in_parts(hidden_NH, self.head.weight, targets_N, max(1, most // vocabulary))


def _unscaled(config: Any) -> bool:
    """Whether logits are the projection and nothing else (Granite and Cohere scale them, Gemma 2 caps them)."""
    return not any(getattr(config, name, None) for name in ("logits_scaling", "logit_scale", "final_logit_softcapping"))


def scored(labels_BT: np.ndarray) -> np.ndarray:
    """Positions in the flattened rows whose next token is scored, int64 [N]."""
    rows, columns = np.nonzero(labels_BT[:, 1:] >= 0)
    found: np.ndarray = rows * labels_BT.shape[1] + columns
    return found


def in_parts(hidden_NH: torch.Tensor, weight_VH: torch.Tensor, targets_N: torch.Tensor, size: int) -> torch.Tensor:
    """Sum of the cross entropies of hidden states projected by a weight, `size` positions at a time.

    Under autocast the products are of its type, softmax and sums float32, as in the plain loss.
    """
    device = hidden_NH.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden_NH.dtype
    if not torch.is_grad_enabled():
        hidden_NH, weight_VH = hidden_NH.detach(), weight_VH.detach()
    loss: torch.Tensor = _InParts.apply(hidden_NH, weight_VH, targets_N, size, dtype)
    return loss


class _InParts(torch.autograd.Function):  # type: ignore[misc] # torch is untyped
    """Gradients are made in the forward pass, where the logits are at hand; the backward pass scales them.

    Source: the fused linear cross entropy of Hsu et al. 2024 (Liger Kernel), arXiv 2410.10989.
    """

    @staticmethod
    def forward(
        ctx: Any, hidden_NH: torch.Tensor, weight_VH: torch.Tensor, targets_N: torch.Tensor, size: int, dtype: Any
    ) -> torch.Tensor:
        with_hidden, with_weight = ctx.needs_input_grad[:2]
        grad_NH = torch.empty_like(hidden_NH) if with_hidden else None
        grad_VH = torch.zeros_like(weight_VH, dtype=torch.float32) if with_weight else None
        total = torch.zeros((), dtype=torch.float64, device=hidden_NH.device)
        with torch.autocast(hidden_NH.device.type, enabled=False):
            projection_VH = weight_VH.to(dtype)
            for first in range(0, len(hidden_NH), size):
                rows = slice(first, first + size)
                part_PH, targets_P = hidden_NH[rows].to(dtype), targets_N[rows, None]
                logits_PV = (part_PH @ projection_VH.T).float()
                sums_P = logits_PV.logsumexp(-1, keepdim=True)
                total += (sums_P - logits_PV.gather(1, targets_P)).sum(dtype=torch.float64)
                if grad_NH is None and grad_VH is None:
                    continue
                # softmax minus the target: the gradient of the logits
                wrong_PV = logits_PV.sub_(sums_P).exp_()
                wrong_PV.scatter_add_(1, targets_P, wrong_PV.new_full((1, 1), -1.0).expand_as(targets_P))
                wrong_PV = wrong_PV.to(dtype)
                if grad_NH is not None:
                    grad_NH[rows] = wrong_PV @ projection_VH
                if grad_VH is not None:
                    grad_VH += wrong_PV.T @ part_PH
        ctx.save_for_backward(grad_NH, grad_VH)
        ctx.weight_dtype = weight_VH.dtype
        return total.float()

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        grad_NH, grad_VH = ctx.saved_tensors
        scale = grads[0]
        of_hidden = None if grad_NH is None else grad_NH * scale
        of_weight = None if grad_VH is None else grad_VH.mul_(scale).to(ctx.weight_dtype)
        return of_hidden, of_weight, None, None, None
