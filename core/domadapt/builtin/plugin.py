"""The core as a plugin."""

from __future__ import annotations

import shutil
from collections.abc import Generator, Iterable, Mapping
from pathlib import Path

from domadapt import hookimpl
from domadapt.artifacts import Artifact
from domadapt.builtin.cleaning.boilerplate import BoilerplateLines
from domadapt.builtin.cleaning.decontamination import Decontamination
from domadapt.builtin.cleaning.dsir import Dsir
from domadapt.builtin.cleaning.duplicates import ExactDuplicates, MinHashDuplicates
from domadapt.builtin.cleaning.gopher import Gopher
from domadapt.builtin.cleaning.language import Language
from domadapt.builtin.cleaning.perplexity_selection import PerplexitySelection
from domadapt.builtin.cleaning.pii import Pii
from domadapt.builtin.cleaning.repetition import Repetition
from domadapt.builtin.cleaning.text import MinLength, Normalize
from domadapt.builtin.cleaning.unicode_repair import UnicodeRepair
from domadapt.builtin.cleaning.web_rules import C4, FineWeb
from domadapt.builtin.corpora.conversations import ConversationsSource
from domadapt.builtin.corpora.files import FilesSource
from domadapt.builtin.corpora.general import GeneralSample
from domadapt.builtin.corpora.hub import HubSource
from domadapt.builtin.evaluating.lm_eval_tasks import LmEval
from domadapt.builtin.evaluating.perplexity import Perplexity
from domadapt.builtin.evaluating.probes.evaluator import Probes
from domadapt.builtin.merging.methods import METHOD_MERGERS
from domadapt.builtin.merging.presets import PRESETS
from domadapt.builtin.mixing.replay import ReplayMixer
from domadapt.builtin.models.resolve import resolve_model
from domadapt.builtin.tracking.mlflow import MlflowTracker
from domadapt.builtin.tracking.tensorboard import TensorboardTracker
from domadapt.builtin.tracking.watching import watched
from domadapt.builtin.training.megatron.backend import MegatronBackend
from domadapt.builtin.training.nemo.backend import NemoBackend
from domadapt.builtin.training.torch_loop import TorchBackend
from domadapt.components import Benchmark, Cleaner, Evaluator, Merger, Mixer, Source, Stage, Tracker, TrainingBackend

TASKS = Path(__file__).parent / "evaluating" / "tasks"


@hookimpl
def adapt_register_sources() -> Iterable[type[Source]]:
    """Local files, conversations, data sets of the hub, and the general sample text."""
    return (FilesSource, ConversationsSource, HubSource, GeneralSample)


@hookimpl
def adapt_register_cleaners() -> Iterable[type[Cleaner]]:
    """Repair, language, quality, boilerplate, personal data, contamination, duplicates, selection."""
    return (
        UnicodeRepair,
        Normalize,
        MinLength,
        Language,
        Gopher,
        Repetition,
        C4,
        FineWeb,
        BoilerplateLines,
        Pii,
        Decontamination,
        PerplexitySelection,
        Dsir,
        ExactDuplicates,
        MinHashDuplicates,
    )


@hookimpl
def adapt_register_mixers() -> Iterable[type[Mixer]]:
    """Replay."""
    return (ReplayMixer,)


@hookimpl
def adapt_register_backends() -> Iterable[type[TrainingBackend]]:
    """Torch in this process, Megatron-Core in processes of its own, NeMo in an environment of its own."""
    return (TorchBackend, MegatronBackend, NemoBackend)


@hookimpl
def adapt_register_mergers() -> Iterable[type[Merger]]:
    """mergekit's methods, whole configurations, and published merges."""
    return (*METHOD_MERGERS, *PRESETS)


@hookimpl
def adapt_register_evaluators() -> Iterable[type[Evaluator]]:
    """Bits per byte, lm-eval, generation probes."""
    return (Perplexity, LmEval, Probes)


@hookimpl
def adapt_register_trackers() -> Iterable[type[Tracker]]:
    """TensorBoard and MLflow, both on this machine unless told otherwise."""
    return (TensorboardTracker, MlflowTracker)


@hookimpl
def adapt_register_benchmarks() -> Iterable[Benchmark]:
    """Following simple instructions in the chat format."""
    title = "Simple instructions, answered exactly in the chat format of the built-in models"
    return (Benchmark("instruct_format", title, TASKS),)


@hookimpl
def adapt_resolve_model(ref: str, cache: Path) -> Path | None:
    """builtin:NAME, local folders, the Hugging Face hub."""
    return resolve_model(ref, cache)


@hookimpl(wrapper=True, specname="adapt_run_stage")
def adapt_watch_stage(stage: Stage, out: Path) -> Generator[None, bool | None, bool | None]:
    """Let the run's trackers see the stage."""
    with watched(stage, out):
        return (yield)


@hookimpl(trylast=True)
def adapt_run_stage(stage: Stage, inputs: Mapping[str, Artifact], out: Path) -> bool:
    """Let the stage's component do the work, in an empty folder: a plugin that tried and failed may have left files."""
    for left in out.iterdir():
        shutil.rmtree(left) if left.is_dir() else left.unlink()
    stage.facts.update(stage.work(stage, inputs, out))
    return True
