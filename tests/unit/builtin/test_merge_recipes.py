"""Merges in a recipe and on the command line: methods, presets and files by name, and what a lock file keeps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import cast

import pytest

from domadapt import components, hookimpl, hookspecs
from domadapt.builtin import PLUGINS
from domadapt.cli.merge import choose_merges
from domadapt.components import DomainPack
from domadapt.errors import RecipeError
from domadapt.recipe.check import ResolvedRecipe, resolve
from domadapt.recipe.load import load_recipe
from domadapt.recipe.lock import lock_text
from domadapt_registry import Registry

HEAD = """\
version: 1
domain: law
model: {base: "builtin:tiny", instruct: "builtin:tiny-instruct"}
corpus:
  domain: [{source: general.sample}]
  general: [{source: general.sample}]
mix: {seq_len: 16, replay: 0.25}
train: {batch_tokens: 64, steps: 4}
"""
FILE = """\
merge_method: ties
base_model: base
models:
- {model: cpt, parameters: {weight: 0.5, density: 0.75}}
- {model: instruct, parameters: {weight: [0.5, 1], density: 1}}
"""
Resolve = Callable[..., ResolvedRecipe]


class LawPack:
    """A plugin with a domain."""

    @hookimpl
    def adapt_register_domains(self) -> list[DomainPack]:
        return [DomainPack("law", "Law", Path("/nowhere"))]


@pytest.fixture(scope="module")
def registry() -> Registry:
    plugins = [*PLUGINS, ("law", cast(ModuleType, LawPack()))]
    return Registry.discover(hookspecs, builtin=plugins, entry_points=(), names=vars(components))


@pytest.fixture
def recipe(tmp_path: Path, registry: Registry) -> Resolve:
    """Resolve a recipe with this merge section."""

    def resolved(text: str = "", *overrides: str, merge: tuple[str, ...] = ()) -> ResolvedRecipe:
        (tmp_path / "recipe.yaml").write_text(HEAD + text)
        loaded = load_recipe(registry, path=tmp_path / "recipe.yaml", overrides=overrides, merge=merge)
        return resolve(loaded)

    return resolved


def test_a_preset_is_selected_by_its_name(recipe: Resolve) -> None:
    resolved = recipe(merge=("llama3-sec",))
    assert list(resolved.mergers) == resolved.recipe.merge.methods == ["llama3-sec"]


def test_a_set_of_merges_becomes_its_members_side_by_side(recipe: Resolve) -> None:
    resolved = recipe("merge: {methods: [arcee-medical, ties, arcee-medical-slerp], density: 0.4}\n")
    wanted = [f"arcee-medical-{name}" for name in ("linear", "slerp", "ties", "dare_ties")]
    assert list(resolved.mergers) == [*wanted, "ties"]


def test_a_file_is_a_merge_under_its_name_and_lies_beside_the_recipe(tmp_path: Path, recipe: Resolve) -> None:
    (tmp_path / "mine.yml").write_text(FILE)
    resolved = recipe("merge: {methods: [linear, mine.yml]}\n")
    assert list(resolved.mergers) == ["linear", "mine"]
    config = resolved.mergers["mine"].config.config  # type: ignore[attr-defined]
    assert config["models"][0]["parameters"] == {"weight": 0.5, "density": 0.75}


def test_a_file_of_the_command_line_lies_where_the_command_runs(
    tmp_path: Path, recipe: Resolve, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "mine.yaml").write_text(FILE)
    monkeypatch.chdir(tmp_path / "here")
    assert list(recipe(merge=("mine.yaml",)).mergers) == ["mine"]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        (FILE.replace("density: 1}", "desnity: 1}"), "mine.yml:5:52", "did you mean 'density'?"),
        (FILE + "dtyp: float32\n", "mine.yml:6:1", "unknown key 'dtyp'"),
        (FILE.replace("ties", "tie"), "mine.yml:1:1", "mergekit has no method 'tie'"),
        (FILE + "  x: [\n", "recipe.yaml", "mine.yml"),
    ],
)
def test_a_mistake_in_a_file_is_told_at_its_place_in_that_file(
    tmp_path: Path, recipe: Resolve, text: str, place: str, said: str
) -> None:
    (tmp_path / "mine.yml").write_text(text)
    with pytest.raises(RecipeError) as caught:
        recipe("merge: {methods: mine.yml}\n")
    assert place in str(caught.value)
    assert said in str(caught.value)


def test_a_lock_file_holds_the_configuration_and_needs_the_file_no_more(
    tmp_path: Path, recipe: Resolve, registry: Registry
) -> None:
    (tmp_path / "mine.yml").write_text(FILE)
    first = recipe("merge: {methods: [mine.yml, arcee-patent]}\n")
    (tmp_path / "mine.yml").unlink()
    (tmp_path / "lock.yaml").write_text(lock_text(first, {}))
    again = resolve(load_recipe(registry, path=tmp_path / "lock.yaml"))
    assert list(again.mergers) == list(first.mergers) == ["mine", "arcee-patent-slerp", "arcee-patent-ties"]
    assert again.mergers["mine"].config == first.mergers["mine"].config
    # and one of them can be chosen by its name
    one = resolve(load_recipe(registry, path=tmp_path / "lock.yaml", merge=["mine"]))
    assert one.mergers["mine"].config == first.mergers["mine"].config


def test_a_configuration_may_stand_in_the_recipe_itself(recipe: Resolve) -> None:
    text = (
        "merge:\n  methods: [mine]\n  options:\n    mine:\n      config:\n"
        "        {merge_method: linear, models: [{model: cpt, parameters: {weight: 1}}]}\n"
    )
    assert recipe(text).mergers["mine"].cls.name == "mergekit"
    with pytest.raises(RecipeError, match=r"recipe\.yaml:14:67  unknown parameter 'models\.0\.parameters\.wieght'"):
        recipe(text.replace("weight: 1", "wieght: 1"))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("none.yml",), "none.yml: cannot be read: No such file"),
        (("tie",), "there is no merger 'tie'; did you mean 'ties'?"),
        (("llama3sec",), "did you mean 'llama3-sec'?"),
        (("ties", "ties"), "'ties' is named twice"),
    ],
)
def test_names_that_lead_nowhere_are_refused(recipe: Resolve, names: tuple[str, ...], said: str) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe("merge: {density: 0.5}\n", merge=names)
    assert said in str(caught.value)


def test_the_instruction_residual_is_refused_when_cpt_starts_from_instruct(recipe: Resolve) -> None:
    assert list(recipe(merge=("instruction-residual",)).mergers) == ["instruction-residual"]
    with pytest.raises(RecipeError, match=r"wants CPT of the base model, but model\.start is instruct"):
        recipe("", "model.start=instruct", merge=("instruction-residual",))


def test_a_weight_that_no_selected_merge_takes_is_refused(recipe: Resolve) -> None:
    recipe("merge: {weight: 0.3}\n", merge=("llama3-sec",))  # the recipe's, for its own methods
    with pytest.raises(RecipeError, match=r"merge\.weight: no selected merge method takes it \(selected: llama3-sec\)"):
        recipe("", "merge.weight=0.3", merge=("llama3-sec",))


def test_the_fast_engine_is_refused_for_a_method_it_does_not_have(recipe: Resolve) -> None:
    with pytest.raises(RecipeError, match="'fast' is not one of auto, mergekit"):
        recipe("merge: {methods: karcher, engine: fast}\n")


@pytest.mark.parametrize("kind", ["recipe", "command line"])
def test_gradients_rules_and_weights_of_each_parent_are_options(recipe: Resolve, registry: Registry, kind: str) -> None:
    weight = "{instruct: [{filter: mlp, value: [0.25, 0.5]}, {value: 1}], cpt: [0, 1]}"
    if kind == "recipe":
        resolved = recipe(f"merge: {{methods: ties, density: 0.5, options: {{ties: {{weight: {weight}}}}}}}\n")
        chosen = dict(resolved.mergers)
    else:
        one, _ = choose_merges(registry, ["ties"], ("density=0.5", f"weight={weight}"))
        rules = "weight.instruct=[{filter: mlp, value: [0.25, 0.5]}, {value: 1}]"
        chosen, _ = choose_merges(registry, ["ties"], ("density=0.5", "weight.cpt=[0, 1]", rules))
        assert one["ties"].config == chosen["ties"].config
    merged = chosen["ties"].cls(chosen["ties"].config).recipe({"instruct": 0.5, "cpt": 0.5})  # type: ignore[attr-defined]
    assert merged["models"] == [
        {
            "model": "instruct",
            "parameters": {"weight": [{"filter": "mlp", "value": [0.25, 0.5]}, {"value": 1.0}], "density": 0.5},
        },
        {"model": "cpt", "parameters": {"weight": [0.0, 1.0], "density": 0.5}},
    ]


@pytest.mark.parametrize(
    ("methods", "overrides", "said"),
    [
        (["ties"], [], "missing key 'merge.density' of merger 'ties'"),
        (["ties"], ["density=0"], "merge.density: wanted more than 0"),
        (
            ["ties"],
            ["desnity=0.5"],
            "unknown key 'merge.options.ties.desnity' of merger 'ties'; did you mean 'density'?",
        ),
        (["slerp"], ["density=0.5"], "merge.density: no selected merge method takes it"),
        (["slurp"], [], "there is no merger 'slurp'; did you mean 'slerp'?"),
        (["none.yml"], [], "none.yml: cannot be read"),
        (["linear", "linear"], [], "named twice"),
        (["linear"], ["weight"], "write --set KEY=VALUE"),
    ],
)
def test_without_a_recipe_the_same_checks_are_made(
    registry: Registry, methods: list[str], overrides: list[str], said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        choose_merges(registry, methods, overrides)
    assert said in str(caught.value)


def test_without_a_recipe_general_settings_reach_every_method(registry: Registry) -> None:
    chosen, weight = choose_merges(registry, ["ties", "dare_ties"], ["density=0.4", "weight=0.3", "scale=2"])
    assert weight == 0.3
    configs = [choice.config for choice in chosen.values()]
    assert [(c.density, c.weight, c.scale) for c in configs] == [(0.4, 0.3, 2.0)] * 2  # type: ignore[attr-defined]
