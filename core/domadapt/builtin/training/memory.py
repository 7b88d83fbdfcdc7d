"""Running out of memory, said in one sentence with the way out."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch

from domadapt.errors import MissingError

_WORDS = ("can't allocate memory", "out of memory", "std::bad_alloc")


@contextlib.contextmanager
def told_when_out_of_memory(micro_batch: int, seq_len: int) -> Iterator[None]:
    """Raises MissingError in the place of what torch raises when memory ends. micro_batch, seq_len: of one pass."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        less = f"train.micro_batch={micro_batch // 2}" if micro_batch > 1 else "mix.seq_len, or a smaller model"
        raise MissingError(
            f"train: the memory is full: a pass of train.micro_batch={micro_batch} windows of {seq_len} tokens does "
            f"not fit; set {less}, or train.options.gradient_checkpointing=true. Checkpoints are as they were"
        ) from error


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that a device or the host has no memory left: torch says so in words only on a CPU."""
    if isinstance(error, (torch.OutOfMemoryError, MemoryError)):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _WORDS)
