"""One merge, from folders to a folder: parents are mapped, every tensor is merged in ranges, ranges are written.

What it holds in memory is a range of output for each thread and a few tables: tens of megabytes for any model.
Each tensor is one thread's, so results do not depend on the number of threads or the order of tensors.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from domadapt.builtin.merging.fast.checkpoint import CODES, FLOATS, OUTPUT, STORED, Weights
from domadapt.builtin.merging.fast.gradients import Settings
from domadapt.builtin.merging.fast.methods import METHODS as _METHODS
from domadapt.builtin.merging.fast.methods import Context, Group, Method
from domadapt.builtin.merging.fast.parents import Parents, stored_types
from domadapt.builtin.merging.fast.routes import INFINITY_BITS, Flat, choose, num_threads, ranges
from domadapt.builtin.merging.fast.thresholds import Thresholds
from domadapt.builtin.merging.fast.writing import Writer, draining_of, write_config
from domadapt.errors import AdaptError, Interrupted, StageError

if TYPE_CHECKING:
    from domadapt.artifacts import Checkpoint
    from domadapt.components import Stage

METHODS: tuple[str, ...] = tuple(_METHODS)
_KEYS = frozenset({"merge_method", "base_model", "models", "parameters", "dtype", "out_dtype"})
_HARMLESS = frozenset({"int8_mask"})
"""mergekit's int8_mask saves memory there and changes no result."""


def covers(config: Mapping[str, Any], parents: Sequence[Path]) -> str | None:
    """Why the fast engine cannot do what a mergekit configuration asks for, in one sentence; None when it can.

    config: as mergekit takes it, complete.  parents: the folders it names.
    """
    name = config.get("merge_method")
    method = _METHODS.get(str(name))
    if method is None:
        return f"the method {name} has no fast implementation"
    if extra := sorted(set(config) - _KEYS):
        return f"'{extra[0]}' is left to mergekit"
    if config.get("dtype") not in ("float32", "bfloat16"):
        return f"its arithmetic is float32 or bfloat16, not {config.get('dtype')}"
    if config.get("out_dtype") not in (None, *CODES):
        return f"it writes float32, bfloat16 or float16, not {config['out_dtype']}"
    if config["dtype"] not in method.dtypes:
        return f"{name} is done in {method.dtypes[0]} only"
    models = [
        m for m in config.get("models") or () if not (method.uses_ancestor and m["model"] == config["base_model"])
    ]
    if len(models) < method.least_models or len(models) > (method.most_models or len(models)):
        return f"it does not merge {len(models)} models by {name}"
    for place, allowed in ((config, method.shared | method.own), *((model, method.own) for model in models)):
        if unknown := sorted(set(place.get("parameters") or ()) - allowed - _HARMLESS):
            return f"the parameter '{unknown[0]}' of {name} is left to mergekit"
    try:
        types = stored_types([Weights(folder) for folder in parents])
    except AdaptError as error:
        return str(error)
    wide = sorted(types & FLOATS)
    return f"weights stored as {wide[0]} are left to mergekit" if wide else None


def run(
    method: str,
    settings: Settings,
    ancestor: Checkpoint | None,
    models: Sequence[Checkpoint],
    out: Path,
    stage: Stage,
    *,
    dtype: str = "float32",
    out_dtype: str | None = None,
    max_shard_bytes: int | None = None,
    device: str = "auto",
) -> dict[str, Any]:
    """Merge and write the weights and config.json into `out`; return facts.

    settings: the numbers of each tensor, see `gradients`.  models: their roles are the names that `settings` is
    asked with, and part of the key of random masks.  dtype: of the arithmetic.  out_dtype: None for the type that
    the first model stores.  max_shard_bytes: None for files like the first model's.  device: see `routes.choose`.
    Raises StageError naming tensor and parent when a value is not finite or the parents do not fit.
    """
    chosen = _METHODS[method]
    assert dtype in chosen.dtypes, f"{method} in {dtype}"
    parents = Parents(ancestor if chosen.uses_ancestor else None, models, stage.name)
    context = context_of(dtype, stage.seed, device, parents.size * len(parents.all))
    job = Job(chosen, method, settings, parents, context)
    written = out_dtype or parents.models[0].dtype
    write_all(parents, {out: job}, {out: written}, stage, max_shard_bytes)
    return {
        "method": method,
        "engine": "fast",
        "route": job.context.route.name,
        "dtype": dtype,
        "out_dtype": written,
        "tensors": len(parents.names),
        "finite": True,
    }


def context_of(dtype: str, seed: int, device: str, work: int) -> Context:
    """What all tensors of a merge, or of a sweep, share. work: entries that will be read, about."""
    assert dtype in ("float32", "bfloat16"), dtype
    return Context(choose(device, work), Thresholds(dtype == "bfloat16"), seed, dtype == "bfloat16")


Fill = Callable[[int, int, Flat], None]
"""fill(start, end, out) puts entries [start, end) of a merged tensor into `out`, ranges in order."""


