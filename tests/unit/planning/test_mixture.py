"""The mixture of a plan: tokens and passes of each part, by hand, and beside what the tokens stage then makes."""

from __future__ import annotations

from typing import Any

import pytest

from domadapt.builtin.mixing.replay import ReplayMixer
from domadapt.components import MixRequest
from domadapt.planning.mixture import Sizes, mean_replay, mixture_figures
from domadapt.recipe.mix import MixEarlier, MixSource, MixStage
from domadapt.recipe.schema import Recipe

SIZES = Sizes({"domain": {"big": 64_000.0, "small": 6_400.0}, "general": {"files": 32_000.0}}, "assumed", " at a guess")
STEPS, PER_STEP, SEQ_LEN = 125, 8, 64


def recipe(**mix: Any) -> Recipe:
    """64,000 tokens in 1,000 windows."""
    return Recipe.model_validate(
        {
            "version": 1,
            "domain": "d",
            "model": {"base": "b"},
            "corpus": {
                "domain": [{"source": "files", "name": "big"}, {"source": "files", "name": "small"}],
                "general": [{"source": "files"}],
            },
            "mix": {"seq_len": SEQ_LEN, "replay": 0.1, **mix},
            "train": {"steps": STEPS, "batch_tokens": PER_STEP * SEQ_LEN},
        }
    )


def lines(asked: Recipe, sizes: Sizes | None = SIZES) -> dict[str, tuple[float | None, str]]:
    return {figure.key: (figure.value, figure.text) for figure in mixture_figures(asked, sizes)}


def test_tokens_and_passes_of_a_plain_mixture() -> None:
    found = lines(recipe())
    assert found == {
        "mix.domain": (pytest.approx(57_600), "57.6 K tokens, 90 %: 0.818 passes over 70.4 K tokens at a guess"),
        "mix.general": (pytest.approx(6_400), "6.4 K tokens, 10 %: 0.2 passes over 32 K tokens at a guess"),
    }
    assert lines(recipe(), None) == {}


def test_a_weighted_source_is_warned_of_beyond_four_passes_and_beyond_what_it_may() -> None:
    weights = {"big": {"weight": 1}, "small": {"weight": 1, "max_epochs": 5}}
    found = lines(recipe(sources=weights))
    assert found["mix.domain.small"][0] == pytest.approx(28_800)
    told = "28.8 K tokens, 45 %: 4.5 passes over 6.4 K tokens at a guess; repeats beyond 4 passes add less and less"
    assert found["mix.domain.small"][1].startswith(told)
    weights["small"]["max_epochs"] = 4.25
    assert (
        "; more than mix.sources.small.max_epochs (4.25) allows: add"
        in lines(recipe(sources=weights))["mix.domain.small"][1]
    )
    del weights["small"]["max_epochs"]
    assert "; more than mix.max_epochs (4) allows: add text" in lines(recipe(sources=weights))["mix.domain.small"][1]
    assert "passes" not in lines(recipe(sources=weights), None)["mix.domain.small"][1]


def test_what_depends_on_sizes_is_not_guessed_without_them() -> None:
    asked = recipe(sources={"small": {"epochs": 3}})
    assert lines(asked)["mix.domain.small"][1].startswith("19.2 K tokens, 30 %: 3 passes over 6.4 K")
    found = lines(asked, None)
    assert found["mix"] == (
        None,
        "shares by size, and passes, are known when the corpora are built (adapt corpus build)",
    )
    assert set(found) == {"mix", "mix.domain", "mix.general"}


def test_more_passes_than_there_is_training_are_told_as_refused() -> None:
    ((key, (value, text)),) = lines(recipe(sources={"small": {"epochs": 30}})).items()
    assert (key, value) == ("mix", None)
    assert text.startswith("will be refused: mix.sources: shares and epochs of domain text come to 3.333 of it")


SCHEDULE = [{"until": 0.4, "subset": 0.1, "replay": 0.5}, {"until_step": 100, "replay": [0.5, 0.0]}, {"replay": 0.1}]


def test_stages_are_told_with_their_steps_shares_and_passes_over_the_subset() -> None:
    found = lines(recipe(schedule=SCHEDULE, sources={"big": {"weight": 3}, "small": {"weight": 1}}))
    assert found["mix.stage.0"] == (
        400.0,
        "steps 0 to 50: domain.big 37.5 %, domain.small 12.5 %, general 50 %; of the domain the first 10 % of the "
        "windows, domain.big 1.5 times, domain.small 5 times",
    )
    assert found["mix.stage.1"][1] == "steps 50 to 100: domain.big 56.25 %, domain.small 18.75 %, general 25 %"
    assert found["mix.general"][0] == pytest.approx(SEQ_LEN * (200 + 100 + 20))
    assert mean_replay(recipe(schedule=SCHEDULE)) == pytest.approx(0.32)
    assert "domain 50 %, general 50 %" in lines(recipe(schedule=SCHEDULE), None)["mix.stage.0"][1]


@pytest.mark.parametrize(
    "mix",
    [
        {"sources": {"big": {"weight": 70}, "small": {"weight": 1}}},
        {"temperature": 3.0},
        {"schedule": SCHEDULE, "max_epochs": 99.0},
        {"sources": {"small": {"epochs": 2}}, "earlier": [{"until_step": 40, "steps": 200, "replay": 0.4}]},
    ],
)
def test_what_is_planned_is_what_the_mixer_then_gives(mix: dict[str, Any]) -> None:
    asked = recipe(**mix)
    planned = lines(asked)
    apart = "mix.domain.big" in planned
    available = {"domain.big": 1000, "domain.small": 100} if apart else {"domain": 1100}
    told = {f"domain.{name}": MixSource.model_validate(one) for name, one in mix.get("sources", {}).items()}

    def request(one: Any, steps: int, **more: Any) -> MixRequest:
        return MixRequest(
            {**available, "general": 500},
            steps * PER_STEP,
            one.share if more == {} else one.replay,
            99.0,
            0,
            sides={name: "general" if name == "general" else "domain" for name in [*available, "general"]},
            sources=told if more == {} else {},
            temperature=one.temperature,
            schedule=[MixStage.model_validate(stage.model_dump()) for stage in one.schedule],
            samples_per_step=PER_STEP,
            **more,
        )

    earlier = [request(one, one.steps, until=one.until_step * PER_STEP) for one in asked.mix.earlier]
    assert all(isinstance(one, MixEarlier) for one in asked.mix.earlier)
    whole = request(asked.mix, STEPS)
    order = ReplayMixer().order(MixRequest(**{**vars(whole), "earlier": earlier}))
    for number, name in enumerate(whole.available):
        windows = int((order[:, 0] == number).sum())
        value = planned[f"mix.{name}"][0]
        assert value is not None
        assert abs(windows - value / SEQ_LEN) < 2
