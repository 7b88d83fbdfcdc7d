"""Layouts that are found: they divide the work, they fit, and none is missed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from domadapt.errors import UsageError
from domadapt.planning.devices import DEVICES, device_of, parse_gpus
from domadapt.planning.layout import RESERVE, Batch, assess, find_layouts, fits, least_memory
from domadapt.planning.memory import Layout
from domadapt.planning.shapes import ModelShape

H100 = DEVICES["H100"]
BATCH = Batch(seq_len=8192, samples=512, micro_batch=1)


def test_llama3_70b_finds_layouts_on_128_h100(llama3_70b: ModelShape) -> None:
    found = find_layouts(llama3_70b, BATCH, 128, H100)
    assert found
    for one in found:
        layout = one.layout
        assert layout.num_devices == 128
        assert layout.tensor <= 8
        assert llama3_70b.kv_heads % layout.tensor == 0
        assert llama3_70b.layers % layout.pipeline == 0
        assert layout.num_micro_batches * layout.data * layout.micro_batch == BATCH.samples
        assert one.memory.total <= (1 - RESERVE) * H100.memory
    assert [f.overhead for f in found] == sorted(f.overhead for f in found)
    # NVIDIA publishes its fastest Llama-3-70B at TP4 PP8 (64 H100, Megatron-Bridge performance summary)
    assert (found[0].layout.tensor, found[0].layout.pipeline) == (4, 8)


def test_the_published_layouts_of_the_oracles_are_among_them(llama3_70b: ModelShape) -> None:
    names = {str(f.layout) for f in find_layouts(llama3_70b, BATCH, 128, H100)}
    assert {"TP8 PP4 DP4", "TP8 PP2 DP8", "TP8 PP8 DP2", "TP4 PP8 DP4"} <= names


def test_a_small_model_is_not_split(llama2_7b: ModelShape) -> None:
    best = find_layouts(llama2_7b, Batch(4096, 2048, 1), 32, H100)[0]
    assert (best.layout.tensor, best.layout.pipeline, best.layout.data) == (1, 1, 32)


def test_recomputation_comes_only_where_nothing_fits_without(llama3_70b: ModelShape) -> None:
    long = Batch(seq_len=65536, samples=64, micro_batch=1)
    found = find_layouts(llama3_70b, long, 128, H100)
    assert {f.layout.recompute for f in found} == {"full"}
    kept = [assess(llama3_70b, long, replace(f.layout, recompute="selective"), H100, 0.4) for f in found]
    assert not any(fits(one.memory, H100) for one in kept)


def test_where_nothing_fits_the_least_need_is_told(llama3_70b: ModelShape) -> None:
    assert find_layouts(llama3_70b, BATCH, 8, H100) == []
    least = least_memory(llama3_70b, BATCH, 8)
    assert least is not None
    assert least.total > (1 - RESERVE) * H100.memory
    assert least_memory(llama3_70b, BATCH, 7) is None


def test_recomputing_costs_a_third(llama2_7b: ModelShape) -> None:
    plain = assess(llama2_7b, BATCH, Layout(num_micro_batches=512), H100, 0.4)
    recomputed = assess(llama2_7b, BATCH, Layout(num_micro_batches=512, recompute="full"), H100, 0.4)
    assert plain.overhead == 0
    assert recomputed.overhead == pytest.approx(1 / 3)


@pytest.mark.parametrize(
    ("text", "count", "name"), [("128xH100", 128, "H100"), ("8 x h200", 8, "H200"), ("A100-40GB", 1, "A100-40GB")]
)
def test_gpus_are_read_as_people_write_them(text: str, count: int, name: str) -> None:
    assert parse_gpus(text) == (count, DEVICES[name])


@pytest.mark.parametrize("text", ["", "0xH100", "128", "128xTPU", "x", "-1xH100", "8xH100x2"])
def test_what_is_no_number_of_gpus_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"wanted a number and a name such as 128xH100; names: H100, "):
        parse_gpus(text)


@pytest.mark.parametrize(
    ("reported", "name"),
    [
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA H200", "H200"),
        ("NVIDIA A100-SXM4-40GB", "A100-40GB"),
        ("NVIDIA A100-SXM4-80GB", "A100"),
        ("NVIDIA L40S", "L40S"),
    ],
)
def test_devices_are_known_by_what_the_driver_reports(reported: str, name: str) -> None:
    assert device_of(reported) == DEVICES[name]


@pytest.mark.parametrize("reported", ["NVIDIA H100 PCIe", "NVIDIA H100 NVL", "NVIDIA GH200 480GB", "Tesla V100"])
def test_devices_of_another_peak_are_not_known(reported: str) -> None:
    assert device_of(reported) is None
