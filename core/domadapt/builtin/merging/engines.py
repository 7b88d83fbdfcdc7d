"""Carry out a configuration: with the fast engine where it covers it, with mergekit otherwise or on demand.

mergekit reaches for the hub when a path looks like `a/b`, draws the donor of config and tokenizer at random when no
base model is given, reads pickles that lie beside the weights, and takes two roles of one folder for one model. So
it is given a folder of links a role, with nothing but config, tokenizer and safetensors in it, the model card is
off, a seed is always set, and only tensors are merged: the rest comes from the instruct model afterwards.
"""

from __future__ import annotations

import json
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from domadapt.artifacts import Checkpoint
from domadapt.builtin.merging import guards
from domadapt.builtin.merging.config_file import notes_on
from domadapt.builtin.merging.fast.checkpoint import Weights
from domadapt.components import Stage
from domadapt.errors import StageError

if TYPE_CHECKING:
    from domadapt.builtin.merging.fast.gradients import Settings

Engine = Literal["auto", "fast", "mergekit"]
WIDTH = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Bytes of a stored number."""


def stored_dtype(folder: Path) -> str:
    """The type a checkpoint stores most of its weights in: "bfloat16", "float16" or "float32"."""
    return Weights(folder).dtype


def promoted_dtype(folders: Sequence[Path]) -> str:
    """The type mergekit calculates in without `dtype`: the parents' one, or fp32 where they differ."""
    dtypes = {stored_dtype(folder) for folder in folders}
    return dtypes.pop() if len(dtypes) == 1 else "float32"


def carry_out(
    config: Mapping[str, Any], parents: Mapping[str, Checkpoint], out: Path, stage: Stage, *, engine: Engine
) -> dict[str, Any]:
    """Write merged weights, config.json and mergekit_config.yml into `out`; return facts.

    config: in mergekit's form, models by role.  parents: the checkpoints it names, by role.
    Raises StageError when a guard or the engine refuses.
    """
    import yaml

    guards.check_configuration(stage, config, parents)
    written = config.get("out_dtype") or config["dtype"]
    largest = max((Weights(parent.path) for parent in parents.values()), key=lambda weights: weights.num_bytes)
    guards.check_room(stage, out, sum(t.size for t in largest.tensors.values()) * WIDTH[written])
    for note in notes_on(config):
        stage.event("warning", message=note)
    request = fast_request(config, parents) if engine != "mergekit" else "merge.engine is mergekit"
    if isinstance(request, FastRequest):
        facts = _fast(request, out, stage)
    elif engine == "fast":
        raise StageError(f"{stage.name}: merge.engine is fast, but {request}; set it to auto")
    else:
        facts = {"engine": "mergekit", "because": request, **_mergekit(config, parents, out, stage)}
    named = yaml.safe_dump(dict(config), sort_keys=False)
    (out / "mergekit_config.yml").write_text(named)
    return {**facts, "dtype": written, "arithmetic": config["dtype"], "mergekit": named}


def _as_models(config: Mapping[str, Any], parents: Mapping[str, Checkpoint]) -> dict[str, Any]:
    """Slices that are one slice of whole models, as models: the same merge, which the fast engine knows."""
    slices = config.get("slices")
    if slices is None or len(slices) != 1:
        return dict(config)
    only = slices[0]
    layers = [Weights(parents[s["model"]].path).num_layers for s in only["sources"]]
    whole = all(s["layer_range"] == [0, n] for s, n in zip(only["sources"], layers, strict=True))
    own, shared = only.get("parameters") or {}, config.get("parameters") or {}
    if not whole or set(own) & set(shared):
        return dict(config)
    models = [{k: v for k, v in source.items() if k != "layer_range"} for source in only["sources"]]
    rest = {k: v for k, v in config.items() if k not in ("slices", "parameters")}
    base = {"base_model": only["base_model"]} if "base_model" in only else {}
    return {**rest, **base, "models": models, "parameters": {**shared, **own}}


_PASSED_OVER = ("tokenizer_source", "tokenizer", "chat_template")


@dataclass(frozen=True)
class FastRequest:
    """A merge as the fast engine takes it. models: the first gives config.json; for SLERP it is t = 0."""

    method: str
    settings: Settings
    ancestor: Checkpoint | None
    models: Sequence[Checkpoint]
    dtype: str
    out_dtype: str


