"""The parity gate: a Megatron model and the Hugging Face folder it was made of, or made into, must be one function.

Both compute a fixed batch in fp32, so that a wrong slice, a wrong order of heads, a wrong frequency or a wrong
epsilon shows, and rounding does not. A gate that does not hold stops the training.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from megatron.core import parallel_state

from domadapt.builtin.training.megatron.batches import Passes, Rows, Share, fixed_rows
from domadapt.builtin.training.megatron.layout import Layout
from domadapt.builtin.training.megatron.model import Llama, has_transformer_engine
from domadapt.builtin.training.megatron.reference import reference_logits
from domadapt.errors import StageError

MAX_LOSS_DIFFERENCE = 1e-3
MAX_LOGIT_DIFFERENCE, MAX_LOGIT_DIFFERENCE_TF32 = 1e-2, 1e-1
"""The second with Transformer Engine, which multiplies fp32 matrices in TF32."""
GATE_ROWS, GATE_LENGTH = 2, 512


@dataclass(frozen=True)
class Parity:
    """Mean loss of both in nats per token, and the largest difference of two logits."""

    loss: float
    reference_loss: float
    logit_difference: float
    logit_limit: float

    @property
    def holds(self) -> bool:
        """Whether the two are the same function. Differences that are not numbers are none that hold."""
        return abs(self.loss - self.reference_loss) <= MAX_LOSS_DIFFERENCE and self.logit_difference <= self.logit_limit


def check_parity(
    model: Llama, folder: Path, rows: Rows, layout: Layout, device: torch.device, when: str, *, document_mask: bool
) -> Parity:
    """Compare this model in fp32 with the folder's; every rank calls it.

    rows: some of the training data; the first ones are used, cut short.  when: for the message.
    Raises StageError when the two differ.
    """
    length = GATE_LENGTH // layout.tensor * layout.tensor  # ranks that share the sequence share this one too
    rows = tuple(column[:GATE_ROWS, :length] for column in rows)  # type: ignore[assignment]
    ids, labels, positions = (torch.from_numpy(column) for column in rows)
    passes = Passes(model, device, document_mask=document_mask)
    model.eval()
    data = parallel_state.get_data_parallel_rank()
    # every data-parallel rank must pass; only the first one's rows are counted
    share = Share(0, len(ids) if data == 0 else 0, len(ids), 1)
    with torch.no_grad():
        loss, count = passes.losses(
            share.micro_batches(fixed_rows(rows), ids.shape[1]), share, ids.shape[1], backward=False
        )
        logits = passes.logits(rows)
    found = torch.zeros(2, dtype=torch.float64, device=device)
    if logits is not None:
        whole = _gathered(logits, layout.tensor)[..., : model.hf_config.vocab_size]
        if data == 0 and parallel_state.get_tensor_model_parallel_rank() == 0:
            wanted = reference_logits(folder, ids, positions if document_mask else None, device)
            targets = labels[:, 1:].to(device)
            reference = torch.nn.functional.cross_entropy(
                wanted[:, :-1].flatten(0, 1), targets.flatten(), reduction="sum", ignore_index=-100
            )
            found[0], found[1] = reference.double(), (whole - wanted).abs().max().double()
    torch.distributed.all_reduce(found)
    limit = MAX_LOGIT_DIFFERENCE_TF32 if has_transformer_engine() else MAX_LOGIT_DIFFERENCE
    parity = Parity(loss / count, found[0].item() / count, found[1].item(), limit)
    if not parity.holds:
        raise StageError(
            f"train: the parity gate {when} does not hold: on {len(ids)} windows Megatron's loss is {parity.loss:.6f}, "
            f"that of {folder} {parity.reference_loss:.6f} (at most {MAX_LOSS_DIFFERENCE} apart), and logits differ by "
            f"{parity.logit_difference:.2e} (at most {limit}); set train.backend: torch and report it"
        )
    return parity


def _gathered(logits: torch.Tensor, parts: int) -> torch.Tensor:
    if parts == 1:
        return logits
    shares = [torch.empty_like(logits) for _ in range(parts)]
    group = parallel_state.get_tensor_model_parallel_group()
    torch.distributed.all_gather(shares, logits.contiguous(), group=group)
    return torch.cat(shares, dim=-1)
