"""Mixtures that cannot be are refused before anything is read, each in one sentence with what to do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from domadapt.errors import RecipeError
from domadapt.recipe.check import ResolvedRecipe

HEAD = "version: 1\ndomain: law\nextends: starter\n"
STEPS = "train: {steps: 100, batch_tokens: 4096}\n"
Check = Callable[..., ResolvedRecipe]

REFUSED = [
    ("mix: {sources: {fils: {weight: 70}}}", "no source 'fils' (there are files, sample); did you mean 'files'?"),
    (
        "mix: {schedule: [{weights: {law.files: 1}}]}",
        'mix.schedule.0.weights."law.files": the recipe\'s corpora have no',
    ),
    (
        "mix: {sources: {files: {share: 0.7}, domain.sample: {share: 0.4}}}",
        "domain text come to 1.1 (files 0.7, sample",
    ),
    (
        "mix: {sources: {files: {share: 0.7}, domain.sample: {share: 0.2}}}",
        "come to 0.9 (files 0.7, sample 0.2);",
    ),
    (
        "mix: {sources: {files: {weight: 70}, domain.sample: {max_epochs: 2}}}",
        "of domain text files has a weight and sample nothing; give each of them a weight, a share or epochs",
    ),
    ("mix: {schedule: [{weights: {files: 0, domain.sample: 0}}]}", "all weights are 0"),
    ("mix: {schedule: [{until: 0.5}]}", "mix.schedule.0: the last stage has no end; remove it, or add a stage behind"),
    ("mix: {schedule: [{replay: 0.2}, {}]}", "mix.schedule.0: a stage before the last one has an end"),
    (
        "mix: {schedule: [{until: 0.5}, {until: 0.4}, {}]}",
        "ends at 0.4, where the stage before ends at 0.5;",
    ),
    (
        STEPS + "mix: {schedule: [{until: 0.5}, {until_step: 50}, {}]}",
        "mix.schedule.1: it ends at step 50, where the stage before ends at 0.5",
    ),
    (STEPS + "mix: {schedule: [{until_step: 100}, {}]}", "100 is not before the end, the training has 100 steps"),
    (
        "mix: {tokens: 409600, schedule: [{until_step: 9999}, {}]}\ntrain: {batch_tokens: 4096}",
        "the training has 100 steps",
    ),
    (
        "mix: {schedule: [{until_step: 5}, {}]}",
        "the number of steps of the training must be known;",
    ),
    (STEPS + "mix: {replay: law, schedule: [{until: 0.5, replay: 0.2}, {}]}", "a law chooses one share for the whole"),
    (
        STEPS + "mix: {replay: law, schedule: [{until_step: 5}, {}]}",
        "the small runs of a law",
    ),
    (
        "corpus: {general: []}\neval: {perplexity: false}\nmix: {schedule: [{until: 0.5, replay: [0, 0.1]}, {}]}",
        "corpus.general is empty, but mix.schedule has stages with general text: add a source",
    ),
    (
        STEPS + "mix: {earlier: [{until_step: 100, steps: 200, replay: 0.1}]}",
        "the training was stopped at step 100 and has 100 now; set more steps",
    ),
    (
        STEPS + "mix: {earlier: [{until_step: 9, steps: 20, replay: 0.1}, {until_step: 9, steps: 20, replay: 0.1}]}",
        "mix.earlier.1: until_step is 9, behind step 9 of 20 is wanted",
    ),
    ("train: {objective: sft}\nmix: {sources: {files: {share: 0.5}}}", "does not tell the sources of a side apart"),
    ("corpus: {domain: [{source: sample, name: a/b}]}", "corpus.domain.0.name: wanted a name of at most 64 letters"),
]


@pytest.mark.parametrize(("text", "sentence"), REFUSED)
def test_a_mixture_that_cannot_be_is_refused_where_it_stands(check: Check, text: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        check(HEAD + text + "\n")
    told = str(caught.value)
    assert sentence in told
    assert "1 problem, nothing was run" in told


@pytest.mark.parametrize(
    "text",
    [
        "mix: {sources: {files: {weight: 70}, domain.sample: {weight: 1}, general.sample: {max_epochs: 9}}}",
        "corpus: {domain: [{source: sample, name: a}, {source: sample, name: b}]}\nmix: {sources: {a: {share: 0.3}}}",
        STEPS + "mix: {schedule: [{until: 0.3, subset: 0.1}, {until_step: 60, replay: [0.2, 0]}, {}]}",
        "corpus: {general: []}\neval: {perplexity: false}\nmix: {schedule: [{until: 0.5, replay: 0}, {replay: 0}]}",
        STEPS + "mix: {replay: law, schedule: [{until: 0.5, subset: 0.2}, {}]}",
        "train: {from: ./elsewhere}\nmix: {sources: {nothing: {weight: 1}}}",
    ],
)
def test_a_mixture_that_can_be_is_taken(check: Check, text: str) -> None:
    assert check(HEAD + text + "\n").recipe.mix is not None


def test_what_is_empty_stands_neither_in_a_key_nor_in_a_lock_file(check: Check) -> None:
    mix: dict[str, Any] = check(HEAD).recipe.mix.model_dump(mode="json")
    assert {"earlier", "law"} & set(mix) == set()
