"""The CPT-dynamics law asked for a schedule: turning length and critical point, balance of both losses, advice."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from domadapt.errors import DataError, UsageError
from domadapt.laws.advice import advise
from domadapt.laws.balance import at_end, balance, fixed, plan, reached
from domadapt.laws.dynamics import Dynamics
from domadapt.laws.fitting import predict
from domadapt.laws.observations import observe
from domadapt.laws.schedules import areas
from domadapt.laws.study import Study, refuse, study
from domadapt.laws.table import Table
from domadapt.laws.turning import critical_point, turning_length

from .test_formulas import PUBLISHED

pytestmark = pytest.mark.usefixtures("few_starts")

GENERAL = {"L0": 2.4, "A": 0.45, "alpha": 0.5, "S1pt": 6.0, "C2": 0.3, "B": 0.5, "E": 30.0, "beta": 0.2}
GENERAL |= {"a1": 0.1, "a2": 1.5}
DOMAIN = {**GENERAL, "L0": 2.2, "B": -0.2, "E": 300.0}
SHARES = (0.5, 0.75, 0.9, 0.95, 0.99)
PEAK, STEPS = 1e-3, 400


def truth(side: str, domain_share: Any, s1: Any, s2: Any) -> Any:
    law = Dynamics("pt" if side == "general" else "cpt", replay=True, pretraining_known=False)
    values = GENERAL if side == "general" else DOMAIN
    own = 1 - np.asarray(domain_share) if side == "general" else np.asarray(domain_share)
    theta = np.array([values[p.name] for p in law.parameters])
    return predict(law, theta, {"s1_cpt": s1, "s2_cpt": s2, "ratio": own})


def measured(noise: float = 3e-4) -> Table:
    """Losses of planted laws: five ratios, two lengths of a cosine each, ten points and the start."""
    rng = np.random.default_rng(0)
    rows: dict[str, list[Any]] = {n: [] for n in ("run", "s1", "s2", "domain_share", "domain_loss", "general_loss")}
    for share in SHARES:
        for length in (STEPS // 2, STEPS):
            s1, s2 = areas(PEAK * 0.5 * (1 + np.cos(np.pi * np.arange(length) / length)))
            end = plan(PEAK, length, "cosine", 0.0)
            assert (s1[-1], s2[-1]) == pytest.approx((end.s1, end.s2))
            for step in np.linspace(length / 10, length, 10).astype(int) - 1:
                losses = [
                    float(truth(side, share, s1[step], s2[step])) * np.exp(noise * rng.standard_normal())
                    for side in ("domain", "general")
                ]
                for name, value in zip(rows, [f"{share}/{length}", s1[step], s2[step], share, *losses], strict=True):
                    rows[name].append(value)
    arrays = {name: np.array(values, object if name == "run" else float) for name, values in rows.items()}
    return Table(arrays, "planted")


@pytest.fixture(scope="module")
def planted(few_starts: None) -> tuple[Study, Study]:
    domain, general = (study(o, draws=20, starts=4) for o in observe(measured(), "dynamics"))
    return domain, general


def test_beyond_the_critical_point_the_general_loss_never_comes_back() -> None:
    """Figure 3's FineWeb: (0.490 / 0.366)^(1 / 0.497) = 1.798704; the model there had been trained for about 6."""
    assert critical_point(PUBLISHED["pt"]) == pytest.approx(1.798704, abs=1e-6)
    assert turning_length(PUBLISHED["pt"], 6.0) is None
    assert turning_length(PUBLISHED["pt"], 1.9) is None


@pytest.mark.parametrize(("before", "length"), [(0.5, 0.2156774), (1.0, 1.6839374), (0.1, 0.0)])
def test_a_model_trained_little_is_back_after_the_length_found_by_bisection(before: float, length: float) -> None:
    found = turning_length(PUBLISHED["pt"], before)
    assert found == pytest.approx(length, abs=1e-6)


def test_replay_moves_the_critical_point_as_the_shift_shrinks() -> None:
    """(0.480 / (0.276 (1 - exp(-3.238 * 0.5))))^(1 / 0.510) = 4.562844 at a half, 3.201326 without replay."""
    published = {"A": 0.480, "alpha": 0.510, "B": 0.276, "E": 99.35, "beta": 0.2, "a2": 3.238}
    assert critical_point(published, 0.5) == pytest.approx(4.562844, abs=1e-6)
    assert critical_point(published, 0.0) == pytest.approx(3.201326, abs=1e-6)
    assert critical_point(published, 1.0) == np.inf
    assert turning_length(published, 4.0, 0.0) is None
    assert turning_length(published, 4.0, 0.5) is not None


