"""The laws' formulas: published oracles, gradients, units."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from domadapt.errors import DataError
from domadapt.laws import applications, cmr, crosslingual
from domadapt.laws.annealing import Annealing
from domadapt.laws.crossdomain import CrossDomain, decline
from domadapt.laws.dcpt import DCPT
from domadapt.laws.dynamics import Dynamics
from domadapt.laws.fitting import predict
from domadapt.laws.law import Law
from domadapt.laws.mixing import Mixing
from domadapt.laws.outofdomain import OutOfDomain
from domadapt.laws.schedules import areas, with_warmup_at_peak

from .published import GENERAL_TRUTH, S1_TRUTH, S2_TRUTH, annealing_rates

LAWS: list[Law] = [
    DCPT(),
    DCPT(sizes=False),
    CrossDomain(),
    Annealing(),
    crosslingual.FromScratch(),
    crosslingual.CrossLingual(1.0, 0.5, 0.3),
    cmr.CriticalRatio(),
    Mixing(["a", "b"]),
    Mixing(["a"], 3),
    OutOfDomain(),
    *(
        Dynamics(corpus, replay=replay, pretraining_known=known, sizes=sizes)
        for corpus in ("pt", "cpt")
        for replay in (False, True)
        for known in (False, True)
        for sizes in (False, True)
    ),
]


def named(law: Law) -> str:
    return f"{type(law).__name__}-{'-'.join(p.name for p in law.parameters)}"


def some_inputs(seed: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    columns = {
        name: rng.uniform(0.2, 3.0, 6)
        for name in ("params", "tokens", "k1", "k2", "s1", "s2", "s1_pt", "s1_cpt", "s2_pt", "s2_cpt", "a", "b")
    }
    columns |= {name: rng.uniform(1.0, 4.0, 6) for name in ("general_loss", "domain_loss")}
    return {**columns, "ratio": np.r_[0.0, rng.uniform(0, 1, 5)], "length": np.zeros(6)}


def at(law: Law, truth: np.ndarray, **inputs: float) -> float:
    return float(predict(law, truth, inputs))


@pytest.mark.parametrize(
    ("n", "d", "r", "wanted"),
    [
        (1.8, 10, 0.9, 2.006946),
        (1.8, 10, 0.1, 2.256291),
        (0.5, 5, 0.5, 2.274472),
        (4, 20, 1, 1.895236),
        (1.8, 10, 0, 2.439999),
    ],
)
def test_d_cpt_gives_the_losses_computed_by_hand(n: float, d: float, r: float, wanted: float) -> None:
    assert at(DCPT(), S1_TRUTH, params=n, tokens=d, ratio=r) == pytest.approx(wanted, abs=1e-6)


def test_d_cpt_of_the_second_truth() -> None:
    assert at(DCPT(), S2_TRUTH, params=1.8, tokens=10, ratio=0.9) == pytest.approx(2.128251, abs=1e-6)


def test_more_of_a_corpus_lowers_its_loss_from_the_least_tokens_on_and_not_below() -> None:
    assert applications.least_tokens(DCPT(), S1_TRUTH, 1.0) == pytest.approx(2.2317, abs=1e-4)
    assert applications.least_tokens(DCPT(), S1_TRUTH, 0.5) == pytest.approx(0.023845, abs=1e-6)
    ratios = np.linspace(0, 1, 201)
    for tokens, falls in ((10.0, True), (1.0, False)):
        losses = predict(DCPT(), S1_TRUTH, {"params": 1.8, "tokens": tokens, "ratio": ratios})
        assert bool((np.diff(losses) < 0).all()) is falls


@pytest.mark.parametrize(
    ("truth", "tokens", "share", "loss"),
    [
        (S1_TRUTH, 5.0, 1.0, 2.013043),
        (S1_TRUTH, 1.0, 0.8278, 2.041622),
        (S1_TRUTH, 0.2, 0.6697, None),
        (S1_TRUTH, 0.05, 0.5559, 2.099173),
        (S2_TRUTH, 5.0, 0.526031, 2.107360),
    ],
)
def test_limited_domain_text_has_the_share_computed_before(
    truth: np.ndarray, tokens: float, share: float, loss: float | None
) -> None:
    found, least = applications.limited_data(DCPT(), truth, tokens, 1.8)
    assert found == pytest.approx(share, abs=1e-6 if truth is S2_TRUTH else 5e-5)
    if loss is not None:
        assert least == pytest.approx(loss, abs=1e-6)


def stationary(truth: np.ndarray, tokens: float, share: float) -> tuple[float, float]:
    """Both sides of the paper's condition: what a larger share costs by fewer tokens, and what it gains."""
    *_, b, beta, eta, c, eps, gamma = truth
    cost = b * (eta + beta) * share ** (eta + beta - 1) / tokens**beta
    return float(cost), float(c * gamma / (share + eps) ** (gamma + 1))


