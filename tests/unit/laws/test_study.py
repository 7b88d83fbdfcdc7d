"""Observations, held-out errors, refusals and advice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from domadapt.errors import DataError, UsageError
from domadapt.laws.advice import advice_data, advise, at_length
from domadapt.laws.dcpt import DCPT
from domadapt.laws.fitting import predict
from domadapt.laws.heldout import linear
from domadapt.laws.observations import observe
from domadapt.laws.spending import share_for_domain_text, size_and_tokens
from domadapt.laws.study import Study, determined, predicted, reaching, refuse, study, study_data
from domadapt.laws.table import Table

from .published import GENERAL_TRUTH, S2_TRUTH

SHARES = (0.5, 0.65, 0.8, 0.9, 1.0)
LENGTHS = np.arange(1.0, 9.0) * 1e9

pytestmark = pytest.mark.usefixtures("few_starts")


def measured(
    noise: float = 1e-3, shares: tuple[float, ...] = SHARES, sizes: tuple[float, ...] = (1.8e9,), seed: int = 0
) -> Table:
    """Losses of planted laws on both sides, a run for each size and share, and the start."""
    rng = np.random.default_rng(seed)
    grid = [axis.ravel() for axis in np.meshgrid(sizes, shares, LENGTHS, indexing="ij")]
    params, share, tokens = grid

    def losses(truth: np.ndarray, ratio: np.ndarray) -> Any:
        clean = predict(DCPT(), truth, {"params": params / 1e9, "tokens": tokens / 1e9, "ratio": ratio})
        return np.r_[2.7, clean * np.exp(noise * rng.standard_normal(len(clean)))]

    return Table(
        {
            "run": np.array(["start", *(f"{n:g}/{s:g}" for n, s in zip(params, share, strict=True))], dtype=object),
            "params": np.r_[sizes[0], params],
            "tokens": np.r_[0.0, tokens],
            "domain_share": np.r_[share[0], share],
            "domain_loss": losses(S2_TRUTH, share),
            "general_loss": losses(GENERAL_TRUTH, 1 - share),
        },
        "planted",
    )


def studied(table: Table, law: str = "dcpt") -> list[Study]:
    return [study(o, draws=20, starts=3) for o in observe(table, law)]


@pytest.fixture(scope="module")
def planted(few_starts: None) -> tuple[Study, Study]:
    domain, general = studied(measured())
    return domain, general


def without(table: Table, *names: str) -> Table:
    return Table({name: column for name, column in table.columns.items() if name not in names}, table.where)


def rows(table: Table, chosen: Any) -> Table:
    return Table({name: column[chosen] for name, column in table.columns.items()}, table.where)


def test_both_sides_are_fitted_to_the_share_of_their_own_corpus(planted: tuple[Study, Study]) -> None:
    domain, general = planted
    assert (domain.side, general.side) == ("domain", "general")
    assert set(domain.observations.inputs["ratio"]) == set(SHARES)
    assert sorted(set(general.observations.inputs["ratio"])) == pytest.approx(sorted(1 - s for s in SHARES))
    assert general.observations.start == 2.7
    assert not domain.against
    assert not general.against


def test_one_size_of_model_drops_its_term_and_says_so(planted: tuple[Study, Study]) -> None:
    assert [p.name for p in planted[0].fit.law.parameters] == ["E", "B", "beta", "eta", "C", "eps", "gamma"]
    assert any("one size of model" in note for note in planted[0].notes)


def test_each_ratio_is_predicted_by_the_others_within_the_noise(planted: tuple[Study, Study]) -> None:
    for found in planted:
        held = {h.what: h for h in found.held_out}
        assert set(held) == {"each ratio in turn", "the end of each run"}
        assert len(held["each ratio in turn"].folds) == 5
        assert held["each ratio in turn"].rmse < 0.01
        assert all(f.naive is not None for f in held["each ratio in turn"].folds)


def test_the_naive_guess_is_exact_on_a_line() -> None:
    tokens = np.array([1.0, 1.0, 1.0, 2.0, 2.0, 2.0])
    ratio = np.array([0.1, 0.4, 0.5, 0.1, 0.4, 0.5])
    kept = {"tokens": tokens, "ratio": ratio, "loss": 3 - 2 * ratio + tokens}
    asked = {"tokens": np.array([1.0, 2.0, 2.0, 3.0]), "ratio": np.array([0.2, 0.9, 0.1, 0.2]), "loss": np.zeros(4)}
    found = linear(kept, asked, "ratio")
    assert found[:3] == pytest.approx(3 - 2 * asked["ratio"][:3] + asked["tokens"][:3])
    assert np.isnan(found[3])


@pytest.mark.parametrize(
    ("table", "law", "wanted"),
    [
        (measured(shares=(0.5, 0.8, 1.0)), "dcpt", "3 mixture ratios, 4 at least"),
        (measured(sizes=(1e9, 2e9)), "dcpt", "2 sizes of model, 3 at least"),
        (rows(measured(), measured()["tokens"] <= 2e9), "dcpt", "2 training lengths"),
        (without(measured(), "domain_share"), "dcpt", "no column 'domain_share'"),
        (without(measured(), "domain_loss", "general_loss"), "dcpt", "no column 'loss'"),
        (without(measured(), "tokens"), "dcpt", "no column 'tokens'"),
        (measured(), "annealing", "wanted columns step and lr"),
        (measured(), "cross-domain", "no column 'domain'"),
        (measured(), "cross-lingual", "no column 'loss'"),
        (measured(shares=(0.5, 1.0)), "mixing", "2 mixtures of 1 corpora, 3 at least"),
    ],
)
def test_data_that_cannot_identify_a_law_are_refused_with_the_reason(table: Table, law: str, wanted: str) -> None:
    with pytest.raises(DataError, match=wanted):
        observe(table, law)


def test_an_unknown_law_is_refused() -> None:
    with pytest.raises(UsageError, match="no law 'dcp'; there is dcpt"):
        observe(measured(), "dcp")


def test_a_run_without_rates_at_its_start_and_rates_or_steps_that_cannot_be() -> None:
    table = measured()
    own = {**table.columns, "step": table["tokens"] / 1e6, "lr": np.where(table["tokens"] > 0, 1e-3, np.nan)}
    own["lr"][-3:] = 5e-4
    own["lr"][0], own["run"] = 1e-3, np.array(["start", *table["run"][1:]], dtype=object)
    assert len(observe(Table(own, "planted"), "annealing")[0].inputs["loss"]) == 40
    for name, wrong in (("lr", -1e-3), ("step", 1e16)):
        column = own[name].copy()
        column[5] = wrong
        with pytest.raises(DataError, match=f"column '{name}', row 6: wanted a number from 0 to"):
            observe(Table({**own, name: column}, "planted"), "annealing")


def test_rows_given_twice_count_once() -> None:
    table = measured()
    twice = Table({name: np.concatenate([column, column[:7]]) for name, column in table.columns.items()}, "twice")
    for once, again in zip(observe(table, "dcpt"), observe(twice, "dcpt"), strict=True):
        assert again.notes == [*once.notes, "7 rows that repeat others count once"]
        assert again.inputs["loss"].tolist() == once.inputs["loss"].tolist()


def test_losses_that_are_not_positive_are_refused_with_their_row() -> None:
    table = measured()
    table.columns["general_loss"][4] = -0.5
    with pytest.raises(DataError, match=r"column 'general_loss', row 5: wanted a number above 0 .* came -0\.5"):
        observe(table, "dcpt")


def test_a_table_in_billions_is_suspected(planted: tuple[Study, Study]) -> None:
    domain, _ = planted
    found = reaching(domain, {"tokens": 1e19})
    assert any("is the table in the same unit as the question?" in reason for reason in found.against)


def test_a_share_of_more_than_one_is_refused() -> None:
    table = measured()
    table.columns["domain_share"][3] = 70.0
    with pytest.raises(DataError, match="wanted shares from 0 to 1, came 70"):
        observe(table, "dcpt")


def test_losses_that_follow_no_law_are_refused_with_the_reasons() -> None:
    table = measured()
    table.columns["domain_loss"][1:] = np.random.default_rng(0).uniform(1, 4, len(table) - 1)
    found = studied(table)
    with pytest.raises(DataError, match=r"nothing is advised: domain: .*held out, the error is"):
        refuse(found)


def test_a_parameter_that_nothing_measured_depends_on_is_named_and_forbids_no_prediction() -> None:
    """A loss that does not depend on the length leaves beta open; ratios of a half and more leave eps open."""
    table = measured(noise=0.0)
    share = table["domain_share"][1:]
    table.columns["domain_loss"][1:] = 1.2 + 0.3 / share**0.45
    found = studied(without(table, "general_loss"))[0]
    assert not found.against
    assert any("do not fix" in note for note in found.notes)
    assert predicted(found, {"tokens": 4e9, "ratio": 0.7})["value"] == pytest.approx(1.2 + 0.3 / 0.7**0.45, rel=1e-4)


def test_a_loss_that_depends_on_what_was_not_measured_is_refused(planted: tuple[Study, Study]) -> None:
    """All ratios of domain text are a half or more: the loss without any hangs on eps."""
    domain, _ = planted
    determined(domain, {"tokens": 10e9, "ratio": 0.9})
    with pytest.raises(DataError, match=r"do not determine the domain loss there: it depends on"):
        predicted(domain, {"tokens": 1e15, "ratio": 0.0})


def test_the_advice_keeps_the_bound_and_its_interval_holds_the_planted_answer(planted: tuple[Study, Study]) -> None:
    from domadapt.laws.applications import trade_off

    bound, tokens = 2.7 * 1.03, 10e9

    def truth(share: np.ndarray) -> np.ndarray:
        return predict(DCPT(), GENERAL_TRUTH, {"params": 1.8, "tokens": 10.0, "ratio": 1 - share})

    planned = trade_off(truth, bound)
    advice = advise(*planted, at_length(tokens, None), bound, 2.7)
    assert planned is not None
    assert planned == pytest.approx(0.913609, abs=1e-6)
    assert advice.low <= planned <= advice.high
    assert advice.domain_share == pytest.approx(planned, abs=0.02)
    assert advice.general["value"] == pytest.approx(bound, abs=1e-6)
    assert advice.safe <= advice.domain_share
    assert 0.3 < advice.chance < 0.7
    assert not advice.limited


def test_no_share_beyond_those_measured_is_advised(planted: tuple[Study, Study]) -> None:
    advice = advise(*planted, at_length(10e9, None), 9.0)
    assert advice.domain_share == max(SHARES)
    assert advice.limited
    assert advice.chance == 1.0


def test_a_bound_that_no_share_keeps_is_refused(planted: tuple[Study, Study]) -> None:
    with pytest.raises(DataError, match=r"no domain share from 0\.5 to 1 keeps the general loss within 2\.0000"):
        advise(*planted, at_length(10e9, None), 2.0)


def test_a_prediction_too_vague_is_refused(planted: tuple[Study, Study]) -> None:
    errors = np.array([0.1, -0.1])
    domain, general = (replace(s, ensemble=replace(s.ensemble, errors=errors)) for s in planted)
    with pytest.raises(DataError, match="only known to"):
        advise(domain, general, at_length(10e9, None), 9.0)


def test_training_far_longer_than_measured_is_told(planted: tuple[Study, Study]) -> None:
    advice = advise(*planted, at_length(1e12, None), 9.0)
    assert any("times the longest run" in note for note in advice.notes)


def test_the_data_mixing_law_advises_at_the_lengths_measured() -> None:
    domain, general = studied(measured(), "mixing")
    advice = advise(domain, general, at_length(None, None), 2.7 * 1.03)
    truth = predict(DCPT(), GENERAL_TRUTH, {"params": 1.8, "tokens": 8.0, "ratio": 1 - advice.domain_share})
    assert float(truth) == pytest.approx(2.7 * 1.03, rel=0.01)


def test_little_domain_text_has_the_planted_share_in_its_interval() -> None:
    grid = measured(sizes=(0.5e9, 1.8e9, 4e9), noise=3e-4, shares=(0.3, 0.5, 0.65, 0.8, 1.0))
    (found,) = studied(without(grid, "general_loss"))
    answer = share_for_domain_text(found, 5e9, 1.8e9)
    assert answer["domain_share"]["low"] <= 0.526031 <= answer["domain_share"]["high"]
    assert answer["domain_loss"]["value"] == pytest.approx(2.107360, abs=2e-3)
    with pytest.raises(UsageError, match="wanted --params"):
        share_for_domain_text(found, 5e9, None)
    divided = size_and_tokens(found, 6 * 1.8e9 * 10e9, 0.8)
    assert divided["params"]["value"] * divided["tokens"]["value"] == pytest.approx(1.8e19)
    assert divided["params"]["low"] <= 20.8029e9 <= divided["params"]["high"]


def test_the_critical_ratio_needs_a_limit_and_finds_ratios_at_each_length() -> None:
    with pytest.raises(UsageError, match="--general-loss-at-most"):
        observe(measured(), "cmr")
    (found,) = observe(measured(noise=0.0), "cmr", 2.75)
    assert len(found.inputs["loss"]) == len(LENGTHS)
    for tokens, ratio in zip(found.inputs["tokens"], found.inputs["loss"], strict=True):
        truth = predict(DCPT(), GENERAL_TRUTH, {"params": 1.8, "tokens": tokens / 1e9, "ratio": 1 - ratio})
        assert float(truth) == pytest.approx(2.75, abs=0.01)


def test_what_is_printed_is_plain_data(planted: tuple[Study, Study]) -> None:
    import json

    told = json.loads(json.dumps(study_data(planted[0])))
    assert told["law"] == "dcpt"
    assert len(told["points"]["measured"]) == 40
    assert json.loads(json.dumps(advice_data(advise(*planted, at_length(10e9, None), 9.0))))["replay"] == 0.0


def test_lengths_that_one_run_alone_measured_are_left_out_of_the_mixing_law() -> None:
    table = measured()
    alone = {name: np.append(column, column[-1]) for name, column in table.columns.items()}
    alone["tokens"][-1] = 9e9
    whole, without_it = (observe(Table(columns, "planted"), "mixing") for columns in (table.columns, alone))
    for expected, found in zip(whole, without_it, strict=True):
        assert found.law.parameters == expected.law.parameters
        assert found.notes == [*expected.notes, "1 lengths measured of fewer than 3 mixtures are left out"]
