"""Candidates as the fast engine takes them: the very merge that writing the candidate would carry out.

Sweeping works in memory, so it is for the methods of the fast engine and for TensorMergers; whatever else a recipe
names is refused before anything runs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from domadapt.artifacts import Checkpoint
from domadapt.builtin.merging.methods import ConfiguredMerger
from domadapt.components import Merger, Stage, TensorMerger
from domadapt.errors import StageError

if TYPE_CHECKING:
    from domadapt.builtin.merging.fast.sweep import Candidate, Sweep
    from domadapt.recipe.sweeps import Point


def why_not(merger: object) -> str | None:
    """Why a merge cannot be swept, in a few words; None when it can, as far as the recipe tells."""
    from domadapt.builtin.merging.fast import engine

    if isinstance(merger, TensorMerger):
        return None
    if not isinstance(merger, ConfiguredMerger):
        return "its merger only writes whole checkpoints"
    if merger.config.engine == "mergekit":
        return "its engine is mergekit, which merges on disk"
    method = merger.recipe({"instruct": 0.5, "cpt": 0.5}).get("merge_method")
    if method not in engine.METHODS:
        return f"{method} is merged by mergekit, on disk"
    return None


@dataclass(frozen=True)
class Prepared:
    """A candidate with the parents it merges. out_dtype: what the written model would store."""

    candidate: Candidate
    ancestor: Checkpoint | None
    models: tuple[Checkpoint, ...]
    dtype: str
    out_dtype: str

    @property
    def group(self) -> tuple[Any, ...]:
        """What candidates that share their readings of the parents have in common."""
        return (self.ancestor and self.ancestor.role, tuple(m.role for m in self.models), self.dtype)


class Candidates:
    """The candidates of one set of parents. parents: base, instruct and cpt."""

    def __init__(self, parents: Mapping[str, Checkpoint], stage: Stage) -> None:
        self._parents, self._stage = parents, stage
        self._sweeps: dict[tuple[Any, ...], Sweep] = {}
        self._told: set[str] = set()

    def prepare(self, points: Sequence[Point]) -> None:
        """Find what several candidates share, once."""
        grouped: dict[tuple[Any, ...], list[Prepared]] = {}
        for prepared in map(self.prepared, points):
            grouped.setdefault(prepared.group, []).append(prepared)
        for own in grouped.values():
            self.sweep(own[0]).prepare([prepared.candidate for prepared in own])

    def sweep(self, prepared: Prepared) -> Sweep:
        """The readings of a candidate's parents."""
        from domadapt.builtin.merging.fast.sweep import Sweep

        if prepared.group not in self._sweeps:
            self._sweeps[prepared.group] = Sweep(
                prepared.ancestor,
                prepared.models,
                seed=self._stage.seed,
                dtype=prepared.dtype,
                where=self._stage.name,
            )
        return self._sweeps[prepared.group]

    def prepared(self, point: Point) -> Prepared:
        """A candidate for the engine. Raises StageError when a guard or the engine refuses it."""
        merger = cast(Merger, point.choice.cls(point.choice.config))
        if isinstance(merger, TensorMerger):
            return self._tensorwise(merger, point.weight)
        assert isinstance(merger, ConfiguredMerger)
        return self._configured(merger, point)

    def _tensorwise(self, merger: TensorMerger, weight: float) -> Prepared:
        from domadapt.builtin.merging.engines import stored_dtype
        from domadapt.builtin.merging.fast.sweep import Candidate

        shares = {"instruct": 1 - weight, "cpt": weight}
        instruct, cpt = self._parents["instruct"], self._parents["cpt"]
        return Prepared(
            Candidate(merger, lambda name, role: {"weight": shares[role]} if role else {}),
            self._parents["base"] if merger.uses_ancestor else None,
            (instruct, cpt),
            "float32",
            stored_dtype(instruct.path),
        )

    def _configured(self, merger: ConfiguredMerger, point: Point) -> Prepared:
        from domadapt.builtin.merging import guards
        from domadapt.builtin.merging.config_file import roles_of
        from domadapt.builtin.merging.engines import fast_request
        from domadapt.builtin.merging.fast.sweep import Candidate

        shares = {"instruct": 1 - point.weight, "cpt": point.weight}
        config = merger.configuration_of(shares, self._parents)
        used = {role: self._parents[role] for role in roles_of(config)}
        guards.check_configuration(self._once(), config, used)
        request = fast_request(config, used)
        if isinstance(request, str):
            raise StageError(f"{self._stage.name}: {point.title} cannot be merged in memory: {request}")
        candidate = Candidate(request.method, request.settings)
        return Prepared(candidate, request.ancestor, tuple(request.models), request.dtype, request.out_dtype)

    def _once(self) -> Stage:
        """The stage, which says each warning once: candidates have most of them in common."""
        from dataclasses import replace

        def emit(kind: str, data: Mapping[str, Any]) -> None:
            told = str(data.get("message", ""))
            if kind != "warning" or told not in self._told:
                self._told.add(told)
                self._stage.emit(kind, data)

        return replace(self._stage, emit=emit)
