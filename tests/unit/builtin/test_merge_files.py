"""mergekit's YAML as it stands: what is refused and where, and that what is accepted is merged as mergekit does it."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from domadapt.artifacts import Checkpoint
from domadapt.builtin.merging.config_file import notes_on, read_config, roles_of
from domadapt.builtin.merging.methods import MergekitConfig
from domadapt.components import Stage, WeightedCheckpoint
from domadapt.errors import StageError
from domadapt.recipe.problems import UnreadableRecipeError
from domadapt.testing.models import write_tiny_model

MakeStage = Callable[..., Stage]

WHOLE = """\
merge_method: ties
base_model: base
models:
- model: cpt
  parameters:
    weight:
    - {filter: mlp, value: [0.25, 0.5, 0.5, 0.25]}
    - {value: 0.5}
    density: 0.75
- model: instruct
  parameters: {weight: 5e-1, density: [1.0, 0.5]}
parameters: {normalize: true, int8_mask: true}
dtype: float32
"""


def problems_in(text: str, folder: Path) -> dict[str, str]:
    """Place and sentence of everything wrong with a configuration."""
    file = folder / "merge.yml"
    file.write_text(text)
    config, problems = read_config(file, "merge.yml")
    assert (config is None) == bool(problems)
    return {problem.origin.place.removeprefix("merge.yml:"): problem.message for problem in problems}


def test_a_whole_configuration_is_read_as_plain_data(tmp_path: Path) -> None:
    (tmp_path / "merge.yml").write_text(WHOLE)
    config, problems = read_config(tmp_path / "merge.yml")
    assert problems == []
    assert config is not None
    assert config["models"][1] == {"model": "instruct", "parameters": {"weight": 0.5, "density": [1.0, 0.5]}}
    assert roles_of(config) == ["base", "instruct", "cpt"]


@pytest.mark.parametrize(
    ("change", "place", "said"),
    [
        (("merge_method: ties", "merge_method: tiess"), "1:1", "no method 'tiess'; did you mean 'ties'?"),
        (("merge_method: ties\n", ""), "1:1", "missing key 'merge_method'"),
        (("dtype:", "dtyp:"), "13:1", "unknown key 'dtyp'; did you mean 'dtype'?"),
        (("dtype: float32", "dtype: int8"), "13:1", "dtype: wanted one of float32, bfloat16, float16, came int8"),
        (("base_model: base\n", ""), "1:1", "missing key 'base_model': ties needs one, the pre-trained ancestor"),
        (("base_model: base", "base_model: a/b"), "2:1", "wanted one of base, instruct, cpt (adapt's checkpoints)"),
        (("- model: instruct", "- model: chat"), "10:3", "models.1.model: wanted one of base, instruct, cpt"),
        (("- model: instruct", "- model: cpt"), "10:3", "'cpt' is listed twice"),
        (("    density: 0.75", "    desnity: 0.75"), "9:5", "'models.0.parameters.desnity' of ties; did you mean"),
        (("    density: 0.75", "    density: 0"), "9:5", "models.0.parameters.density: wanted more than 0, came 0"),
        (("    density: 0.75", "    density: 1.5"), "9:5", "density: wanted 1 or less, came 1.5"),
        (("    density: 0.75", "    density: .nan"), "9:5", "density: wanted a finite number, came nan"),
        (("    density: 0.75", "    density: most"), "9:5", "density: wanted a finite number, came most"),
        (("    density: 0.75", "    density: []"), "9:5", "an empty list"),
        (("    density: 0.75", "    normalize: true"), "9:5", "'normalize' is of the whole merge"),
        (("[1.0, 0.5]", "[1.0, 2]"), "11:45", "models.1.parameters.density.1: wanted 1 or less, came 2"),
        (("weight: 5e-1, ", ""), "10:3", "missing parameter 'weight' of model 'instruct'"),
        (("    - {value: 0.5}\n", ""), "6:5", "'weight' of model 'cpt': its rules leave tensors without a value"),
        (("{value: 0.5}", "0.5"), "6:5", "numbers and rules in one list"),
        (("{filter: mlp, ", "{fliter: mlp, "), "7:8", "unknown key 'models.0.parameters.weight.0.fliter'"),
        (("{filter: mlp, ", "{"), "8:7", "never reached, the rule before it is for all tensors"),
        (("normalize: true", "normalize: 1"), "12:14", "parameters.normalize: wanted true or false, came 1"),
        (("normalize: true", "normalise: true"), "12:14", "did you mean 'normalize'?"),
        (("dtype: float32", "modules: {}"), "13:1", "models of several modules are not supported"),
        (("dtype: float32", "slices: []"), "1:1", "wanted one of 'models' and 'slices'"),
        (("dtype: float32", "tokenizer_source: a/b"), "13:1", "tokenizer_source: the merged model gets tokenizer"),
        (("dtype: float32", "chat_template: chatml"), "13:1", "chat_template: the merged model gets tokenizer"),
        (("dtype: float32", "tokenizer: {source: base, tokens: {}}"), "13:1", "tokenizer: the merged model gets"),
    ],
)
def test_a_mistake_is_refused_with_its_place(tmp_path: Path, change: tuple[str, str], place: str, said: str) -> None:
    assert WHOLE.count(change[0]) == 1
    found = problems_in(WHOLE.replace(*change), tmp_path)
    assert place in found
    assert said in found[place]


SLERP = "merge_method: slerp\nbase_model: instruct\nmodels: [{model: instruct}, {model: cpt}]\nparameters: {t: 0.5}\n"
LINEAR = """\
merge_method: linear
models:
- {model: instruct, parameters: {weight: 1}}
- {model: cpt, parameters: {weight: 1}}
"""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (SLERP.replace("[{model: instruct}, {model: cpt}]", "[{model: base}, {model: cpt}]"), "slerp wants 2 models"),
        (SLERP.replace(", {model: cpt}", ""), "slerp wants 2 models, the base among them, came 1"),
        (SLERP.replace("parameters: {t: 0.5}\n", ""), "missing parameter 't' of slerp"),
        (SLERP.replace("t: 0.5", "t: 1.5"), "parameters.t: wanted 1 or less"),
        (SLERP.replace("slerp", "model_stock").replace("parameters: {t: 0.5}\n", ""), "model_stock wants at least 3"),
        (SLERP.replace("slerp", "nuslerp").replace("t: 0.5", "weight: 1"), "nuslerp wants 2 models besides the base"),
        (SLERP.replace("slerp", "passthrough").replace("{t: 0.5}", "{scale: 1}"), "passthrough wants 1 models"),
        (
            LINEAR.replace(
                "{weight: 1}}\n- {model: cpt, parameters: {weight: 1",
                "{weight: 1}}\n- {model: cpt, parameters: {weight: -1",
            ),
            "sum to 0",
        ),
        (LINEAR + "base_model: base\n", "missing parameter 'weight' of model 'base'"),
        (LINEAR.replace("linear", "della") + "base_model: base\nparameters: {density: 0.9}\n", "from 0.75 to 1.05"),
        ("merge_method: ties\nbase_model: base\nmodels: cpt\n", "wanted a list of"),
        ("merge_method: ties\nbase_model: base\nmodels: [cpt]\n", "missing key 'models.0.model'"),
        ("merge_method: ties\nbase_model: base\n", "wanted one of 'models' and 'slices'"),
    ],
)
def test_numbers_of_models_and_sums_of_weights_are_checked(tmp_path: Path, text: str, said: str) -> None:
    assert any(said in message for message in problems_in(text, tmp_path).values()), problems_in(text, tmp_path)


SLICES = """\
merge_method: slerp
base_model: instruct
slices:
- sources:
  - {model: instruct, layer_range: [0, 2]}
  - {model: cpt, layer_range: [0, 2]}
