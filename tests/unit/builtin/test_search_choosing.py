"""Which candidate of a sweep is chosen, and where a search looks: pure functions of scores and seed."""

from __future__ import annotations

import random
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from domadapt.builtin.merging.methods import Slerp, Ties
from domadapt.builtin.merging.search.proposing import propose
from domadapt.errors import StageError
from domadapt.recipe.resolved import Choice
from domadapt.recipe.sweeps import Axis, Point, SweepPlan, SweptMethod
from domadapt.report.sweep import chosen, command, front, front_shares, objective, ranked, sweep_data

ANCHORS = [
    {"label": "instruct", "domain": {"value": 3.0}, "general": {"value": 1.0}},
    {"label": "cpt", "domain": {"value": 1.0}, "general": {"value": 2.0}},
]


def sweep(*points: tuple[float, float], vetoed: tuple[int, ...] = ()) -> dict[str, Any]:
    alive = [i for i in range(len(points)) if i not in vetoed]
    ahead = {alive[i] for i in front([points[i] for i in alive])}
    return {
        "search": "grid",
        "split": "selection",
        "documents": {"domain": 9, "general": 9},
        "anchors": ANCHORS,
        "candidates": [
            {
                "number": i + 1, "label": f"c{i + 1}", "label_of_method": "ties", "method": "ties", "weight": 0.5,
                "density": None, "settings": {}, "arguments": ["merge.weight=0.5"], "domain": {"value": d},
                "general": {"value": g}, "front": i in ahead, "front_share": 1.0, "vetoed": i in vetoed,
                "answers": None,
            }
            for i, (d, g) in enumerate(points)
        ],
    }  # fmt: skip


def test_the_front_is_what_nobody_beats() -> None:
    points = [(1.0, 2.0), (2.0, 1.0), (2.0, 2.0), (1.5, 1.5), (1.0, 2.0), (1.6, 1.5)]
    assert front(points) == [0, 1, 3, 4]
    assert front([]) == []


@given(st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), max_size=12))
def test_everything_off_the_front_is_beaten_by_something_on_it(points: list[tuple[float, float]]) -> None:
    ahead = front(points)
    for i, own in enumerate(points):
        beaten = any(points[j] != own and points[j][0] <= own[0] and points[j][1] <= own[1] for j in ahead)
        assert beaten == (i not in ahead)


def test_balanced_counts_a_gain_and_a_loss_in_units_of_what_cpt_changed() -> None:
    score = objective(ANCHORS, "balanced")
    # all of the gain for all of the loss is worth nothing
    assert score(3.0, 1.0) == score(1.0, 2.0)
    # half of the gain for a quarter of the loss is
    assert score(2.0, 1.25) < score(3.0, 1.0)
    assert chosen(sweep((1.0, 2.0), (2.0, 1.25), (3.0, 1.0)), "balanced")["number"] == 2


def test_a_limit_on_the_general_loss_takes_the_best_domain_within_it() -> None:
    data = sweep((1.2, 1.5), (2.0, 1.1), (1.9, 1.11), (2.5, 1.05))
    assert chosen(data, {"general_loss_at_most": 0.1})["number"] == 2
    assert chosen(data, {"general_loss_at_most": 0.2})["number"] == 3
    assert chosen(data, {"general_loss_at_most": 1})["number"] == 1
    with pytest.raises(StageError, match=r"at most 0.01 bits per byte of general text; the least, 0\.05, has c4"):
        chosen(data, {"general_loss_at_most": 0.01})


def test_a_vetoed_candidate_is_never_chosen() -> None:
    points = ((1.0, 1.0), (2.0, 1.25), (3.0, 1.0))
    assert chosen(sweep(*points), "balanced")["number"] == 1
    assert chosen(sweep(*points, vetoed=(0,)), "balanced")["number"] == 2
    with pytest.raises(StageError, match="none of the 3 candidates answers prompts"):
        chosen(sweep(*points, vetoed=(0, 1, 2)), "balanced")


def test_further_models_come_from_the_front_first() -> None:
    data = sweep((1.9, 1.3), (1.95, 1.31), (1.0, 2.0), (3.0, 1.0))
    assert [c["number"] for c in ranked(data, "balanced")] == [1, 3, 4, 2]
    assert chosen(data, "balanced", 3)["number"] == 2
    with pytest.raises(StageError, match="asks for 5 candidates, 4 may be chosen"):
        chosen(data, "balanced", 4)


def test_equal_scores_go_to_the_first_candidate() -> None:
    assert chosen(sweep((2.0, 1.5), (2.0, 1.5)), "balanced")["number"] == 1


