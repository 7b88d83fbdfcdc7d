"""The model as it is trained: gradient buffers, AdamW in one of Megatron's three arrangements, and its state.

Megatron keeps fp32 weights and moments in another place for fp32, for bf16, and for the distributed optimizer, which
divides them among data-parallel ranks. `Trainee` reads and sets them alike, whole tensors of this rank's part of the
model. Checkpoints and exports use only that, so that they fit every arrangement.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import cast

import torch
from megatron.core import parallel_state
from megatron.core.distributed import DistributedDataParallel, DistributedDataParallelConfig, finalize_model_grads
from megatron.core.optimizer import OptimizerConfig, get_megatron_optimizer
from megatron.core.transformer.module import Float16Module

from domadapt.builtin.training.megatron.model import Llama
from domadapt.recipe.schema import Train

KINDS = ("param", "exp_avg", "exp_avg_sq")
"""What training keeps of a parameter, all fp32: the weight and the two moments of AdamW."""


class Trainee:
    """A model, its gradient buffers and its optimizer."""

    def __init__(self, model: Llama, settings: Train, dtype: torch.dtype, *, distributed: bool) -> None:
        self.model, self.distributed, self.settings = model, distributed, settings
        config = model.config
        buffers = DistributedDataParallelConfig(grad_reduce_in_fp32=True, use_distributed_optimizer=distributed)
        inner = Float16Module(config, model) if dtype == torch.bfloat16 else model
        self.wrapped = DistributedDataParallel(config, buffers, inner)
        config.finalize_model_grads_func = finalize_model_grads
        options = OptimizerConfig(
            optimizer="adam",
            lr=settings.lr,
            weight_decay=settings.weight_decay,
            adam_beta1=settings.beta1,
            adam_beta2=settings.beta2,
            adam_eps=1e-8,
            clip_grad=settings.clip,
            bf16=dtype == torch.bfloat16,
            params_dtype=dtype,
            use_distributed_optimizer=distributed,
        )
        (self.optimizer,) = get_megatron_optimizer(options, [self.wrapped]).chained_optimizers

    def clear_gradients(self) -> None:
        """Before the first forward pass of a step."""
        self.wrapped.zero_grad_buffer()
        self.optimizer.zero_grad()

    def clip_gradients(self) -> float:
        """Scale the gradients to at most the norm of the settings; return the norm they had, over all ranks."""
        self.optimizer.prepare_grads()
        with torch.no_grad():
            return float(self.optimizer.clip_grad_norm(self.settings.clip))

    def update(self, rate: float) -> None:
        """One step of AdamW with clipped gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = rate
            # Megatron leaves this to a scheduler of its own: without it vectors are decayed like matrices
            group["weight_decay"] = self.settings.weight_decay * group["wd_mult"]
        self.optimizer.step_with_ready_grads()

    def parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        """This rank's parameters by their names in the model."""
        return cast(Iterator[tuple[str, torch.nn.Parameter]], self.model.named_parameters())

    def _owned(self, parameter: torch.nn.Parameter) -> tuple[torch.Tensor | None, slice]:
        """The fp32 weight that the optimizer updates here, None when another rank has it, and which part of it."""
        if self.distributed:
            if parameter not in self.optimizer.model_param_gbuf_map:
                return None, slice(0, 0)
            group, order = self.optimizer.model_param_group_index_map[parameter]
            held = self.optimizer._get_model_param_range_map(parameter)["param"]
            return self.optimizer.optimizer.param_groups[group]["params"][order], slice(held.start, held.end)
        return getattr(parameter, "main_param", parameter), slice(None)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def whole(self, parameter: torch.nn.Parameter, kind: str) -> torch.Tensor:
        """A copy of one state of a parameter, fp32 in its shape; all data-parallel ranks call it."""
        main, part = self._owned(parameter)
        found = torch.zeros(parameter.numel(), dtype=torch.float32, device=parameter.device)
        if main is not None:
            state = main if kind == "param" else self.optimizer.optimizer.state[main].get(kind)
            if state is not None:
                found[part] = state.detach().reshape(-1)
        if self.distributed:
            torch.distributed.all_reduce(found, group=parallel_state.get_data_parallel_group())
        return found.view(parameter.shape)

    @torch.no_grad()  # type: ignore[untyped-decorator]
    def set_whole(self, parameter: torch.nn.Parameter, kind: str, value: torch.Tensor) -> None:
        """Set one state of a parameter from the whole tensor of this rank's part of the model."""
        main, part = self._owned(parameter)
        if kind == "param":
            parameter.copy_(value)
        if main is None:
            return
        mine = value.to(main.device, torch.float32).reshape(-1)[part].reshape(main.shape)
        if kind == "param":
            main.copy_(mine)
        else:
            self.optimizer.optimizer.state[main][kind] = mine.clone()

    def set_step(self, step: int) -> None:
        """Tell AdamW how many steps it has done, after its moments were set."""
        inner = self.optimizer.optimizer
        for group in inner.param_groups:
            if isinstance(inner, torch.optim.AdamW):
                for main in group["params"]:
                    # one tensor each: AdamW counts in place, and a shared one would count for all
                    inner.state[main]["step"] = torch.tensor(float(step))
            else:
                group["step"] = step
