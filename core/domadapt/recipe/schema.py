"""The recipe, schema version 1: every section and key, its type, default and reason.

A recipe that was valid stays valid while the schema's version is 1. Unknown keys are refused everywhere.
Component options (`options`) are free mappings here; they are checked against the component's own
`Config` once the registry is known (`domadapt.recipe.check`). Field docstrings are the manual and land in
`adapt schema`.
"""

from __future__ import annotations

import decimal
import math
import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)
from pydantic.fields import FieldInfo

_COUNT = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?)\s*([KMBT]?)", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_COUNT_WANTED = "wanted a count such as 20000, 500M or 1.5B"
_RUN_NAME = "[a-z0-9][a-z0-9._-]{0,63}"
_SOURCE_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?|.*\.(?:partial|tmp)?")
_LARGEST = 2**63


def parse_count(value: object) -> object:
    """Read a count written as a person writes it: 20000, 500M, 1.5B. Anything else is left to pydantic.

    Raises ValueError for a string that is no count, and for one that is not whole (1.5).
    """
    if isinstance(value, bool):
        raise ValueError(_COUNT_WANTED)
    if not isinstance(value, str):
        return value
    match = _COUNT.fullmatch(value.strip())
    if match is None:
        raise ValueError(_COUNT_WANTED)
    number = decimal.Decimal(match[1].replace("_", "")) * _UNITS[match[2].upper()]
    if number != number.to_integral_value():
        raise ValueError("wanted a whole number")
    return int(number)


def parse_decimal(value: object) -> object:
    """Read a number; YAML 1.1 loads `1e-5` as a string, which is meant as a number here."""
    if isinstance(value, bool):
        raise ValueError("wanted a number")
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            hint = " (5 % is 0.05)" if value.strip().endswith("%") else ""
            raise ValueError(f"wanted a number{hint}") from None
    return value


def parse_start_rate(value: object) -> object:
    """Read the rate that a warm-up rises from: a number, or the word `checkpoint`."""
    if value == "checkpoint":
        return value
    try:
        rate = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else -1.0
    except ValueError:
        rate = -1.0
    if not 0 <= rate < math.inf:
        raise ValueError("wanted a rate such as 1e-6, at least 0, or 'checkpoint'")
    return rate


def parse_run_name(value: str) -> str:
    """Check the name of a run, which becomes a folder.

    Raises ValueError for anything but a short slug, for names no file system takes everywhere (con, nul),
    and for endings that mark unfinished work.
    """
    if not re.fullmatch(_RUN_NAME, value) or _RESERVED.fullmatch(value):
        raise ValueError(
            "wanted a folder name of at most 64 lower-case letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit and not reserved (con, nul, *.tmp)"
        )
    return value


def parse_source_name(value: str) -> str:
    """Check the name of a source, which becomes part of file names. Raises ValueError for anything but a short word."""
    if not re.fullmatch(_SOURCE_NAME, value):
        raise ValueError("wanted a name of at most 64 letters, digits, '.', '_' and '-', such as annual-reports")
    return value


def _named_step(value: object) -> object:
    return {"use": value} if isinstance(value, str) else value


def _named_task(value: object) -> object:
    return {"task": value} if isinstance(value, str) else value


def _task_list(value: object) -> object:
    return [value] if isinstance(value, (str, dict)) else value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _distinct(values: list[str]) -> list[str]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"'{value}' is named twice; remove one")
    return values