def test_limited_domain_text_is_where_the_paper_says_that_the_loss_stands_still() -> None:
    for truth, tokens in ((S1_TRUTH, 1.0), (S1_TRUTH, 0.05), (S2_TRUTH, 5.0)):
        found, _ = applications.limited_data(DCPT(), truth, tokens, 1.8)
        cost, gain = stationary(truth, tokens, found)
        assert cost == pytest.approx(gain, rel=1e-5)
    cost, gain = stationary(S1_TRUTH, 5.0, 1.0)
    assert cost < gain  # the loss still falls at a share of 1: the end is the answer
    assert applications.limited_data(DCPT(), S1_TRUTH, 5.0, 1.8)[0] == 1.0


def test_the_published_share_for_limited_music_is_found_by_a_law_that_stands_still_there() -> None:
    """Que et al. 2024, usage 2: music, 1.8B, 5B domain tokens: r* = 0.732 with 0.7328 predicted, 0.7309 measured.

    The fitted coefficients are not published: B follows from the paper's condition at 0.732, E from the loss there.
    """
    measured = {0.2: 0.7486, 0.5: 0.7448, 0.732: 0.7309, 0.8: 0.7398}
    assert min(measured, key=measured.__getitem__) == 0.732
    assert 0.7328 / measured[0.732] - 1 < 0.003
    beta, eta, c, eps, gamma = 0.25, 1.4, 0.05, 0.12, 0.45
    cost, gain = stationary(np.array([0, 0, 0, 1.0, beta, eta, c, eps, gamma]), 5.0, 0.732)
    truth = np.array([0.0, gain / cost, beta, eta, c, eps, gamma])
    law = DCPT(sizes=False)
    truth[0] = 0.7328 - at(law, truth, tokens=5.0 / 0.732, ratio=0.732)
    found, least = applications.limited_data(law, truth, 5.0)
    assert found == pytest.approx(0.732, abs=1e-6)
    assert least == pytest.approx(0.7328, abs=1e-9)
    for share in (0.2, 0.5, 0.8):
        assert at(law, truth, tokens=5.0 / share, ratio=share) > least


def test_compute_is_divided_as_computed_before() -> None:
    n, d = applications.allocation(DCPT(), S2_TRUTH, 0.8, 6 * 1.8 * 10)
    assert n == pytest.approx(20.8029, abs=1e-4)
    assert d == pytest.approx(0.865264, abs=1e-6)


def test_compute_is_divided_at_the_least_loss() -> None:
    n, d = applications.allocation(DCPT(), S2_TRUTH, 0.8, 108.0)
    best = at(DCPT(), S2_TRUTH, params=n, tokens=d, ratio=0.8)
    for factor in (0.9, 0.99, 1.01, 1.1):
        assert at(DCPT(), S2_TRUTH, params=n * factor, tokens=d / factor, ratio=0.8) > best


def test_the_trade_off_is_the_share_computed_before() -> None:
    def general(share: np.ndarray) -> np.ndarray:
        return predict(DCPT(), GENERAL_TRUTH, {"params": 1.8, "tokens": 10.0, "ratio": 1 - share})

    assert applications.trade_off(general, 1.03 * 2.7) == pytest.approx(0.913609, abs=1e-6)
    assert applications.trade_off(general, 10.0) == 1.0
    assert applications.trade_off(general, 1.0) is None


