"""Every merge method of mergekit 0.1.5: what it takes, with which parameters, in which ranges.

mergekit's own registry costs four seconds to import and checks little: it accepts misspelt and missing parameters
until a tensor needs them. This table is what adapt validates against before anything is imported; a slow test
compares it with the registry.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["number", "flag", "whole"]
Base = Literal["required", "optional", "ignored"]


@dataclass(frozen=True)
class Parameter:
    """A parameter of a method, by mergekit's name.

    default: mergekit's, None where there is none.  required: whether mergekit ends without it.
    low, high: the range, bounds included unless `above` (low is excluded).  inert: why setting it changes nothing.
    """

    name: str
    kind: Kind = "number"
    default: float | bool | None = None
    required: bool = False
    low: float | None = None
    high: float | None = None
    above: bool = False
    inert: str = ""

    def refusal(self, value: object) -> str:
        """What is wrong with one value, "" when nothing is."""
        if self.kind == "flag":
            return "" if isinstance(value, bool) else "wanted true or false"
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value or abs(value) == _INF:
            return "wanted a finite number"
        if self.kind == "whole" and int(value) != value:
            return "wanted a whole number"
        if self.low is not None and (value <= self.low if self.above else value < self.low):
            return f"wanted more than {self.low:g}" if self.above else f"wanted {self.low:g} or more"
        if self.high is not None and value > self.high:
            return f"wanted {self.high:g} or less"
        return ""


_INF = float("inf")


@dataclass(frozen=True)
class Method:
    """A merge method.

    base: mergekit's policy on `base_model`.  min_inputs, max_inputs: models in all, the base among them.
    min_tuned, max_tuned: models besides the base.  per_model, shared: parameters.  base_weighted: whether the base
    has parameters too.  parties: the roles that adapt hands it, "ancestor" or "instruct" as the base first where it
    takes one; needs_ancestor: whether the ancestor is among them.
    """

    name: str
    title: str
    source: str
    base: Base
    parties: tuple[str, ...]
    per_model: tuple[Parameter, ...] = ()
    shared: tuple[Parameter, ...] = ()
    min_inputs: int = 1
    max_inputs: int | None = None
    min_tuned: int | None = None
    max_tuned: int | None = None
    base_weighted: bool = False

    @property
    def needs_ancestor(self) -> bool:
        """Whether the pre-trained ancestor decides the result."""
        return self.base == "required" and self.parties[0] == "base"

    @property
    def parameters(self) -> dict[str, Parameter]:
        """All parameters by name."""
        return {p.name: p for p in (*self.per_model, *self.shared)}


WEIGHT = Parameter("weight", required=True)
DENSITY = Parameter("density", default=1.0, low=0, high=1, above=True)
INERT_DENSITY = Parameter(
    "density", default=1.0, low=0, high=1, above=True, inert="task_arithmetic trims nothing, so density changes nothing"
)
LAMBDA = Parameter("lambda", default=1.0)
INT8_MASK = Parameter("int8_mask", "flag", default=False)
THREE = ("base", "instruct", "cpt")
TWO = ("instruct", "cpt")


def _task_vectors(name: str, title: str, source: str, *own: Parameter, normalize: bool, rescale: bool) -> Method:
    """The family of mergekit's generalised task arithmetic."""
    shared = (INT8_MASK, Parameter("normalize", "flag", normalize), Parameter("rescale", "flag", rescale), LAMBDA)
    return Method(name, title, source, "required", THREE, (WEIGHT, *own), shared)


_GAMMA = Parameter("gamma", default=0.01, low=0, high=1)
_EPSILON = Parameter("epsilon", default=0.15, low=0, high=1)
_TIES, _DARE = "Yadav et al. 2023, arXiv 2306.01708", "Yu et al. 2024, arXiv 2311.03099"
_CRUMBS, _DELLA = "Davari & Belilovsky 2024, arXiv 2312.06795", "Deep et al. 2024, arXiv 2406.11617"
_RAM = "Reinforced Agent Merging, arXiv 2601.13572"