class Merge(Protocol):
    """Something that merges any tensor of its parents into any memory, a range at a time.

    in_ranges: whether it also works range by range, and not on the whole tensor at first.
    """

    parents: Parents
    range_entries: int
    in_ranges: bool

    def fill(self, tensor: str) -> Fill:
        """What merges one tensor. It raises StageError where a value is not finite."""


class Job:
    """One method with its settings over the parents: merges any tensor into any memory."""

    in_ranges = True

    def __init__(self, method: Method, name: str, settings: Settings, parents: Parents, context: Context) -> None:
        self.method, self.name, self.settings = method, name, settings
        self.parents, self.context = parents, context
        self.range_entries = context.route.range_entries

    def fill(self, tensor: str) -> Fill:
        """See Merge."""
        with np.errstate(all="ignore"):  # what is not finite is refused below, by name
            step = self.method.prepare(self.group(tensor), self.context)

        def filled(start: int, end: int, out: Flat) -> None:
            with np.errstate(all="ignore"):
                largest = step(start, end, out)
            for place, bits in enumerate(largest):
                if bits >= INFINITY_BITS:
                    raise self.parents.non_finite(tensor, place, relative=self.method.uses_ancestor)

        return filled

    def group(self, tensor: str) -> Group:
        """The tensor with its numbers, all that the method needs among them."""
        group = self.parents.group(tensor, self.settings)
        for role, numbers in zip(group.roles, group.own, strict=True):
            if "weight" in self.method.own and "weight" not in numbers:
                raise StageError(f"{self.parents.where}: {self.name} needs a weight for {tensor} of the {role} model")
        if "t" in self.method.shared and "t" not in group.shared:
            raise StageError(f"{self.parents.where}: {self.name} needs t for {tensor}")
        return group


def write_all(
    parents: Parents,
    jobs: Mapping[Path, Merge],
    dtypes: Mapping[Path, str],
    stage: Stage,
    max_shard_bytes: int | None = None,
    threads: int | None = None,
) -> None:
    """Write one checkpoint a job, all from one reading of the parents.

    dtypes: what each stores.  threads: None for as many as there are.
    Raises Interrupted between two tensors when asked to stop.
    """
    plans = {out: parents.plan(dtypes[out]) for out in jobs}
    draining = draining_of(sum(tensor.num_bytes for plan in plans.values() for tensor in plan))
    writers = {out: Writer(out, plan, max_shard_bytes, draining) for out, plan in plans.items()}
    sizes = {name: parents.stored(name).size for name in parents.names}
    # a range of the parents is read once for all that work in ranges; the others hold a whole tensor, one at a time
    together = [[out for out, job in jobs.items() if job.in_ranges]]
    together += [[out] for out, job in jobs.items() if not job.in_ranges]

    def work(name: str) -> int:
        for outs in together if parents.is_merged(name) else ():
            _write_tensor(name, sizes[name], {writers[out]: (jobs[out], STORED[CODES[dtypes[out]]]) for out in outs})
        if not parents.is_merged(name):
            for writer in writers.values():
                writer.write(name, parents.buffer(name), 0)
        return sizes[name]

    try:
        _in_threads(work, parents, sum(sizes.values()), threads or num_threads(), stage)
        for out, writer in writers.items():
            writer.finish()
            write_config(out, parents.models[0].config, dtypes[out], OUTPUT in parents.names)
        if draining is not None:
            draining.finish()
    finally:
        if draining is not None:
            draining.close()
        for writer in writers.values():
            writer.close()


def _write_tensor(name: str, size: int, jobs: Mapping[Writer, tuple[Merge, Any]]) -> None:
    """Merge a tensor range by range, by all jobs. jobs: with the type that each writes."""
    fills = [(writer, job.fill(name), dtype) for writer, (job, dtype) in jobs.items()]
    step = min((job.range_entries for job, _ in jobs.values()), default=1)
    buffers = {dtype: np.empty(min(size, step), dtype) for _, dtype in jobs.values()}
    for start, end in ranges(size, step):
        for writer, fill, dtype in fills:
            out = buffers[dtype][: end - start]
            fill(start, end, out)
            writer.write(name, out, start)


def _in_threads(work: Callable[[str], int], parents: Parents, total: int, threads: int, stage: Stage) -> None:
    names = parents.by_size(threads)
    done, shown = 0, 0.0
    for size in mapped(work, names, threads, stage):
        done += size
        if done >= shown + total / 20 or done == total:
            shown = done
            stage.progress(done, total, "weights")


def mapped(work: Callable[[str], int], names: Iterable[str], threads: int, stage: Stage) -> Iterable[int]:
    """work(name) for all names in threads, results as they are. The first failure ends it, and so does a stop."""

    def careful(name: str) -> int:
        if stage.stop_requested():
            raise Interrupted(f"{stage.name}: stopped while merging; run again to start this merge anew")
        return work(name)

    with ThreadPoolExecutor(threads, thread_name_prefix="merge") as pool:
        futures = [pool.submit(careful, name) for name in names]
        try:
            for future in futures:
                yield future.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
