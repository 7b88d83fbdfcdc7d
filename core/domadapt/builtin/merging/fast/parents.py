"""The checkpoints of a merge as one: which tensors there are, and each of them in every parent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from domadapt.builtin.merging.fast.checkpoint import CODES, FLOATS, NAMES, OUTPUT, STORED, Stored, Weights
from domadapt.builtin.merging.fast.gradients import Settings
from domadapt.builtin.merging.fast.methods import Group
from domadapt.builtin.merging.fast.routes import Flat
from domadapt.builtin.merging.fast.writing import Planned, planned_bytes
from domadapt.errors import StageError

if TYPE_CHECKING:
    from domadapt.artifacts import Checkpoint


class Parents:
    """The ancestor (None for methods without one) and the models, opened.

    where: what messages begin with, a stage's name.  Raises DataError when one cannot be read and StageError when
    they do not have the same tensors of the same shapes.
    """

    def __init__(self, ancestor: Checkpoint | None, models: Sequence[Checkpoint], where: str) -> None:
        self.where = where
        self.ancestor = Weights(ancestor.path, ancestor.role) if ancestor is not None else None
        self.models = [Weights(model.path, model.role) for model in models]
        self.roles = [model.role for model in models]
        assert len(set(self.roles)) == len(self.roles), f"two models have the same role: {self.roles}"
        self.all = [*([self.ancestor] if self.ancestor is not None else []), *self.models]
        self.names = self._names()

    def _names(self) -> list[str]:
        """All tensors, in the order of the first model's files. A tied output layer is there when one parent has it."""
        names = list(self.models[0].tensors)
        if OUTPUT not in names and any(OUTPUT in parent.tensors for parent in self.all):
            names.append(OUTPUT)
        everything = {name for parent in self.all for name in parent.tensors} | set(names)
        for name in [*names, *sorted(everything - set(names))]:
            self._check(name)
        return names

    def _check(self, name: str) -> None:
        found = [(parent, parent.find(name)) for parent in self.all]
        (first, stored), *others = found
        for parent, other in others:
            if (other and other.shape) != (stored and stored.shape):
                raise StageError(
                    f"{self.where}: {name} is {_described(stored)} in the {first.name} model and "
                    f"{_described(other)} in the {parent.name} model; merge checkpoints of one architecture"
                )
        for parent, other in found:
            if other is not None and other.dtype in FLOATS:
                raise StageError(
                    f"{self.where}: {name} is stored as {other.dtype} in the {parent.name} model; "
                    "the fast engine merges bf16, fp16 and fp32"
                )

    def stored(self, name: str) -> Stored:
        """A tensor as the first model stores it."""
        found = self.models[0].find(name)
        assert found is not None
        return found

    def is_merged(self, name: str) -> bool:
        """Whether a tensor holds floating-point weights in every parent; other buffers are copied."""
        return all((found := parent.find(name)) is not None and found.dtype in STORED for parent in self.all)

    def group(self, name: str, settings: Settings) -> Group:
        """One tensor of all parents with its numbers."""
        return Group(
            name=name,
            base=self.ancestor.flat(name) if self.ancestor is not None else None,
            models=[model.flat(name) for model in self.models],
            roles=self.roles,
            shared=settings(name, None),
            own=[settings(name, role) for role in self.roles],
        )

    def buffer(self, name: str) -> Flat:
        """A tensor that is not merged, as bytes. Raises StageError when the parents differ."""
        first, *others = ((parent, parent.flat(name).view(np.uint8)) for parent in self.all)
        for parent, entries in others:
            if not np.array_equal(entries, first[1]):
                raise StageError(
                    f"{self.where}: the buffer {name} is not floating-point and differs between the "
                    f"{first[0].name} and the {parent.name} model; make them equal first"
                )
        return first[1]

    def plan(self, dtype: str) -> list[Planned]:
        """The output's tensors with their type and the first model's file, in order."""
        return [self._planned(name, dtype) for name in self.names]

    def _planned(self, name: str, dtype: str) -> Planned:
        stored = self.stored(name)
        if not self.is_merged(name):
            return Planned(name, stored.dtype, stored.shape, stored.num_bytes, stored.file)
        return Planned(name, CODES[dtype], stored.shape, planned_bytes(stored.shape, dtype), stored.file)

    @property
    def size(self) -> int:
        """Entries of all tensors of one parent."""
        return sum(self.stored(name).size for name in self.names)

    def by_size(self, threads: int) -> Iterator[str]:
        """Names in the order to work on them: the few that could keep one thread busy at the end first.

        The others are divided among the threads, so that each has files of its own to write: a file takes one write
        at a time.
        """
        sizes = {name: self.stored(name).size for name in self.names}
        large = sum(sizes.values()) / max(1, 4 * threads)
        yield from sorted((n for n in self.names if sizes[n] > large), key=lambda n: -sizes[n])
        small = [name for name in self.names if sizes[name] <= large]
        part = max(1, -(-len(small) // threads))
        for place in range(part):
            yield from small[place::part]

    def non_finite(self, name: str, place: int, relative: bool) -> StageError:
        """The refusal of a value that is not finite. place: of the input, counting the ancestor when `relative`."""
        inputs = self.all if relative else self.models
        where = f"in the {inputs[place].name} model; make that checkpoint again" if place < len(inputs) else (
            "after merging; check the weights"
        )  # fmt: skip
        return StageError(f"{self.where}: {name} has values that are not finite {where}")


def stored_types(parents: Sequence[Weights]) -> set[str]:
    """The types of all floating-point tensors, by their names in a header."""
    return {t.dtype for parent in parents for t in parent.tensors.values() if t.dtype in NAMES or t.dtype in FLOATS}


def _described(stored: Stored | None) -> str:
    return "missing" if stored is None else f"of shape {list(stored.shape)}"
