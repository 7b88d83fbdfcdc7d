"""All methods of mergekit by name: the table, the options that become its parameters, and small hand-made examples."""

from __future__ import annotations

import functools
import json
import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from domadapt.artifacts import Checkpoint
from domadapt.builtin.merging import methods
from domadapt.builtin.merging.config_file import checked_config
from domadapt.builtin.merging.methods import METHOD_MERGERS, ConfiguredMerger, MergekitConfig
from domadapt.builtin.merging.presets import PRESETS
from domadapt.builtin.merging.table import METHODS
from domadapt.components import Stage
from domadapt.pipeline import work
from domadapt.recipe.check import Choice
from domadapt.testing.models import write_tiny_model

MakeStage = Callable[..., Stage]
Planted = Callable[..., dict[str, Checkpoint]]
BY_NAME = {merger.name: merger for merger in METHOD_MERGERS}
SHARES = {"instruct": 0.5, "cpt": 0.5}
NEEDED: Mapping[str, dict[str, Any]] = {
    **{name: {"density": 0.5} for name, method in METHODS.items() if method.parties[0] == "base" and method.per_model},
    "task_arithmetic": {},
    "nearswap": {"t": 0.01},
}


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Checkpoint]:
    """A random base and two models near it."""
    folder = tmp_path_factory.mktemp("tiny")
    models = {r: write_tiny_model(folder / r, seed=s, role=r) for s, r in enumerate(("base", "instruct", "cpt"))}  # type: ignore[arg-type]
    base = tensors_of(models["base"])
    for role in ("instruct", "cpt"):
        edit(models[role], lambda own: {n: base[n] + t / 3 for n, t in own.items()})
    return models


def tensors_of(checkpoint: Checkpoint) -> dict[str, Any]:
    from safetensors.torch import load_file

    return dict(load_file(checkpoint.path / "model.safetensors"))


