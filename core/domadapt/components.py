"""The components a plugin can bring: what each receives, what it must write, what it may raise.

A component is a class with a `name` (what a recipe selects), a `version` (raised whenever the same
configuration would give another result, so that old results are not reused) and a `Config`, a pydantic
model whose fields are the component's options in a recipe. adapt validates the options before anything
runs and passes them to the constructor.

Handles and batches travel between components, never single tensors, documents or tokens.
Whatever a method raises that is an `AdaptError` is shown to the user as its one sentence; anything else
is a bug of the component and is reported with the component's name.
"""

from __future__ import annotations

import itertools
import random
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from domadapt.artifacts import Checkpoint, Corpus, ScoreRow, Split, TokenStore
    from domadapt.recipe.mix import MixSource, MixStage
    from domadapt.recipe.schema import Launch, Train

Reject = Callable[[str, str], None]
Side = Literal["domain", "general"]
Tensor = Any
"""A torch.Tensor; torch is not imported to read the contract."""


class Options(BaseModel):
    """Base of every component's `Config`: immutable, unknown keys refused.

    Give every field a default or not (a missing one is a recipe error), a range where there is one, and
    a docstring: what it is, its unit, why this default, its source. A field that cannot change the
    result (a log interval, a number of workers) is marked `Field(json_schema_extra=NO_EFFECT)` and then
    does not count in the key of the stage.
    """

    # defer_build: `adapt plugins` imports every Config and validates with none of them. Docstrings wait too
    # (`documented`): pydantic would read the source of every class at import, a millisecond each.
    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    @classmethod
    def documented(cls) -> type[Self]:
        """This class with the docstrings of its fields as their descriptions, for messages and `adapt schema`."""
        if any(field.description is None for field in cls.model_fields.values()):
            docs: dict[str, str] = {}
            for base in reversed(cls.__mro__):
                if issubclass(base, Options) and base is not Options:
                    docs |= _attribute_docstrings(base)
            for name, field in cls.model_fields.items():
                field.description = field.description or docs.get(name)
            cls.model_rebuild(force=True)
        return cls


def _attribute_docstrings(cls: type) -> dict[str, str]:
    """The strings behind the annotated attributes of a class; nothing where its source is not at hand."""
    import ast
    import inspect
    import textwrap

    try:
        (node,) = ast.parse(textwrap.dedent(inspect.getsource(cls))).body
    except (OSError, TypeError, SyntaxError, ValueError):
        return {}
    body = node.body if isinstance(node, ast.ClassDef) else []
    return {
        field.target.id: inspect.cleandoc(doc.value.value)
        for field, doc in itertools.pairwise(body)
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(doc, ast.Expr)
        and isinstance(doc.value, ast.Constant)
        and isinstance(doc.value.value, str)
    }


NO_EFFECT: dict[str, Any] = {"x-adapt-no-effect": True}


class Component(ABC):
    """Something a recipe selects by name."""

    name: ClassVar[str]
    version: ClassVar[str] = "1"
    Config: ClassVar[type[Options]] = Options
    caveat: ClassVar[str] = ""
    """What a user must know before relying on it, e.g. "generated, never run on a GPU". Shown by `adapt plugins`."""

    def __init__(self, config: Options | None = None) -> None:
        self.config: Any = self.Config() if config is None else config

    def requirements(self) -> list[str]:
        """What is missing on this machine to run, one sentence each; called before anything runs."""
        return []


@dataclass
class Stage:
    """What a component knows about the stage it works for, and how it speaks while it works.

    name: the stage ("corpus.domain", "train", "merge.ties").  key: its content key.
    seed: the run's seed; derive others with `rng`, never use a global generator unseeded.
    component: who does the work.  work: the call that does it, filled in by the engine.
    scratch: a folder that survives a kill until the stage is done: what an interrupted attempt left there,
    the next one finds. The output folder, in contrast, is empty at every attempt.
    """

    name: str
    key: str
    seed: int
    component: str
    work: Callable[[Stage, Mapping[str, Any], Path], dict[str, Any]]
    scratch: Path
    emit: Callable[[str, Mapping[str, Any]], None] = lambda kind, data: None
    stop_requested: Callable[[], bool] = lambda: False
    run: Path = Path()
    """The folder of the run: where a tracker may write. Nothing in it may change a result."""
    trackers: Sequence[Tracker] = ()
    """The run's trackers."""
    facts: dict[str, Any] = field(default_factory=dict)
    measured: dict[str, float] = field(default_factory=dict)
    """Numbers of this machine, which differ between equal runs: reported among the run facts, part of no artifact."""

    def event(self, kind: str, **data: Any) -> None:
        """Write one line to the run's events.jsonl."""
        self.emit(kind, data)

    def progress(self, done: float, total: float, unit: str, **shown: Any) -> None:
        """Say how far the stage is; `shown` values (loss, rate) appear behind the bar."""
        self.emit("progress", {"done": done, "total": total, "unit": unit, **shown})

    def rng(self, purpose: str) -> random.Random:
        """A generator of its own for one purpose, the same in every run with this seed."""
        return random.Random(f"{self.seed}/{purpose}")