parameters:
  t:
  - {filter: self_attn, value: [0, 0.5, 0.3, 0.7, 1]}
  - {filter: mlp, value: [1, 0.5, 0.7, 0.3, 0]}
  - {value: 0.5}
dtype: float32
"""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (("{model: cpt, layer_range: [0, 2]}", "{model: cpt, layer_range: [0, 1]}"), "wanted as many of each"),
        (("{model: cpt, layer_range: [0, 2]}", "{model: cpt}"), "missing key 'slices.0.sources.1.layer_range'"),
        (("{model: cpt, layer_range: [0, 2]}", "{model: cpt, layer_range: [2, 2]}"), "[2, 2] has no layers"),
        (("{model: cpt, layer_range: [0, 2]}", "{model: cpt, layer_range: 2}"), "wanted [first layer"),
        (("base_model: instruct", "base_model: base"), "the base_model 'base' must be among the sources"),
        (("- sources:", "- source:"), "missing key 'slices.0.sources'"),
    ],
)
def test_slices_are_checked_too(tmp_path: Path, change: tuple[str, str], said: str) -> None:
    assert problems_in(SLICES, tmp_path) == {}
    assert any(said in message for message in problems_in(SLICES.replace(*change), tmp_path).values())


def test_a_file_that_is_not_there_or_no_yaml_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnreadableRecipeError, match="No such file"):
        read_config(tmp_path / "none.yml")
    (tmp_path / "bad.yml").write_text("merge_method: [ties\n")
    with pytest.raises(UnreadableRecipeError, match=r"bad\.yml:"):
        read_config(tmp_path / "bad.yml")


def test_what_changes_nothing_is_said() -> None:
    models = [
        {"model": "cpt", "parameters": {"weight": 1, "density": 0.5}},
        {"model": "base", "parameters": {"weight": 1}},
    ]
    config = {"merge_method": "task_arithmetic", "base_model": "base", "models": models, "tokenizer_source": "union"}
    assert notes_on(config) == [
        "'tokenizer_source' is passed over: the merged model gets tokenizer and chat template of the instruct model",
        "task_arithmetic trims nothing, so density changes nothing",
        "weight of 'base' changes nothing: it is the base of task_arithmetic",
    ]


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Checkpoint]:
    """Two models near a base, in bf16, their norms no longer all ones."""
    import torch
    from safetensors.torch import load_file, save_file

    folder = tmp_path_factory.mktemp("parents")
    models = {r: write_tiny_model(folder / r, seed=s, role=r, dtype="bfloat16") for s, r in enumerate(ROLES)}  # type: ignore[arg-type]
    base = load_file(folder / "base" / "model.safetensors")
    for role in ("instruct", "cpt"):
        file = folder / role / "model.safetensors"
        generator = torch.Generator().manual_seed(len(role))
        near = {name: base[name] + tensor / 3 for name, tensor in load_file(file).items()}
        for name, tensor in near.items():
            if tensor.dim() == 1:
                near[name] = (base[name] + torch.randn(tensor.shape, generator=generator) / 10).to(tensor.dtype)
        save_file(near, file, metadata={"format": "pt"})
    return models


ROLES = ("base", "instruct", "cpt")


def with_ours(text: str, parents: Mapping[str, Checkpoint], out: Path, stage: Stage, engine: str) -> dict[str, Any]:
    from safetensors.torch import load_file

    out.with_suffix(".yml").write_text(text)
    config, _ = read_config(out.with_suffix(".yml"))
    merger = MergekitConfig(MergekitConfig.Config.model_validate({"config": config, "engine": engine}))
    out.mkdir()
    models = [WeightedCheckpoint(parents[role], 0.5) for role in ("instruct", "cpt")]
    merger.merge(parents["base"], models, out, stage)
    return dict(load_file(out / "model.safetensors"))


def with_mergekit(text: str, parents: Mapping[str, Checkpoint], out: Path) -> dict[str, Any]:
    """The file's text with paths for names, given to mergekit as its users do."""
    import warnings

    from safetensors.torch import load_file

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        from mergekit.config import MergeConfiguration
        from mergekit.merge import MergeOptions, run_merge
    import yaml

    named = re.sub(r"(model: |base_model: )(base|instruct|cpt)\b", lambda m: f"{m[1]}{parents[m[2]].path}", text)
    config = MergeConfiguration.model_validate(yaml.safe_load(named))
    run_merge(
        config, str(out), MergeOptions(quiet=True, write_model_card=False, random_seed=1234, copy_tokenizer=False)
    )
    return dict(load_file(out / "model.safetensors"))