def test_the_published_trade_off_is_the_last_row_within_the_bound() -> None:
    """Que et al. 2024, table of usage 1: chemistry, 1.8B, 10B tokens, at most 3 % above 2.8602: r_d = 0.924.

    Between the rows the bound of 2.9460 lies at 0.924 + 0.006 (2.9460 - 2.9445) / (2.9644 - 2.9445) = 0.92446.
    """
    shares = np.array([0.9, 0.91, 0.92, 0.924, 0.93, 0.94, 1.0])
    general = np.array([2.9052, 2.9193, 2.9376, 2.9445, 2.9644, 2.9848, 3.4667])
    domain = np.array([1.7321, 1.7312, 1.7311, 1.7291, 1.7279, 1.7265, 1.7220])
    bound = 1.03 * 2.8602
    assert bound == pytest.approx(2.9460, abs=5e-5)
    found = applications.trade_off(lambda s: np.interp(s, shares, general), bound, 0.9, 1.0)
    assert found == pytest.approx(0.92446, abs=1e-5)
    kept = general <= bound
    assert shares[kept][np.argmin(domain[kept])] == 0.924  # the least domain loss within the bound is that row's
    assert general[-1] / 2.8602 - 1 == pytest.approx(0.21, abs=5e-3)  # no replay at all


def test_one_size_of_model_says_nothing_of_compute() -> None:
    with pytest.raises(DataError, match="one size of model"):
        applications.allocation(DCPT(sizes=False), np.ones(7), 0.8, 1e20)


def test_areas_of_a_schedule_of_five_steps() -> None:
    s1, s2 = areas([1, 1, 0.5, 0.5, 0], 0.5)
    assert s1.tolist() == [1, 2, 2.5, 3, 3]
    assert s2.tolist() == [0, 0, 0.5, 0.75, 1.375]


def test_areas_of_ten_thousand_steps_to_zero() -> None:
    step = np.arange(10001) / 10000
    linear, cosine = areas(2e-4 * (1 - step)), areas(1e-4 * (1 + np.cos(np.pi * step)))
    for s1, _ in (linear, cosine):  # the published sums begin behind step 0
        assert s1[-1] - 2e-4 == pytest.approx(0.9999, abs=1e-9)
    assert linear[1][-1] == pytest.approx(0.180021, abs=1e-6)
    assert cosine[1][-1] == pytest.approx(0.191029, abs=1e-6)


def test_areas_of_the_published_schedules() -> None:
    cosine, constant = (areas(rates) for rates in annealing_rates())
    assert cosine[0][[1000, 10000, 20000]] == pytest.approx([0.200146, 1.670353, 2.0501], abs=1e-6)
    assert cosine[1][1000] == pytest.approx(4.8e-5, abs=5e-7)
    assert cosine[1][10000] == pytest.approx(0.0804, abs=5e-5)
    assert cosine[1][20000] == pytest.approx(0.197474, abs=5e-7)
    assert constant[0][-1] == pytest.approx(4.0002, abs=1e-9)
    assert constant[1][-1] == 0.0


def test_areas_equal_the_double_sum_of_the_paper() -> None:
    eta = np.random.default_rng(0).uniform(0, 1, 12)
    falls = np.r_[0.0, eta[:-1] - eta[1:]]
    wanted = [sum(falls[k] * 0.9 ** (i - k) for i in range(t + 1) for k in range(i + 1)) for t in range(12)]
    assert areas(eta, 0.9)[1] == pytest.approx(wanted)


def test_a_warm_up_counts_as_the_peak_and_a_fall_does_not() -> None:
    assert with_warmup_at_peak([1, 2, 3, 2]).tolist() == [3, 3, 3, 2]
    assert with_warmup_at_peak([2, 1, 3, 2]).tolist() == [2, 1, 3, 2]


