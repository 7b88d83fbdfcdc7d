"""What each merge method asks of the arithmetic, tensor by tensor, with mergekit 0.1.5's rules.

A method looks at a whole tensor first (thresholds, sums, angles) and returns a step that merges any range of it,
ranges in order. Sums over a tensor are float64 in a fixed order; mergekit's are fp32, so what depends on them
(slerp, model_stock, rescaling) differs from mergekit by rounding; everything else is equal bit for bit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from domadapt.builtin.merging.fast.routes import MAGNITUDE, NONE, RANDOM, Deltas, Flat, Route, Step
from domadapt.builtin.merging.fast.thresholds import Thresholds

Numbers = Mapping[str, Any]

COLLINEAR = np.float32(0.9995)
NO_NORM = 1e-8
NO_SUM = np.float32(1e-7)
NO_DIVISOR = np.float32(1e-8)
NO_PRODUCT = 1e-6
SINGULAR = 1e-6


@dataclass(frozen=True)
class Group:
    """One tensor of all parents.

    base: the ancestor's entries, None for methods without one.  models: those of the others, in order.
    shared, own: the numbers of the whole merge and of each model for this tensor.
    """

    name: str
    base: Flat | None
    models: Sequence[Flat]
    roles: Sequence[str]
    shared: Numbers
    own: Sequence[Numbers]

    @property
    def size(self) -> int:
        """Number of entries."""
        return int(self.models[0].size)


@dataclass(frozen=True)
class Context:
    """What all tensors of a merge share. rounded: arithmetic in bf16."""

    route: Route
    thresholds: Thresholds
    seed: int
    rounded: bool


@dataclass(frozen=True)
class Method:
    """A method: its parameters (of the whole merge, of each model), its needs and arithmetic."""

    prepare: Callable[[Group, Context], Step]
    shared: frozenset[str]
    own: frozenset[str]
    uses_ancestor: bool
    least_models: int = 1
    most_models: int | None = None
    dtypes: Sequence[str] = ("float32", "bfloat16")


def linear(group: Group, context: Context) -> Step:
    """Weighted sum, divided by the sum of the weights unless `normalize` is off (Wortsman et al. 2022)."""
    weights = [np.float32(numbers["weight"]) for numbers in group.own]
    divisor = np.float32(1)
    if group.shared.get("normalize", True):
        divisor = np.float32(0)
        for weight in weights:
            divisor += weight
    return _combination(group, context, weights, divisor, fused=True)


def slerp(group: Group, context: Context) -> Step:
    """Spherical interpolation of whole tensors from the first model (t = 0) to the second (Shoemake 1985).

    Collinear tensors (|cos| > 0.9995) are interpolated linearly.
    """
    sums = _total(context.route.products(None, group.models, context.rounded))
    norms = [math.sqrt(sums[k][k]) for k in range(2)]
    left, right = (norm if norm > NO_NORM else 1.0 for norm in norms)
    cos = min(1.0, max(-1.0, sums[0][1] / (left * right)))
    t = np.float32(group.shared["t"])
    rest = np.float32(1) - t
    if np.float32(abs(cos)) > COLLINEAR:
        shares = [rest, t]
    else:
        angle = math.acos(cos)
        shares = [np.float32(math.sin(float(part) * angle) / math.sin(angle)) for part in (rest, t)]
    return _combination(group, context, shares, np.float32(1), fused=False)


def _combination(group: Group, context: Context, weights: Sequence[Any], divisor: Any, fused: bool) -> Step:
    def step(start: int, end: int, out: Flat) -> list[int]:
        entries = [model[start:end] for model in group.models]
        return context.route.combine(entries, weights, divisor, fused, context.rounded, out)

    return step


def task_arithmetic(group: Group, context: Context) -> Step:
    """Weighted sum of task vectors on the ancestor (Ilharco et al. 2023)."""
    return _merged_deltas(group, context, elect=False, normalize=False, sparsify=NONE, rescale=False)


def ties(group: Group, context: Context) -> Step:
    """Trim each task vector to its largest entries, elect signs, average those that agree (Yadav et al. 2023)."""
    return _merged_deltas(group, context, elect=True, normalize=True, sparsify=MAGNITUDE, rescale=False)


def dare_ties(group: Group, context: Context) -> Step:
    """Drop entries at random, rescale the rest, elect signs (Yu et al. 2024)."""
    return _merged_deltas(group, context, elect=True, normalize=False, sparsify=RANDOM, rescale=True)


def dare_linear(group: Group, context: Context) -> Step:
    """Drop entries at random, rescale the rest, add (Yu et al. 2024)."""
    return _merged_deltas(group, context, elect=False, normalize=False, sparsify=RANDOM, rescale=True)


def _merged_deltas(
    group: Group, context: Context, *, elect: bool, normalize: bool, sparsify: int, rescale: bool
) -> Step:
    """The five methods on task vectors; the flags are each method's own and its defaults."""
    shared = group.shared
    deltas = _weighted(group, context, elect, bool(shared.get("normalize", normalize)), shared.get("lambda", 1.0))
    if sparsify:
        _sparsify(deltas, group, context, sparsify, bool(shared.get("rescale", rescale)))
    assert group.base is not None
    return context.route.merge_deltas(group.base, group.models, deltas)