class Source(Component):
    """Reads documents. One instance reads one entry of `corpus.domain` or `corpus.general`."""

    passes_over: ClassVar[frozenset[str]] = frozenset()
    """Reasons it rejects with that are no failure to read: attachments that are no documents, what its options leave
    out. They do not count against `corpus.max_reject_rate`."""

    @abstractmethod
    def fingerprint(self) -> str:
        """A digest of what would be read: for files of their contents, never of their location or time.

        Two equal fingerprints mean equal documents. It must be quick: the engine calls it on every run
        (`domadapt.pipeline.fingerprints.digest_files` hashes files once and remembers).
        Raises MissingError when the input is not there.
        """

    @abstractmethod
    def read(self, reject: Reject) -> Iterator[pa.RecordBatch]:
        """Yield the documents as record batches with `domadapt.artifacts.document_schema()`.

        Order and contents depend on the configuration and the input alone. Whatever cannot be a document
        is reported with `reject(reason, where)`, once a document: reasons are few and short ("no text",
        "uuencoded"), they become lines of the data funnel, where documents in = kept + dropped by reason.
        A damaged input never stops the run, it is rejected.
        """


class Cleaner(Component):
    """One cleaning step. One instance sees every document of one corpus, in order, so it may keep state.

    `clean` is all that most steps need. The rest is for steps that learn from files, that must know all documents
    before they decide, that compare documents, or that keep the items of benchmarks out of the corpus.
    """

    surveys: ClassVar[int] = 0
    """How often it wants to see every document before the first `clean`."""
    across_corpora: ClassVar[bool] = False
    """Whether it compares documents. When the general corpus is made, it is then given those of the finished domain
    corpus first, like any others (surveys, `clean`), so that no document is on both sides; they are not kept twice."""
    reads_benchmarks: ClassVar[bool] = False
    """Whether the recipe's benchmarks decide the result; then they count in the key."""
    independent: ClassVar[bool] = False
    """Whether `clean` treats each document by itself, whatever came before. Then copies of it, made after `prepare` and
    the surveys, may clean shards of the corpus in parallel (`corpus.workers`); their tallies are added up."""
    tally: Mapping[str, int] = MappingProxyType({})
    """What it counts beside documents (lines removed, addresses masked), shown with its line of the funnel."""

    def fingerprint(self) -> str:
        """A digest of the files it learns from, "" for none. It counts in the key. Raises MissingError."""
        return ""

    def prepare(self, stage: Stage, benchmarks: Sequence[Benchmark]) -> None:
        """Get ready, once, before the first document. benchmarks: those of the recipe, each once."""

    def survey(self, batch: pa.RecordBatch, number: int) -> None:
        """See every document in order, `surveys` times: number is 0, then 1, ..."""

    def notes(self) -> Any:
        """What a copy brings home from a shard beside its tally, for `finish`; picklable."""
        return None

    def add_notes(self, notes: Any) -> None:
        """Take over what a copy brought home, shard by shard in the order of the documents."""

    def finish(self, out: Path) -> dict[str, Any]:
        """State facts after the last document; may write files into the corpus, which lies at `out`."""
        return {}

    @abstractmethod
    def clean(self, batch: pa.RecordBatch) -> tuple[pa.RecordBatch, Mapping[str, int]]:
        """Return the documents kept, changed or not, and how many were dropped by reason.

        The batch has the columns of `document_schema()`, and so must the result. Documents in = documents
        out + sum of the drops; the engine checks it.
        """


@dataclass(frozen=True)
class MixRequest:
    """What a mixer may know. Counts are windows of `seq_len` tokens."""

    available: Mapping[str, int]
    num_samples: int
    replay: float
    max_epochs: float
    seed: int
    sides: Mapping[str, Side] = field(default_factory=dict)
    """Of parts that are not a whole side: the sources named in `mix.sources`."""
    sources: Mapping[str, MixSource] = field(default_factory=dict)
    """What `mix.sources` asks of parts."""
    temperature: float = 1.0
    schedule: Sequence[MixStage] = ()
    samples_per_step: int = 1
    until: int | None = None
    """Of an earlier mixture: the number of samples after which the training was stopped."""
    earlier: Sequence[MixRequest] = ()
    """Mixtures that the training had before, in order. Their samples up to `until` have been read: they come first, as
    they came then, and what follows takes into account which windows they have used."""

    def side(self, part: str) -> Side:
        """The side of a part."""
        return self.sides.get(part, "general" if part == "general" else "domain")