PUBLISHED = {
    "pt": {"L0": 3.057, "A": 0.490, "alpha": 0.497, "C1": 0.299, "C2": 0.298, "B": 0.366, "E": 28.0, "beta": 0.189},
    "cpt": {"L0": 3.024, "A": 0.412, "alpha": 0.677, "C1": 0.278, "C2": 0.324, "B": -0.666, "E": 5662.0, "beta": 0.146},
}
"""Wang et al. 2025, figure 3: FineWeb and Knowledge-Pile."""
PUBLISHED_LAW = {
    "pt": {"L0": 3.064, "A": 0.482, "alpha": 0.511, "C1": 0.294, "C2": 0.264, "B": 1.353, "E": 37.0, "beta": 0.262},
    "cpt": {"L0": 2.978, "A": 0.485, "alpha": 0.701, "C1": 0.274, "C2": 0.298, "B": -1.409, "E": 383.0, "beta": 0.368},
}
"""Figure 11: FineWeb and Pile-of-Law."""


@pytest.mark.parametrize(
    ("published", "point", "pt", "cpt"),
    [
        (PUBLISHED, (6, 0, 0, 0), 3.258120, 3.146487),
        (PUBLISHED, (6, 2, 0, 0), 3.426866, 2.629256),
        (PUBLISHED, (6, 2, 0, 0.2), 3.367266, 2.564456),
        (PUBLISHED_LAW, (6, 0, 0, 0), 3.256935, 3.116120),
        (PUBLISHED_LAW, (6, 2, 0, 0), 4.147011, 1.804161),
        (PUBLISHED_LAW, (6, 2, 0, 0.2), 4.094211, 1.744561),
    ],
)
def test_dynamics_with_the_published_coefficients(
    published: dict[str, dict[str, float]], point: tuple[float, ...], pt: float, cpt: float
) -> None:
    inputs = dict(zip(("s1_pt", "s1_cpt", "s2_pt", "s2_cpt"), map(float, point), strict=True))
    for corpus, wanted in (("pt", pt), ("cpt", cpt)):
        law = Dynamics("pt" if corpus == "pt" else "cpt")
        theta = np.array([published[corpus][p.name] for p in law.parameters])
        assert float(predict(law, theta, inputs)) == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("step", "pt", "cpt"), [(100, 0.035581, 0.332977), (10000, 0.195940, 0.499945)])
def test_the_shift_at_a_constant_rate_is_the_published_one(step: int, pt: float, cpt: float) -> None:
    """Figure 2, in steps: 0.368 (1 - (0.008 t + 1)^-0.173) up, 0.702 (1 - (1.345 t + 1)^-0.131) down."""
    for corpus, (b, e, beta), wanted in (
        ("pt", (0.368, 0.008, 0.173), pt),
        ("cpt", (-0.702, 1.345, 0.131), -cpt),
    ):
        law = Dynamics("pt" if corpus == "pt" else "cpt", annealed=False)
        values = {"L0": 3.0, "A": 0.0, "alpha": 0.5, "C2": 0.3, "B": b, "E": e, "beta": beta}
        theta = np.array([values[p.name] for p in law.parameters])
        assert at(law, theta, s1_pt=6.0, s1_cpt=float(step), s2_cpt=0.0) - 3.0 == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize(("size", "wanted"), [(1.7, 3.837674), (0.594, 4.019629)])
def test_a_larger_model_changes_what_annealing_gives_and_what_is_left(size: float, wanted: float) -> None:
    """Equation 7 by hand: figure 3's FineWeb at (6, 2, 0.15, 0.2), C1 N^0.1, C2 N^-0.2, + 0.6 N^-0.3, N in billions."""
    law = Dynamics("pt", sizes=True)
    values = {**PUBLISHED["pt"], "F": 0.6, "g1": 0.1, "g2": -0.2, "g3": 0.3}
    theta = np.array([values[p.name] for p in law.parameters])
    found = at(law, theta, s1_pt=6.0, s1_cpt=2.0, s2_pt=0.15, s2_cpt=0.2, params=size)
    assert found == pytest.approx(wanted, abs=1e-6)