def test_the_less_the_general_loss_weighs_the_higher_is_the_best_learning_rate() -> None:
    """Wang et al. 2025, section 5, with the coefficients of figure 3: a lower weight asks for a higher peak."""
    plans = [plan(peak, 10000, "cosine", 0.0) for peak in (1e-6, 1e-5, 5e-5, 1e-4, 2e-4, 4e-4)]
    s1, s2 = (np.array([0.0, *(getattr(p, name) for p in plans)]) for name in ("s1", "s2"))
    changes = {}
    for corpus in ("pt", "cpt"):
        law = Dynamics("pt" if corpus == "pt" else "cpt")
        theta = np.array([PUBLISHED[corpus][p.name] for p in law.parameters])
        losses = predict(law, theta, {"s1_pt": 6.0, "s2_pt": 0.0, "s1_cpt": s1, "s2_cpt": s2})
        changes[corpus] = losses[1:] - losses[0]
    best = [
        plans[int(np.argmin(weight * changes["pt"] + (1 - weight) * changes["cpt"]))].peak_lr
        for weight in (1.0, 0.9, 0.6, 0.0)
    ]
    assert best == sorted(best)
    assert best[0] == 1e-6
    assert best[-1] == 4e-4


def test_the_balance_is_the_least_of_the_planted_sum(planted: tuple[Study, Study]) -> None:
    plans = [plan(peak, STEPS, "cosine", 0.0) for peak in (PEAK / 4, PEAK)]
    domain, general = planted
    for weight in (0.2, 0.8):
        found = balance(domain, general, plans, weight, {})
        shares = np.linspace(min(SHARES), max(SHARES), 61)
        sums = [
            weight * truth("general", shares, p.s1, p.s2) + (1 - weight) * truth("domain", shares, p.s1, p.s2)
            for p in plans
        ]
        least = min(float(row.min()) for row in sums)
        assert found["weighed_loss"] == pytest.approx(least, abs=5e-3)
        chosen = [p.peak_lr for p in plans].index(found["peak_lr"])
        assert sums[chosen].min() == pytest.approx(least, abs=5e-3)
        share = found["domain_share"]
        assert share["low"] <= share["value"] <= share["high"]
        assert len(found["plans"]) == 2


def test_a_bound_is_kept_by_the_dynamics_law_at_a_planned_schedule(planted: tuple[Study, Study]) -> None:
    planned = plan(PEAK, STEPS, "cosine", 0.0)
    start = float(truth("general", 0.5, 0.0, 0.0))
    domain, general = reached(planted, [planned], {}, 0)
    refuse([domain, general])
    middle = float(truth("general", 0.8, planned.s1, planned.s2))
    advice = advise(domain, general, at_end(planned, {}), middle, start)
    assert advice.domain_share == pytest.approx(0.8, abs=0.03)
    assert advice.low <= 0.8 <= advice.high


def test_what_a_schedule_does_not_say_is_that_of_all_runs_or_is_asked_for() -> None:
    table = measured()
    count = len(table)
    known = Table({**table.columns, "s1_pt": np.full(count, 5.0)}, "one start")
    assert fixed(observe(known, "dynamics")[0]) == {"s1_pt": 5.0}
    starts = observe(Table({**table.columns, "s1_pt": np.linspace(5, 6, count)}, "starts"), "dynamics")[0]
    with pytest.raises(UsageError, match="the runs differ in s1_pt"):
        fixed(starts)
    sizes = observe(Table({**table.columns, "params": 1e9 * (1.0 + np.arange(count) % 3)}, "sizes"), "dynamics")[0]
    with pytest.raises(UsageError, match="wanted --params"):
        fixed(sizes)
    assert fixed(sizes, 2e9) == {"params": 2e9}


def test_two_ratios_are_too_few_for_the_terms_of_replay() -> None:
    table = measured()
    two = Table({n: c[np.isin(table["domain_share"], (0.5, 0.9))] for n, c in table.columns.items()}, "two")
    with pytest.raises(DataError, match="2 mixture ratios, 3 at least"):
        observe(two, "dynamics")


def test_two_sizes_of_model_are_too_few_for_the_term_of_the_size() -> None:
    table = measured()
    sized = Table({**table.columns, "params": np.where(np.arange(len(table)) % 2, 1e9, 2e9)}, "sizes")
    with pytest.raises(DataError, match="2 sizes of model, 3 at least"):
        observe(sized, "dynamics")


def test_the_return_of_the_general_loss_is_a_note_of_its_fit(planted: tuple[Study, Study]) -> None:
    domain, general = planted
    critical = {share: critical_point(GENERAL, 1 - share) for share in SHARES}
    assert critical[0.99] < GENERAL["S1pt"]  # planted: without replay the loss never comes back
    assert any("never wins back the general loss it costs first at general shares of 0.01" in n for n in general.notes)
    assert not any("wins back" in note for note in domain.notes)
