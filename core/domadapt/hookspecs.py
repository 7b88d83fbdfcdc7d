"""The hooks: everything a plugin can give to adapt, and the whole manual of the plugin system.

A plugin is a module (or an object) named by an entry point of the group `domadapt.plugins`. It
implements the hooks it needs with `@domadapt.hookimpl`. The `adapt_register_*` hooks are collected from
all plugins; what they return is selected by name in a recipe, and two providers of one name are an
error that names both. adapt's own components come through the same hooks.

A plugin's module is imported by every `adapt` command. It must be quick: import torch, transformers,
pyarrow and the like inside the functions that need them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import pluggy

if TYPE_CHECKING:
    from domadapt.artifacts import Artifact
    from domadapt.components import (
        Benchmark,
        Cleaner,
        DomainPack,
        Evaluator,
        Merger,
        Mixer,
        Source,
        Stage,
        Tracker,
        TrainingBackend,
    )

PROJECT = "domadapt"
ENTRY_POINT_GROUP = "domadapt.plugins"

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)


@hookspec
def adapt_register_domains() -> Iterable[DomainPack]:
    """Domains this plugin brings: their name and their packaged recipes (`adapt run --domain NAME`)."""
    raise NotImplementedError


@hookspec
def adapt_register_sources() -> Iterable[type[Source]]:
    """Corpus sources: what reads documents (`corpus.domain[].source`, `corpus.general[].source`)."""
    raise NotImplementedError


@hookspec
def adapt_register_cleaners() -> Iterable[type[Cleaner]]:
    """Cleaning steps (`corpus.clean[]`)."""
    raise NotImplementedError


@hookspec
def adapt_register_mixers() -> Iterable[type[Mixer]]:
    """Mixers: which windows are trained on, how often, and in which order (`mix.mixer`)."""
    raise NotImplementedError


@hookspec
def adapt_register_backends() -> Iterable[type[TrainingBackend]]:
    """Training backends (`train.backend`)."""
    raise NotImplementedError


@hookspec
def adapt_register_mergers() -> Iterable[type[Merger]]:
    """Merge methods, one class per method name (`merge.methods[]`, `--merge`)."""
    raise NotImplementedError


@hookspec
def adapt_register_evaluators() -> Iterable[type[Evaluator]]:
    """Evaluators: what turns a model and a task into scores (`eval.*`)."""
    raise NotImplementedError


@hookspec
def adapt_register_benchmarks() -> Iterable[Benchmark]:
    """Benchmarks: task names a recipe may list under `eval.domain` or `eval.general`."""
    raise NotImplementedError


@hookspec
def adapt_register_trackers() -> Iterable[type[Tracker]]:
    """Trackers: where a run is shown while it runs, beside its own files (`track[]`)."""
    raise NotImplementedError


@hookspec(firstresult=True)
def adapt_resolve_model(ref: str, cache: Path) -> Path | None:
    """Turn a model reference into a local Hugging Face folder, or return None to let others try.

    ref: what the recipe says ("builtin:tiny", "./dir", "org/name@revision").
    cache: a folder that may be written to and is kept between runs.
    Raises MissingError when the reference is this plugin's but cannot be had (offline, no access).
    """


@hookspec(firstresult=True)
def adapt_run_stage(stage: Stage, inputs: Mapping[str, Artifact], out: Path) -> bool | None:
    """Do the work of one stage that is not in the store yet: fill the directory `out`.

    Called around every stage that really runs. The core's own implementation comes last and calls the
    stage's component. A tracker or an observer is a wrapper (`@hookimpl(wrapper=True)`): it sees the
    stage, its inputs and, after `yield`, the finished directory. Returns True when the work was done.
    """
