"""The figures of a plan, and what each says of how it is known."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from domadapt.builtin.training.torch_loop import TorchOptions
from domadapt.components import Options
from domadapt.planning.devices import DEVICES
from domadapt.planning.estimate import Machines, Measured, estimate
from domadapt.planning.figures import Figure, billions, gib, percent, span
from domadapt.planning.layout import Batch
from domadapt.planning.shapes import ModelShape
from domadapt.planning.training import Training, training_of
from domadapt.recipe.schema import Recipe

H100 = Machines(128, DEVICES["H100"])


@pytest.fixture
def llama3_sec(llama3_70b: ModelShape) -> Training:
    return Training(llama3_70b, Batch(8192, 512, 1), 71_000_000_000, 1 / 71, True, False, True, 1, 1, 2)


def figures(training: Training, machines: Machines | None = H100, **settings: Any) -> dict[str, Figure]:
    return {figure.key: figure for figure in estimate(training, machines, **settings)}


def test_llama3_sec_as_published(llama3_sec: Training) -> None:
    told = figures(llama3_sec, days=31)
    assert told["parameters"].text.startswith("70.55 B")
    assert told["flops"].text.startswith("3.189e+22")
    assert told["seconds"].text == "7.3 days on 128 x H100 at 40.0 % of their peak (--mfu)"
    assert told["gpu_hours"].value == pytest.approx(128 * 24 * 7.287, rel=1e-3)
    assert told["money"].value == pytest.approx(2 * told["gpu_hours"].value)  # type: ignore[operator]
    assert told["claimed_mfu"].text.startswith("31 days on 128 x H100 are 9.4 % MFU, 207 tokens/s a GPU; well-run")
    assert told["claimed_gpu_hours"].text == "95,232 GPU-hours, $190,464"
    assert told["layout_fits"].value == 1
    assert "fits" in told["rank_bytes"].text


def test_every_figure_says_how_it_is_known(llama3_sec: Training) -> None:
    told = figures(llama3_sec, days=31, measured=Measured(1000, 10, "earlier"))
    by = {how: {key for key, figure in told.items() if figure.how == how} for how in ("assumed", "claimed", "measured")}
    assert by["assumed"] == {"seconds", "gpu_hours", "money"}
    assert by["claimed"] == {"claimed_mfu", "claimed_gpu_hours"}
    assert by["measured"] == {"seconds_here"}
    assert told["tokens"].how == "recipe"
    assert {figure.how for figure in told.values()} == {"formula", "assumed", "claimed", "measured", "recipe"}


@pytest.mark.parametrize(
    ("days", "verdict"),
    [
        (0.5, "that is more than the devices can do"),
        (4, "more than published bf16 trainings reach (25.0 % to 55.0 %): products in fp8?"),
        (7, "as published trainings reach"),
        (31, "the time holds waits and faults, a slow engine, or fewer tokens"),
    ],
)
def test_a_claimed_duration_is_judged(llama3_sec: Training, days: float, verdict: str) -> None:
    assert verdict in figures(llama3_sec, days=days)["claimed_mfu"].text


def test_the_recipes_own_layout_is_judged_and_a_better_one_found_where_it_does_not_fit(llama3_sec: Training) -> None:
    fitting = figures(replace(llama3_sec, tensor=8, pipeline=4))
    assert fitting["layout_fits"].text.startswith("TP8 PP4 DP4 (recipe)")
    assert fitting["rank_bytes"].text.startswith("39.1 GiB of 79.1 GiB")
    tight = estimate(replace(llama3_sec, tensor=4, pipeline=1), H100)
    texts = [figure.text for figure in tight if figure.key in ("layout_fits", "rank_bytes")]
    assert texts[0].startswith("TP4 PP1 DP32 (recipe)")
    assert "does NOT fit" in texts[1]
    assert "(found)" in texts[2]


def test_a_layout_that_does_not_divide_the_devices_says_so(llama3_sec: Training) -> None:
    told = estimate(replace(llama3_sec, tensor=8, pipeline=5), H100)
    assert any("TP8 PP5 does not divide 128 devices" in figure.text for figure in told)


def test_too_few_devices_are_told_how_much_is_missing(llama3_sec: Training) -> None:
    told = figures(llama3_sec, Machines(8, DEVICES["H100"]))
    assert told["layout_fits"].value == 0
    assert told["layout_fits"].text.startswith("none fits 8 x H100: the smallest needs ")


def test_the_same_speed_as_before_is_the_same_time(llama3_sec: Training) -> None:
    told = figures(replace(llama3_sec, tokens=5000), measured=Measured(1000, 10, "earlier"))
    assert told["seconds_here"].value == 50
    assert "at the 100 tokens/s of run earlier" in told["seconds_here"].text


def test_without_a_number_of_tokens_no_time_is_told(llama3_sec: Training) -> None:
    told = figures(replace(llama3_sec, tokens=None), days=31, measured=Measured(1000, 10, "earlier"))
    assert told["tokens"].value is None
    assert not {"flops", "seconds", "money", "claimed_mfu", "seconds_here", "token_bytes"} & set(told)
    assert told["layout_fits"].value == 1


def test_disk_is_what_will_lie_there(llama3_sec: Training) -> None:
    told = figures(llama3_sec)
    parameters = llama3_sec.shape.parameters
    assert told["checkpoint_bytes"].value == 3 * 14 * parameters
    assert told["model_bytes"].value == 2 * 2 * parameters
    assert told["token_bytes"].value == 4 * 71e9
    small = replace(llama3_sec, shape=replace(llama3_sec.shape, vocab=32000))
    assert figures(small)["token_bytes"].value == 2 * 71e9


def recipe(**sections: Any) -> Recipe:
    plain = {"version": 1, "domain": "law", "model": {"base": "builtin:tiny"}, "corpus": {"domain": [{"source": "s"}]}}
    return Recipe.model_validate({**plain, **sections})


def test_a_training_is_read_from_the_recipe(llama3_8b: ModelShape) -> None:
    read = recipe(
        mix={"tokens": "1B", "seq_len": 8192, "replay": 0.1},
        train={"batch_tokens": "1M", "micro_batch": 2},
        merge={"methods": ["ties", "slerp"]},
    )
    training = training_of(read, TorchOptions(), llama3_8b)
    assert training.batch == Batch(8192, 122, 2)
    assert training.tokens == 1000 * 122 * 8192
    assert training.steps == 1000
    assert (training.replay, training.num_models, training.splits_model) == (0.1, 3, False)


def test_steps_go_before_tokens_and_without_both_there_is_no_number(llama3_8b: ModelShape) -> None:
    steps = training_of(recipe(train={"steps": 7, "batch_tokens": 4096}), TorchOptions(), llama3_8b)
    assert steps.tokens == 7 * 4096
    assert training_of(recipe(), TorchOptions(), llama3_8b).tokens is None


def test_a_backend_with_tensor_parallelism_splits_the_model(llama3_8b: ModelShape) -> None:
    class Splitting(Options):
        tensor_parallel: int = 1
        pipeline_parallel: int = 1
        gradient_checkpointing: bool = False
        distributed_optimizer: bool = True

    options = Splitting(
        tensor_parallel=2, pipeline_parallel=4, gradient_checkpointing=True, distributed_optimizer=False
    )
    training = training_of(recipe(train={"batch_tokens": 64 * 4096, "micro_batch": 1}), options, llama3_8b)
    layout = training.layout(32)
    assert str(layout) == "TP2 PP4 DP4"
    assert layout is not None
    assert (layout.num_micro_batches, layout.recompute, layout.distributed_optimizer) == (16, "full", False)
    assert training.layout(12) is None


@pytest.mark.parametrize(
    ("text", "written"),
    [
        (billions(70.5537e9), "70.55 B"),
        (billions(999), "999"),
        (gib(39.06 * 2**30), "39.1 GiB"),
        (gib(1.5 * 2**40), "1.50 TiB"),
        (gib(600 * 2**10), "600 KiB"),
        (percent(0.094), "9.4 %"),
        (percent(1), "100 %"),
        (span(7.287 * 86400), "7.3 days"),
        (span(27.6 * 3600), "27.6 hours"),
        (span(600), "10 minutes"),
        (span(5), "5 seconds"),
    ],
)
def test_numbers_are_written_for_people(text: str, written: str) -> None:
    assert text == written


def test_a_backend_that_shares_weights_out_is_planned_by_rank_or_process(llama3_8b: ModelShape) -> None:
    whole = Training(llama3_8b, Batch(4096, 512, 1), 10**9, 0.0, True, True, False, 1, 1, 1)
    sixteen = figures(whole, Machines(16, DEVICES["H100"]))["rank_bytes"]
    assert "fits: " in sixteen.text
    assert "shared out over 16 ranks" in sixteen.text
    assert "does NOT fit" in figures(whole, Machines(1, DEVICES["H100"]))["rank_bytes"].text
    alone = figures(whole, None)["process_bytes"]
    assert alone.value == pytest.approx(1.19 * (16 * llama3_8b.parameters + 0.42 * 2**30), rel=0.3)
    assert "rank_bytes" not in figures(whole, None)


def test_adapters_have_no_memory_told(llama3_8b: ModelShape) -> None:
    options = TorchOptions(lora_rank=8)
    training = training_of(recipe(train={"steps": 2, "batch_tokens": 4096}), options, llama3_8b)
    assert training.adapters
    assert not {"process_bytes", "rank_bytes"} & set(figures(training, None))
