"""Options of the merge methods: numbers, gradients over the layers, rules by tensor name, one for all or one a parent.

A setting is a number, a list of numbers (a gradient: the first layer has the first, the last the last, in between it
is interpolated) or a list of rules {filter, value}, of which the first whose `filter` is part of a tensor's name
holds. Lists are mergekit's, with its meaning; embeddings and the output layer take a gradient's first number.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from domadapt.components import Options


def _decimal(value: object) -> object:
    from domadapt.recipe.values import parse_decimal  # late: `adapt plugins` imports this module and no schema

    return parse_decimal(value)


Number = Annotated[float, BeforeValidator(_decimal), Field(allow_inf_nan=False)]
Share = Annotated[float, BeforeValidator(_decimal), Field(gt=0, le=1)]
Unit = Annotated[float, BeforeValidator(_decimal), Field(ge=0, le=1)]
Positive = Annotated[float, BeforeValidator(_decimal), Field(gt=0, allow_inf_nan=False)]
Gradient = Annotated[list[Number], Field(min_length=1)]
ShareGradient = Annotated[list[Share], Field(min_length=1)]
UnitGradient = Annotated[list[Unit], Field(min_length=1)]


class Rule(Options):
    """A setting for the tensors whose name holds `filter`."""

    filter: str | None = Field(None, min_length=1)
    """Part of a tensor's name ("mlp", "self_attn"); without it, or "*", all tensors."""
    value: Number | Gradient
    """The number, or a gradient over the layers."""


class ShareRule(Options):
    """A setting in (0, 1] for the tensors whose name holds `filter`."""

    filter: str | None = Field(None, min_length=1)
    """Part of a tensor's name ("mlp", "self_attn"); without it, or "*", all tensors."""
    value: Share | ShareGradient
    """The number, or a gradient over the layers."""


class UnitRule(Options):
    """A setting from 0 to 1 for the tensors whose name holds `filter`."""

    filter: str | None = Field(None, min_length=1)
    """Part of a tensor's name ("mlp", "self_attn"); without it, or "*", all tensors."""
    value: Unit | UnitGradient
    """The number, or a gradient over the layers."""


def _catches_all(rules: list[Any]) -> list[Any]:
    defaults = [index for index, rule in enumerate(rules) if rule.filter in (None, "*")]
    if not defaults:
        raise ValueError("the last rule must be for all other tensors: {value: ...} without a filter")
    if defaults[0] != len(rules) - 1:
        raise ValueError(f"rule {defaults[0]} (from 0) is for all tensors, so the rules after it are never reached")
    return rules


Setting = Number | Gradient | Annotated[list[Rule], Field(min_length=1), AfterValidator(_catches_all)]
ShareSetting = Share | ShareGradient | Annotated[list[ShareRule], Field(min_length=1), AfterValidator(_catches_all)]
UnitSetting = Unit | UnitGradient | Annotated[list[UnitRule], Field(min_length=1), AfterValidator(_catches_all)]


class ParentWeights(Options):
    """A weight of its own for each parent; they need not sum to 1."""

    instruct: Setting
    """Of the instruct model."""
    cpt: Setting
    """Of the CPT model."""


class ParentDensities(Options):
    """A density of its own for each parent."""

    instruct: ShareSetting
    """Share of the instruct model's task vector that is kept."""
    cpt: ShareSetting
    """Share of the CPT model's task vector that is kept."""


Density = ShareSetting | ParentDensities


class MethodOptions(Options):
    """What every method has."""

    engine: Literal["auto", "fast", "mergekit"] = "auto"
    """What does the arithmetic: adapt's own engine ("fast"), mergekit, or the fast one wherever it covers the
    request ("auto"). The results are equal but for what ADR 6 lists."""


class MergekitOptions(Options):
    """What every method has that only mergekit does."""

    engine: Literal["auto", "mergekit"] = "auto"
    """What does the arithmetic: mergekit, either way."""


def single_sum(weight: Any) -> float | None:
    """The sum of two parents' weights where both are plain numbers, else None."""
    if not isinstance(weight, ParentWeights):
        return None
    both = (weight.instruct, weight.cpt)
    return sum(both) if all(isinstance(w, float) for w in both) else None  # type: ignore[arg-type]


class Weighted(Options):
    """A method that weights its parents."""

    weight: Unit | ParentWeights | None = None
    """Share of the CPT model, the instruct model has the rest; or one a parent, each a number, a gradient over the
    layers or rules by tensor name. Default: `merge.weight`."""

    @property
    def normalizes(self) -> bool:
        """Whether the weights are divided by their sum."""
        return False

    @model_validator(mode="after")
    def _sum(self) -> Weighted:
        if self.normalizes and single_sum(self.weight) == 0:
            raise ValueError("the parents' weights sum to 0 and are divided by their sum; change one of them")
        return self


class LinearOptions(Weighted, MethodOptions):
    """Options of `linear`."""

    normalize: bool = True
    """Whether the weighted sum is divided by the sum of the weights."""

    @property
    def normalizes(self) -> bool:
        """As the option says."""
        return self.normalize


class SlerpOptions(MethodOptions):
    """Options of `slerp`."""

    weight: Unit | None = None
    """How far from the instruct model (0) to the CPT model (1). Default: `merge.weight`."""
    t: UnitSetting | None = None
    """The same as a gradient over the layers or rules by tensor name; goes before `weight`."""


