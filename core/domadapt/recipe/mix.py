"""The section `mix` of a recipe: what is trained on, how often and when."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, SerializerFunctionWrapHandler, Tag, model_serializer, model_validator

from domadapt.recipe.values import ONE_OR_SEVERAL, Count, Decimal, Options, Section

ReplayShare = Annotated[Decimal, Field(ge=0, lt=1)]
MixRamp = Annotated[
    Annotated[ReplayShare, Tag("one")]
    | Annotated[list[ReplayShare], Field(min_length=2, max_length=2), Tag("several")],
    ONE_OR_SEVERAL,
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
