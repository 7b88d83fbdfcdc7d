"""Sweeps in a recipe: what makes one, what is refused and where, and that a lock file makes the same one."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, cast

import pytest

from domadapt import components, hookimpl, hookspecs
from domadapt.builtin import PLUGINS
from domadapt.components import DomainPack
from domadapt.errors import RecipeError
from domadapt.pipeline.graph import Graph, build_graph
from domadapt.recipe.check import ResolvedRecipe, resolve
from domadapt.recipe.jsonschema import json_schema
from domadapt.recipe.load import load_recipe
from domadapt.recipe.lock import lock_text
from domadapt.testing.models import write_tiny_model
from domadapt_registry import Registry

HEAD = """\
version: 1
domain: law
model: {base: ./base, instruct: ./instruct}
corpus:
  domain: [{source: files, options: {path: domain}}]
  general: [{source: files, options: {path: general}}]
mix: {seq_len: 16, replay: 0.25}
train: {batch_tokens: 64, steps: 4}
"""


class LawPack:
    """A plugin with a domain."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @hookimpl
    def adapt_register_domains(self) -> list[DomainPack]:
        return [DomainPack("law", "Law", self.folder)]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    plugins = [*PLUGINS, ("law", cast(ModuleType, LawPack(tmp_path)))]
    return Registry.discover(hookspecs, builtin=plugins, entry_points=(), names=vars(components))


Resolve = Callable[..., ResolvedRecipe]


@pytest.fixture
def recipe(tmp_path: Path, registry: Registry) -> Resolve:
    def recipe(merge: str, *overrides: str, merges: tuple[str, ...] = ()) -> ResolvedRecipe:
        file = tmp_path / "recipe.yaml"
        file.write_text(HEAD + merge)
        return resolve(load_recipe(registry, path=file, overrides=overrides, merge=merges))

    return recipe


def labels(resolved: ResolvedRecipe) -> list[str]:
    assert resolved.sweep is not None
    assert not resolved.mergers
    return [point.title for point in resolved.sweep.points()]


def refused(recipe: Resolve, merge: str, *overrides: str, merges: tuple[str, ...] = ()) -> dict[str, str]:
    with pytest.raises(RecipeError) as caught:
        recipe(merge, *overrides, merges=merges)
    found = re.findall(r"^  (?=\S)(\S+:\d+:\d+|--\S+ .*?)  (.*)$", str(caught.value), re.MULTILINE)
    assert found, str(caught.value)
    return {place.rpartition("/")[2]: message for place, message in found}


def test_lists_make_a_sweep_of_every_method_that_takes_them(recipe: Resolve) -> None:
    text = "merge: {methods: [ties, slerp, llama3-sec], weight: [0.3, 0.5], density: [0.5, 0.9]}\n"
    assert labels(recipe(text)) == [
        "ties, weight 0.3, density 0.5",
        "ties, weight 0.3, density 0.9",
        "ties, weight 0.5, density 0.5",
        "ties, weight 0.5, density 0.9",
        "slerp, weight 0.3",
        "slerp, weight 0.5",
        "llama3-sec",
    ]


def test_one_value_in_a_list_is_no_sweep(recipe: Resolve) -> None:
    resolved = recipe("merge: {methods: [ties], weight: [0.3], density: [0.5]}\n")
    assert resolved.sweep is None
    assert resolved.mergers["ties"].config.density == 0.5  # type: ignore[attr-defined]
    assert resolved.recipe.merge.share == 0.3


def test_a_list_in_options_is_a_gradient_and_each_is_a_sweep(recipe: Resolve) -> None:
    text = "merge: {methods: [ties], options: {ties: {density: 0.5, scale: {each: [0.8, [1.0, 0.5]]}}}}\n"
    assert labels(recipe(text)) == ["ties, scale 0.8", "ties, scale [1.0, 0.5]"]
    text = "merge: {methods: [ties], options: {ties: {density: [0.5, 0.9]}}}\n"
    assert recipe(text).sweep is None


def test_what_a_method_says_itself_is_not_swept_unless_set_afterwards(recipe: Resolve) -> None:
    own = "merge: {methods: [ties, dare_ties], density: [0.5, 0.9], options: {ties: {density: 0.7}}}\n"
    assert labels(recipe(own)) == ["ties", "dare_ties, density 0.5", "dare_ties, density 0.9"]
    own = "merge: {methods: [ties], options: {ties: {density: {cpt: 0.7, instruct: 1}}}}\n"
    resolved = recipe(own, "merge.density=[0.5, 0.9]")
    assert labels(resolved) == ["ties, density 0.5", "ties, density 0.9"]
    assert resolved.sweep is not None
    assert resolved.sweep.points()[1].arguments == ("merge.options.ties.density=0.9",)


