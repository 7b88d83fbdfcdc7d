"""The recipe, schema version 1: every section and key, its type, default and reason.

A recipe that was valid stays valid while the schema's version is 1. Unknown keys are refused everywhere.
Component options (`options`) are free mappings here; they are checked against the component's own
`Config` once the registry is known (`domadapt.recipe.check`). Field docstrings are the manual and land in
`adapt schema`.
"""

from __future__ import annotations

import decimal
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field
from pydantic.fields import FieldInfo

_COUNT = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?)\s*([KMBT]?)", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_COUNT_WANTED = "wanted a count such as 20000, 500M or 1.5B"
_RUN_NAME = "[a-z0-9][a-z0-9._-]{0,63}"
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


def _named_step(value: object) -> object:
    return {"use": value} if isinstance(value, str) else value


def _listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _distinct(values: list[str]) -> list[str]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"'{value}' is named twice; remove one")
    return values


def _empty_for_none(value: object) -> object:
    return {} if value is None else value


Count = Annotated[int, BeforeValidator(parse_count, json_schema_input_type=int | str), Field(gt=0, lt=_LARGEST)]
Decimal = Annotated[float, BeforeValidator(parse_decimal), Field(allow_inf_nan=False)]
Options = Annotated[dict[str, Any], BeforeValidator(_empty_for_none, json_schema_input_type=dict[str, Any] | None)]
Name = Annotated[str, Field(min_length=1)]
RunName = Annotated[str, AfterValidator(parse_run_name), Field(json_schema_extra={"pattern": f"^{_RUN_NAME}$"})]
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


class Mix(Section):
    """What is trained on."""

    mixer: str = "replay"
    """Name of a mixer component."""
    tokens: Count | None = None
    """Training tokens in total. Default: `train.steps` times `train.batch_tokens`, or one epoch of the domain."""
    replay: Decimal = Field(default=0.05, ge=0, lt=1)
    """Share of general tokens in training. 5 % is the advice for a weak shift (Ibrahim et al. 2024)."""
    seq_len: Annotated[Count, Field(ge=8)] = 4096
    """Tokens of a training window."""
    packing: Literal["concat", "best_fit"] = "concat"
    """concat: documents in a row, cut every seq_len tokens, no padding. best_fit: a document is cut only
    when longer than a window; short ones are packed by best fit, the rest of a window is padding."""
    max_epochs: Decimal = Field(default=4.0, gt=0)
    """How often any part may be repeated before the run is refused. 4 epochs are nearly as good as new
    data (Muennighoff et al. 2023, arXiv 2305.16264)."""
    options: Options = {}
    """Options of the mixer."""


class Train(Section):
    """Continual pre-training."""

    backend: str = "torch"
    """Name of a training backend component."""
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
    schedule: Literal["cosine", "constant"] = "cosine"
    """Shape after the warm-up."""
    warmup: Decimal = Field(default=0.01, ge=0, lt=1)
    """Share of the steps with a linearly rising rate (Gupta et al. 2023: its length hardly matters)."""
    min_lr: Decimal = Field(default=0.1, ge=0, le=1)
    """Final learning rate as a share of the peak."""
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
    options: Options = {}
    """Options of the backend."""

    model_config = ConfigDict(populate_by_name=True)


class MergeRecipe(Section):
    """Merging the CPT model with the instruct model."""

    methods: Names = ["ties"]
    """Name or names of merge methods; each gives a model of its own, all are compared. `--merge` replaces them.
    None at all ([]): nothing is merged."""
    engine: Literal["auto", "mergekit"] = "auto"
    """What does the arithmetic."""
    weight: Decimal = Field(default=0.5, ge=0, le=1)
    """Share of the CPT model; the instruct model has the rest."""
    density: Decimal | None = Field(default=None, gt=0, le=1)
    """Share of each task vector that sparsifying methods keep, for all parents."""
    options: Annotated[dict[str, Options], BeforeValidator(_empty_for_none)] = {}
    """Options by method name; those of a method that is not selected wait for `--merge`, checked all the same."""


class EvalRecipe(Section):
    """What base, instruct, cpt and every merged model are scored on."""

    domain: Names = []
    """Tasks of the domain: names of benchmarks (`adapt plugins`)."""
    general: Names = []
    """General tasks, likewise: what must not be lost."""
    perplexity: bool = True
    """Whether to measure bits per byte on the report split of both sides."""
    limit: Count | None = None
    """At most so many items a task (None: all). The smallest detectable effect grows as 1/sqrt(limit)."""
    batch_tokens: Count = 16_384
    """Tokens of one evaluation batch; changes no score beyond rounding."""


class Recipe(Section):
    """A whole recipe."""

    version: Literal[1]
    """Version of this schema."""
    name: RunName | None = None
    """Name of the run: its folder under runs/. Default: the domain's name."""
    domain: str
    """Name of a domain pack: its defaults lie under this recipe."""
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
