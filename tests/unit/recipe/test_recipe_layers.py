"""Layers: which value wins, where it came from, and how recipes are found."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domadapt.components import DomainPack
from domadapt.errors import RecipeError
from domadapt.recipe.check import resolve
from domadapt.recipe.load import load_recipe, packaged_recipes
from domadapt.recipe.lock import describe_origins


def test_each_value_has_the_origin_of_the_layer_that_wins(registry: Any) -> None:
    loaded = load_recipe(registry, domain="law", overrides=["train.warmup=0.02"], merge=["slerp"])
    origins = loaded.origins()
    assert origins["train.clip"] == "core default"
    assert origins["train.lr"] == "pack law (defaults.yaml:5:3)"
    assert origins["mix.replay"] == "starter.yaml:14:7"
    assert origins["corpus.domain.0.options.path"] == "starter.yaml:9:9"
    assert origins["train.warmup"] == "--set"
    assert origins["merge.methods.0"] == "--merge"
    values = loaded.plain()
    assert (values["train"]["lr"], values["train"]["warmup"], values["merge"]["methods"]) == (3e-5, 0.02, ["slerp"])


def test_every_final_value_has_an_origin_component_defaults_included(registry: Any) -> None:
    rows = describe_origins(resolve(load_recipe(registry, domain="law")))
    origins = {path: (value, origin) for path, value, origin in rows}
    assert origins["corpus.domain.0.options.form"] == ("10-K", "default of files")
    assert origins["corpus.domain.0.options.pause"] == (0.5, "starter.yaml:10:9")
    assert origins["corpus.clean.0.use"] == ("normalize", "pack law (defaults.yaml:3:11)")
    assert origins["corpus.clean.1.options.chars"] == (50, "pack law (defaults.yaml:3:50)")
    assert origins["merge.options.ties.lambda"] == (1.0, "default of ties")
    assert origins["model.revision"] == (None, "core default")
    assert all(origin for _, origin in origins.values())


def test_lists_replace_and_mappings_merge(check: Any) -> None:
    text = "version: 1\nextends: law/recipes/starter.yaml\ncorpus:\n  domain: [{source: sample}]\nmix: {seq_len: 512}\n"
    recipe = check(text).recipe
    assert [entry.source for entry in recipe.corpus.domain] == ["sample"]
    assert [entry.source for entry in recipe.corpus.general] == ["sample"]
    assert (recipe.mix.seq_len, recipe.mix.replay) == (512, 0.1)


def test_a_section_with_nothing_in_it_changes_nothing(check: Any) -> None:
    text = "version: 1\nextends: law/recipes/starter.yaml\nmix:\ntrain:\n  # lr: 1\neval:\n"
    recipe = check(text).recipe
    assert (recipe.mix.replay, recipe.train.lr) == (0.1, 3e-5)
    assert [entry.task for entry in recipe.eval.domain] == ["law.statutes"]


def test_extends_reaches_a_packaged_recipe_by_name_and_keeps_its_origins(check: Any) -> None:
    resolved = check("version: 1\ndomain: law\nextends: law-8b\ntrain: {lr: 1e-5}\n")
    assert (resolved.recipe.train.batch_tokens, resolved.recipe.train.lr) == (8_000_000, 1e-5)
    origins = resolved.loaded.origins()
    assert origins["train.batch_tokens"] == "law-8b.yaml:5:3"
    assert origins["model.base"] == "starter.yaml:3:9"
    assert origins["train.lr"] == "recipe.yaml:4:9"


def test_the_file_beside_the_recipe_is_preferred_to_a_packaged_one(check: Any, tmp_path: Path) -> None:
    (tmp_path / "starter").write_text("version: 1\nextends: law-8b\ndomain: law\nseed: 7\n")
    assert check("version: 1\ndomain: law\nextends: starter\n").recipe.seed == 7


def test_extends_in_a_circle_is_refused_with_the_circle(check: Any, tmp_path: Path) -> None:
    (tmp_path / "other.yaml").write_text("extends: recipe.yaml\n")
    with pytest.raises(RecipeError, match=r"other.yaml:1:1  .*circle: recipe.yaml -> other.yaml -> recipe.yaml"):
        check("version: 1\ndomain: law\nextends: other.yaml\n")


@pytest.mark.parametrize(
    ("link", "sentence"),
    [
        ("nowhere.yaml", "no file 'nowhere.yaml' beside this recipe"),
        ("startr", "domain pack 'law' has no recipe 'startr'; did you mean 'starter'"),
        ("[a]", "the name of a recipe is wanted"),
        ("defaults", "has no recipe 'defaults'"),
    ],
)
def test_extends_that_leads_nowhere_is_refused_where_it_stands(check: Any, link: str, sentence: str) -> None:
    with pytest.raises(RecipeError, match=rf"recipe.yaml:3:1  .*{sentence}"):
        check(f"version: 1\ndomain: law\nextends: {link}\n")


def test_set_reaches_list_entries_and_leaves_variables_alone(registry: Any) -> None:
    overrides = [
        "corpus.domain.0.options.path=$FILINGS/2021",
        "corpus.domain.1.take=5K",
        'merge.options."ties".lambda=.5',
    ]
    resolved = resolve(load_recipe(registry, domain="law", overrides=overrides))
    assert resolved.sources["domain"][0].config.path == "$FILINGS/2021"
    assert resolved.sources["domain"][0].config.pause == 0.5
    assert resolved.takes["domain"] == [1000, 5000]
    assert resolved.mergers["ties"].config.lambda_ == 0.5


def test_set_reaches_into_core_defaults_and_short_forms(check: Any) -> None:
    resolved = check(
        "version: 1\ndomain: law\nextends: starter\n",
        "corpus.clean.0.use=dedup.exact",
        "corpus.clean.1.options.chars=9",
    )
    assert [choice.name for choice in resolved.cleaners] == ["dedup.exact", "min_length"]
    assert resolved.cleaners[1].config.chars == 9


def test_the_last_of_two_settings_wins(registry: Any) -> None:
    loaded = load_recipe(registry, domain="law", overrides=["seed=1", "seed=2"])
    assert loaded.plain()["seed"] == 2


@pytest.mark.parametrize(
    "order",
    [
        ("train.options.tensor_parallel=2", "train.backend=megatron"),
        ("train.backend=megatron", "train.options.tensor_parallel=2"),
    ],
)
def test_options_of_the_former_component_do_not_reach_its_replacement(registry: Any, order: tuple[str, str]) -> None:
    resolved = resolve(load_recipe(registry, domain="law", overrides=order))
    assert resolved.backend.config.model_dump() == {"tensor_parallel": 2}
    resolved = resolve(load_recipe(registry, domain="law", overrides=["corpus.domain.0.source=sample"]))
    assert resolved.sources["domain"][0].config.model_dump() == {}


def test_a_recipe_that_names_another_backend_drops_the_packs_options(check: Any) -> None:
    resolved = check("version: 1\ndomain: law\nextends: starter\ntrain: {backend: megatron}\n")
    assert resolved.backend.config.model_dump() == {"tensor_parallel": 1}


@pytest.mark.parametrize(
    ("override", "sentence"),
    [
        ("mix.replay", "write --set KEY=VALUE"),
        ("=3", "write --set KEY=VALUE"),
        ("mix..replay=3", "write --set KEY=VALUE"),
        ("corpus.domain.path=x", "'corpus.domain' is a list; say which entry, counted from 0: corpus.domain.0.path"),
        ("corpus.domain.2.take=1", "'corpus.domain' has entries 0 to 1; to add one, set the whole list"),
        ("corpus.general.1.take=1", "'corpus.general' has entry 0 only"),
        ("train.lr.x=1", "'train.lr' is a value"),
        ("seed=[1", "the value is not YAML"),
        ("domain=music", "'domain' decides which files are read"),
        ("mix.repla=1", "unknown key 'mix.repla'; did you mean 'replay'?"),
        ("mix.replay=1.4", "mix.replay: wanted less than 1, came 1.4"),
        ("a=!!python/name:os.system x", "YAML tag"),
    ],
)
def test_a_setting_that_cannot_be_used_is_named_as_it_was_written(registry: Any, override: str, sentence: str) -> None:
    with pytest.raises(RecipeError) as caught:
        resolve(load_recipe(registry, domain="law", overrides=[override]))
    assert f"--set {override}  " in str(caught.value)
    assert sentence in str(caught.value)


def test_a_packaged_recipe_is_found_by_its_name(registry: Any, pack: DomainPack) -> None:
    assert packaged_recipes(pack) == ["law-8b", "starter"]
    loaded = load_recipe(registry, path=Path("law-8b"))
    assert (loaded.domain, loaded.path) == ("law", pack.recipes / "law-8b.yaml")
    assert load_recipe(registry, path=Path("starter"), domain="music").domain == "music"


@pytest.mark.parametrize(
    ("name", "domain", "sentence"),
    [
        ("starter", None, "packaged with several domains; add --domain law or --domain music"),
        ("law-8bb", None, "no such file and no packaged recipe of that name; did you mean 'law-8b'"),
        ("startr", "law", "domain pack 'law' has no recipe 'startr'; did you mean 'starter'"),
        ("nowhere.yaml", None, "there is no such file"),
        ("dir/nowhere", "law", "there is no such file"),
        ("starter", "laws", "domain pack 'laws' is not installed; did you mean 'law'"),
    ],
)
def test_a_recipe_that_is_not_found_is_named(registry: Any, name: str, domain: str | None, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        load_recipe(registry, path=Path(name), domain=domain)


def test_neither_recipe_nor_domain_is_refused(registry: Any, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"name a recipe, or a domain"):
        load_recipe(registry)
    with pytest.raises(RecipeError, match=r"is a folder"):
        load_recipe(registry, path=tmp_path)


def test_a_domain_that_is_not_installed_is_refused_with_what_to_install(check: Any) -> None:
    with pytest.raises(
        RecipeError, match=r"recipe.yaml:2:1  domain pack 'chemistry' is not installed: pip install domadapt-chemistry"
    ):
        check("version: 1\ndomain: chemistry\n")


def test_a_recipe_without_a_domain_takes_the_one_of_the_command_line(check: Any) -> None:
    text = "version: 1\nextends: starter\n"
    resolved = check(text, domain="law")
    assert resolved.recipe.domain == "law"
    with pytest.raises(RecipeError, match=r"recipe.yaml:2:1  .*'domain' too"):
        check(text)
    with pytest.raises(RecipeError, match=r"missing key 'domain'"):
        check("version: 1\n")


def test_a_recipe_of_another_domain_than_the_command_lines_is_refused(check: Any) -> None:
    with pytest.raises(RecipeError, match=r"recipe.yaml:2:1  the recipe is for domain 'law', not for --domain music"):
        check("version: 1\ndomain: law\n", domain="music")


def test_a_layer_of_another_schema_version_is_refused_in_its_own_file(check: Any, tmp_path: Path) -> None:
    (tmp_path / "old.yaml").write_text("domain: law\nversion: 2\nextends: starter\n")
    with pytest.raises(RecipeError, match=r"old.yaml:2:1  version 2 of the recipe schema is not known"):
        check("version: 1\nextends: old.yaml\n")