def test_replay_weakens_the_shift_as_published() -> None:
    """Wang et al. 2025, equation 8: the shift on the pre-training corpus is multiplied by 1 - exp(-3.238 r_cpt)."""
    law = Dynamics("pt", replay=True, pretraining_known=True, annealed=False)
    values = {
        "L0": 3.0,
        "A": 0.4,
        "alpha": 0.5,
        "C2": 0.3,
        "B": 0.276,
        "E": 99.35,
        "beta": 0.2,
        "a1": 0.055,
        "a2": 3.238,
    }
    theta = np.array([values[p.name] for p in law.parameters])

    def shift(r_cpt: float) -> float:
        inputs = {"s1_pt": 5.0, "s1_cpt": 2.0, "s2_cpt": 0.0, "ratio": 1 - r_cpt}
        return float(predict(law, theta, inputs) - predict(law, theta, {**inputs, "ratio": 1.0}))

    full = 0.276 * (1 - (1 + 99.35 * 2.0) ** -0.2)
    for r_cpt, factor in ((1, 0.9608), (0.9, 0.9458), (0.67, 0.8858), (0.5, 0.8019), (0.33, 0.6565), (0, 0)):
        assert shift(r_cpt) / full == pytest.approx(factor, abs=5e-5)


def test_nothing_has_shifted_before_training() -> None:
    for corpus in ("pt", "cpt"):
        law = Dynamics("pt" if corpus == "pt" else "cpt")
        theta = np.array([PUBLISHED[corpus][p.name] for p in law.parameters])
        p = PUBLISHED[corpus]
        start = float(predict(law, theta, {"s1_pt": 6.0, "s1_cpt": 0.0, "s2_pt": 0.0, "s2_cpt": 0.0}))
        assert start == pytest.approx(p["L0"] + p["A"] * 6.0 ** -p["alpha"], abs=1e-12)


def test_cross_lingual_compute_is_divided_as_published() -> None:
    n, d, p, q = crosslingual.allocation(420.0, 0.40, 719.5, 0.30, 0.0, 1.0)
    assert [p, q] == pytest.approx([0.428571, 0.571429], abs=1e-6)
    assert [n, d] == pytest.approx([0.324352, 0.513845], abs=1e-6)
    n, d, p, q = crosslingual.allocation(420.0, 0.40, 433.3, 0.20, 0.08, 1.0)
    assert [p, q] == pytest.approx([0.384615, 0.615385], abs=1e-6)
    assert n == pytest.approx(4.78861, abs=1e-5)
    assert d == pytest.approx(0.0348048, abs=1e-7)


def test_the_rounded_cross_lingual_parameters_give_the_losses_computed_before() -> None:
    """Rounding makes the pre-trained start the worse one there: the parameters are for allocations alone."""
    point = {"params": 1.4e9, "tokens": 2.8e10}
    scratch = at(crosslingual.FromScratch(), np.array([1.55, 420.0, 0.40, 719.5, 0.30]), **point)
    continued = at(crosslingual.CrossLingual(1.55, 420.0, 0.40), np.array([433.3, 0.20, 0.08]), **point)
    assert scratch == pytest.approx(2.171, abs=5e-4)
    assert continued == pytest.approx(2.296, abs=5e-4)


def test_a_law_without_a_best_size_says_so() -> None:
    with pytest.raises(DataError, match="no best size"):
        crosslingual.allocation(420.0, 0.40, 433.3, 0.05, 0.08, 1.0)


@pytest.mark.parametrize(
    ("theta", "wanted"),
    [
        ((0.22524761, 0.26944345, -0.48139982), 0.2976),
        ((0.7520627, 0.13720245, -1.06581937), 0.3489),
        ((-2.36384831, -0.15125569, 1.59223649), 0.4143),
        ((-2.5368197, -0.42071423, 0.84375368), 0.4783),
    ],
)
def test_critical_ratios_of_finance_at_twenty_billion_tokens(theta: tuple[float, ...], wanted: float) -> None:
    assert float(predict(cmr.CriticalRatio(), np.array(theta), {"tokens": 20e9})) == pytest.approx(wanted, abs=5e-5)


