"""Published merges: each preset expands to exactly the published configuration."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from domadapt.builtin.merging import presets
from domadapt.builtin.merging.config_file import checked_config
from domadapt.builtin.merging.methods import ConfiguredMerger

BY_NAME = {preset.name: preset for preset in presets.PRESETS}

# mergekit_config.yml of arcee-ai/Llama-3-SEC-Base, with our names for the three checkpoints
LLAMA_3_SEC = """
merge_method: ties
base_model: base
models:
- model: cpt
  parameters:
    weight:
    - {filter: mlp,       value: [0.25, 0.5, 0.5, 0.25]}
    - {filter: self_attn, value: [0.25, 0.5, 0.5, 0]}
    - {value: [0.25, 0.5, 0.5, 0.25]}
    density: 0.75
- model: instruct
  parameters:
    weight:
    - {filter: mlp,       value: [0.75, 0.5, 0.5, 0.75]}
    - {filter: self_attn, value: [0.75, 0.5, 0.5, 1]}
    - {value: [0.75, 0.5, 0.5, 0.75]}
    density: 1.0
parameters: {normalize: true, int8_mask: true}
dtype: bfloat16
"""

# Patent-Instruct merged with Orca-2: SLERP on Orca-2 ...
PATENT_SLERP = """
merge_method: slerp
base_model: instruct
models: [{model: instruct}, {model: cpt}]
parameters:
  t:
  - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
  - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
  - {value: 0.5}
dtype: bfloat16
"""

# ... and the TIES example on Llama-2
PATENT_TIES = """
merge_method: ties
base_model: base
models:
- {model: cpt, parameters: {density: 0.5, weight: 0.5}}
- {model: instruct, parameters: {density: 0.5, weight: 0.5}}
parameters: {normalize: false, int8_mask: true}
dtype: float16
"""


def recipe(name: str, weight: float = 0.5, **options: Any) -> dict[str, Any]:
    preset = BY_NAME[name]
    made = preset(preset.Config.model_validate(options)).recipe({"instruct": 1 - weight, "cpt": weight})
    return checked_config(made)


@pytest.mark.parametrize(
    ("name", "published"),
    [("llama3-sec", LLAMA_3_SEC), ("arcee-patent-slerp", PATENT_SLERP), ("arcee-patent-ties", PATENT_TIES)],
)
def test_a_preset_is_exactly_the_published_configuration(name: str, published: str) -> None:
    assert recipe(name) == yaml.safe_load(published)
    assert not BY_NAME[name].caveat


def test_the_medical_preset_is_the_four_methods_of_the_table_with_parameters_marked_as_ours() -> None:
    members = BY_NAME["arcee-medical"].members
    assert [recipe(name)["merge_method"] for name in members] == ["linear", "slerp", "ties", "dare_ties"]
    assert all("ours" in BY_NAME[name].caveat for name in ("arcee-medical", *members))
    assert recipe("arcee-medical-slerp")["parameters"] == {"t": 0.5}


def test_the_patent_preset_is_both_published_merges() -> None:
    assert BY_NAME["arcee-patent"].members == ("arcee-patent-slerp", "arcee-patent-ties")


def test_members_of_presets_are_presets() -> None:
    for preset in presets.PRESETS:
        assert all(member in BY_NAME and not BY_NAME[member].members for member in preset.members)


@pytest.mark.parametrize("scale", [1.0, 0.4])
def test_the_instruction_residual_is_cpt_plus_instruct_minus_base(scale: float) -> None:
    config = recipe("instruction-residual", weight=0.1, scale=scale)
    weights = {m["model"]: m["parameters"]["weight"] for m in config["models"]}
    assert (config["merge_method"], config["base_model"]) == ("task_arithmetic", "base")
    # base + 1 (cpt - base) + scale (instruct - base)
    assert weights == {"cpt": 1.0, "instruct": scale}
    assert config["parameters"] == {"normalize": False, "lambda": 1.0}


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_wise_ft_is_the_line_from_the_general_to_the_fine_tuned_model(weight: float) -> None:
    config = recipe("wise-ft", weight)
    assert config["merge_method"] == "linear"
    assert {m["model"]: m["parameters"]["weight"] for m in config["models"]} == {"instruct": 1 - weight, "cpt": weight}


@pytest.mark.parametrize(
    ("temperature", "wanted"), [(5, [0.525, 0.475]), (1, [0.6225, 0.3775]), (0.1, [0.9933, 0.0067])]
)
def test_lm_cocktails_shares_follow_from_the_losses(temperature: float, wanted: list[float]) -> None:
    assert presets.cocktail_shares([2.0, 2.5], temperature) == pytest.approx(wanted, abs=5e-5)
    config = recipe("lm-cocktail", 0.5, losses={"base": 2.5, "instruct": 2.0}, temperature=temperature)
    weights = {m["model"]: m["parameters"]["weight"] for m in config["models"]}
    assert weights == pytest.approx({"cpt": 0.5, "instruct": wanted[0] / 2, "base": wanted[1] / 2}, abs=5e-5)


def test_lm_cocktail_without_losses_mixes_the_general_models_half_and_half() -> None:
    weights = {m["model"]: m["parameters"]["weight"] for m in recipe("lm-cocktail", 0.4)["models"]}
    assert weights == pytest.approx({"cpt": 0.4, "instruct": 0.3, "base": 0.3})


@pytest.mark.parametrize("preset", presets.PRESETS, ids=list(BY_NAME))
def test_a_preset_takes_no_parameters_that_would_change_what_was_published(preset: type[ConfiguredMerger]) -> None:
    with pytest.raises(ValidationError, match="density"):
        preset.Config.model_validate({"density": 0.5})
    assert preset.__doc__


def test_another_published_configuration_has_another_version() -> None:
    """The configuration is no option, so the version carries it into the keys of stages."""
    versions = [p.version for p in presets.PRESETS if issubclass(p, presets.PresetMerger) and p.configuration]
    assert len(set(versions)) == len(versions) == 7
