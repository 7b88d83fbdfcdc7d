"""The network in training: loaded, adapted, compiled, sharded, and whole again at the end.

One process trains the network as transformers loads it, in float32. Several ranks shard it layer by layer (FSDP2): each
keeps its part of weights, gradients and moments, and a layer is whole only while it computes.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from domadapt.builtin.training.losses import SumOfLosses
from domadapt.builtin.training.peers import Peers
from domadapt.errors import StageError

if TYPE_CHECKING:
    from domadapt.builtin.training.torch_loop import TorchOptions
    from domadapt.recipe.schema import Train

FUSED_FROM = 2**22
"""Parameters from which the fused AdamW is taken on a CPU. Below, its gain is under 1 % of a step; its last bits
differ from those of the plain one."""


class Trainee:
    """network: the transformers model.  losses: the module whose forward pass is the loss; sharded over `peers`.

    trained: the parameters that are trained, by their names in the network.
    """

    def __init__(self, start: Path, settings: Train, options: TorchOptions, peers: Peers) -> None:
        self.settings, self.options, self.peers, self.start = settings, options, peers, start
        self.network, self._adapted = prepared(start, options)
        if peers.size == 1:
            self.network.to(peers.device)
        self.losses = SumOfLosses(self.network)
        if options.gradient_checkpointing:
            # its first name warns in transformers 5.23 and goes with 6; the new one is not in 5.0
            enable = getattr(self.network, "activation_checkpointing_enable", None)
            (enable or self.network.gradient_checkpointing_enable)()
        if options.compile:
            for layer in layers(self.network):
                layer.compile()
        if peers.size > 1:
            self._shard()
        # kept: while a sharded layer computes, the network shows its whole parameters in the place of these
        self.trained = {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    def _shard(self) -> None:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        mesh = init_device_mesh(self.peers.device.type, (self.peers.size,))
        # weights travel in bf16 and gradients are summed in float32
        half = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        policy = half if self.settings.precision == "bf16" else MixedPrecisionPolicy()
        for layer in layers(self.network):
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        fully_shard(self.losses, mesh=mesh, mp_policy=policy)
        self.network.to(self.peers.device)  # what is no parameter

    def optimizer(self) -> torch.optim.AdamW:
        """AdamW on what is trained; weight decay on matrices only."""
        s, trained = self.settings, list(self.trained.values())
        groups: list[dict[str, Any]] = [
            {"params": [p for p in trained if p.ndim >= 2]},
            {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
        ]
        fused = self.peers.device.type == "cuda" or sum(p.numel() for p in trained) >= FUSED_FROM
        # None, not False: it is what torch chooses by itself
        return torch.optim.AdamW(
            [group for group in groups if group["params"]],
            lr=s.lr,
            betas=(s.beta1, s.beta2),
            weight_decay=s.weight_decay,
            fused=fused or None,
        )

    def clip(self) -> float:
        """Scale the gradients down to the largest norm allowed; their norm before."""
        norm = torch.nn.utils.clip_grad_norm_(list(self.trained.values()), self.settings.clip)
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def whole(self) -> Any | None:
        """The network as a plain model of the same class, adapters merged into the weights; None but on the first rank.

        Every rank must call it. Of a sharded network it is a copy in the memory of the first rank's machine.
        Raises StageError when a weight is not finite.
        """
        if self.peers.size == 1:
            check_finite(dict(self.network.named_parameters()))
            return self.network if self._adapted is None else self._adapted.merge_and_unload()
        gathered = {name: self._gathered(p) for name, p in self.trained.items()}
        if not self.peers.is_first:
            return None
        check_finite(gathered)
        with torch.random.fork_rng(devices=[]):  # fresh adapters are drawn; the training's generator must not notice
            network, adapted = prepared(self.start, self.options)
        with torch.no_grad():
            for name, parameter in network.named_parameters():
                if name in gathered:
                    parameter.copy_(gathered.pop(name))
        return network if adapted is None else adapted.merge_and_unload()

    def _gathered(self, parameter: Any) -> torch.Tensor:
        full: torch.Tensor = parameter.detach().full_tensor()
        return full.cpu() if self.peers.is_first else full.new_empty(0)


def prepared(start: Path, options: TorchOptions) -> tuple[Any, Any | None]:
    """The model of a folder in float32 on the CPU, and peft's hold on it when adapters are trained in its place."""
    from domadapt.builtin.models.weights import load_causal_lm

    network = load_causal_lm(start, torch.float32)
    if not options.lora_rank:
        return network, None
    from peft import LoraConfig, get_peft_model

    adapters = LoraConfig(
        task_type="CAUSAL_LM", target_modules="all-linear", r=options.lora_rank, lora_alpha=options.lora_alpha
    )
    with warnings.catch_warnings():
        # peft asks transformers by a name that goes with its version 6; it may go when peft asks by the new one
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        adapted = get_peft_model(network, adapters)
    return adapted.get_base_model(), adapted


def layers(network: Any) -> list[torch.nn.Module]:
    """The decoder layers: the modules that transformers says must stay in one piece."""
    names = set(network._no_split_modules or ())
    found = [module for module in network.modules() if type(module).__name__ in names]
    if not found:
        raise StageError(f"train: {type(network).__name__} does not say what its layers are; train it in one process")
    return found


def check_finite(parameters: Mapping[str, torch.Tensor]) -> None:
    """Raises StageError naming the first parameter with a value that is not finite."""
    for name, parameter in parameters.items():
        if not bool(torch.isfinite(parameter).all()):
            raise StageError(f"train: {name} has values that are not finite; lower train.lr")