class Mixer(Component):
    """Chooses which windows are trained on, how often, and in which order."""

    @abstractmethod
    def order(self, request: MixRequest) -> np.ndarray:
        """Training order, int64 [num_samples, 2]: part number (position in `request.available`), window.

        A pure function of the request. Raises DataError when the parts cannot give what was asked.
        """


@dataclass(frozen=True)
class TrainRequest:
    """What to train: `settings` is the recipe's `train` section with all defaults filled in.

    probe, evaluator: what the model is scored on at step 0 and at every held-out measurement, and by whom;
    None for no probes. A backend that cannot score a live model may leave them out.
    launch: the recipe's `launch` section, where the work is spread over machines; None for this machine.
    """

    start: Checkpoint
    tokens: TokenStore
    settings: Train
    num_steps: int
    samples_per_step: int
    probe: EvalRequest | None = None
    evaluator: Evaluator | None = None
    launch: Launch | None = None


class TrainingBackend(Component):
    """Continual pre-training: a Hugging Face folder in, a Hugging Face folder out."""

    @abstractmethod
    def train(self, request: TrainRequest, out: Path, stage: Stage) -> dict[str, Any]:
        """Train and write the model, its tokenizer and its chat template into `out`; return facts.

        Keep checkpoints in `stage.scratch`: an interrupted attempt at the same stage left its own there;
        continue from the newest intact one, with the same order of data. Write `training/metrics.jsonl`,
        one line a logged step (step, loss, lr, grad_norm, tokens) and one an evaluation (step,
        heldout_domain, heldout_general; nats per token), no times. When `stage.stop_requested()`, save and
        raise Interrupted.
        Raises StageError before the step that a non-finite loss would spoil.
        """


@dataclass(frozen=True)
class WeightedCheckpoint:
    """A parent of a merge with its share; shares of all parents sum to 1."""

    checkpoint: Checkpoint
    weight: float


class Merger(Component):
    """A merge method: whole checkpoints in, a checkpoint out.

    A method that takes the general knob `merge.weight` or `merge.density` has a field of that name in
    its Config; anything else a recipe sets under `merge.options.NAME`.
    """

    uses_ancestor: ClassVar[bool] = False
    ignores_weight: ClassVar[bool] = False
    """Whether `merge.weight` has no part in it: a preset whose parameters are fixed."""
    members: ClassVar[tuple[str, ...]] = ()
    """Names of the merges it stands for, side by side; then it is never run itself."""
    cpt_starts_from: ClassVar[str] = ""
    """The only `model.start` it makes sense for, "" for any."""

    @abstractmethod
    def merge(
        self, ancestor: Checkpoint, models: Sequence[WeightedCheckpoint], out: Path, stage: Stage
    ) -> dict[str, Any]:
        """Write the merged weights and config into `out`; return facts.

        ancestor: the pre-trained model the others descend from.  models: (instruct, cpt) in this order.
        The engine adds tokenizer, chat template and generation config of the instruct model afterwards
        and refuses non-finite weights.
        """


class TensorMerger(Merger):
    """A merge method that works on one parameter at a time: what most authors write.

    Write `merge_tensor` and nothing else: reading and writing (sharded, any mixture of bf16, fp16 and fp32, tied
    output layers), refusal of parents that do not fit and of values that are not finite, and sweeps are there.
    """

    @abstractmethod
    def merge_tensor(
        self, name: str, ancestor: Tensor | None, tuned: Sequence[Tensor], weights: Sequence[float], rng: Any
    ) -> Tensor:
        """Merge one parameter; return a tensor of the same shape.

        name: of the parameter ("model.layers.0.mlp.up_proj.weight").  ancestor: its values in the model that the
        others descend from, when `uses_ancestor`, else None.  tuned: those of the models, (instruct, cpt).
        weights: their shares for this parameter.  rng: a torch.Generator, seeded by the run's seed and the name,
        so that random choices do not depend on the order of parameters.
        Tensors are torch's, fp32, on the CPU, and the method's to change.
        """

    def merge(
        self, ancestor: Checkpoint, models: Sequence[WeightedCheckpoint], out: Path, stage: Stage
    ) -> dict[str, Any]:
        """Merge parameter by parameter; the first model's config.json comes along."""
        from domadapt.builtin.merging.fast import tensorwise

        return tensorwise.run(self, ancestor, models, out, stage)