def _weighted(group: Group, context: Context, elect: bool, normalize: bool, scale: float) -> Deltas:
    """Task vectors with their weights, nothing dropped."""
    number = len(group.models)
    weights = _type(np.array([numbers["weight"] for numbers in group.own], np.float32), context.rounded)
    divisor = np.float32(0)
    for weight in weights:
        divisor += weight
    divisor = _type(np.array([divisor]), context.rounded)[0]
    return Deltas(
        rounded=context.rounded,
        modes=np.zeros(number, np.int64),
        thresholds=np.zeros(number, np.uint32),
        budgets=np.zeros(number, np.int64),
        keys=np.zeros(number, np.uint64),
        cuts=np.zeros(number, np.uint64),
        factors=np.ones(number, np.float32),
        weights=weights,
        elect=elect,
        normalize=normalize,
        divisor=np.float32(1) if abs(divisor) < NO_DIVISOR else divisor,
        scale=np.float32(scale),
    )


def _sparsify(deltas: Deltas, group: Group, context: Context, mode: int, rescale: bool) -> None:
    """Say which entries of each task vector are kept, and by what factor they make up for the others."""
    assert group.base is not None
    densities = [float(numbers.get("density", 1.0)) for numbers in group.own]
    if mode == MAGNITUDE:
        kept = kept_numbers(group)
        context.thresholds.find(context.route, group.name, group.base, group.models, group.roles, kept)
    for k, (role, density) in enumerate(zip(group.roles, densities, strict=True)):
        if density >= 1 or not group.size:
            continue
        deltas.modes[k] = mode
        if mode == RANDOM:
            deltas.keys[k] = mask_key(context.seed, group.name, role)
            deltas.cuts[k] = max(0, int(density * (1 << 32)))
        elif density <= 0:
            deltas.thresholds[k] = 0x7FFFFFFF
        else:
            threshold = context.thresholds.get(group.name, role, _number_kept(density, group.size))
            deltas.thresholds[k], deltas.budgets[k] = threshold
        if rescale:
            sums = context.route.kept_sums(group.base, group.models[k], deltas, k)
            deltas.factors[k] = _rescaling(sums, context.rounded)


def kept_numbers(group: Group) -> list[set[int]]:
    """For each model how many entries trimming keeps, at least one; empty where it trims nothing."""
    densities = [float(numbers.get("density", 1.0)) for numbers in group.own]
    return [{_number_kept(density, group.size)} if 0 < density < 1 and group.size else set() for density in densities]


def _number_kept(density: float, size: int) -> int:
    return max(1, int(density * size))


def mask_key(seed: int, name: str, role: str) -> int:
    """The key of the random mask of one model's tensor: 64 bits."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{name}\0{role}".encode()).digest()[:8], "little")


def _rescaling(sums: Any, rounded: bool) -> np.float32:
    """sum before / sum after, 1 where there is next to nothing."""
    before, after = _type(np.array([math.fsum(row) for row in sums], np.float32), rounded)
    if before < NO_SUM or after < NO_SUM:
        return np.float32(1)
    return np.float32(_type(np.array([before / after], np.float32), rounded)[0])


def model_stock(group: Group, context: Context) -> Step:
    """Interpolate between the ancestor and the models' mean by the angle between them (Jang et al. 2024)."""
    assert group.base is not None
    number = len(group.models)
    sums = _total(context.route.products(group.base, group.models, context.rounded))
    norms = [math.sqrt(sums[k][k]) for k in range(number)]
    cosines = [
        min(1.0, max(-1.0, sums[j][k] / max(norms[j] * norms[k], NO_PRODUCT)))
        for j in range(number)
        for k in range(j + 1, number)
    ]
    cos = sum(cosines) / len(cosines)
    denominator = 1 + (number - 1) * cos
    share = np.float32(0.0 if abs(denominator) < SINGULAR else number * cos / denominator)

    def step(start: int, end: int, out: Flat) -> list[int]:
        assert group.base is not None
        entries = [model[start:end] for model in group.models]
        return context.route.stock(group.base[start:end], entries, float(share), out)

    return step


def _total(lanes: Any) -> list[list[float]]:
    """Sums over the lanes, exact, so that their order does not matter."""
    return [[math.fsum(cell) for cell in row] for row in lanes]


def _type(numbers: Any, rounded: bool) -> Any:
    """fp32 numbers, rounded to bf16 when the arithmetic is."""
    if not rounded:
        return numbers
    bits = numbers.view(np.uint32)
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) & np.uint32(0xFFFF0000)).view(
        np.float32
    )


_SHARED = frozenset({"normalize", "lambda", "rescale"})
_BOTH = frozenset({"weight", "density"})
METHODS: dict[str, Method] = {
    "linear": Method(linear, frozenset({"normalize"}), frozenset({"weight"}), False),
    "slerp": Method(slerp, frozenset({"t"}), frozenset(), False, 2, 2),
    "task_arithmetic": Method(task_arithmetic, _SHARED, _BOTH, True),
    "ties": Method(ties, _SHARED, _BOTH, True),
    "dare_ties": Method(dare_ties, _SHARED, _BOTH, True),
    "dare_linear": Method(dare_linear, _SHARED, _BOTH, True),
    "model_stock": Method(model_stock, frozenset(), frozenset(), True, 2, dtypes=("float32",)),
    # cpt + scale * (instruct - ancestor), as the task vectors of cpt with weight 1 and of instruct with weight scale
    "residual": Method(task_arithmetic, _SHARED, _BOTH, True, 2, 2),
}
"""By name."""
