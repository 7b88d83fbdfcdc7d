"""What is found out about a merge before anything is written: refusals, and warnings that cannot be overlooked.

All but the look for values that are not finite reads headers, tokenizers and samples of the weights, a fraction of a
second whatever the size. Nothing here imports torch.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.artifacts import Checkpoint
from domadapt.builtin.merging.config_file import groups_of
from domadapt.builtin.merging.fast.checkpoint import EMBEDDING, FLOATS, NAMES, OUTPUT, STORED, Weights
from domadapt.builtin.merging.fast.gradients import evaluate, position
from domadapt.builtin.merging.vocabulary import compare
from domadapt.components import Stage
from domadapt.errors import MissingError, StageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK = 16_384
"""Entries of a tensor that stand for it."""
GLANCE = 2_048
"""Entries that show whether a tensor needs a second look."""
SAMPLED = 8
"""Tensors that stand for a model."""
UNRELATED = 0.5
"""Cosine below which a model whose task vector is as large as the ancestor does not descend from it. Two models that
were trained apart have 0, a tiny one after training that changed it by a quarter of its size 0.96."""
LARGE = 0.7
"""Task vector over ancestor from which it is worth a warning; fine-tuning gives hundredths."""
ALIKE = 0.5
"""Cosine of task vectors from which CPT contains the instruct model's. From the base it is near 0; the built-in
models' CPT from instruct has 0.88."""
OPPOSED = -0.03
"""Cosine of task vectors from which Model Stock extrapolates: unrelated ones have 0, a sample of them +- 0.008."""
ANTIPODAL = -0.9995
"""Cosine from which SLERP goes straight, through zero."""


def check_parents(stage: Stage, parents: Mapping[str, Checkpoint], out: Path, *, uses_ancestor: bool) -> None:
    """Whether base, instruct and CPT can be merged by anyone.

    Raises StageError, DataError for what cannot be read, MissingError when the disk has no room.
    """
    roles = [role for role in parents if role != "base" or uses_ancestor]
    weights = {role: Weights(parents[role].path, role) for role in roles}
    _check_architectures(stage, weights)
    _check_vocabularies(stage, parents, weights)
    _check_tensors(stage, weights)
    if not _is_control(stage):
        _check_descent(stage, weights)
    check_room(stage, out, weights["instruct"].num_bytes)


def _check_architectures(stage: Stage, weights: Mapping[str, Weights]) -> None:
    first = weights["instruct"]
    for key, what in (("model_type", "architecture"), ("num_hidden_layers", "number of layers")):
        for role, other in weights.items():
            mine, theirs = first.config.get(key), other.config.get(key)
            if mine != theirs:
                raise StageError(
                    f"{stage.name}: the instruct model's {what} is {mine}, the {role} model's {theirs}; "
                    "merge checkpoints of one architecture"
                )


def _check_vocabularies(stage: Stage, parents: Mapping[str, Checkpoint], weights: Mapping[str, Weights]) -> None:
    sizes = {role: w.config.get("vocab_size") for role, w in weights.items()}
    rows = {role: w.tensors[EMBEDDING].shape[0] for role, w in weights.items() if EMBEDDING in w.tensors}
    for told in (sizes, rows):
        if len(set(told.values())) > 1:
            largest = max(size for size in told.values() if size is not None)
            raise StageError(
                f"{stage.name}: the parents' vocabularies differ ({told}); give all of them {largest} rows "
                "(transformers: resize_token_embeddings) and one tokenizer before CPT, or leave out the added tokens"
            )
    for role in weights:
        if role == "instruct":
            continue
        difference = compare(parents["instruct"].path, parents[role].path)
        if difference.conflict:
            raise StageError(
                f"{stage.name}: the tokenizers of the instruct and the {role} model differ: {difference.conflict}; "
                "train CPT with the tokenizer of the model it starts from, or permute the rows of its embeddings to "
                "the instruct model's numbers before merging"
            )
        if difference.remark:
            stage.event("warning", message=f"instruct and {role} model: {difference.remark}")