@pytest.mark.parametrize(
    ("merge", "place", "message"),
    [
        ("merge: {methods: [ties], density: [0.5, 1.5]}", "recipe.yaml:9:41", "merge.density.1: wanted 1 or less"),
        ("merge: {methods: [slerp], weight: [0.5, half]}", "recipe.yaml:9:41", "merge.weight.1: wanted a number"),
        ("merge: {methods: [slerp], weight: []}", "recipe.yaml:9:27", "merge.weight: wanted at least 1 of them"),
        (
            "merge: {methods: [ties], options: {ties: {density: {each: [0.5, 0]}}}}",
            "recipe.yaml:9:65",
            "merge.options.ties.density (merger 'ties'): wanted more than 0",
        ),
        (
            "merge: {methods: [ties], options: {ties: {density: {each: 0.5}}}}",
            "recipe.yaml:9:53",
            "merge.options.ties.density.each: wanted a list of values, came 0.5",
        ),
        (
            "merge: {methods: [slerp], weight: [0.1, 0.2], density: [0.5, 0.9]}",
            "recipe.yaml:9:57",
            "merge.density: no selected merge method takes it (selected: slerp); remove it",
        ),
        (
            "merge: {methods: [ties], density: [0.3, 0.6], options: {ties: {density: 0.5}}}",
            "recipe.yaml:9:36",
            "merge.density: a list, but every selected method that takes it has a value of its own; remove one",
        ),
        (
            "merge: {methods: [ties, della], density: [0.3, 0.6]}",
            "recipe.yaml:9:25",
            "merge.methods: 'della' cannot be swept: della is merged by mergekit, on disk; leave it out, or merge it "
            "by itself",
        ),
        (
            "merge: {methods: [slerp], weight: [0.1, 0.2, 0.3], budget: 2}",
            "recipe.yaml:9:52",
            "merge.budget: the lists make more than 2 candidates; shorten one, raise the budget, or set merge.search "
            "to cma",
        ),
        (
            "merge: {methods: [slerp], weight: [0.1, 0.2], write: 3}",
            "recipe.yaml:9:47",
            "merge.write: there are only 2",
        ),
        (
            "merge: {methods: [slerp], weight: [0.1, 0.2], select_by: best}",
            "recipe.yaml:9:47",
            "merge.select_by: 'best' is not one of balanced",
        ),
        (
            "merge: {methods: [slerp], weight: [0.1, 0.2], select_by: {general_los_at_most: 1}}",
            "recipe.yaml:9:59",
            "unknown key 'merge.select_by.general_los_at_most'; did you mean 'general_loss_at_most'?",
        ),
        (
            "merge: {methods: [model_stock], search: cma}",
            "recipe.yaml:9:33",
            "merge.search: no selected merge has a weight, density or list that could be searched",
        ),
        (
            "merge: {methods: [ties], density: 0.5, search: cma, options: {ties: {scale: {each: [1, 1]}}}}",
            "recipe.yaml:9:85",
            "merge.options.ties.scale: merge.search cma wants the smallest and the largest number of it",
        ),
    ],
)
def test_mistakes_are_refused_at_their_places(recipe: Resolve, merge: str, place: str, message: str) -> None:
    found = refused(recipe, merge + "\n")
    assert place in found, found
    assert found[place].startswith(message), found[place]


def test_a_sweep_needs_general_text(recipe: Resolve) -> None:
    text = "merge: {methods: [slerp], weight: [0.1, 0.2]}\n"
    found = refused(recipe, text, "corpus.general=[]", "mix.replay=0", "eval.perplexity=false")
    assert "merge: a sweep weighs the domain against general text; add a source to corpus.general" in found.values()


def test_lists_of_the_file_wait_for_methods_of_the_command_line_that_take_them(recipe: Resolve) -> None:
    text = "merge: {methods: [ties], weight: 0.4, density: [0.5, 0.9]}\n"
    resolved = recipe(text, merges=("slerp",))
    assert resolved.sweep is None
    assert list(resolved.mergers) == ["slerp"]


def test_a_search_takes_ranges_and_gradients(recipe: Resolve) -> None:
    resolved = recipe("merge: {methods: [ties, slerp], weight: [0.2, 0.6], search: cma}\n")
    plan = resolved.sweep
    assert plan is not None
    axes = {m.label: [(a.key, a.values, a.knots) for a in m.axes] for m in plan.methods}
    assert axes == {
        "ties": [("weight", (0.2, 0.6), 3), ("density", (0.1, 1.0), 0)],
        "slerp": [("t", (0.2, 0.6), 3)],
    }
    resolved = recipe("merge: {methods: [ties], density: [0.3, 0.5, 0.4], search: cma, knots: 1}\n")
    assert resolved.sweep is not None
    assert [(a.key, a.values, a.knots) for a in resolved.sweep.methods[0].axes] == [
        ("weight", (0.0, 1.0), 0),
        ("density", (0.3, 0.5), 0),
    ]


