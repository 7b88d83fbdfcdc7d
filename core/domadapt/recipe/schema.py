"""The recipe, schema version 1: every section and key, its type, default and reason.

A recipe that was valid stays valid while the schema's version is 1. Unknown keys are refused everywhere.
Component options (`options`) are free mappings here; they are checked against the component's own
`Config` once the registry is known (`domadapt.recipe.check`). Field docstrings are the manual and land in
`adapt schema`.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    Field,
    SerializerFunctionWrapHandler,
    Tag,
    model_serializer,
    model_validator,
)

from domadapt.recipe.mix import Mix
from domadapt.recipe.values import (
    ONE_OR_SEVERAL,
    Count,
    Decimal,
    Line,
    Name,
    Names,
    Options,
    RunName,
    Section,
    SlurmTime,
    SourceName,
    StartRate,
    distinct,
    empty_for_none,
    listed,
    parse_count,
)


def _named_step(value: object) -> object:
    return {"use": value} if isinstance(value, str) else value


def _named_task(value: object) -> object:
    return {"task": value} if isinstance(value, str) else value


def _task_list(value: object) -> object:
    return [value] if isinstance(value, (str, dict)) else value


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
    Annotated[Portion, Tag("one")] | Annotated[list[Portion], Field(min_length=1), Tag("several")], ONE_OR_SEVERAL
]
Kept = Annotated[Decimal | None, Field(gt=0, le=1)]
Kepts = Annotated[
    Annotated[Kept, Tag("one")]
    | Annotated[list[Annotated[Decimal, Field(gt=0, le=1)]], Field(min_length=1), Tag("several")],
    ONE_OR_SEVERAL,
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
    options: Annotated[dict[str, Options], BeforeValidator(empty_for_none)] = {}
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
        list[Name], BeforeValidator(listed, json_schema_input_type=list[str] | str), AfterValidator(distinct)
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