UPSIDE_DOWN = """\
merge_method: passthrough
slices:
- sources: [{model: cpt, layer_range: [0, 2]}]
- sources: [{model: instruct, layer_range: [1, 2], parameters: {scale: 0.5}}]
dtype: bfloat16
"""


@pytest.mark.parametrize("engine", ["auto", "mergekit"])
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("gradients", WHOLE),
        ("untyped", WHOLE.replace("dtype: float32\n", "")),
        ("bf16", WHOLE.replace("float32", "bfloat16")),
        ("fp16", WHOLE.replace("float32", "float16")),
        ("shared weight", WHOLE.replace("weight: 5e-1, ", "").replace("{normalize: true,", "{weight: 0.3,")),
        ("slices", SLICES),
        ("layers twice", UPSIDE_DOWN),
        ("base weighted", LINEAR + "base_model: base\nparameters: {weight: 3, normalize: false}\n"),
    ],
)
def test_a_configuration_gives_what_mergekit_gives(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage, engine: str, name: str, text: str
) -> None:
    theirs = with_mergekit(text, parents, tmp_path / "theirs")
    ours = with_ours(text, parents, tmp_path / "ours", make_stage("merge"), engine)
    assert set(ours) == set(theirs)
    for tensor in theirs:
        assert ours[tensor].dtype == theirs[tensor].dtype, tensor
        found, wanted = ours[tensor].double(), theirs[tensor].double()
        last_bit = {"float32": 2**-22, "bfloat16": 2**-7, "float16": 2**-10}[str(theirs[tensor].dtype)[6:]]
        far = int(((found - wanted).abs() > last_bit * wanted.abs() + 1e-6).sum())
        # bf16 parents have equal magnitudes at the trimming threshold, of which mergekit keeps any
        allowed = max(4, 0.02 * wanted.numel()) if "merge_method: ties" in text else 0
        assert far <= allowed, (tensor, far, wanted.numel())


def test_a_range_beyond_the_last_layer_is_refused(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage
) -> None:
    text = UPSIDE_DOWN.replace("[1, 2]", "[1, 3]")
    with pytest.raises(StageError, match=r"layer_range \[1, 3\] of instruct, which has 2 layers"):
        with_ours(text, parents, tmp_path / "out", make_stage("merge"), "auto")
    assert not any((tmp_path / "out").iterdir())


def test_the_fast_engine_is_refused_where_it_does_not_cover_the_request(
    tmp_path: Path, parents: Mapping[str, Checkpoint], make_stage: MakeStage
) -> None:
    with pytest.raises(StageError, match=r"merge\.engine is fast, but .*passthrough.*; set it to auto"):
        with_ours(UPSIDE_DOWN, parents, tmp_path / "out", make_stage("merge"), "fast")