def test_how_sure_a_place_on_the_front_is_comes_from_resampling() -> None:
    """Two candidates of equal general score: the share is the probability that the domain score is the lower one."""
    generator = np.random.default_rng(0)
    resamples = 4000
    domain = np.stack([generator.normal(2.0, 0.1, resamples), generator.normal(2.1, 0.1, resamples)], 1)
    general = np.full((resamples, 2), 1.0)
    first, second = front_shares(domain, general)
    assert first + second == pytest.approx(1.0)
    assert first == pytest.approx(0.7602, abs=0.03)  # Phi(0.1 / (0.1 sqrt 2))


def test_a_command_says_what_makes_the_candidate() -> None:
    data = sweep_data(sweep((2.0, 1.25)), "balanced", "my-run")
    (only,) = data["candidates"]
    assert only["chosen"]
    assert only["command"] == "adapt merge my-run --merge ties --set merge.weight=0.5"
    gradient = {"label_of_method": "slerp", "arguments": ["merge.options.slerp.t=[0.1, 0.9]"]}
    assert command(gradient, "r") == "adapt merge r --merge slerp --set 'merge.options.slerp.t=[0.1, 0.9]'"


def test_the_report_says_when_nothing_can_be_chosen() -> None:
    data = sweep_data(sweep((2.0, 1.25)), {"general_loss_at_most": 0.1}, "r")
    assert not data["candidates"][0]["chosen"]
    assert data["rule"] == "least domain bits per byte with at most 0.1 more general ones than instruct"


def searched(budget: int, seed: int, *axes: Axis, cls: Any = Ties) -> tuple[list[Point], list[float]]:
    """A search on a bowl whose lowest point is at 0.8 for every number."""
    provider: Any = SimpleNamespace(distribution="test", version="1", editable=False)
    options = {"density": 1.0} if cls is Ties else {}
    choice = Choice("merger", cls.name, cls, cls.Config.model_validate(options), provider)
    plan = SweepPlan((SweptMethod(cls.name, choice, 0.5, axes),), "cma", budget, 1, "balanced")

    def score(point: Point) -> float:
        numbers = np.hstack([np.atleast_1d(value) for value in point.settings.values()])
        return float(((numbers - 0.8) ** 2).sum())

    points = list(propose(plan, score, seed))
    return points, [score(p) for p in points]


WEIGHT = Axis("weight", ("merge", "options", "ties", "weight"), (0.0, 1.0), 3)
DENSITY = Axis("density", ("merge", "density"), (0.1, 1.0))


def test_a_search_finds_the_lowest_point() -> None:
    _, scores = searched(120, 1, WEIGHT, DENSITY)
    assert min(scores) < 0.01 < np.median(scores[:8])


def test_a_search_is_reproducible_by_its_seed_alone() -> None:
    np.random.seed(1)
    random.seed(1)
    first, _ = searched(40, 7, WEIGHT, DENSITY)
    np.random.seed(2)
    random.seed(2)
    state = np.random.get_state()[1].copy()  # type: ignore[index,union-attr]
    assert [p.settings for p in searched(40, 7, WEIGHT, DENSITY)[0]] == [p.settings for p in first]
    assert (np.random.get_state()[1] == state).all()  # type: ignore[index]
    assert [p.settings for p in searched(40, 8, WEIGHT, DENSITY)[0]] != [p.settings for p in first]


def test_a_search_looks_at_the_budget_of_different_candidates_within_the_ranges() -> None:
    narrow = Axis("density", ("merge", "density"), (0.6, 0.7))
    points, _ = searched(50, 3, WEIGHT, narrow)
    assert len(points) == 50
    assert len({p.arguments for p in points}) == 50
    for p in points:
        assert 0.6 <= p.settings["density"] <= 0.7
        assert len(p.settings["weight"]) == 3
        assert all(0 <= w <= 1 and round(w, 3) == w for w in p.settings["weight"])


def test_a_search_in_one_dimension_works() -> None:
    points, scores = searched(30, 3, Axis("weight", ("merge", "weight"), (0.0, 1.0)), cls=Slerp)
    assert min(scores) < 1e-3
    assert points[0].arguments[0].startswith("merge.weight=0.")


def test_a_gradient_is_written_as_the_method_takes_it() -> None:
    points, _ = searched(4, 3, WEIGHT)
    weights = points[0].settings["weight"]
    config: Any = points[0].choice.config
    assert config.weight.cpt == weights
    assert config.weight.instruct == pytest.approx([1 - w for w in weights])
    points, _ = searched(4, 3, Axis("t", ("merge", "options", "slerp", "t"), (0.0, 1.0), 2), cls=Slerp)
    assert points[0].choice.config.t == points[0].settings["t"]  # type: ignore[attr-defined]
    assert points[0].arguments == (f"merge.options.slerp.t={points[0].settings['t']}",)
