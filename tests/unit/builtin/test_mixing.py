"""Mixtures: shares exact to a window at every moment, schedules, and weights that change without losing a sample."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt.builtin.mixing.placing import place
from domadapt.builtin.mixing.replay import ReplayMixer
from domadapt.builtin.mixing.targets import stretches
from domadapt.components import MixRequest, Side
from domadapt.errors import DataError
from domadapt.recipe.mix import MixSource, MixStage

fixed = settings(derandomize=True, deadline=None, max_examples=60)


def ask(
    available: Mapping[str, int],
    total: int,
    *,
    replay: float = 0.0,
    sources: Mapping[str, Mapping[str, Any]] | None = None,
    schedule: list[dict[str, Any]] | None = None,
    **more: Any,
) -> MixRequest:
    sides: dict[str, Side] = {name: "general" if name.startswith("general") else "domain" for name in available}
    return MixRequest(
        available,
        total,
        replay,
        more.pop("max_epochs", 1000.0),
        more.pop("seed", 7),
        sides=sides,
        sources={name: MixSource.model_validate(asked) for name, asked in (sources or {}).items()},
        schedule=[MixStage.model_validate(stage) for stage in schedule or []],
        **more,
    )


def counts(order: np.ndarray, parts: int) -> list[int]:
    found: list[int] = np.bincount(order[:, 0], minlength=parts).tolist()
    return found


def order_of(*args: Any, **kwargs: Any) -> np.ndarray:
    return ReplayMixer().order(ask(*args, **kwargs))


@pytest.mark.parametrize(("weights", "total"), [((70, 1), 7100), ((70, 1), 355), ((0.999, 0.001), 20_000)])
def test_extreme_blends_of_two_small_sources_are_exact_to_a_window_in_every_prefix(
    weights: tuple[float, float], total: int
) -> None:
    sources = {f"domain.{name}": {"weight": weight} for name, weight in zip("ab", weights, strict=True)}
    order = order_of({"domain.a": 50, "domain.b": 9}, total, sources=sources)
    share = weights[1] / sum(weights)
    after = np.cumsum(order[:, 0] == 1)
    assert (abs(after - share * np.arange(1, total + 1)) < 1 + 1e-6).all()
    assert abs(after[-1] - share * total) < 1e-6


@pytest.mark.parametrize(("replay", "total"), [(0.001, 20_000), (1 / 71, 7100), (0.999, 2000)])
def test_extreme_replay_is_exact(replay: float, total: int) -> None:
    order = order_of({"domain": 40, "general": 30}, total, replay=replay)
    assert counts(order, 2)[1] == pytest.approx(total * replay, abs=1e-6)


shares = st.lists(st.floats(0.001, 1.0), min_size=2, max_size=6)


@fixed
@given(shares, st.integers(1, 400))
def test_no_part_is_ever_a_window_off_what_is_wanted(weights: list[float], total: int) -> None:
    wanted = np.array(weights) / sum(weights)
    order = place(total, len(weights), lambda part: wanted[part] * np.arange(1, total + 1))
    for part, share in enumerate(wanted):
        after = np.cumsum(order == part)
        assert (abs(after - share * np.arange(1, total + 1)) < 1 + 1e-6).all()


@fixed
@given(st.lists(st.lists(st.floats(0.0, 1.0), min_size=3, max_size=3), min_size=5, max_size=80))
def test_shares_that_change_with_every_sample_are_followed_to_a_window(rows: list[list[float]]) -> None:
    wanted = np.cumsum([np.array(row) / sum(row) if sum(row) else np.full(3, 1 / 3) for row in rows], axis=0)
    order = place(len(rows), 3, lambda part: wanted[:, part])
    for part in range(3):
        assert (abs(np.cumsum(order == part) - wanted[:, part]) < 1 + 1e-6).all()


sizes = st.tuples(st.integers(3, 40), st.integers(3, 40), st.integers(3, 40))
replays = st.floats(0.0, 0.9)
weights_of_two = st.lists(st.floats(0.1, 9.0), min_size=2, max_size=2)


@fixed
@given(sizes, st.lists(st.tuples(replays, replays, weights_of_two), min_size=2, max_size=4), st.integers(40, 300))
def test_stages_of_three_parts_are_within_a_window_after_every_sample(
    available: tuple[int, int, int], stages: list[tuple[float, float, list[float]]], total: int
) -> None:
    names = ["domain.a", "domain.b", "general"]
    schedule = [
        {"until": (n + 1) / len(stages), "replay": [first, last], "weights": dict(zip(names, weights, strict=False))}
        for n, (first, last, weights) in enumerate(stages)
    ]
    del schedule[-1]["until"]
    request = ask(dict(zip(names, available, strict=True)), total, schedule=schedule)
    order = ReplayMixer().order(request)
    (stretch,) = stretches(request)
    for number, name in enumerate(names):
        assert (abs(np.cumsum(order[:, 0] == number) - stretch.wanted(name)) < 1 + 1e-6).all()


def after_a_stop(before: MixRequest, samples: int, **now: Any) -> MixRequest:
    """A training that was stopped after so many samples goes on with other shares."""
    asked = ask(dict(before.available), now.pop("total", before.num_samples), **now)
    told = [*before.earlier, replace(before, until=samples, earlier=())]
    return replace(asked, earlier=[replace(one, available=asked.available) for one in told])


def uses_are_even(order: np.ndarray, available: Sequence[int]) -> None:
    for number, windows in enumerate(available):
        uses = Counter(order[order[:, 0] == number, 1].tolist())
        whole, rest = divmod(sum(uses.values()), windows)
        # every window equally often, but for the one more of those that a last pass has begun with
        assert all(uses[window] in (whole, whole + 1) for window in range(windows))
        assert sum(count == whole + 1 for count in uses.values()) == rest


@fixed
@given(sizes, st.integers(1, 150), st.integers(1, 149), st.integers(0, 90), replays, replays, weights_of_two)
def test_changed_weights_neither_lose_nor_repeat_a_sample(
    available: tuple[int, int, int],
    total: int,
    step: int,
    longer: int,
    before: float,
    after: float,
    weights: list[float],
) -> None:
    names = ["domain.a", "domain.b", "general"]
    parts = dict(zip(names, available, strict=True))
    step = min(step, total)
    first = ask(parts, total, replay=before, sources={"domain.a": {"epochs": 0.01}})
    sources = {name: {"weight": weight} for name, weight in zip(names, weights, strict=False)}
    request = after_a_stop(first, step, total=total + longer, replay=after, sources=sources)
    plain, changed = ReplayMixer().order(first), ReplayMixer().order(request)
    assert (changed[:step] == plain[:step]).all()
    uses_are_even(changed, available)
    later = [(1 - after) * weight / sum(weights) for weight in weights] + [after]
    (one, two) = stretches(request)
    for part, name in enumerate(names):
        asked = one.wanted(name)[step - 1] + later[part] * (total + longer - step)
        assert two.wanted(name)[-1] == pytest.approx(asked)
        had = np.cumsum(changed[:, 0] == part) - two.wanted(name)
        assert had.min() > -2
        assert had.max() < 1


@fixed
@given(
    st.tuples(st.integers(3, 40), st.integers(3, 40)),
    st.lists(st.tuples(st.integers(1, 80), replays), min_size=2, max_size=5),
)
def test_shares_of_two_parts_that_change_at_every_stop_stay_within_a_window_of_what_was_asked(
    available: tuple[int, int], stretches_of: list[tuple[int, float]]
) -> None:
    parts = dict(zip(["domain", "general"], available, strict=True))
    total, stopped = sum(length for length, _ in stretches_of), 0
    request = ask(parts, total, replay=stretches_of[0][1])
    read = ReplayMixer().order(request)
    for (length, _), (_, replay) in itertools.pairwise(stretches_of):
        stopped += length
        request = after_a_stop(request, stopped, replay=replay)
        order = ReplayMixer().order(request)
        assert (order[:stopped] == read[:stopped]).all()
        read = order
    wanted = np.cumsum(np.repeat([share for _, share in stretches_of], [length for length, _ in stretches_of]))
    had = np.cumsum(read[:, 0] == 1) - wanted
    assert (abs(had) < 1 + 1e-6).all()
    for length in range(1, total):  # and so is every stretch of it, from any sample to any other
        assert (abs(had[length:] - had[:-length]) < 1 + 1e-6).all()
    uses_are_even(read, available)


def test_a_subset_goes_on_in_its_pass_after_a_stop() -> None:
    parts = {"domain": 100, "general": 50}
    schedule = [{"until": 0.5, "subset": 0.2}, {}]
    first = ask(parts, 200, replay=0.1, schedule=schedule)
    request = after_a_stop(first, 60, replay=0.5, schedule=schedule)
    order = ReplayMixer().order(request)
    assert (order[:60] == ReplayMixer().order(first)[:60]).all()
    shown = Counter(order[:100][order[:100, 0] == 0, 1].tolist())
    assert len(shown) == 20
    assert max(shown.values()) - min(shown.values()) <= 1
    plain = ask(parts, 200)
    request = after_a_stop(plain, 10, schedule=[{"until": 0.1, "subset": 0.2}, {}])
    subset = ReplayMixer().order(request)[:20, 1]
    assert len(set(subset.tolist())) == 20, "what was read before the subset was asked for comes last in it"


def test_a_training_cannot_end_before_it_was_stopped() -> None:
    first = ask({"domain": 40}, 100)
    with pytest.raises(DataError, match=r"stopped after 60 windows, the mixture after it ends after 50 of 50"):
        ReplayMixer().order(after_a_stop(first, 60, total=50))


@fixed
@given(sizes, st.integers(1, 200), replays, st.floats(1.0, 8.0), st.integers(0, 5))
def test_the_order_is_a_function_of_the_request(
    available: tuple[int, int, int], total: int, replay: float, temperature: float, seed: int
) -> None:
    parts = dict(zip(["domain.a", "domain.b", "general"], available, strict=True))
    one, two = (order_of(parts, total, replay=replay, temperature=temperature, seed=seed) for _ in range(2))
    assert (one == two).all()
    assert all((one[one[:, 0] == n, 1] < size).all() for n, size in enumerate(available))


def test_temperature_evens_out_sizes() -> None:
    parts = {"domain.a": 900, "domain.b": 100}
    assert counts(order_of(parts, 1000), 2) == [900, 100]
    assert counts(order_of(parts, 1000, temperature=2.0), 2) == [750, 250]
    assert abs(counts(order_of(parts, 1000, temperature=1e9), 2)[0] - 500) <= 1


def test_shares_and_epochs_are_kept_and_the_rest_goes_by_weight() -> None:
    parts = {"domain.a": 40, "domain.b": 100, "domain.c": 100, "general": 10}
    sources = {"domain.a": {"epochs": 2}, "domain.b": {"share": 0.5}}
    order = order_of(parts, 500, replay=0.2, sources=sources)
    assert counts(order, 4) == [80, 200, 120, 100]
    assert set(Counter(order[order[:, 0] == 0, 1].tolist()).values()) == {2}


def test_shares_beyond_the_whole_and_weights_of_unknown_parts_are_refused() -> None:
    parts = {"domain.a": 40, "domain.b": 100}
    with pytest.raises(DataError, match=r"shares and epochs of domain text come to 1\.2 of it \(domain\.a 0\.8"):
        order_of(parts, 100, sources={"domain.a": {"share": 0.8}, "domain.b": {"epochs": 0.4}})
    with pytest.raises(DataError, match=r"weights for domain\.x, which is no part of the mixture"):
        order_of(parts, 100, schedule=[{"weights": {"domain.x": 1}}])
    with pytest.raises(ValueError, match="weight and share both say how much"):
        MixSource.model_validate({"weight": 1, "share": 0.5})


def test_each_source_has_its_own_most_repeats() -> None:
    parts = {"domain.a": 10, "domain.b": 100}
    with pytest.raises(DataError, match=r"50 windows of domain.a .* more than mix\.max_epochs=4 repeats"):
        order_of(parts, 100, sources={"domain.a": {"share": 0.5}}, max_epochs=4.0)
    order = order_of(parts, 100, sources={"domain.a": {"share": 0.5, "max_epochs": 5}}, max_epochs=4.0)
    assert counts(order, 2) == [50, 50]


def test_a_subset_is_repeated_and_the_rest_comes_before_it_comes_again() -> None:
    order = order_of({"domain": 100, "general": 50}, 200, replay=0.25, schedule=[{"until": 0.5, "subset": 0.25}, {}])
    domain = order[order[:, 0] == 0, 1]
    first, later = domain[:75], domain[75:]
    assert set(Counter(first.tolist()).values()) == {3}
    assert len(set(first)) == 25
    assert len(set(later)) == 75
    assert not set(first) & set(later)
    assert len(set(order[order[:, 0] == 1, 1])) == 50


def test_a_ramp_of_replay_falls_evenly() -> None:
    order = order_of({"domain": 1000, "general": 1000}, 1000, schedule=[{"replay": [0.4, 0.0]}])
    general = [int((order[at : at + 250, 0] == 1).sum()) for at in range(0, 1000, 250)]
    assert sum(general) == 200
    assert all(abs(count - wanted) <= 1 for count, wanted in zip(general, [87.5, 62.5, 37.5, 12.5], strict=True))


def test_stages_out_of_order_and_too_long_ones_are_refused() -> None:
    with pytest.raises(DataError, match=r"mix\.schedule\[1\]: it ends after 30 windows, the stage before after 50"):
        order_of({"domain": 100}, 100, schedule=[{"until": 0.5}, {"until": 0.3}, {}])
    with pytest.raises(DataError, match=r"mix\.schedule\[0\]: it ends after 400 windows, .* the training after 100"):
        order_of({"domain": 100}, 100, samples_per_step=4, schedule=[{"until_step": 100}, {}])
    with pytest.raises(DataError, match=r"mix\.schedule: 50 windows of domain text wanted of a subset of 0\.1, 10"):
        order_of({"domain": 100}, 100, schedule=[{"until": 0.5, "subset": 0.1}, {}], max_epochs=4.0)
