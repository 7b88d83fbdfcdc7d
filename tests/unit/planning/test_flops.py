"""FLOPs and MFU against published and hand-computed numbers."""

from __future__ import annotations

import pytest

from domadapt.planning.devices import DEVICES
from domadapt.planning.flops import attended_length, flops_per_token, flops_rule_of_thumb, seconds_at, utilization
from domadapt.planning.shapes import ModelShape

H100 = DEVICES["H100"].peak_flops

TABLE = [
    ("llama3_70b", 2048, "4.2506e+11", 1.9),
    ("llama3_70b", 4096, "4.3312e+11", 3.7),
    ("llama3_70b", 8192, "4.4922e+11", 7.2),
    ("llama3_8b", 2048, "4.6639e+10", 3.5),
    ("llama3_8b", 4096, "4.8249e+10", 6.7),
    ("llama3_8b", 8192, "5.1470e+10", 12.5),
    ("llama2_7b", 2048, "4.1253e+10", 3.9),
    ("llama2_7b", 4096, "4.2864e+10", 7.5),
    ("llama2_7b", 8192, "4.6085e+10", 14.0),
]


@pytest.mark.parametrize(("model", "seq_len", "each", "attention"), TABLE)
def test_flops_of_a_token(
    model: str, seq_len: int, each: str, attention: float, request: pytest.FixtureRequest
) -> None:
    shape: ModelShape = request.getfixturevalue(model)
    flops = flops_per_token(shape, seq_len)
    assert f"{flops:.4e}" == each
    assert round(100 * (1 - 6 * shape.matmul_parameters / flops), 1) == attention


@pytest.mark.parametrize(
    ("model", "six_n"), [("llama3_70b", "4.2332e+11"), ("llama3_8b", "4.8182e+10"), ("llama2_7b", "4.0430e+10")]
)
def test_the_rule_of_thumb(model: str, six_n: str, request: pytest.FixtureRequest) -> None:
    shape: ModelShape = request.getfixturevalue(model)
    assert f"{flops_rule_of_thumb(shape.parameters):.4e}" == six_n


def test_llama3_sec_in_31_days_is_9_4_percent_of_128_h100(llama3_70b: ModelShape) -> None:
    flops = flops_per_token(llama3_70b, 8192) * 71e9
    assert f"{flops:.4e}" == "3.1895e+22"
    seconds = 31 * 86400
    assert round(100 * utilization(flops, seconds, H100, 128), 2) == 9.40
    thumb = flops_rule_of_thumb(llama3_70b.parameters, 71e9)
    assert round(100 * utilization(thumb, seconds, H100, 128), 2) == 8.86
    assert round(71e9 / seconds / 128) == 207
    assert round(seconds_at(flops, H100, 128, 0.4) / 86400, 1) == 7.3


@pytest.mark.parametrize(("tokens", "mfu", "days_at_40"), [(73e9, 9.67, 7.49), (20e9, 2.65, 2.05)])
def test_other_readings_of_the_31_days(llama3_70b: ModelShape, tokens: float, mfu: float, days_at_40: float) -> None:
    flops = flops_per_token(llama3_70b, 8192) * tokens
    assert round(100 * utilization(flops, 31 * 86400, H100, 128), 2) == mfu
    assert round(seconds_at(flops, H100, 128, 0.4) / 86400, 2) == days_at_40


def test_the_case_study_of_27b_tokens(llama2_7b: ModelShape) -> None:
    flops = flops_per_token(llama2_7b, 4096) * 27e9
    assert f"{flops:.3e}" == "1.157e+21"
    assert round(seconds_at(flops, H100, 1, 0.4) / 3600) == 812


def test_the_count_agrees_with_a_published_speed(llama3_70b: ModelShape) -> None:
    # MPT-like and Llama runs are not at hand; NVIDIA's Llama-3-70B: 1602 to 1619 tokens/s a GPU are 719 to 727 TFLOP/s
    # (seq_len 8192, Megatron-Bridge performance summary), counted there without the embedding and causally as well
    assert flops_per_token(llama3_70b, 8192) * 1602 == pytest.approx(719e12, rel=2e-3)
    assert flops_per_token(llama3_70b, 8192) * 1619 == pytest.approx(727e12, rel=2e-3)


def test_masked_documents_attend_to_less() -> None:
    assert attended_length([4096]) == 4096
    assert attended_length([2048, 2048]) == 2048
    assert attended_length([3, 1]) == 2.5


def test_time_and_utilization_are_inverse() -> None:
    assert utilization(1e18, seconds_at(1e18, H100, 8, 0.37), H100, 8) == pytest.approx(0.37, rel=1e-12)


def test_flops_are_those_that_torch_counts() -> None:
    """Against torch's own counter, which counts both halves of the attention matrix."""
    import torch
    from torch.utils.flop_counter import FlopCounterMode
    from transformers import LlamaConfig, LlamaForCausalLM

    heads, head_dim, layers, seq_len = 4, 8, 3, 16
    config = LlamaConfig(
        vocab_size=50,
        hidden_size=24,
        intermediate_size=40,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        num_key_value_heads=2,
        head_dim=head_dim,
        attn_implementation="eager",
    )
    model = LlamaForCausalLM(config)
    with FlopCounterMode(display=False) as counter:
        model(input_ids=torch.zeros(1, seq_len, dtype=torch.long), use_cache=False).logits.sum().backward()
    shape = ModelShape("tiny", 24, layers, 40, heads, 2, head_dim, 50)
    causal_half = 6 * layers * heads * head_dim * seq_len
    expected = seq_len * (flops_per_token(shape, seq_len) + causal_half)
    assert counter.get_total_flops() == pytest.approx(expected, rel=0.01)