def _check_tensors(stage: Stage, weights: Mapping[str, Weights]) -> None:
    """The same tensors of the same shapes in all parents, of types that are merged."""
    first = weights["instruct"]
    for role, other in weights.items():
        for name in sorted({*first.tensors, *other.tensors}):
            mine, theirs = first.find(name), other.find(name)
            if name == OUTPUT and (first.tied or other.tied):
                continue  # a tied output layer is not stored
            if mine is None or theirs is None or mine.shape != theirs.shape:
                raise StageError(
                    f"{stage.name}: {name} is {_shape(mine)} in the instruct model and {_shape(theirs)} in the {role} "
                    f"model; merge checkpoints of one architecture{_cause(mine, theirs)}"
                )
            if theirs.dtype in FLOATS and theirs.dtype != "F64":
                raise StageError(
                    f"{stage.name}: {name} of the {role} model is stored as {theirs.dtype}, quantised; "
                    "merge the weights it was quantised from"
                )


def _shape(tensor: Any) -> str:
    return "missing" if tensor is None else f"of shape {list(tensor.shape)}"


def _cause(mine: Any, theirs: Any) -> str:
    if mine is None or theirs is None:
        return ", whole ones: a download may be incomplete, or the model was saved in parts (adapters, other heads)"
    return ""


def _check_descent(stage: Stage, weights: Mapping[str, Weights]) -> None:
    """Whether the models descend from one another: task vectors of unrelated weights merge into noise."""
    origin = "base" if "base" in weights else "instruct"
    for role, model in weights.items():
        if role == origin:
            continue
        ratio, cosine = distance(weights[origin], model)
        whose = "ancestor" if origin == "base" else "instruct model"
        told = f"the {role} model differs from the {whose} by {ratio:.2f} times its size (cosine {cosine:.2f})"
        if origin == "base" and ratio >= 1 and cosine < UNRELATED:
            raise StageError(
                f"{stage.name}: {told}, so it does not descend from it: a fine-tuned model differs by hundredths; "
                "name the model that both were trained from as model.base, or take a method without an ancestor"
            )
        if ratio >= LARGE:
            stage.event("warning", message=f"{told}; were they trained from one model?")


def distance(origin: Weights, model: Weights) -> tuple[float, float]:
    """(norm of the difference over the norm of the origin, cosine), from samples of a few matrices."""
    own = other = both = 0.0
    for name in (n for n in _matrices(origin) if n in model.tensors):
        a, b = block(origin, name), block(model, name)
        own, other, both = own + float(a @ a), other + float(b @ b), both + float(a @ b)
    if not own or not other or not math.isfinite(own + other):
        return 0.0, 1.0
    return math.sqrt(max(own + other - 2 * both, 0.0) / own), both / math.sqrt(own * other)


def check_start(stage: Stage, parents: Mapping[str, Checkpoint]) -> None:
    """Raises StageError when CPT seems to have started from the instruct model, whose residual would be added twice."""
    if _is_control(stage):
        return
    base, instruct, cpt = (Weights(parents[role].path, role) for role in ("base", "instruct", "cpt"))
    both = own = other = 0.0
    for name in _matrices(base):
        origin = block(base, name)
        one, two = block(instruct, name) - origin, block(cpt, name) - origin
        both, own, other = both + float(one @ two), own + float(one @ one), other + float(two @ two)
    cosine = both / math.sqrt(own * other) if own and other else 0.0
    if cosine > ALIKE:
        raise StageError(
            f"{stage.name}: CPT started from the instruct model (cosine of the task vectors {cosine:.2f}), so "
            "the instruction residual would be added twice; take ties, slerp or linear, or CPT of the base"
        )


