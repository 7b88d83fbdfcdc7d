"""The training's defaults by situation: which win, which do not, and where they say they come from."""

from __future__ import annotations

from typing import Any

import pytest

from domadapt.errors import RecipeError
from domadapt.recipe.load import load_recipe
from domadapt.recipe.situations import SITUATIONS

RECIPE = """\
version: 1
domain: law
model: {base: "builtin:tiny"}
corpus: {domain: [{source: sample}], general: [{source: sample}]}
"""


def test_a_situation_replaces_defaults_of_the_core_and_nothing_that_anybody_said(check: Any) -> None:
    resolved = check(f"{RECIPE}train: {{situation: weak_shift, min_lr: 0.3}}\n")
    origins = resolved.loaded.origins()
    assert (resolved.recipe.train.warmup, origins["train.warmup"]) == (0.0, "train.situation weak_shift")
    assert (resolved.recipe.train.min_lr, origins["train.min_lr"]) == (0.3, "recipe.yaml:5:32")
    # the law pack says train.lr
    assert (resolved.recipe.train.lr, origins["train.lr"]) == (3e-5, "pack law (defaults.yaml:5:3)")


def test_a_situation_given_with_set_counts_as_well(registry: Any) -> None:
    loaded = load_recipe(registry, domain="law", overrides=["train.situation=strong_shift", "train.warmup=0.5"])
    assert loaded.plain()["train"]["warmup"] == 0.5
    assert loaded.origins()["train.schedule"] == "train.situation strong_shift"


def test_without_one_the_defaults_are_those_of_the_core(registry: Any) -> None:
    loaded = load_recipe(registry, domain="law")
    assert loaded.plain()["train"]["situation"] == "small_budget"
    assert loaded.origins()["train.schedule"] == "core default"


def test_an_unknown_situation_is_refused_by_name(check: Any) -> None:
    with pytest.raises(RecipeError, match=r"train\.situation: 'weakshift' .*small_budget, strong_shift, weak_shift"):
        check(f"{RECIPE}train: {{situation: weakshift}}\n")


def test_every_situation_sets_the_rate_and_its_warm_up() -> None:
    assert all({"train.lr", "train.warmup"} <= set(values) for values in SITUATIONS.values())


def test_instruction_tuning_keeps_conversations_whole_and_apart_unless_told_otherwise(check: Any) -> None:
    resolved = check(f"{RECIPE}train: {{objective: sft}}\n")
    assert (resolved.recipe.mix.packing, resolved.recipe.train.document_mask) == ("best_fit", True)
    assert resolved.loaded.origins()["mix.packing"] == "train.objective sft"
    said = check(f"{RECIPE}train: {{objective: sft, document_mask: false}}\nmix: {{packing: concat}}\n")
    assert (said.recipe.mix.packing, said.recipe.train.document_mask) == ("concat", False)


@pytest.mark.parametrize(
    ("train", "sentence"),
    [
        (
            "schedule: infinite, warmup: 0.3, cooldown: 0.5, anneal: 0.3",
            r"train\.anneal.*make 1\.1; together at most 1",
        ),
        ("schedule: wsd, warmup: 0.3, anneal: 0.8", r"make 1\.1"),
        ("schedule: infinite, min_lr: 0", r"train\.min_lr \(0\): the infinite schedule anneals .* above 0"),
        ("schedule: infinite, min_lr: 0.9", r"train\.min_lr \(0\.9\)"),
        ("start_lr: -1", r"train\.start_lr: wanted a rate such as 1e-6, at least 0, or 'checkpoint'"),
        ("start_lr: chekpoint", r"train\.start_lr: wanted a rate such as 1e-6"),
    ],
)
def test_schedules_that_cannot_be_meant_are_refused(check: Any, train: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        check(f"{RECIPE}train: {{{train}}}\n")


def test_shares_of_phases_that_the_schedule_does_not_have_do_not_matter(check: Any) -> None:
    assert check(f"{RECIPE}train: {{schedule: cosine, anneal: 0.9, cooldown: 0.9, min_lr: 0}}\n")