@dataclass(frozen=True)
class LiveModel:
    """A model in memory, scored without touching the disk: a merge candidate, a model being trained.

    network: a transformers causal LM in eval mode.  tokenizer: its tokenizer, with the chat template if
    the model has one.
    """

    network: Any
    tokenizer: Any


@dataclass(frozen=True)
class EvalRequest:
    """What to evaluate a model on.

    task: its name in scores.  side: of the ledger.  benchmark: what to run, None for an evaluator that
    scores the corpus.  corpus: the clean corpus of that side, for evaluators with `reads_corpus`, of which
    `split` is scored: "report" for what is reported, "selection" for what may choose.  limit: at most so
    many items (None: all).  batch_tokens: tokens of one batch.  num_fewshot: solved examples before each
    item, None for the task's own number.  chat_template: whether prompts go through the model's chat
    template (refused when it has none).  prompt: text put before every item as a system message, or
    as plain text where there is no chat template; "" for none.
    """

    task: str
    side: Side
    benchmark: Benchmark | None
    corpus: Corpus | None
    limit: int | None
    batch_tokens: int
    split: Split = "report"
    num_fewshot: int | None = None
    chat_template: bool = False
    prompt: str = ""


class Evaluator(Component):
    """Turns a model and a task into scores with samples."""

    reads_corpus: ClassVar[bool] = False
    """Whether it scores the held-out documents of a corpus instead of a benchmark."""

    def fingerprint(self) -> str:
        """A digest of what it asks besides a benchmark (a file of prompts), "" for nothing. It counts in the key."""
        return ""

    @abstractmethod
    def evaluate(self, model: Checkpoint | LiveModel, request: EvalRequest, out: Path, stage: Stage) -> list[ScoreRow]:
        """Score one model on one task: return the rows and write `samples.parquet` into `out`.

        samples.parquet: metric, item, cluster (strings), value, weight (float64), see `Scorecard`. Items
        and their order are the same for every model. It may add `items.jsonl`, one object an item (item,
        prompt, wanted, given: short texts), which the report uses to show what changed between models, and
        `answers.jsonl`, one object a generated answer (item, prompt, answer, ended).
        """


class Tracker(Component):
    """Shows a run elsewhere while it runs. One instance serves a command from its first stage to its last.

    It sees everything and changes nothing. Whatever it raises becomes a warning and ends it; the run goes on.
    """

    def begin(self, stage: Stage) -> None:
        """A stage begins that is not in the store yet."""

    def event(self, stage: Stage, kind: str, data: Mapping[str, Any]) -> None:
        """Something happened in a stage: every event as it goes to events.jsonl, and "progress" besides.

        Of training: "progress" with done (the step), loss and tokens; "heldout" and "probe" with step and values.
        """

    @abstractmethod
    def end(self, stage: Stage, out: Path) -> None:
        """A stage is done: its facts are in `stage.facts`, its files in `out`, where nothing may be written.

        `training/metrics.jsonl` of a train stage has every step, `scores.json` of an evaluation every score.
        """


@dataclass(frozen=True)
class DomainPack:
    """A domain: `adapt run --domain NAME` runs `recipes/starter.yaml`.

    recipes: folder of packaged recipes (NAME.yaml).  `defaults.yaml` there, when present, is the layer
    between the core's defaults and every recipe that says `domain: NAME`.  claims: a YAML file of published
    numbers with their sources (`domadapt.claims.schema`), which `adapt claims` compares with runs.
    """

    name: str
    title: str
    recipes: Path
    claims: Path | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.recipes, Path):
            raise TypeError(f"DomainPack '{self.name}': recipes is to be a pathlib.Path, not {self.recipes!r}")


@dataclass(frozen=True)
class Benchmark:
    """A task by name. `path`: folder that holds `NAME.yaml` (lm-eval's format) and its data.

    Paths in the YAML's `dataset_kwargs.data_files` are relative to the YAML.  evaluator: the component
    that runs it.  version: raised when items or scoring change.
    """

    name: str
    title: str
    path: Path
    evaluator: str = "lm_eval"
    version: str = "1"

    def __post_init__(self) -> None:
        if not isinstance(self.path, Path):
            raise TypeError(f"Benchmark '{self.name}': path is to be a pathlib.Path, not {self.path!r}")