def fast_request(config: Mapping[str, Any], parents: Mapping[str, Checkpoint]) -> FastRequest | str:
    """What the fast engine is asked for; one sentence where it does not cover it. Arguments as for `carry_out`."""
    from domadapt.builtin.merging.fast import engine, gradients

    config = _as_models(config, parents)
    shown = {key: value for key, value in config.items() if key not in _PASSED_OVER}
    if reason := engine.covers(shown, [parent.path for parent in parents.values()]):
        return reason
    listed = [model["model"] for model in config["models"]]
    base = config.get("base_model")
    if config["merge_method"] == "slerp":
        models, ancestor = [base, *(role for role in listed if role != base)], None
    elif config["merge_method"] == "linear":
        models, ancestor = [*listed, *([base] if base is not None and base not in listed else [])], None
    else:
        models, ancestor = [role for role in listed if role != base], parents[str(base)]
    if len(models) == 2 and config["merge_method"] != "slerp":
        models.sort(key=lambda role: role != "instruct")  # of two, the order changes no sum
    num_layers = Weights(next(iter(parents.values())).path).num_layers
    return FastRequest(
        config["merge_method"],
        gradients.settings_of(config, {role: role for role in parents}, num_layers),
        ancestor,
        [_in_role(parents[role], role) for role in models],
        config["dtype"],
        config.get("out_dtype") or config["dtype"],
    )


def _fast(request: FastRequest, out: Path, stage: Stage) -> dict[str, Any]:
    from domadapt.builtin.merging.fast import engine

    return engine.run(
        request.method,
        request.settings,
        request.ancestor,
        request.models,
        out,
        stage,
        dtype=request.dtype,
        out_dtype=request.out_dtype,
    )


def _in_role(checkpoint: Checkpoint, role: str) -> Checkpoint:
    return Checkpoint(checkpoint.path, role=role, digest=checkpoint.digest)  # type: ignore[arg-type]


def _mergekit(config: Mapping[str, Any], parents: Mapping[str, Checkpoint], out: Path, stage: Stage) -> dict[str, Any]:
    guards.check_memory(stage, [Weights(parent.path) for parent in parents.values()])
    for role, parent in parents.items():
        guards.check_finite(stage, parent.path, f"the {role} model")
    folders = {role: _linked(parent.path, stage.scratch / "parents" / role) for role, parent in parents.items()}
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # mergekit 0.1.5 looks up numpy.core at import
        from mergekit.config import MergeConfiguration
        from mergekit.merge import MergeOptions, run_merge
    options = MergeOptions(
        quiet=True,
        write_model_card=False,
        copy_tokenizer=False,
        random_seed=stage.seed,
        lazy_unpickle=False,
        low_cpu_memory=False,
        device="cpu",
    )
    try:
        run_merge(MergeConfiguration.model_validate(_with_folders(config, folders)), str(out), options)
    except (RuntimeError, ValueError) as error:  # its own refusals; a full disk is the engine's to tell
        raise StageError(f"{stage.name}: mergekit could not merge ({_with_roles(str(error), folders)})") from error
    finally:
        shutil.rmtree(stage.scratch / "parents", ignore_errors=True)
    if "base_model" not in config:
        _adopt_config(out, next(iter(parents.values())).path)
    return {}


_LINKED = (".json", ".safetensors", ".model", ".jinja", ".txt")


def _linked(folder: Path, to: Path) -> Path:
    """A folder with links to a checkpoint's files and to nothing else that lies there."""
    shutil.rmtree(to, ignore_errors=True)
    to.mkdir(parents=True)
    for file in sorted(folder.iterdir()):
        if file.suffix in _LINKED and file.is_file():
            (to / file.name).symlink_to(file.resolve())
    return to.resolve()


def _with_folders(config: Mapping[str, Any], folders: Mapping[str, Path]) -> dict[str, Any]:
    """The configuration with absolute paths for roles, without what the core does itself."""

    def named(value: Any, key: str = "") -> Any:
        if isinstance(value, dict):
            return {k: named(v, k) for k, v in value.items()}
        if isinstance(value, list):
            return [named(entry, key) for entry in value]
        return str(folders[value]) if key in ("model", "base_model") and value in folders else value

    return {key: named(value, key) for key, value in config.items() if key not in _PASSED_OVER}


def _with_roles(text: str, folders: Mapping[str, Path]) -> str:
    for role, folder in folders.items():
        text = text.replace(str(folder), role)
    return text


def _adopt_config(out: Path, donor: Path) -> None:
    """Give the merge the donor's configuration: without a base model, mergekit draws the donor at random."""
    from transformers import AutoConfig

    written = json.loads((out / "config.json").read_bytes())
    config = AutoConfig.from_pretrained(donor)
    config.dtype = written.get("dtype") or written.get("torch_dtype")
    if "num_hidden_layers" in written:
        config.num_hidden_layers = written["num_hidden_layers"]
    config.save_pretrained(out)