@pytest.mark.parametrize(
    "merge",
    [
        "merge: {methods: [ties, slerp], weight: [0.3, 0.5], density: [0.5], select_by: {general_loss_at_most: 1}}\n",
        "merge: {methods: [ties, slerp], weight: [0.3, 0.5], search: cma, budget: 20, write: 2}\n",
        "merge: {methods: [ties], options: {ties: {density: 0.5, scale: {each: [0.8, 1.0]}}}}\n",
    ],
)
def test_the_lock_file_makes_the_same_sweep(recipe: Resolve, registry: Registry, tmp_path: Path, merge: str) -> None:
    first = recipe(merge)
    (tmp_path / "lock.yaml").write_text(lock_text(first, {}))
    again = resolve(load_recipe(registry, path=tmp_path / "lock.yaml"))
    assert first.sweep is not None
    assert again.sweep is not None
    assert again.sweep.decisive() == first.sweep.decisive()
    assert (again.sweep.select_by, again.sweep.write) == (first.sweep.select_by, first.sweep.write)


def test_a_list_set_on_the_command_line_stays_in_the_lock(recipe: Resolve, registry: Registry, tmp_path: Path) -> None:
    own = "merge: {methods: [ties], options: {ties: {density: {cpt: 0.7, instruct: 1}}}}\n"
    first = recipe(own, "merge.density=[0.5, 0.9]")
    (tmp_path / "lock.yaml").write_text(lock_text(first, {}))
    again = resolve(load_recipe(registry, path=tmp_path / "lock.yaml"))
    assert labels(again) == labels(first) == ["ties, density 0.5", "ties, density 0.9"]


@pytest.fixture
def graph(recipe: Resolve, registry: Registry, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Graph]:
    monkeypatch.chdir(tmp_path)
    for seed, role in enumerate(("base", "instruct")):
        write_tiny_model(tmp_path / role, seed=seed)
    for side in ("domain", "general"):
        (tmp_path / side).mkdir()
        (tmp_path / side / "a.txt").write_text(side)

    def graph(merge: str, *overrides: str) -> Graph:
        return build_graph(recipe(merge, *overrides), registry)

    return graph


GRID = "merge: {methods: [slerp], weight: [0.3, 0.5]}\n"


def test_one_stage_scores_and_the_chosen_is_an_ordinary_merge(graph: Callable[..., Graph]) -> None:
    made = graph(GRID)
    assert made.merges() == ["sweep"]
    assert made.nodes["sweep"].inputs == {
        "ancestor": "model.base",
        "instruct": "model.instruct",
        "cpt": "train",
        "corpus.domain": "corpus.domain",
        "corpus.general": "corpus.general",
    }
    assert made.nodes["merge.sweep"].inputs["sweep"] == "sweep"
    assert "eval.sweep.bits_per_byte.domain" in made.nodes
    more = graph(GRID, "merge.write=2")
    assert more.merges() == ["sweep", "sweep-2"]
    assert more.keys["merge.sweep"] == made.keys["merge.sweep"]


def test_another_rule_chooses_anew_and_scores_nothing_again(graph: Callable[..., Graph]) -> None:
    rule = "merge.select_by={general_loss_at_most: 0.1}"
    before, after = graph(GRID), graph(GRID, rule)
    assert before.keys["sweep"] == after.keys["sweep"]
    assert before.keys["merge.sweep"] != after.keys["merge.sweep"]
    search = "merge: {methods: [slerp], search: cma}\n"
    assert graph(search).keys["sweep"] != graph(search, rule).keys["sweep"]


@pytest.mark.parametrize(
    "change",
    ["merge.weight=[0.3, 0.6]", "eval.limit=3", "seed=2", "merge.options.slerp.t=0.2", "merge.methods=[linear]"],
)
def test_what_changes_a_candidate_or_its_score_makes_another_sweep(graph: Callable[..., Graph], change: str) -> None:
    assert graph(GRID).keys["sweep"] != graph(GRID, change).keys["sweep"]


def test_control_arms_follow_the_chosen_merge(graph: Callable[..., Graph]) -> None:
    made = graph(GRID, "eval.controls=[self_merge]")
    node: Any = made.nodes["merge.control.self_merge"]
    assert node.inputs["cpt"] == "model.instruct"
    assert node.inputs["sweep"] == "sweep"


def test_editors_are_told_of_several_values(registry: Registry) -> None:
    """The JSON schema takes {each: [...]} wherever a merge has an option, and nothing else beside it."""
    definitions = json_schema(registry)["$defs"]
    ties = definitions["MergeRecipe"]["properties"]["options"]["properties"]["ties"]["$ref"]
    value, several = definitions[ties.removeprefix("#/$defs/")]["properties"]["scale"]["anyOf"]
    assert several == {
        "type": "object",
        "properties": {"each": {"type": "array", "items": value, "minItems": 1}},
        "required": ["each"],
        "additionalProperties": False,
    }


def test_a_recipe_says_how_many_candidates_it_has(recipe: Resolve) -> None:
    plan = recipe("merge: {methods: [ties, slerp], weight: [0.3, 0.5], density: [0.5, 0.9]}\n").sweep
    assert plan is not None
    assert plan.told() == "sweep of ties, slerp (6 candidates)"