def _matrices(weights: Weights) -> list[str]:
    """A few matrices from the first to the last layer, which stand for the model."""
    names = [name for name, tensor in sorted(weights.tensors.items()) if len(tensor.shape) > 1]
    return names[:: max(1, len(names) // SAMPLED)][:SAMPLED]


def block(weights: Weights, name: str, most: int = BLOCK) -> NDArray[np.float64]:
    """Entries from the middle of a tensor, at most so many, in float64; read alone, not the tensor around them."""
    tensor = weights.find(name)
    assert tensor is not None, name
    if (stored := STORED.get(tensor.dtype)) is None:  # integers stand for nothing
        return np.zeros(0)
    offset = tensor.start + max(0, (tensor.size - most) // 2) * stored.itemsize
    part = np.fromfile(weights.folder / tensor.file, stored, min(most, tensor.size), offset=offset)
    if part.dtype == np.uint16:  # bf16 is the upper half of fp32
        part = (part.astype(np.uint32) << 16).view(np.float32)
    return part.astype(np.float64)


def check_configuration(stage: Stage, config: Mapping[str, Any], parents: Mapping[str, Checkpoint]) -> None:
    """Whether these parents can be merged with this configuration. Raises StageError."""
    weights = {role: Weights(parent.path, role) for role, parent in parents.items()}
    method = config["merge_method"]
    _check_layers(stage, config, weights)
    _check_sums(stage, config, weights)
    if _is_control(stage):
        return
    for base, models in groups_of(config):
        tuned = [role for role in models if role != base]
        if method in ("ties", "della", "breadcrumbs_ties", "dare_ties"):
            _warn_weightless(stage, config, base, tuned, parents)
    if method == "model_stock":
        _warn_extrapolation(stage, config, weights)
    if method == "slerp":
        _check_antipodes(stage, config, weights)


def _is_control(stage: Stage) -> bool:
    """Control arms merge a model with itself on purpose."""
    return stage.name.startswith("merge.control.")


def _check_layers(stage: Stage, config: Mapping[str, Any], weights: Mapping[str, Weights]) -> None:
    for part in config.get("slices") or []:
        for source in part["sources"]:
            has = weights[source["model"]].num_layers
            if source["layer_range"][1] > has:
                raise StageError(
                    f"{stage.name}: layer_range {source['layer_range']} of {source['model']}, which has {has} layers; "
                    f"the range ends at {has} at most"
                )


_DIVIDED = {"linear": "normalize", "task_arithmetic": "normalize", "multislerp": "normalize_weights", "nuslerp": ""}


def _check_sums(stage: Stage, config: Mapping[str, Any], weights: Mapping[str, Weights]) -> None:
    """Weights that are divided by their sum, where gradients and rules make it 0 for some tensor."""
    method = config["merge_method"]
    shared = config.get("parameters") or {}
    key = _DIVIDED.get(method)
    default = method in ("linear", "multislerp")
    if key is None or (key and not shared.get(key, default)) or "slices" in config:
        return
    ((base, models),) = groups_of(config)
    some = next(iter(weights.values()))
    for name in some.tensors:
        at = position(name, some.num_layers)
        total = 0.0
        for role, own in models.items():
            if role == base and method != "linear":
                continue
            values = (evaluate(level["weight"], name, at) for level in (own, shared) if "weight" in level)
            total += next((float(v) for v in values if v is not None), 0.0)
        if total == 0:
            raise StageError(
                f"{stage.name}: the parents' weights for {name} sum to 0 and are divided by their sum; "
                "change one of the gradients or rules"
            )


def _warn_weightless(
    stage: Stage, config: Mapping[str, Any], base: str | None, tuned: list[str], parents: Mapping[str, Checkpoint]
) -> None:
    """TIES divides by the weights that agree: where one task vector is alone, its weight changes nothing."""
    normalize = (config.get("parameters") or {}).get("normalize", config["merge_method"] in ("ties", "della"))
    equal = [role for role in tuned if base is not None and _same_model(parents[role], parents[base])]
    for role in equal:
        stage.event("warning", message=f"the {role} model is the ancestor itself: its task vector is 0")
    if normalize and len(tuned) - len(equal) == 1:
        stage.event(
            "warning",
            message=f"{config['merge_method']} with one task vector and normalize: its weight has no effect; "
            "set normalize to false, or merge two models that differ from the ancestor",
        )


def _same_model(one: Checkpoint, other: Checkpoint) -> bool:
    return one.path.resolve() == other.path.resolve() or (bool(one.digest) and one.digest == other.digest)


def _warn_extrapolation(stage: Stage, config: Mapping[str, Any], weights: Mapping[str, Weights]) -> None:
    """Model Stock's share of the mean, t = N cos / (1 + (N - 1) cos), is negative where task vectors oppose."""
    ((base, models),) = groups_of(config)
    tuned = [role for role in models if role != base]
    if base is None or len(tuned) != 2:
        return
    against = 0
    names = [n for n, t in weights[base].tensors.items() if t.dtype in NAMES]
    for name in names:
        origin = block(weights[base], name)
        one, two = (block(weights[role], name) - origin for role in tuned)
        against += float(one @ two) < OPPOSED * math.sqrt(float(one @ one) * float(two @ two))
    if against:
        stage.event(
            "warning",
            message=f"model_stock: the task vectors oppose each other in {against} of {len(names)} tensors, by sample: "
            "there the merge moves away from both. Task arithmetic and TIES do not",
        )


def _check_antipodes(stage: Stage, config: Mapping[str, Any], weights: Mapping[str, Weights]) -> None:
    """Opposite tensors have no arc between them; the straight line goes through zero."""
    if len(weights) != 2:
        return
    first, second = weights.values()
    for name in (n for n, t in first.tensors.items() if t.dtype in NAMES and n in second.tensors):
        if all(_opposite(block(first, name, most), block(second, name, most)) for most in (GLANCE, BLOCK)):
            raise StageError(
                f"{stage.name}: {name} of one parent is the opposite of the other's, so SLERP would pass through zero; "
                "check where the parents come from, or take linear with other weights"
            )


def _opposite(one: NDArray[np.float64], two: NDArray[np.float64]) -> bool:
    scale = math.sqrt(float(one @ one) * float(two @ two))
    return scale > 0 and float(one @ two) < ANTIPODAL * scale


def check_room(stage: Stage, out: Path, wanted: int) -> None:
    """Raises MissingError when the disk has no room for the merge."""
    folder = next(f for f in (out, *out.parents) if f.exists())
    free = shutil.disk_usage(folder).free
    if free < wanted * 1.02:
        raise MissingError(
            f"{stage.name}: the merge needs {wanted / 1e9:.2f} GB of disk in {folder}, {free / 1e9:.2f} GB are free; "
            "make room (adapt clean) or set another folder"
        )


def available_memory() -> int | None:
    """Bytes that processes can still get, None where the system does not say."""
    try:
        text = Path("/proc/meminfo").read_text(encoding="ascii")
    except OSError:
        return None
    found = [line.split()[1] for line in text.splitlines() if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


SHARD = 5_000_000_000
"""Bytes of a file of mergekit's output, which it holds in memory until it is full."""


def check_memory(stage: Stage, parents: Sequence[Weights]) -> None:
    """Raises MissingError when mergekit would not fit: it holds a shard of the output and a tensor of each parent."""
    largest = max(t.size for w in parents for t in w.tensors.values())
    needed = min(SHARD, max(w.num_bytes for w in parents)) + 4 * largest * (len(parents) + 3)
    available = available_memory()
    if available is not None and needed > available:
        raise MissingError(
            f"{stage.name}: mergekit would need about {needed / 1e9:.1f} GB of memory, {available / 1e9:.1f} GB are "
            "available; use a method and options that merge.engine: fast covers, or a larger machine"
        )


_BITS = {
    "BF16": (np.uint16, 0x7FFF, 0x7F80),
    "F16": (np.uint16, 0x7FFF, 0x7C00),
    "F32": (np.uint32, 0x7FFFFFFF, 0x7F800000),
}
"""(integers of the same width, all bits but the sign, the bits of infinity): what is not finite is not smaller."""
_CHUNK = 1 << 18


def check_finite(stage: Stage, folder: Path, whose: str) -> None:
    """Raises StageError naming the first tensor with a value that is NaN or infinite."""
    weights = Weights(folder)
    for name, tensor in weights.tensors.items():
        if tensor.dtype not in _BITS:
            continue
        kind, magnitude, infinity = _BITS[tensor.dtype]
        bits = weights.flat(name).view(kind)
        for start in range(0, bits.size, _CHUNK):  # a chunk stays in the processor's cache
            if (bits[start : start + _CHUNK] & kind(magnitude)).max() >= infinity:
                raise StageError(
                    f"{stage.name}: {name} has values that are not finite in {whose}; make it again, "
                    "a merge with other weights"
                )
