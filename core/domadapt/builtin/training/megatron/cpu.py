"""Megatron-Core on a machine without CUDA: what it asks of the GPU is given by the CPU. Never entered where CUDA is.

Megatron-Core 0.16 names the device "cuda" in its gradient buffers, pipeline schedules, optimizers and checkpoints.
A function mode answers these calls with the CPU for as long as the context lasts; kernels and results are torch's.
It costs a Python call per torch function: for tests and small models, where a GPU is not to be had.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch.overrides import TorchFunctionMode


class _CudaMeansCpu(TorchFunctionMode):  # type: ignore[misc]
    """device="cuda" is the CPU, `.cuda()` changes nothing, and `.type()` names the CUDA type that Megatron compares."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        device = kwargs.get("device")
        if isinstance(device, str) and device.startswith("cuda"):
            kwargs["device"] = "cpu"
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        if func is torch.Tensor.cuda:
            return args[0]
        if func is torch.Tensor.to:
            args = tuple("cpu" if isinstance(a, str) and a.startswith("cuda") else a for a in args)
        if func is torch.Tensor.type and len(args) == 1 and not kwargs:
            return func(*args).replace("torch.", "torch.cuda.", 1)
        return func(*args, **kwargs)


@contextlib.contextmanager
def cpu_in_place_of_cuda() -> Iterator[None]:
    """Within it Megatron-Core runs on the CPU; afterwards torch is what it was."""
    import megatron.core.tensor_parallel.random as megatron_random

    assert not torch.cuda.is_available()

    def get_state(*_: Any, **__: Any) -> torch.Tensor:
        return torch.get_rng_state()

    def set_state(state: torch.Tensor, *_: Any, **__: Any) -> None:
        torch.set_rng_state(state)

    with contextlib.ExitStack() as stack:
        for owner, name, replacement in (
            (torch.cuda, "current_device", lambda: torch.device("cpu")),
            (torch.cuda, "synchronize", lambda *_: None),
            (torch.cuda, "manual_seed", torch.manual_seed),
            (torch.cuda, "get_rng_state", get_state),
            (torch.cuda, "set_rng_state", set_state),
            (megatron_random, "_get_cuda_rng_state", get_state),
            (megatron_random, "_set_cuda_rng_state", set_state),
        ):
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, replacement)
        stack.enter_context(_CudaMeansCpu())
        yield


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """While Megatron is imported, which compiles the kernels of fusions that are not used here.

    Without it, torch's compiler is imported for them: most of the time that a rank takes to start on a CPU.
    """

    def as_it_is(function: Callable[..., Any] | None = None, **_: Any) -> Any:
        return function if function is not None else lambda decorated: decorated

    compiler = torch.compile
    torch.compile = as_it_is
    try:
        yield
    finally:
        torch.compile = compiler
