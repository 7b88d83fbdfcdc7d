"""Memory and traffic of layouts against Megatron's count and the papers."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt.planning.communication import bubble_fraction, traffic
from domadapt.planning.devices import GIB
from domadapt.planning.memory import Layout, layer_activation_bytes, rank_memory
from domadapt.planning.shapes import ModelShape

GPT3_LAYER = ModelShape(
    "GPT-3", hidden=12288, layers=1, ffn=4 * 12288, heads=96, kv_heads=96, head_dim=128, vocab=51200
)


@pytest.mark.parametrize(
    ("layout", "states", "activations"),
    [
        (Layout(8, 4, 4, num_micro_batches=128), 19.03, 20.03),
        (Layout(8, 2, 8, num_micro_batches=64), 30.80, 20.02),
        (Layout(8, 8, 2, num_micro_batches=256), 13.42, 20.06),
        (Layout(4, 8, 4, num_micro_batches=128), 20.13, 40.13),
    ],
    ids=str,
)
def test_llama3_70b_at_8192_tokens(llama3_70b: ModelShape, layout: Layout, states: float, activations: float) -> None:
    memory = rank_memory(llama3_70b, 8192, layout)
    assert round(memory.states / GIB, 2) == states
    assert round(memory.activations / GIB, 2) == activations


def test_parameters_and_total_of_the_middle_layout(llama3_70b: ModelShape) -> None:
    memory = rank_memory(llama3_70b, 8192, Layout(8, 4, 4, num_micro_batches=128))
    assert round(memory.parameters / 1e9, 4) == 2.2708
    assert round(memory.total / GIB, 2) == 39.06


def test_llama3_8b_on_eight_gpus_and_on_one(llama3_8b: ModelShape) -> None:
    eight = rank_memory(llama3_8b, 8192, Layout(data=8))
    assert (round(eight.states / GIB, 2), round(eight.activations / GIB, 2)) == (56.09, 36.07)
    one = rank_memory(llama3_8b, 2048, Layout(distributed_optimizer=False))
    assert (round(one.states / GIB, 2), round(one.activations / GIB, 2)) == (134.62, 9.02)


@pytest.mark.parametrize(
    ("layout", "gib"),
    [
        (Layout(recompute="none"), 2.6719),
        (Layout(8, recompute="none"), 0.33398),
        (Layout(8, recompute="selective"), 0.09961),
        (Layout(8, recompute="none", sequence_parallel=False), 0.53906),
        (Layout(recompute="full"), 2 * 2048 * 12288 / 2**30),
    ],
)
def test_a_layer_of_gpt3(layout: Layout, gib: float) -> None:
    """Korthikanti et al. 2022, arXiv 2205.05198, table 2 at s = 2048, b = 1."""
    assert layer_activation_bytes(GPT3_LAYER, 2048, layout) / GIB == pytest.approx(gib, abs=5e-6, rel=3e-5)


def test_traffic_of_llama3_70b(llama3_70b: ModelShape) -> None:
    sent = traffic(llama3_70b, 8192, Layout(8, 4, 4, num_micro_batches=128))
    assert sent.tensor == 17.5 * GIB
    assert sent.tensor / 20 == 896 * 2**20
    assert sent.pipeline == 16 * 2**20
    assert round(sent.data / GIB, 2) == 9.52


@pytest.mark.parametrize(("micro_batches", "bubble"), [(8, 0.273), (32, 0.0857), (128, 0.0229)])
def test_bubble_of_four_stages(micro_batches: int, bubble: float) -> None:
    assert bubble_fraction(Layout(pipeline=4, num_micro_batches=micro_batches)) == pytest.approx(bubble, rel=2e-3)


def test_one_rank_sends_nothing(llama3_8b: ModelShape) -> None:
    sent = traffic(llama3_8b, 4096, Layout())
    assert (sent.tensor, sent.pipeline, sent.data, bubble_fraction(Layout())) == (0, 0, 0, 0)


def test_a_short_pipeline_run_holds_no_more_micro_batches_than_there_are(llama3_70b: ModelShape) -> None:
    four = rank_memory(llama3_70b, 8192, Layout(8, 4, 4, num_micro_batches=4)).activations
    assert rank_memory(llama3_70b, 8192, Layout(8, 4, 4, num_micro_batches=2)).activations == pytest.approx(four / 2)


@given(
    tensor=st.sampled_from([1, 2, 4, 8]),
    pipeline=st.sampled_from([1, 2, 4, 8]),
    data=st.sampled_from([1, 2, 4]),
    micro_batch=st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_splitting_further_never_needs_more(
    llama3_70b: ModelShape, tensor: int, pipeline: int, data: int, micro_batch: int
) -> None:
    layout = Layout(tensor, pipeline, data, micro_batch, num_micro_batches=64)
    memory = rank_memory(llama3_70b, 4096, layout)
    assert rank_memory(llama3_70b, 4096, replace(layout, data=2 * data)).states <= memory.states
    assert rank_memory(llama3_70b, 4096, replace(layout, tensor=2 * tensor)).total <= memory.total
    assert rank_memory(llama3_70b, 4096, replace(layout, micro_batch=micro_batch + 1)).total > memory.total
    assert rank_memory(llama3_70b, 4096, replace(layout, recompute="full")).total < memory.total
    whole = Layout(distributed_optimizer=False)
    assert memory.parameters <= rank_memory(llama3_70b, 4096, whole).parameters == llama3_70b.parameters