_ALL = (
    Method(
        "linear",
        "Weighted mean",
        "Wortsman et al. 2022, arXiv 2203.05482",
        "ignored",
        TWO,
        (WEIGHT,),
        (Parameter("normalize", "flag", True),),
        base_weighted=True,
    ),
    Method(
        "slerp",
        "Spherical interpolation",
        "Shoemake 1985",
        "required",
        TWO,
        (),
        (Parameter("t", required=True, low=0, high=1),),
        min_inputs=2,
        max_inputs=2,
    ),
    Method(
        "nuslerp",
        "Spherical interpolation of weights or task vectors",
        "mergekit",
        "optional",
        TWO,
        (WEIGHT,),
        (Parameter("nuslerp_row_wise", "flag", False), Parameter("nuslerp_flatten", "flag", True)),
        min_tuned=2,
        max_tuned=2,
    ),
    Method(
        "multislerp",
        "Barycentre on the sphere",
        "Goddard 2024, goddard.blog/posts/multislerp-wow-what-a-cool-idea",
        "optional",
        TWO,
        (WEIGHT,),
        (Parameter("normalize_weights", "flag", True), Parameter("eps", default=1e-8, low=0, above=True)),
        min_tuned=1,
    ),
    Method(
        "karcher",
        "Karcher mean",
        "arXiv 2603.04972",
        "ignored",
        TWO,
        (),
        (Parameter("max_iter", "whole", 10, low=1), Parameter("tol", default=1e-5, low=0, above=True)),
    ),
    _task_vectors(
        "task_arithmetic",
        "Sum of task vectors",
        "Ilharco et al. 2023, arXiv 2212.04089",
        INERT_DENSITY,
        normalize=False,
        rescale=False,
    ),
    _task_vectors("ties", "Trim, elect signs, merge", _TIES, DENSITY, normalize=True, rescale=False),
    _task_vectors("dare_ties", "Drop at random, then TIES", _DARE, DENSITY, normalize=False, rescale=True),
    _task_vectors("dare_linear", "Drop at random, then sum", _DARE, DENSITY, normalize=False, rescale=True),
    _task_vectors(
        "breadcrumbs", "Drop smallest and largest, then sum", _CRUMBS, DENSITY, _GAMMA, normalize=False, rescale=False
    ),
    _task_vectors(
        "breadcrumbs_ties",
        "Drop smallest and largest, then TIES",
        _CRUMBS,
        DENSITY,
        _GAMMA,
        normalize=False,
        rescale=False,
    ),
    _task_vectors(
        "della", "Drop by magnitude at random, then TIES", _DELLA, DENSITY, _EPSILON, normalize=True, rescale=True
    ),
    _task_vectors(
        "della_linear",
        "Drop by magnitude at random, then sum",
        _DELLA,
        DENSITY,
        _EPSILON,
        normalize=False,
        rescale=True,
    ),
    Method(
        "model_stock",
        "Weights towards the centre of the fine-tuned models",
        "Jang et al. 2024, arXiv 2403.19522",
        "required",
        THREE,
        (),
        (Parameter("filter_wise", "flag", False),),
        min_inputs=3,
    ),
    Method(
        "sce",
        "Select, calculate, erase",
        "Wan et al. 2024, arXiv 2408.07990",
        "required",
        THREE,
        (),
        (INT8_MASK, Parameter("select_topk", default=1.0, low=0, high=1, above=True)),
    ),
    Method(
        "nearswap",
        "Swap where the models are near",
        "alchemonaut 2024, huggingface.co/alchemonaut/QuartetAnemoi-70B-t0.0001",
        "required",
        TWO,
        (),
        (Parameter("t", required=True, low=0, above=True),),
        min_inputs=2,
        max_inputs=2,
    ),
    Method("arcee_fusion", "Fuse what matters most", "arcee.ai", "required", TWO, min_inputs=2, max_inputs=2),
    Method(
        "ram",
        "Shared and unique changes apart",
        _RAM,
        "required",
        THREE,
        (),
        (Parameter("epsilon", default=1e-5, low=0),),
    ),
    Method(
        "ramplus_tl",
        "Shared and unique changes apart, unique ones amplified",
        _RAM,
        "required",
        THREE,
        (),
        (
            Parameter("r", default=0.1, low=0),
            Parameter("alpha", default=0.2, low=0),
            Parameter("epsilon", default=1e-5, low=0),
        ),
    ),
    Method(
        "passthrough",
        "One model",
        "mergekit",
        "ignored",
        ("cpt",),
        (Parameter("scale"),),
        max_inputs=1,
        base_weighted=True,
    ),
)

METHODS: dict[str, Method] = {method.name: method for method in _ALL}
"""The methods by mergekit's name."""

ROLES = ("base", "instruct", "cpt")
"""Names of our checkpoints in a configuration of mergekit's."""