def edit(checkpoint: Checkpoint, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    from safetensors.torch import save_file

    tensors = change(tensors_of(checkpoint))
    save_file(tensors, checkpoint.path / "model.safetensors", metadata={"format": "pt"})


def _with_norm(tensors: dict[str, Any], norm: Any) -> dict[str, Any]:
    return {**tensors, "model.norm.weight": norm}


@pytest.fixture
def planted(tmp_path: Path, tiny: Mapping[str, Checkpoint]) -> Planted:
    """The models with a few numbers at the start of their final norm, the rest of which is 0."""

    def plant(**values: list[float]) -> dict[str, Checkpoint]:
        import torch

        models: dict[str, Checkpoint] = {}
        for role, checkpoint in tiny.items():
            shutil.copytree(checkpoint.path, tmp_path / role)
            models[role] = replace(checkpoint, path=tmp_path / role)
            norm = torch.zeros(32)
            norm[: len(values[role])] = torch.tensor(values[role])
            edit(models[role], functools.partial(_with_norm, norm=norm))
        return models

    return plant


def merge(
    name: str, parents: Mapping[str, Checkpoint], out: Path, stage: Stage, weight: float = 0.5, **options: Any
) -> dict[str, np.ndarray]:
    merger = BY_NAME[name]
    choice = Choice("merger", name, merger, merger.Config.model_validate(options), provider=None)  # type: ignore[arg-type]
    out.mkdir()
    inputs = {"ancestor": parents["base"], "instruct": parents["instruct"], "cpt": parents["cpt"]}
    facts = work.merging(choice, weight)(stage, inputs, out)
    assert facts["checks"]["loads"] is True
    return {name: tensor.float().numpy() for name, tensor in tensors_of(Checkpoint(out)).items()}


ARC = {"base": [0.0], "instruct": [3.0, 4, 0, 0, 0, 0], "cpt": [0.0, 0, 0, 0, 6, 8]}
SIXTY = {"base": [0.0, 0], "instruct": [1.0, 0], "cpt": [0.5, math.sqrt(0.75)]}


@pytest.mark.parametrize(
    ("name", "weight", "options", "values", "wanted"),
    [
        ("nuslerp", 0.25, {}, ARC, [2.771639, 3.695518, 0, 0, 2.296101, 3.061468]),
        ("nuslerp", 0.25, {"ancestor": True}, ARC, [2.771639, 3.695518, 0, 0, 2.296101, 3.061468]),
        ("multislerp", 0.5, {}, SIXTY, [0.866025, 0.5]),
        ("karcher", 0.5, {}, {"base": [0.0], "instruct": [2.0, 0], "cpt": [0.0, 4]}, [2.12132, 2.12132]),
        ("model_stock", 0.5, {"engine": "mergekit"}, SIXTY, [0.5, 0.288675]),
        ("model_stock", 0.5, {"engine": "fast"}, SIXTY, [0.5, 0.288675]),
        (
            "sce",
            0.5,
            {},
            {"base": [0.0], "instruct": [2.0, 0, -1, 1], "cpt": [1.0, 1, -1, -3]},
            [1.333333, 1, -1, -3],
        ),
        ("ram", 0.5, {}, {"base": [1.0, 1, 1], "instruct": [1.4, 1, 1], "cpt": [1.2, 1.3, 1]}, [1.3, 1.3, 1]),
        # both share one changed entry, cpt has one of its own: amplified by 1 + r * min(ratio, alpha)
        ("ramplus_tl", 0.5, {}, {"base": [1.0, 1, 1], "instruct": [1.4, 1, 1], "cpt": [1.2, 1.3, 1]}, [1.3, 1.306, 1]),
        (
            "nearswap",
            0.5,
            {"t": 0.1},
            {"base": [0.0], "instruct": [1.0, 1, 1], "cpt": [1.05, 1.4, 2]},
            [1.05, 1.1, 1.1],
        ),
        ("passthrough", 0.5, {"scale": 0.5}, {"base": [1.0], "instruct": [2.0], "cpt": [3.0]}, [1.5]),
        ("passthrough", 0.5, {"model": "base"}, {"base": [1.0], "instruct": [2.0], "cpt": [3.0]}, [1.0]),
    ],
)
def test_the_hand_computed_example_of_each_method(
    tmp_path: Path,
    planted: Planted,
    make_stage: MakeStage,
    name: str,
    weight: float,
    options: dict[str, Any],
    values: dict[str, list[float]],
    wanted: list[float],
) -> None:
    merged = merge(name, planted(**values), tmp_path / "out", make_stage("merge"), weight, **options)
    np.testing.assert_allclose(merged["model.norm.weight"][: len(wanted)], wanted, atol=3e-6)


@pytest.mark.parametrize("name", ["breadcrumbs", "breadcrumbs_ties"])
def test_breadcrumbs_keeps_the_middle_of_a_task_vector(
    tmp_path: Path, planted: Planted, make_stage: MakeStage, name: str
) -> None:
    parents = planted(base=[0.0] * 32, instruct=[0.0] * 32, cpt=[float(n) for n in range(1, 33)])
    merged = merge(name, parents, tmp_path / "out", make_stage("merge"), 1.0, density=0.5, gamma=0.25)
    # of 32 the 8 largest go, then the 8 smallest: 16 are left
    np.testing.assert_allclose(merged["model.norm.weight"], [0.0] * 8 + list(range(9, 25)) + [0.0] * 8, atol=1e-6)


@pytest.mark.parametrize("name", ["della", "della_linear"])
def test_della_drops_at_random_the_same_way_for_one_seed(
    tmp_path: Path, tiny: Mapping[str, Checkpoint], make_stage: MakeStage, name: str
) -> None:
    one, again, other = (
        merge(name, tiny, tmp_path / label, make_stage(label, seed=seed), density=0.5)
        for label, seed in (("one", 1), ("again", 1), ("other", 2))
    )
    assert all((one[n] == again[n]).all() for n in one)
    assert any((one[n] != other[n]).any() for n in one)


def test_arcee_fusion_takes_every_entry_from_one_of_the_two(
    tmp_path: Path, tiny: Mapping[str, Checkpoint], make_stage: MakeStage
) -> None:
    merged = merge("arcee_fusion", tiny, tmp_path / "out", make_stage("merge"))
    instruct, cpt = (tensors_of(tiny[role]) for role in ("instruct", "cpt"))
    taken = 0
    for name, tensor in merged.items():
        from_cpt = np.isclose(tensor, cpt[name].numpy(), atol=1e-6)
        assert (from_cpt | np.isclose(tensor, instruct[name].numpy(), atol=1e-6)).all(), name
        taken += int((from_cpt & (cpt[name] != instruct[name]).numpy()).sum())
    assert taken


@pytest.mark.parametrize("name", METHODS)
def test_every_method_writes_a_configuration_that_the_table_allows(name: str) -> None:
    merger = BY_NAME[name](BY_NAME[name].Config.model_validate(NEEDED.get(name, {})))
    config = checked_config(merger.recipe(SHARES))
    method = METHODS[name]
    assert config["merge_method"] == name
    given = {*config.get("parameters", {})} | {k for m in config["models"] for k in m.get("parameters", {})}
    assert given <= set(method.parameters)
    assert given >= {p.name for p in method.parameters.values() if p.required}


def test_every_method_has_a_merger_and_every_merger_a_method() -> None:
    assert set(BY_NAME) == {*METHODS, MergekitConfig.name}
    assert all(merger.__doc__ and merger.Config.__doc__ for merger in METHOD_MERGERS)


@pytest.mark.parametrize("merger", METHOD_MERGERS, ids=list(BY_NAME))
def test_a_method_says_whether_the_weight_of_a_recipe_changes_anything(merger: type[ConfiguredMerger]) -> None:
    if merger is MergekitConfig:
        assert merger.ignores_weight
        return
    recipes = [
        merger(merger.Config.model_validate(NEEDED.get(merger.name, {}))).recipe({"instruct": 1 - w, "cpt": w})
        for w in (0.2, 0.7)
    ]
    assert (recipes[0] == recipes[1]) == merger.ignores_weight


def test_gradients_rules_and_weights_of_each_parent_reach_the_configuration_as_they_are() -> None:
    rules = [{"filter": "mlp", "value": [0.25, 0.5]}, {"value": 0.1}]
    options = {
        "weight": {"instruct": rules, "cpt": [1, 0]},
        "density": {"instruct": 1, "cpt": [0.5, 0.9]},
        "scale": [1, 2],
    }
    config = methods.Ties(methods.Ties.Config.model_validate(options)).recipe(SHARES)
    assert config == {
        "merge_method": "ties",
        "base_model": "base",
        "models": [
            {"model": "instruct", "parameters": {"weight": rules, "density": 1.0}},
            {"model": "cpt", "parameters": {"weight": [1.0, 0.0], "density": [0.5, 0.9]}},
        ],
        "parameters": {"normalize": True, "rescale": False, "lambda": [1.0, 2.0]},
    }


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("della", {"density": 0.9}, "probabilities from 0.75 to 1.05"),
        ("della_linear", {"density": {"instruct": 0.5, "cpt": 0.1}}, "probabilities from -0.05 to 0.25"),
        ("breadcrumbs", {"density": 0.5, "gamma": 2}, "less than or equal to 1"),
        ("nearswap", {}, "t"),
        ("nearswap", {"t": 0}, "greater than 0"),
        ("nuslerp", {"weight": {"instruct": 0.5, "cpt": -0.5}}, "sum to 0"),
        ("multislerp", {"weight": {"instruct": 0, "cpt": 0}}, "sum to 0"),
        ("karcher", {"max_iter": 0}, "greater than or equal to 1"),
        ("karcher", {"weight": 0.5}, "weight"),
        ("karcher", {"engine": "fast"}, "'auto' or 'mergekit'"),
        ("passthrough", {"model": "merged"}, "'base', 'instruct' or 'cpt'"),
        ("model_stock", {"filter_wise": 3}, "filter_wise"),
        ("mergekit", {}, "config"),
        ("mergekit", {"config": {"merge_method": "tie"}}, "did you mean 'ties'"),
    ],
)
def test_impossible_options_are_refused(name: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        BY_NAME[name].Config.model_validate(options)


@pytest.mark.parametrize("name", ["nuslerp", "multislerp"])
def test_without_a_base_model_the_configuration_is_the_instruct_models(
    tmp_path: Path, planted: Planted, make_stage: MakeStage, name: str
) -> None:
    """mergekit draws it at random then."""
    parents = planted(base=[0.0], instruct=[1.0], cpt=[2.0])
    config = json.loads((parents["cpt"].path / "config.json").read_bytes())
    (parents["cpt"].path / "config.json").write_text(json.dumps({**config, "initializer_range": 0.77}))
    merge(name, parents, tmp_path / "out", make_stage("merge"))
    assert json.loads((tmp_path / "out" / "config.json").read_bytes())["initializer_range"] == 0.1


def test_a_pickle_beside_the_weights_is_not_read(tmp_path: Path, planted: Planted, make_stage: MakeStage) -> None:
    parents = planted(base=[0.0], instruct=[1.0], cpt=[2.0])
    for parent in parents.values():
        (parent.path / "pytorch_model.bin").write_bytes(b"no pickle at all")
        (parent.path / "pytorch_model.bin.index.json.bak").write_bytes(b"{")
    merge("karcher", parents, tmp_path / "out", make_stage("merge"))


def test_the_page_on_recipes_names_every_method_and_preset_with_its_options() -> None:
    page = (Path(__file__).parents[3] / "docs" / "recipes.md").read_text(encoding="utf-8")
    for merger in (*METHOD_MERGERS, *PRESETS):
        if merger is MergekitConfig:
            continue
        row = next((line for line in page.splitlines() if line.startswith("|") and f"`{merger.name}`" in line), "")
        assert row, merger.name
        if merger in METHOD_MERGERS:
            missing = [
                option for option in merger.Config.model_fields if option != "engine" and f"`{option}`" not in row
            ]
            if merger.name != "ram":  # shares its row
                assert missing == [], merger.name
            fast = "fast" in str(merger.Config.model_fields["engine"].annotation)
            assert row.rstrip().endswith("| |") != fast, merger.name


@pytest.mark.slow
def test_the_table_is_mergekits_registry() -> None:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from mergekit.merge_methods.base import MISSING, ParameterScope
        from mergekit.merge_methods.registry import registered_methods

    theirs = {method.spec.name: method.spec for method in registered_methods()}
    assert set(theirs) == set(METHODS)
    for name, spec in theirs.items():
        ours, contract = METHODS[name], spec.contract
        assert ours.base == contract.base.value, name
        limits = (contract.min_inputs, contract.max_inputs, contract.min_non_base, contract.max_non_base)
        assert (ours.min_inputs, ours.max_inputs, ours.min_tuned, ours.max_tuned) == limits, name
        for mine, parameters in ((ours.per_model, spec.input_parameters), (ours.shared, spec.shared_parameters)):
            wanted = {p.name: (p.default is MISSING, None if p.default is MISSING else p.default) for p in parameters}
            assert {p.name: (p.required, p.default) for p in mine} == wanted, name
        weighted = any(p.scope == ParameterScope.INPUT for p in spec.input_parameters)
        assert ours.base_weighted == weighted, name