def test_a_critical_ratio_lies_between_the_runs_around_the_limit() -> None:
    shares, general = np.array([0.6, 0.2, 0.4]), np.array([2.4, 2.0, 2.1])
    assert cmr.critical_ratio(shares, general, 2.25) == pytest.approx(0.5)
    assert cmr.critical_ratio(shares, general, 3.0) is None
    assert cmr.critical_ratio(shares, general, 1.0) is None


def test_the_cross_domain_term_is_that_computed_by_hand() -> None:
    """K = 1/2.2 + 1.2 * 0.5 = 1.054545; 0.4 K^-0.8 = 0.383361 on top of D-CPT's 2.006946."""
    theta = np.array([*S1_TRUTH, 0.4, 0.8, 1.2])
    found = at(CrossDomain(), theta, params=1.8, tokens=10, ratio=0.9, k1=2.2, k2=0.5)
    assert found == pytest.approx(2.390307, abs=1e-6)


def test_a_probe_run_gives_its_first_loss_and_its_fall_per_step() -> None:
    assert list(decline(np.array([100, 0, 50]), np.array([2.5, 3.0, 2.7]))) == pytest.approx([3.0, 0.005])


@pytest.mark.parametrize("law", LAWS, ids=named)
def test_gradients_are_those_of_the_losses(law: Law) -> None:
    inputs = some_inputs(1)
    if isinstance(law, Mixing):
        inputs["length"] = np.arange(6.0) % law.num_lengths
    theta = np.random.default_rng(2).uniform(0.3, 1.0, len(law.parameters))
    _, gradient = law.loss(theta, inputs)
    for number in range(len(theta)):
        step = np.zeros_like(theta)
        step[number] = 1e-6
        numeric = (law.loss(theta + step, inputs)[0] - law.loss(theta - step, inputs)[0]) / 2e-6
        assert gradient[number] == pytest.approx(numeric, abs=1e-7)


@pytest.mark.parametrize("law", [DCPT(), DCPT(sizes=False), CrossDomain()], ids=named)
def test_what_d_cpt_demands_is_the_slope_of_its_loss_in_the_ratio_with_its_gradient(law: DCPT) -> None:
    theta = np.random.default_rng(3).uniform(0.3, 1.0, len(law.parameters))
    inputs = some_inputs(1)
    slopes, gradient = law.demands(theta, inputs)
    ratio = np.linspace(inputs["ratio"][inputs["ratio"] > 0].min(), 1.0, len(slopes))
    there = {name: np.full(len(slopes), column.min()) for name, column in inputs.items()}

    def losses(step: float) -> np.ndarray:
        return law.loss(theta, {**there, "ratio": ratio + step})[0]

    assert slopes == pytest.approx((losses(1e-6) - losses(-1e-6)) / 2e-6, abs=1e-7)
    for number in range(len(theta)):
        step = np.zeros_like(theta)
        step[number] = 1e-6
        numeric = (law.demands(theta + step, inputs)[0] - law.demands(theta - step, inputs)[0]) / 2e-6
        assert gradient[number] == pytest.approx(numeric, abs=1e-6)


@pytest.mark.parametrize("law", LAWS, ids=named)
def test_parameters_in_other_units_give_the_same_losses(law: Law) -> None:
    for seed in range(20):
        rng = np.random.default_rng(seed)
        inputs: Mapping[str, np.ndarray] = some_inputs(seed)
        theta = rng.uniform(0.3, 1.0, len(law.parameters))
        units = {name: unit for group, unit in zip(law.scaled, rng.uniform(0.1, 10, 9), strict=False) for name in group}
        scaled = {name: column / units.get(name, 1.0) for name, column in inputs.items()}
        assert law.loss(law.rescaled(theta, units), inputs)[0] == pytest.approx(law.loss(theta, scaled)[0], rel=1e-9)
