"""The loss, whole and in parts: values, gradients, and what attention may see."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from domadapt.artifacts import Checkpoint
from domadapt.builtin.training import losses
from domadapt.builtin.training.losses import IGNORE, SumOfLosses, in_parts, scored


def problem(rows: int, vocabulary: int = 37, width: int = 8) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(rows)
    hidden = torch.randn(rows, width, generator=draw)
    weight = torch.randn(vocabulary, width, generator=draw)
    return hidden, weight, torch.randint(0, vocabulary, (rows,), generator=draw)


@pytest.mark.parametrize("size", [1, 3, 10, 11, 64])
def test_in_parts_the_loss_and_its_gradients_are_those_of_the_whole(size: int) -> None:
    """float32, 11 positions: the loss agrees to 1e-6 of its value, gradients to 1e-5."""
    values = problem(11)
    found, wanted = ([t.clone().requires_grad_(t.is_floating_point()) for t in values] for _ in range(2))
    loss = in_parts(*found, size) * 0.25
    loss.backward()
    whole = torch.nn.functional.cross_entropy(wanted[0] @ wanted[1].T, wanted[2], reduction="sum") * 0.25
    whole.backward()
    assert loss.item() == pytest.approx(whole.item(), rel=1e-6)
    for one, other in zip(found[:2], wanted[:2], strict=True):
        torch.testing.assert_close(one.grad, other.grad, rtol=0, atol=1e-5)


def test_by_hand_two_tokens_of_equal_logits() -> None:
    """logits (0, 0): the loss is ln 2, the gradient of the hidden state (softmax - target) times the weight."""
    hidden = torch.zeros(1, 2, requires_grad=True)
    weight = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    loss = in_parts(hidden, weight, torch.tensor([0]), 4)
    loss.backward()
    assert loss.item() == pytest.approx(0.6931472)
    assert hidden.grad is not None
    assert hidden.grad.tolist() == [[-0.5, 0.5]]


def test_what_is_frozen_gets_no_gradient_and_without_gradients_there_is_none() -> None:
    hidden, weight, targets = problem(7)
    hidden.requires_grad_()
    in_parts(hidden, weight, targets, 3).backward()
    assert hidden.grad is not None
    assert weight.grad is None
    weight.requires_grad_()
    with torch.no_grad():
        assert not in_parts(hidden, weight, targets, 3).requires_grad


def test_under_autocast_products_are_bf16_and_sums_float32() -> None:
    """bf16 has 8 bits: the loss agrees to 0.5 %, gradients to 5 % of the largest."""
    hidden, weight, targets = problem(64, vocabulary=101, width=32)
    hidden.requires_grad_()
    weight.requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        loss = in_parts(hidden, weight, targets, 10)
    loss.backward()
    assert (hidden.grad.dtype, weight.grad.dtype) == (torch.float32, torch.float32)  # type: ignore[union-attr]
    plain = [t.detach().clone().requires_grad_() for t in (hidden, weight)]
    whole = torch.nn.functional.cross_entropy(plain[0] @ plain[1].T, targets, reduction="sum")
    whole.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(whole.item(), rel=5e-3)
    for one, other in zip((hidden, weight), plain, strict=True):
        assert one.grad is not None
        assert other.grad is not None
        assert float((one.grad - other.grad).abs().max()) < 0.05 * float(other.grad.abs().max())


def test_scored_positions_are_those_whose_next_token_has_a_label() -> None:
    labels = np.array([[5, 6, IGNORE, 7], [IGNORE, 1, 2, IGNORE]])
    assert scored(labels).tolist() == [0, 2, 4, 5]


def batch(length: int = 24) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Two rows of three documents each, the last of them padding."""
    draw = torch.Generator().manual_seed(3)
    ids = torch.randint(3, 259, (2, length), generator=draw)
    positions = torch.cat([torch.arange(7), torch.arange(11), torch.arange(length - 18)]).expand(2, -1).contiguous()
    labels = ids.clone()
    labels[:, 18:] = IGNORE
    return ids, labels, torch.from_numpy(scored(labels.numpy())), positions


@pytest.mark.parametrize("masked", [False, True])
def test_a_network_gives_the_same_loss_and_gradients_whether_its_logits_are_made_in_parts_or_not(
    tiny_model: Checkpoint, monkeypatch: pytest.MonkeyPatch, masked: bool
) -> None:
    """fp32: losses agree to 1e-6 of their value, gradients to 1e-5."""
    ids, labels, places, positions = batch()
    found = []
    for most in (2**40, 259 * 5):
        monkeypatch.setattr(losses, "LOGITS", {"cpu": most})
        network = AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32)
        loss = SumOfLosses(network)(ids, labels, places, positions if masked else None)
        loss.backward()
        found.append((loss.item(), {name: p.grad for name, p in network.named_parameters()}))
    (whole, wanted), (parts, grads) = found
    assert parts == pytest.approx(whole, rel=1e-6)
    for name, gradient in wanted.items():
        torch.testing.assert_close(grads[name], gradient, rtol=0, atol=1e-5)


@pytest.mark.parametrize("most", [2**40, 259 * 5], ids=["whole", "parts"])
def test_attention_never_crosses_a_document_boundary(
    tiny_model: Checkpoint, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    """The loss of one document has no gradient at all on the embeddings of the others, and other text in them changes
    no bit of it."""
    monkeypatch.setattr(losses, "LOGITS", {"cpu": most})
    network = AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32)
    ids, labels, _, positions = batch()
    second = torch.full_like(labels, IGNORE)
    second[:, 8:18] = labels[:, 8:18]  # the targets of the second document, whose first token nothing of it predicts
    places = torch.from_numpy(scored(second.numpy()))
    seen: dict[str, torch.Tensor] = {}

    def keep(module: Any, inputs: Any, output: torch.Tensor) -> None:
        output.retain_grad()
        seen["embedded"] = output

    network.get_input_embeddings().register_forward_hook(keep)
    loss = SumOfLosses(network)(ids, second, places, positions)
    loss.backward()
    gradient = seen["embedded"].grad
    assert gradient is not None
    assert bool((gradient[:, :7] == 0).all())
    assert bool((gradient[:, 18:] == 0).all())
    assert bool((gradient[:, 7:17].abs().sum(-1) > 0).all())
    other = ids.clone()
    other[:, :7] = other[:, :7].flip(1)
    other[:, 18:] = 5
    assert SumOfLosses(network)(other, second, places, positions).item() == loss.item()
    assert SumOfLosses(network)(other, second, places, None).item() != loss.item()  # the mask does something


def test_logits_that_are_scaled_behind_the_projection_are_made_whole(
    tmp_path: Path, tiny_model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = AutoModelForCausalLM.from_pretrained(tiny_model.path, dtype=torch.float32)
    assert SumOfLosses(network).head is network.lm_head
    network.config.logits_scaling = 4.0
    assert SumOfLosses(network).head is None
    assert json.loads((tiny_model.path / "config.json").read_bytes()).get("logits_scaling") is None