class NuslerpOptions(Weighted, MergekitOptions):
    """Options of `nuslerp`."""

    ancestor: bool = False
    """Whether the task vectors on the ancestor are interpolated instead of the weights themselves."""
    flatten: bool = True
    """Whether a tensor is one long vector; else each of its rows or columns is one."""
    row_wise: bool = False
    """With flatten false: rows, not columns."""

    @property
    def normalizes(self) -> bool:
        """Only the ratio of the weights counts."""
        return True


class MultislerpOptions(Weighted, MergekitOptions):
    """Options of `multislerp`."""

    ancestor: bool = False
    """Whether the task vectors on the ancestor are interpolated instead of the weights themselves."""
    normalize: bool = True
    """Whether the weights are divided by their sum."""
    eps: Positive = 1e-8
    """What counts as zero."""

    @property
    def normalizes(self) -> bool:
        """As the option says."""
        return self.normalize


class KarcherOptions(MergekitOptions):
    """Options of `karcher`, which weights all parents the same."""

    max_iter: int = Field(10, ge=1)
    """Iterations at most."""
    tol: Positive = 1e-5
    """Step length at which it has converged."""


class TaskVectorOptions(Weighted):
    """Options of methods that add weighted task vectors to the ancestor."""

    scale: Setting = 1.0
    """Factor of the merged task vector (lambda in Ilharco et al. 2023 and Yadav et al. 2023)."""
    normalize: bool = False
    """Whether the weighted sum is divided by the sum of the weights."""

    @property
    def normalizes(self) -> bool:
        """As the option says."""
        return self.normalize

    @model_validator(mode="after")
    def _scaled(self) -> TaskVectorOptions:
        if self.scale == 0:
            raise ValueError("scale is 0, which gives the ancestor back; wanted another number")
        return self


class TaskArithmeticOptions(TaskVectorOptions, MethodOptions):
    """Options of `task_arithmetic`."""


class SparseOptions(TaskVectorOptions):
    """Options of methods that drop entries of task vectors."""

    density: Density
    """Share of each task vector that is kept, one for all parents or one a parent. No default: mergekit's own, 1.0,
    drops nothing. Llama-3-SEC: cpt 0.75, instruct 1.0."""
    rescale: bool = False
    """Whether what is kept is scaled up to the sum of magnitudes before."""


class TiesOptions(SparseOptions, MethodOptions):
    """Options of `ties`."""

    normalize: bool = True
    """Whether each entry is divided by the weights of the parents that agree on its sign."""


class DareOptions(SparseOptions, MethodOptions):
    """Options of `dare_ties` and `dare_linear`."""

    rescale: bool = True
    """Whether what is kept is scaled up to the sum of magnitudes before."""


class BreadcrumbsOptions(SparseOptions, MergekitOptions):
    """Options of `breadcrumbs` and `breadcrumbs_ties`."""

    gamma: UnitSetting = 0.01
    """Share of the largest entries that is dropped as well."""


class DellaOptions(SparseOptions, MergekitOptions):
    """Options of `della` and `della_linear`."""

    epsilon: UnitSetting = 0.15
    """Entries are kept with probabilities from density - epsilon (the smallest) to density + epsilon."""
    normalize: bool = True
    """Whether each entry is divided by the weights of the parents that agree on its sign."""
    rescale: bool = True
    """Whether what is kept is scaled up to the sum of magnitudes before."""

    @model_validator(mode="after")
    def _band(self) -> DellaOptions:
        parents = self.density if isinstance(self.density, ParentDensities) else None
        for density in (parents.instruct, parents.cpt) if parents else (self.density,):
            if isinstance(density, float) and isinstance(self.epsilon, float) and density < 1:
                check_band(density, self.epsilon)
        return self


class DellaLinearOptions(DellaOptions):
    """Options of `della_linear`."""

    normalize: bool = False
    """Whether the weighted sum is divided by the sum of the weights."""


def check_band(density: float, epsilon: float) -> None:
    """Raises ValueError when probabilities would leave the range from 0 to 1."""
    if not (density - epsilon > 0 and density + epsilon < 1):
        raise ValueError(
            f"density {density:g} and epsilon {epsilon:g} give probabilities from {density - epsilon:g} to "
            f"{density + epsilon:g}; wanted both between 0 and 1"
        )


class ModelStockOptions(MethodOptions):
    """Options of `model_stock`, which finds the weight itself."""

    filter_wise: bool = False
    """Whether each row of a matrix has an angle of its own."""


class SceOptions(MergekitOptions):
    """Options of `sce`, which finds the weights itself."""

    select_topk: ShareSetting = 1.0
    """Share of the entries, those with the largest variance between the parents, that is merged."""


class NearswapOptions(MergekitOptions):
    """Options of `nearswap`."""

    t: Positive
    """Difference up to which the CPT model's entry replaces the instruct model's; beyond it its share falls as t
    over the difference. Magnitude of a weight's change, such as 1e-4."""


class RamOptions(MergekitOptions):
    """Options of `ram`."""

    epsilon: Number = Field(1e-5, ge=0)
    """Change below which an entry counts as unchanged."""


class RamplusOptions(RamOptions):
    """Options of `ramplus_tl`."""

    r: Number = Field(0.1, ge=0)
    """How much changes of one parent alone are amplified."""
    alpha: Number = Field(0.2, ge=0)
    """Largest ratio of shared to unique changes that still amplifies more."""


class PassthroughOptions(MergekitOptions):
    """Options of `passthrough`."""

    model: Literal["base", "instruct", "cpt"] = "cpt"
    """Which model."""
    scale: Setting = 1.0
    """Factor of its weights."""