def _minutes(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _empty_for_none(value: object) -> object:
    return {} if value is None else value


Count = Annotated[int, BeforeValidator(parse_count, json_schema_input_type=int | str), Field(gt=0, lt=_LARGEST)]
Decimal = Annotated[float, BeforeValidator(parse_decimal), Field(allow_inf_nan=False)]
StartRate = Annotated[
    float | Literal["checkpoint"],
    BeforeValidator(parse_start_rate, json_schema_input_type=float | Literal["checkpoint"]),
]
Options = Annotated[dict[str, Any], BeforeValidator(_empty_for_none, json_schema_input_type=dict[str, Any] | None)]
Name = Annotated[str, Field(min_length=1)]
Line = Annotated[str, Field(min_length=1, pattern=r"^[^\r\n]+$")]
SlurmTime = Annotated[
    str,
    BeforeValidator(_minutes, json_schema_input_type=int | str),
    Field(pattern=r"^([0-9]+-)?[0-9]+(:[0-9]{1,2}){0,2}$"),
]
RunName = Annotated[str, AfterValidator(parse_run_name), Field(json_schema_extra={"pattern": f"^{_RUN_NAME}$"})]
SourceName = Annotated[
    str, AfterValidator(parse_source_name), Field(json_schema_extra={"pattern": f"^{_SOURCE_NAME}$"})
]
Names = Annotated[
    list[str], BeforeValidator(_listed, json_schema_input_type=list[str] | str), AfterValidator(_distinct)
]


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys a model reads, as they are written in a recipe, with their fields."""
    return {
        field.validation_alias if isinstance(field.validation_alias, str) else name: field
        for name, field in model.model_fields.items()
    }


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys refused, field docstrings kept."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class Model(Section):
    """The models at the start."""

    base: Name
    """Pre-trained model: "builtin:tiny", a local folder, or a hub id "org/name". Ancestor of the merge."""
    instruct: Name | None = None
    """Instruction-tuned model of the same base: what the merge gives its general ability back from."""
    start: Literal["base", "instruct"] = "base"
    """Which of the two CPT starts from. Default base: CPT on an instruct model collapses its chat ability."""
    revision: str | None = None
    """Commit of the base on the hub."""
    instruct_revision: str | None = None
    """Commit of the instruct model on the hub."""


class CorpusSource(Section):
    """One source of documents."""

    source: str
    """Name of a source component (`adapt plugins`)."""
    name: SourceName | None = None
    """What this source is called in `mix.sources`, in the accounts and in the report: two folders read by `files` are
    told apart by it. Default: as its component."""
    take: Count | None = None
    """At most so many documents, the first ones in the source's order. Default: all."""
    options: Options = {}
    """Options of that source."""


class CleanStep(Section):
    """One cleaning step."""

    use: str
    """Name of a cleaner component."""
    options: Options = {}
    """Options of that cleaner."""


Step = Annotated[CleanStep, BeforeValidator(_named_step, json_schema_input_type=CleanStep | str)]


class Track(Section):
    """A tracker."""

    use: str
    """Name of a tracker component."""
    options: Options = {}
    """Options of that tracker."""


class CorpusSlurm(Section):
    """What the jobs that work on a corpus ask of a Slurm cluster, for each of its processes."""

    partition: Line | None = None
    """Partition (queue) of the jobs. Required for the executor slurm."""
    time: SlurmTime = "24:00:00"
    """Most time of a job."""
    memory_gb: Count = 4
    """Memory. A parser may take 2 GB, a shard with the cleaners' tables less than another."""
    setup: list[Line] = []
    """Shell lines before anything runs: `module load gcc`. adapt's own environment needs none."""
    sbatch: list[Line] = []
    """Further options of sbatch, as they stand after #SBATCH: --account=lab, --exclusive."""


class CorpusRecipe(Section):
    """Where documents come from and how they are cleaned."""

    domain: list[CorpusSource] = Field(min_length=1)
    """Sources of the domain."""
    general: list[CorpusSource] = []
    """Sources of general text: replayed during training and held out to measure forgetting."""
    clean: list[Step] = [CleanStep(use=u) for u in ("normalize", "min_length", "dedup.exact", "dedup.minhash")]
    """Cleaning steps in their order, for both sides. A step is a name or {use, options}."""
    holdout: Decimal = Field(default=0.05, gt=0, lt=0.5)
    """Share of document groups (companies, journals) in each of the two held-out splits, each side."""
    holdout_documents: Count = 200
    """About so many documents at most in a held-out split: when it has them, no further group joins it. What a
    group brings beyond the number is not used at all."""
    max_reject_rate: Decimal = Field(default=0.5, ge=0, le=1)
    """Largest share of a source's documents that may be unreadable before the run is refused: a corpus of the 3 % that
    could be parsed looks like a success. What a source passes over by design or by its options does not count."""
    executor: Literal["local", "ray", "slurm"] = "local"
    """Who reads and cleans: processes of this machine, a Ray cluster, Slurm jobs. It changes no result and counts in no
    key."""
    workers: Count | None = None
    """How many at a time, over shards; a run that was stopped goes on with any other number. Default: local, one
    process that cleans while up to four parse; ray, the CPUs of the cluster; slurm, one for each shard."""
    slurm: CorpusSlurm = CorpusSlurm()
    """What the executor `slurm` takes besides."""

    @model_validator(mode="after")
    def _slurm_is_told_where(self) -> Self:
        if self.executor == "slurm" and self.slurm.partition is None:
            raise ValueError("executor slurm wants to know the partition: set slurm.partition")
        return self


def _number_of_values(value: object) -> str:
    return "several" if isinstance(value, list) else "one"


# told apart beforehand, so that a wrong number is not also told that it could have been a list
_ONE_OR_SEVERAL = Discriminator(_number_of_values)
ReplayShare = Annotated[Decimal, Field(ge=0, lt=1)]
MixRamp = Annotated[
    Annotated[ReplayShare, Tag("one")]
    | Annotated[list[ReplayShare], Field(min_length=2, max_length=2), Tag("several")],
    _ONE_OR_SEVERAL,
]


class MixSource(Section):
    """How much of one source is trained on. At most one of weight, share and epochs."""

    weight: Decimal | None = Field(default=None, gt=0)
    """Tokens of this source beside those of the others on its side, which then have weights too: 70 and 1 are 70 : 1.
    Default: its size, to the power 1 / `mix.temperature`."""
    share: Decimal | None = Field(default=None, ge=0, le=1)
    """Share of its side's tokens."""
    epochs: Decimal | None = Field(default=None, gt=0)
    """So many passes over it."""
    max_epochs: Decimal | None = Field(default=None, gt=0)
    """How often it may be repeated, in the place of `mix.max_epochs`."""

    @model_validator(mode="after")
    def _one_of_three(self) -> Self:
        said = [name for name in ("weight", "share", "epochs") if getattr(self, name) is not None]
        if len(said) > 1:
            raise ValueError(f"{' and '.join(said)} both say how much of the source there is: keep one of them")
        return self


class MixStage(Section):
    """A stage of training with a mixture of its own. The last one has no end."""

    until: Annotated[Decimal, Field(gt=0, lt=1)] | None = None
    """Where the stage ends, as a share of the training."""
    until_step: Count | None = None
    """Optimizer step after which the stage ends, in the place of `until`: where a training that was stopped goes on
    with other shares."""
    replay: MixRamp | None = None
    """Share of general tokens in this stage: a number, or [from, to] for one that rises or falls evenly. Default:
    `mix.replay`."""
    subset: Decimal = Field(default=1.0, gt=0, le=1)
    """Share of the domain's windows that the stage draws from, again and again: 0.1 over half of the training are the
    same windows several times. What the subset has shown comes last in later stages."""
    weights: dict[str, Annotated[Decimal, Field(ge=0)]] = {}
    """Weights of sources in this stage, in the place of what `mix.sources` says. Sources that are not named, of a side
    of which one is named, have none."""

    @model_validator(mode="after")
    def _one_end(self) -> Self:
        if self.until is not None and self.until_step is not None:
            raise ValueError("until and until_step both say where the stage ends: keep one of them")
        return self


class MixEarlier(Section):
    """A mixture that the training had before, until it was stopped. What is not said here is as `mix` says."""

    until_step: Count
    """The optimizer step at which the training was stopped."""
    steps: Count
    """Optimizer steps of the whole training as it was planned then."""
    replay: ReplayShare
    """Share of general tokens, as in `mix`; so are the others."""
    sources: dict[str, MixSource] = {}
    """How much of which source."""
    temperature: Decimal = Field(default=1.0, ge=1)
    """How sources without a weight count."""
    schedule: list[MixStage] = []
    """Stages of the training as it was planned then."""


def _law_or_share(value: object) -> str:
    return "law" if value == "law" else "share"


# told apart beforehand, so that a wrong number is not also told that it could have been a word
Replay = Annotated[
    Annotated[Decimal, Field(ge=0, lt=1), Tag("share")] | Annotated[Literal["law"], Tag("law")],
    Discriminator(_law_or_share),
]
RATIOS = (0.01, 0.05, 0.1, 0.25, 0.5)
"""Shares of general tokens that the small runs of a law have: evenly by factors, 1 % to a half."""


class MixLaw(Section):
    """The small runs that `replay: law` plans, and the bound that the ratio is chosen under."""

    ratios: Annotated[list[Annotated[Decimal, Field(ge=0, lt=1)]], Field(min_length=5)] | None = None
    """Shares of general tokens of the small runs, five or more. Default: 0.01, 0.05, 0.1, 0.25 and 0.5."""
    length: Decimal = Field(default=0.5, gt=0, le=1)
    """Length of a small run as a share of the training planned. Laws reach twice as far where they were seen to: the
    second half of each small run is predicted from its first."""
    general_loss_at_most: Decimal = Field(default=0.03, ge=0)
    """Rise of the general loss over the instruct model's that is allowed, as a share of it: 0.03 is 3 %, the bound of
    the D-CPT paper's example (Que et al. 2024, arXiv 2406.01375)."""

    @property
    def shares(self) -> tuple[float, ...]:
        """The ratios in rising order."""
        return tuple(sorted(set(self.ratios or RATIOS)))


class Mix(Section):
    """What is trained on."""

    mixer: str = "replay"
    """Name of a mixer component."""
    tokens: Count | None = None
    """Training tokens in total. Default: `train.steps` times `train.batch_tokens`, or one epoch of the domain."""
    replay: Replay = 0.05
    """Share of general tokens in training. 5 % is the advice for a weak shift (Ibrahim et al. 2024). law: small runs
    are trained first, and a law fitted to them chooses it (`law` says how)."""
    law: MixLaw = MixLaw()
    """What `replay: law` does; it has no part in a run with a number there."""
    seq_len: Annotated[Count, Field(ge=8)] = 4096
    """Tokens of a training window."""
    packing: Literal["concat", "greedy", "best_fit", "none"] = "concat"
    """concat: documents in a row, cut every seq_len tokens, no padding. The others pad: greedy cuts a document only
    when it is longer than a window and begins a new window where it does not fit; best_fit, likewise, puts it where the
    least room stays; none gives each document a window and drops what is beyond it."""
    max_epochs: Decimal = Field(default=4.0, gt=0)
    """How often any part may be repeated before the run is refused. 4 epochs are nearly as good as new
    data (Muennighoff et al. 2023, arXiv 2305.16264)."""
    sources: dict[str, MixSource] = {}
    """How much of which source, by its name (`source` of a document): {weight | share | epochs, max_epochs}. Each
    source of a side of which one is named is then a part of its own."""
    temperature: Decimal = Field(default=1.0, ge=1)
    """Sources without a weight count by their size to the power 1 / temperature: 1 as they come, more evens them out
    (Conneau et al. 2020, arXiv 1911.02116, alpha = 1 / temperature). Above 1 every source is a part of its own."""
    schedule: list[MixStage] = []
    """Stages with mixtures of their own: {until, replay, subset, weights}."""
    earlier: list[MixEarlier] = []
    """Mixtures that the training had before it was stopped and went on with this one. adapt writes them into
    recipe.lock.yaml, so that the lock file alone repeats the run."""
    options: Options = {}
    """Options of the mixer."""

    @property
    def share(self) -> float:
        """The share of general tokens; while a law is to choose it, the middle one of those it tries."""
        return self.replay if self.replay != "law" else self.law.shares[len(self.law.shares) // 2]

    @model_serializer(mode="wrap")
    def _without_what_is_idle(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        values: dict[str, Any] = dump(self)
        if self.replay != "law":  # it counts in no key and stands in no lock file
            values.pop("law", None)
        if not self.earlier:
            values.pop("earlier", None)
        return values


class Train(Section):
    """Continual pre-training."""

    backend: str = "torch"
    """Name of a training backend component."""
    objective: Literal["clm", "sft"] = "clm"
    """What is learned. clm: to go on with documents. sft: to answer in conversations (source `conversations`), written
    through the start model's chat template, with the loss on answers only."""
    checkpoint: str | None = Field(default=None, validation_alias="from", serialization_alias="from")
    """A CPT checkpoint made elsewhere (folder or hub id): nothing is trained, it enters at the merge."""
    steps: Count | None = None
    """Optimizer steps. Default: what `mix.tokens` gives."""
    batch_tokens: Count = 4_194_304
    """Tokens of one optimizer step."""
    micro_batch: Count = 8
    """Windows of one forward pass; gradients accumulate up to batch_tokens."""
    lr: Decimal = Field(default=1.5e-5, gt=0)
    """Peak learning rate. 1.5e-5 as in the medical and patent case study."""
    situation: Literal["small_budget", "strong_shift", "weak_shift"] = "small_budget"
    """Which defaults lr, schedule, warmup and min_lr have. small_budget: those of this table. strong_shift: a large
    budget far from what the model knows, re-warmed (Ibrahim et al. 2024). weak_shift: more of what a strongly trained
    model knows, at the rate its training ended with and without warm-up (Parmar et al. 2024)."""
    schedule: Literal["constant", "linear", "cosine", "wsd", "inverse_sqrt", "infinite"] = "cosine"
    """Shape after the warm-up."""
    warmup: Decimal = Field(default=0.01, ge=0, lt=1)
    """Share of the steps in which the rate rises linearly (Gupta et al. 2023: its length hardly matters)."""
    start_lr: StartRate = 0.0
    """Rate that the warm-up rises from. checkpoint: the last one of the training that made the start model."""
    min_lr: Decimal = Field(default=0.1, ge=0, le=1)
    """Final learning rate as a share of the peak."""
    cooldown: Decimal = Field(default=0.4, ge=0, lt=1)
    """infinite: share of the steps in which the rate falls from the peak to the constant one."""
    cooldown_shape: Literal["cosine", "inverse_sqrt"] = "cosine"
    """infinite: how it falls there."""
    constant_lr: Decimal = Field(default=0.55, gt=0, le=1)
    """infinite: the constant rate as a share of the peak (Ibrahim et al. 2024: 1.65e-4 of 3e-4)."""
    anneal: Decimal = Field(default=0.1, ge=0, le=1)
    """wsd and infinite: share of the steps, the last ones, in which the rate falls to its final value."""
    weight_decay: Decimal = Field(default=0.1, ge=0)
    """AdamW's decoupled weight decay, on matrices only."""
    beta1: Decimal = Field(default=0.9, ge=0, lt=1)
    """AdamW."""
    beta2: Decimal = Field(default=0.95, ge=0, lt=1)
    """AdamW."""
    clip: Decimal = Field(default=1.0, gt=0)
    """Largest global gradient norm."""
    precision: Literal["bf16", "fp32"] = "bf16"
    """bf16: autocast over fp32 weights."""
    document_mask: bool = False
    """Whether attention stops at document boundaries (positions restart with each document)."""
    checkpoint_every: Count = 500
    """Steps between checkpoints for resuming."""
    eval_every: Count = 250
    """Steps between measurements of the held-out losses (selection split)."""
    eval_windows: Count = 64
    """Held-out windows per side in such a measurement."""
    probe_items: Annotated[int, BeforeValidator(parse_count, json_schema_input_type=int | str), Field(ge=0)] = 200
    """Items of the first domain benchmark that the model in training is scored on, as often: its stability gap. The
    weights do not depend on it. 0: none."""
    options: Options = {}
    """Options of the backend."""

    model_config = ConfigDict(populate_by_name=True)


Portion = Annotated[Decimal, Field(ge=0, le=1)]
Portions = Annotated[
    Annotated[Portion, Tag("one")] | Annotated[list[Portion], Field(min_length=1), Tag("several")], _ONE_OR_SEVERAL
]
Kept = Annotated[Decimal | None, Field(gt=0, le=1)]
Kepts = Annotated[
    Annotated[Kept, Tag("one")]
    | Annotated[list[Annotated[Decimal, Field(gt=0, le=1)]], Field(min_length=1), Tag("several")],
    _ONE_OR_SEVERAL,
]


class SelectBy(Section):
    """A limit that a sweep's choice must keep."""

    general_loss_at_most: Decimal = Field(ge=0)
    """Bits per byte of general text above the instruct model's, on the selection split. Among the candidates within it
    the one with the least domain bits per byte is chosen."""


class MergeRecipe(Section):
    """Merging the CPT model with the instruct model. Lists of weights or densities make a sweep."""

    methods: Names = ["ties"]
    """Merges: names of methods or presets (`adapt plugins`), or files with a configuration of mergekit (*.yml, with
    base, instruct and cpt as the models' names); each gives a model of its own, all are compared. `--merge` replaces
    them. None at all ([]): nothing is merged."""
    engine: Literal["auto", "fast", "mergekit"] = "auto"
    """What does the arithmetic: adapt's own engine wherever it covers the request, only that, or mergekit."""
    weight: Portions = 0.5
    """Share of the CPT model; the instruct model has the rest. A list is a sweep: every value is tried in memory, and
    one candidate becomes a model."""
    density: Kepts = None
    """Share of each task vector that sparsifying methods keep, for all parents. A list is a sweep."""
    search: Literal["grid", "cma"] = "grid"
    """How candidates of a sweep are found. grid: all combinations of the lists. cma: CMA-ES between the smallest and
    the largest value of each list, with weights and densities searched in any case."""
    budget: Count = 64
    """Most candidates of a sweep. A grid with more is refused; a search divides them among the methods."""
    knots: Annotated[int, Field(ge=1, le=16)] = 3
    """Numbers of a weight's gradient over the layers in a search, first to last layer. 1: one weight for all."""
    select_by: Literal["balanced"] | SelectBy = "balanced"
    """How a sweep chooses, on the selection split. balanced: the most of domain gain kept and general loss won back.
    Or {general_loss_at_most: X}: the best on the domain among those that lose at most X general bits per byte."""
    write: Annotated[Count, Field(le=16)] = 1
    """So many candidates of a sweep become models, evaluated and reported: the chosen one, then others of the front."""
    options: Annotated[dict[str, Options], BeforeValidator(_empty_for_none)] = {}
    """Options by method name; those of a method that is not selected wait for `--merge`, checked all the same. A name
    with the option `config` is a whole configuration of mergekit under that name. In place of a value, {each: [A, B]}
    is a sweep over values."""

    @property
    def share(self) -> float:
        """The weight, of a list the first."""
        return self.weight[0] if isinstance(self.weight, list) else self.weight


class EvalTask(Section):
    """One entry of `eval.domain` or `eval.general`. What is not said here is as `eval` says for all."""

    task: Name
    """Name of a benchmark (`adapt plugins`), or of any task, group or tag of lm-eval."""
    data_dir: Name | None = None
    """Folder with a local copy of the data: files named like the task's splits, or the files as published."""
    num_fewshot: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Solved examples before each item. The task then goes by NAME@NUMBER."""
    limit: Count | None = None
    """At most so many items."""
    chat_template: bool | None = None
    """Whether items go through the model's chat template."""
    prompt: str | None = None
    """Text before every item: the system message, or plain text where there is no chat template."""

    @model_serializer(mode="wrap")
    def _short(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any] | str:
        said = {key: value for key, value in dump(self).items() if value is not None}
        return self.task if len(said) == 1 else said


Tasks = Annotated[
    list[Annotated[EvalTask, BeforeValidator(_named_task, json_schema_input_type=EvalTask | str)]],
    BeforeValidator(_task_list, json_schema_input_type=list[EvalTask | str] | EvalTask | str),
]


class EvalRecipe(Section):
    """What base, instruct, cpt and every merged model are scored on."""

    domain: Tasks = []
    """Tasks of the domain: names of benchmarks (`adapt plugins`) or of lm-eval's tasks and groups, or {task, ...}."""
    general: Tasks = []
    """General tasks, likewise: what must not be lost."""
    data_dir: Name | None = None
    """Folder of local copies of benchmark data: a task finds its own in DATA_DIR/TASK, when there is one."""
    num_fewshot: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Solved examples before each item. None: the number that each task sets. A task that sets 0 keeps it."""
    chat_template: bool = False
    """Whether items go through the models' chat templates. Refused when one of the models has none."""
    prompt: str = ""
    """Text before every item: the system message, or plain text where there is no chat template."""
    engine: Literal["auto", "fast", "lm_eval"] = "auto"
    """What computes likelihoods. auto: adapt's own scorer for choices and perplexities, lm-eval for the rest; the
    results are equal."""
    perplexity: bool = True
    """Whether to measure bits per byte on the report split of both sides."""
    probes: bool = True
    """Whether every model answers a few fixed prompts: does it answer, end, keep the format and the language."""
    controls: Names = []
    """Control arms, so that no gain is claimed against nothing: "self_merge" (the first merge method with the instruct
    model in the place of CPT's), "residual" (with the base in its place: what the merge alone does), "domain_prompt"
    (the instruct model with `domain_prompt` before every item). `--control` adds to them."""
    domain_prompt: str = ""
    """What the control arm "domain_prompt" says before every item."""
    fail_if: list[Name] = []
    """Gates: conditions on the scores, such as "merged.general < 0.97 * instruct.general". One that is true ends the
    run with exit code 3; everything is made all the same."""
    limit: Count | None = None
    """At most so many items a task (None: all). The smallest detectable effect grows as 1/sqrt(limit)."""
    batch_tokens: Count = 16_384
    """Tokens of one evaluation batch; changes no score beyond rounding."""


class LaunchOptions(Section):
    """What a Slurm cluster wants to be told. `local` and `torchrun` take none of it."""

    partition: Line | None = None
    """Partition (queue) of the job."""
    account: Line | None = None
    """Account that the job is charged to."""
    time: SlurmTime | None = None
    """Most time of the job, as Slurm writes it: 24:00:00, 2-00:00:00, or minutes. Default: the partition's."""
    cpus_per_task: Count | None = None
    """CPU cores of each rank. Default: the cluster's."""
    grace: Annotated[int, Field(ge=30, le=65535)] = 300
    """Seconds before the end of its time at which the job is told to save: longer than a checkpoint takes."""
    requeue: bool = True
    """Whether a job that was stopped and saved its work goes back into the queue and continues."""
    setup: list[Line] = []
    """Shell lines before anything runs: `module load cuda`, `source venv/bin/activate`."""
    sbatch: list[Line] = []
    """Further options of sbatch, as they stand after #SBATCH: --exclusive, --qos=high."""
    srun: list[Line] = []
    """Further options of the srun that starts the ranks of the training."""


class Launch(Section):
    """Where a run works (`adapt launch`). It changes no result and counts in no key."""

    executor: Literal["local", "torchrun", "slurm"] = "local"
    """local: this machine; the training backend starts its ranks. torchrun: torchrun starts them, on one or several
    machines. slurm: a job that goes back into the queue when it is preempted."""
    nodes: Count = 1
    """Machines that a training is spread over. More than 1 needs torchrun or slurm, and a folder all of them see."""
    gpus_per_node: Annotated[int, Field(ge=0, le=64)] | None = None
    """GPUs, and so ranks, of each machine. Default: all that are there; slurm must be told (0 for none)."""
    options: LaunchOptions = LaunchOptions()
    """What the executor takes besides."""


class InlinePack(Section):
    """A domain that needs no code, described in its recipe: what an installed pack would bring."""

    title: str = ""
    """What the domain is, in a few words."""
    benchmarks: Annotated[
        list[Name], BeforeValidator(_listed, json_schema_input_type=list[str] | str), AfterValidator(_distinct)
    ] = []
    """Benchmarks in lm-eval's format: `orders.yaml`, beside this file, is the task `orders`."""


class Recipe(Section):
    """A whole recipe."""

    version: Literal[1]
    """Version of this schema."""
    name: RunName | None = None
    """Name of the run: its folder under runs/. Default: the domain's name."""
    domain: str
    """Name of a domain pack: its defaults lie under this recipe."""
    pack: InlinePack | None = None
    """Makes this file a domain pack: `domain` is then its name, and nothing needs to be installed."""
    extends: str | None = None
    """A recipe to start from: a file beside this one, or the name of a packaged recipe of the domain."""
    seed: Annotated[int, BeforeValidator(parse_count), Field(ge=0, lt=2**31)] = 1234
    """Seed of everything random."""
    model: Model
    corpus: CorpusRecipe
    mix: Mix = Mix()
    train: Train = Train()
    merge: MergeRecipe = MergeRecipe()
    eval: EvalRecipe = EvalRecipe()
    launch: Launch = Launch()
    track: list[Annotated[Track, BeforeValidator(_named_step, json_schema_input_type=Track | str)]] = []
    """Where to show the run while it runs, beside its own files. A tracker is a name or {use, options}."""
    resolved: dict[str, Any] | None = None
    """Written by adapt into recipe.lock.yaml: versions and digests. Ignored when a lock file is run as a recipe."""


SYNONYMS = {
    "learning_rate": "lr",
    "max_seq_length": "seq_len",
    "cutoff_len": "seq_len",
    "sequence_len": "seq_len",
    "sequence_length": "seq_len",
    "general_ratio": "replay",
    "replay_ratio": "replay",
    "micro_batch_size": "micro_batch",
    "per_device_train_batch_size": "micro_batch",
    "max_steps": "steps",
    "warmup_ratio": "warmup",
    "lr_scheduler_type": "schedule",
    "scheduler": "schedule",
    "max_grad_norm": "clip",
    "grad_clip": "clip",
    "method": "methods",
    "merge_method": "methods",
    "loader": "source",
    "tasks": "domain",
    "fewshot": "num_fewshot",
    "n_shot": "num_fewshot",
    "shots": "num_fewshot",
    "apply_chat_template": "chat_template",
    "system_prompt": "prompt",
    "system_instruction": "prompt",
    "data": "data_dir",
    "num_train_epochs": "max_epochs",
    "num_epochs": "max_epochs",
    "gradient_clipping": "clip",
    "adam_beta1": "beta1",
    "adam_beta2": "beta2",
    "base_model": "base",
    "model_name_or_path": "base",
    "merge_methods": "methods",
    "sample_packing": "packing",
    "name_or_path": "base",
    "max_tokens": "tokens",
    "global_batch_size": "batch_tokens",
    "save_steps": "checkpoint_every",
    "eval_steps": "eval_every",
}
"""Names that users of other trainers write, for "did you mean"."""
