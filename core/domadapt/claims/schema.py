"""Published numbers as data: what a paper says, of which model, on which task, and where it says so.

A claims file is YAML, strict: an unknown key or a missing source is an error, because a number without its source
cannot be checked. Three kinds: `value` (a score), `direction` (which models are ahead of which), `statement` (what
no run's scores can test, kept with the reason so that it is not forgotten).
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from domadapt.errors import DataError

Role = Literal["base", "instruct", "cpt", "merged"]
Text = Annotated[str, Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


class Paper(_Strict):
    """Where a number stands."""

    title: Text
    """Title of the paper, model card or page."""
    where: Text
    """Section, table, figure or file in it."""
    arxiv: str | None = Field(default=None, pattern=r"^\d{4}\.\d{4,5}$")
    """arXiv number."""
    url: str | None = Field(default=None, pattern=r"^https://")
    """Address, when there is no arXiv number."""
    read: Literal["primary", "secondary"] = "primary"
    """primary: read there. secondary: taken from another text that quotes it."""

    @model_validator(mode="after")
    def _has_an_address(self) -> Paper:
        if self.arxiv is None and self.url is None:
            raise ValueError("wanted arxiv or url")
        return self


class Setting(_Strict):
    """The models of a published experiment, as hub ids; what is None was not published or does not matter."""

    base: str | None = None
    """Pre-trained model."""
    instruct: str | None = None
    """Instruction-tuned model of the same base."""
    cpt: str | None = None
    """Continually pre-trained model, where its weights are public; else what it is called."""
    data: str | None = None
    """Training text that cannot be had, which alone makes the experiment untestable."""


class Subject(_Strict):
    """Which model of an experiment a number belongs to."""

    role: Role
    """What it is in a run."""
    method: str | None = None
    """Merge method, for merged models."""

    @model_validator(mode="after")
    def _only_merges_have_methods(self) -> Subject:
        if self.method is not None and self.role != "merged":
            raise ValueError("only a merged model has a method")
        return self

    def __str__(self) -> str:
        return self.method or self.role


class _Claim(_Strict):
    id: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    """Unique name, beginning with the pack's."""
    paper: Paper
    setting: Setting
    note: str = ""
    """What a reader must know: doubts, arithmetic, whence a second-hand number."""


class ValueClaim(_Claim):
    """A published score."""

    kind: Literal["value"]
    model: Subject
    task: Text
    """Name of the task as adapt runs it."""
    metric: Text
    value: float
    """In `unit`, as printed."""
    unit: Literal["percent", "share", "bits/byte", "perplexity"]
    n: int | None = Field(default=None, gt=0)
    """Items it was scored on."""
    stderr: float | None = Field(default=None, gt=0)
    """As printed, in `unit`."""
    compared_with: str | None = None
    """Id of the claim that the paper compares it with."""
    conditions: str = ""
    """Few-shot, prompt, split: what else must be equal."""
    tolerance: float = Field(ge=0)
    """In `unit`: rounding and differences between evaluation codes; added to the run's interval."""


class DirectionClaim(_Claim):
    """A published order: every model of a group is ahead of every model of the next group."""

    kind: Literal["direction"]
    says: Text
    """The claim in words."""
    ahead: list[Annotated[list[Subject], Field(min_length=1)]] = Field(min_length=2)
    """Groups of models, the best first."""
    tasks: list[Text] = Field(min_length=1)
    """Published tasks; patterns with * are allowed."""
    miniature: list[Text] = []
    """Tasks of a small run that stand for them; patterns with *, "domain" or "general" for a side. Empty: none do."""


class StatementClaim(_Claim):
    """Something published that no run's scores can test."""

    kind: Literal["statement"]
    says: Text
    why_not: Text
    """Why it cannot be tested here."""


Claim = Annotated[ValueClaim | DirectionClaim | StatementClaim, Field(discriminator="kind")]


class ClaimsFile(_Strict):
    """A whole file."""

    version: Literal[1]
    claims: list[Claim] = Field(min_length=1)

    @model_validator(mode="after")
    def _ids_fit(self) -> ClaimsFile:
        ids = Counter(claim.id for claim in self.claims)
        if twice := [name for name, number in ids.items() if number > 1]:
            raise ValueError(f"ids given twice: {', '.join(twice)}")
        for claim in self.claims:
            if isinstance(claim, ValueClaim) and claim.compared_with not in (None, *ids):
                raise ValueError(f"{claim.id}: compared_with names no claim of this file: {claim.compared_with}")
        return self


def load_claims(file: Path) -> ClaimsFile:
    """Read a claims file. Raises DataError with every problem, a line each."""
    import yaml

    try:
        data: Any = yaml.safe_load(file.read_bytes())
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, ValueError) as error:
        raise DataError(f"{file}: no YAML ({' '.join(str(error).split())})") from None
    try:
        return ClaimsFile.model_validate(data)
    except ValidationError as error:
        problems = [f"{file}: {_place(p['loc'], data)}: {p['msg']}" for p in error.errors(include_url=False)]
        raise DataError("\n".join(problems)) from None


def _place(location: tuple[int | str, ...], data: Any) -> str:
    """claims[3] (medical.x).value; the third part is the union's own name of the kind."""
    text = ""
    for number, part in enumerate(location):
        if isinstance(part, int):
            text += f"[{part}]"
        elif number != 2 or location[0] != "claims":
            text += f".{part}" if text else part
    if len(location) > 1 and location[0] == "claims" and isinstance(location[1], int):
        entry = data["claims"][location[1]]
        if isinstance(entry, dict) and "id" in entry:
            text = text.replace("]", f"] ({entry['id']})", 1)
    return text or "the file"
