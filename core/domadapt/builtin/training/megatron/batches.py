"""Micro-batches of one data-parallel rank, and the losses of a model on them.

The samples of a step are those of the torch backend; rank r of R has the r-th of R equal blocks. A pipeline wants
equal micro-batches, so blocks are filled up with empty rows: rows without a target, which add nothing to any sum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from megatron.core import parallel_state
from megatron.core.pipeline_parallel import get_forward_backward_func

from domadapt.builtin.training.windows import IGNORE, WindowReader

Rows = tuple[np.ndarray, np.ndarray, np.ndarray]
"""ids, labels, positions: int64 [rows, length]."""


@dataclass(frozen=True)
class Share:
    """What one data-parallel rank has of `total` rows: rows first .. last - 1 in micro-batches of `size`."""

    first: int
    last: int
    size: int
    count: int

    @classmethod
    def of(cls, total: int, micro_batch: int, ranks: int, rank: int) -> Share:
        """rank: of the data-parallel ranks.  micro_batch: the most rows of one forward pass."""
        block = -(-total // ranks)
        size = min(micro_batch, block)
        return cls(min(block * rank, total), min(block * (rank + 1), total), size, -(-block // size))

    def micro_batches(self, read: Callable[[int, int], Rows], seq_len: int) -> Iterator[Rows]:
        """read(first, count) gives the rows."""
        for number in range(self.count):
            first = min(self.first + number * self.size, self.last)
            count = min(self.size, self.last - first)
            rows = read(first, count) if count else _empty(0, seq_len)
            empty = _empty(self.size - count, seq_len)
            yield tuple(np.concatenate(both) for both in zip(rows, empty, strict=True))  # type: ignore[misc]


def _empty(count: int, seq_len: int) -> Rows:
    ids = np.zeros((count, seq_len), np.int64)
    return ids, np.full_like(ids, IGNORE), np.broadcast_to(np.arange(seq_len), ids.shape)


def step_rows(reader: WindowReader, first: int) -> Callable[[int, int], Rows]:
    """The rows of one optimizer step, whose first sample is `first`."""
    return lambda at, count: reader.samples(first + at, count)


def fixed_rows(rows: Rows) -> Callable[[int, int], Rows]:
    """Rows that are in memory."""
    return lambda at, count: tuple(column[at : at + count] for column in rows)  # type: ignore[return-value]


def document_mask(positions: torch.Tensor) -> torch.Tensor:
    """Which positions may not be seen, bool [rows, 1, length, length]: later ones and those of other documents.

    positions: restart at 0 with each document.
    """
    document = (positions == 0).cumsum(dim=1)
    other = document[:, :, None] != document[:, None, :]
    length = positions.shape[1]
    later = torch.ones(length, length, dtype=torch.bool, device=positions.device).triu(1)
    return (other | later)[:, None]


class Passes:
    """Forward and backward passes of a model over micro-batches, through the pipeline when there is one."""

    def __init__(self, model: Any, device: torch.device, *, document_mask: bool) -> None:
        self.model, self.device, self.masked = model, device, document_mask

    def losses(self, batches: Iterator[Rows], share: Share, seq_len: int, *, backward: bool) -> tuple[float, int]:
        """Sum of the losses in nats and number of targets of all ranks' micro-batches.

        With backward, gradients are added to the model's buffers and finished: summed over data-parallel ranks,
        divided by the number of targets.
        """

        def total(per_token: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
            found = targets >= 0
            loss, count = (per_token.float() * found).sum(), found.sum()
            # a copy: the schedule may scale the loss in place
            return loss, count.int(), torch.stack([loss.detach().double().clone(), count.double()])

        sums = self._run(batches, share, seq_len, total, forward_only=not backward)
        mine = torch.zeros(2, dtype=torch.float64, device=self.device)
        if sums and parallel_state.get_tensor_model_parallel_rank() == 0:
            mine += torch.stack(sums).sum(dim=0)
        torch.distributed.all_reduce(mine)
        loss, count = mine.tolist()
        return loss, int(count)

    def logits(self, rows: Rows) -> torch.Tensor | None:
        """Logits of all rows in one micro-batch, float32 [rows, length, padded vocabulary / ranks].

        None on ranks that are not of the last pipeline stage. Every rank calls it with the same rows.
        """
        found = self._run(iter([rows]), Share(0, len(rows[0]), len(rows[0]), 1), rows[0].shape[1], None)
        return found[0].float() if parallel_state.is_pipeline_last_stage() else None

    def _run(
        self,
        batches: Iterator[Rows],
        share: Share,
        seq_len: int,
        total: Callable[..., Any] | None,
        *,
        forward_only: bool = True,
    ) -> list[torch.Tensor]:
        def step(source: Iterator[Rows], model: Any) -> tuple[torch.Tensor, Callable[..., Any]]:
            ids, labels, positions = (torch.from_numpy(c).to(self.device) for c in next(source))
            targets = torch.cat([labels[:, 1:], labels.new_full((len(labels), 1), IGNORE)], dim=1)
            order = torch.arange(seq_len, device=self.device).expand_as(ids)
            mask = document_mask(positions) if self.masked else None
            if total is None:
                return model(ids, order, mask), lambda out, non_loss_data: out
            out = model(ids, order, mask, labels=targets.clamp(min=0))
            return out, lambda per_token: total(per_token, targets)

        found: list[torch.Tensor] = get_forward_backward_func()(
            forward_step_func=step,
            data_iterator=batches,
            model=[self.model],
            num_microbatches=share.count,
            seq_length=seq_len,
            micro_batch_size=share.size,
            forward_only=forward_only,
            collect_non_loss_data=total is None,
        )
        return found
