"""Sweeps in a recipe: several values where a merge takes one, or a search over ranges.

`merge.weight` and `merge.density` may be lists. In `merge.options.METHOD` a list is a gradient over the layers, so
several values are written `{each: [0.8, 1.0]}` there. With `merge.search: cma` the smallest and the largest value of
a list bound the search, and weight and density are searched in any case.

Everything that a recipe's check does for one merge is done with the first value of every list, then for each other
value with the rest as it is, so a wrong value has its own place in the file.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

from pydantic import ValidationError

from domadapt.recipe.choosing import Chooser
from domadapt.recipe.problems import Problem, shown
from domadapt.recipe.resolved import Choice
from domadapt.recipe.tree import Location, Node, dotted
from domadapt.recipe.wording import came_text

if TYPE_CHECKING:
    from domadapt.recipe.schema import MergeRecipe
    from domadapt_registry import Registry

EACH = "each"
"""The key under which several values of a method's option stand."""
GENERAL = ("weight", "density")
"""Keys of `merge` that may be lists."""
RANGES: Mapping[str, tuple[float, float]] = {"weight": (0.0, 1.0), "density": (0.1, 1.0)}
"""What is searched when the recipe gives no range. Below a tenth TIES keeps too little to elect signs."""


@dataclass(frozen=True)
class Axis:
    """One setting that candidates differ in.

    key: of the method's options, or "weight", the CPT model's share.  at: where a recipe says it.  values: all of
    them in a grid, (smallest, largest) in a search.  knots: 0 for one number a candidate, else the numbers of a
    gradient over the layers.
    """

    key: str
    at: Location
    values: tuple[Any, ...]
    knots: int = 0


@dataclass(frozen=True)
class Point:
    """One candidate. weight: `merge.weight` for it.  settings: what it differs in, by key.

    arguments: what `--set` takes to say the same.
    """

    label: str
    choice: Choice
    weight: float
    settings: Mapping[str, Any] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """How a person calls it: "ties, weight 0.3, density 0.5"."""
        return ", ".join([self.label, *(f"{key} {_told(value)}" for key, value in self.settings.items())])


@dataclass(frozen=True)
class SweptMethod:
    """A merge with the settings that are swept. choice: with the first value of each."""

    label: str
    choice: Choice
    weight: float
    axes: tuple[Axis, ...]
    always: tuple[str, ...] = ()
    """Arguments of every candidate."""

    def at(self, values: Sequence[Any]) -> Point:
        """The candidate with one value for each axis. Raises ValidationError when the method refuses it."""
        options = self.choice.config.model_dump(exclude_unset=True)
        weight = self.weight
        settings: dict[str, Any] = {}
        arguments = list(self.always)
        fields = type(self.choice.config).model_fields
        for axis, value in zip(self.axes, values, strict=True):
            key, written = axis.key, value
            if axis.knots and axis.key == "weight":
                written = {"cpt": list(value), "instruct": [round(1 - v, 6) for v in value]}
            elif axis.key == "weight" and axis.at == ("merge", "weight"):
                weight = float(value)
            if key in fields:
                options[key] = written
            settings[key] = value
            arguments.append(f"{dotted(axis.at)}={json.dumps(written)}")
        config = type(self.choice.config).model_validate(options)
        return Point(self.label, replace(self.choice, config=config), weight, settings, tuple(arguments))

    def grid(self) -> Iterator[Point]:
        """All combinations of the axes' values, the last axis the quickest."""
        for values in itertools.product(*(axis.values for axis in self.axes)):
            yield self.at(values)


@dataclass(frozen=True)
class SweepPlan:
    """A sweep that can be run. write: how many candidates become models."""

    methods: tuple[SweptMethod, ...]
    search: Literal["grid", "cma"]
    budget: int
    write: int
    select_by: Any

    def labels(self) -> list[str]:
        """Labels of the models that it makes."""
        return ["sweep", *(f"sweep-{number}" for number in range(2, self.write + 1))]

    def told(self) -> str:
        """What it is, for a line: "sweep of ties, slerp (9 candidates)"."""
        count = len(self.points()) if self.search == "grid" else self.budget
        return f"sweep of {', '.join(m.label for m in self.methods)} ({count} candidates)"

    def points(self) -> list[Point]:
        """The candidates of a grid."""
        return [point for method in self.methods for point in method.grid()]

    def decisive(self) -> dict[str, Any]:
        """What decides the scores, as plain data; `select_by` only where it leads the search."""

        def options(choice: Choice) -> dict[str, Any]:
            return choice.config.model_dump(mode="json")

        if self.search == "grid":
            return {"candidates": [[p.label, p.choice.name, options(p.choice), p.weight] for p in self.points()]}
        spaces = [
            [m.label, m.choice.name, options(m.choice), m.weight, [[a.key, list(a.values), a.knots] for a in m.axes]]
            for m in self.methods
        ]
        return {"spaces": spaces, "budget": self.budget, "select_by": self.select_by}


def _told(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return json.dumps(value)


@dataclass(frozen=True)
class Flat:
    """A recipe with one value for every list. lists: the nodes of all values, by place."""

    root: Node
    lists: Mapping[Location, list[Node]]
    problems: Sequence[Problem]


def flattened(root: Node) -> Flat:
    """The recipe with the first value of every list of a sweep."""
    lists: dict[Location, list[Node]] = {}
    problems: list[Problem] = []
    flat = root
    for key in GENERAL:
        at: Location = ("merge", key)
        node = root.at(at)
        if node is not None and isinstance(node.value, list) and node.value:
            lists[at] = node.value
            flat = _put(flat, at, node.value[0])
    flat = _with_density(flat)
    options = root.at(("merge", "options"))
    for label, own in _children(options):
        for key, node in _children(own):
            if not isinstance(node.value, dict) or EACH not in node.value:
                continue
            at = ("merge", "options", label, key)
            each = node.value[EACH]
            values = each.value if isinstance(each.value, list) and each.value else []
            if len(node.value) > 1 or not values:
                came = "other keys beside it" if len(node.value) > 1 else came_text(each.plain())
                text = f"{dotted((*at, EACH))}: wanted a list of values, came {came}"
                problems.append(Problem(each.origin, text))
            else:
                lists[at] = values
            flat = _put(flat, at, values[0] if values else each)
    return Flat(_without_outdated(flat, lists), lists, problems)


def _with_density(flat: Node) -> Node:
    """A search finds the density where none is given."""
    search, density = flat.at(("merge", "search")), flat.at(("merge", "density"))
    if search is None or search.value != "cma" or density is None or density.value is not None:
        return flat
    return _put(flat, ("merge", "density"), Node(RANGES["density"][1], density.origin))


def _without_outdated(flat: Node, lists: Mapping[Location, list[Node]]) -> Node:
    """Without options of methods that a list given by --set comes after: sweeping was asked for last."""
    for at, values in lists.items():
        if len(at) != 2 or values[0].origin.layer != "--set":
            continue
        for label, own in _children(flat.at(("merge", "options"))):
            node = own.child(at[1])
            if node is not None and node.origin.layer != "--set" and ("merge", "options", label, at[1]) not in lists:
                assert isinstance(own.value, dict)
                rest = {key: child for key, child in own.value.items() if key != at[1]}
                flat = _put(flat, ("merge", "options", label), Node(rest, own.origin))
    return flat


def is_list(option: Any) -> bool:
    """Whether an option of a method is a list of values to sweep."""
    return isinstance(option, Mapping) and EACH in option


def _children(node: Node | None) -> list[tuple[str, Node]]:
    return list(node.value.items()) if node is not None and isinstance(node.value, dict) else []


def _put(node: Node, at: Location, value: Node) -> Node:
    """The tree with another value at a place that exists."""
    if not at:
        return value
    assert isinstance(node.value, dict)
    key = str(at[0])
    return Node({**node.value, key: _put(node.value[key], at[1:], value)}, node.origin)


class SweepChooser:
    """Makes the plan of a sweep from a recipe whose merges were chosen with the first value of every list."""

    def __init__(self, root: Node, flat: Flat, registry: Registry) -> None:
        self.problems: list[Problem] = list(flat.problems)
        self._root, self._flat, self._registry = root, flat, registry

    def plan(self, mergers: Mapping[str, Choice], merge: MergeRecipe | None) -> SweepPlan | None:
        """The plan; None when nothing is swept, or when problems were found.

        mergers: the chosen merges by label.  merge: that section by the schema, None when it has mistakes.
        """
        if merge is None or self.problems:
            return None
        searching = merge.search == "cma"
        axes = {label: tuple(self._axes(label, choice, merge, searching)) for label, choice in mergers.items()}
        self._refuse_unused(mergers, axes)
        if not searching and not any(len(axis.values) > 1 for own in axes.values() for axis in own):
            return None
        self._refuse_unusable(mergers, axes, searching)
        self._check_values({axis.at for own in axes.values() for axis in own})
        always = ("merge.search=grid",) if searching else ()
        methods = tuple(
            SweptMethod(label, choice, merge.share, axes[label], always) for label, choice in mergers.items()
        )
        plan = SweepPlan(methods, merge.search, merge.budget, merge.write, _plain(merge.select_by))
        self._check_size(plan)
        return None if self.problems else plan

    def _axes(self, label: str, choice: Choice, merge: MergeRecipe, searching: bool) -> Iterator[Axis]:
        own = self._root.at(("merge", "options", label))
        flat_own = self._flat.root.at(("merge", "options", label))
        for key in GENERAL:
            general: Location = ("merge", key)
            special: Location = ("merge", "options", label, key)
            if special in self._flat.lists or not _takes(choice, key):
                continue
            if flat_own is not None and flat_own.child(key) is not None:
                continue  # the method's own, one value
            values = self._flat.lists.get(general)
            outdated = own is not None and own.child(key) is not None
            at = special if outdated else general
            if values is not None and not searching:
                yield Axis(key, at, tuple(_number(v) for v in values))
            elif searching:
                yield self._range(key, at, values, RANGES[key], label, choice, merge.knots)
        for key, _ in _children(own):
            at = ("merge", "options", label, key)
            if at in self._flat.lists:
                values = self._flat.lists[at]
                if searching:
                    yield self._range(key, at, values, (0.0, 1.0), label, choice, 0)
                else:
                    yield Axis(key, at, tuple(v.plain() for v in values))

    def _range(
        self,
        key: str,
        at: Location,
        values: list[Node] | None,
        default: tuple[float, float],
        label: str,
        choice: Choice,
        knots: int,
    ) -> Axis:
        """The bounds of a search. A weight becomes a gradient over the layers where the method takes one."""
        bounds = default
        if values is not None:
            numbers = [_number(v) for v in values]
            wrong = [v for v, n in zip(values, numbers, strict=True) if not isinstance(n, float)]
            if wrong or min(numbers) == max(numbers):
                text = f"{dotted(at)}: merge.search cma wants the smallest and the largest number of it"
                self.problems.append(Problem((wrong or values)[0].origin, text))
            else:
                bounds = (min(numbers), max(numbers))
        if key == "weight" and knots > 1:
            fields = type(choice.config).model_fields
            if "t" in fields:
                return Axis("t", ("merge", "options", label, "t"), bounds, knots)
            if _takes_gradient(choice):
                return Axis("weight", ("merge", "options", label, "weight"), bounds, knots)
        return Axis(key, at, bounds)

    def _refuse_unused(self, mergers: Mapping[str, Choice], axes: Mapping[str, Sequence[Axis]]) -> None:
        """Refuse a general list that would be ignored in silence, because the methods say it themselves."""
        methods = self._root.deepest(("merge", "methods"))[1]
        swept = {axis.key for own in axes.values() for axis in own}
        for at, values in self._flat.lists.items():
            key = str(at[1])
            if len(at) > 2 or len(values) < 2 or key in swept:
                continue
            if methods.origin.layer == "--merge" and values[0].origin.layer != "--set":
                continue  # the file's lists are for the file's methods
            if any(_takes(choice, key) for choice in mergers.values()):  # else it is refused as any unused setting
                text = (
                    f"merge.{key}: a list, but every selected method that takes it has a value of its own; remove one"
                )
                self.problems.append(Problem(values[0].origin, text))

    def _refuse_unusable(
        self, mergers: Mapping[str, Choice], axes: Mapping[str, Sequence[Axis]], searching: bool
    ) -> None:
        """Refuse methods that are not merged in memory, and a search without anything to search."""
        from domadapt.builtin.merging.search.candidates import why_not

        names = self._names()
        for label, choice in mergers.items():
            if reason := why_not(choice.cls(choice.config)):
                text = f"merge.methods: '{shown(label)}' cannot be swept: {reason}; leave it out, or merge it by itself"
                self.problems.append(Problem(names.get(label, self._root).origin, text))
        if searching and not any(axes.values()):
            place = self._root.deepest(("merge", "search"))[1]
            text = "merge.search: no selected merge has a weight, density or list that could be searched"
            self.problems.append(Problem(place.origin, text))

    def _names(self) -> dict[str, Node]:
        methods = self._root.at(("merge", "methods"))
        entries = methods.value if methods is not None and isinstance(methods.value, list) else [methods]
        return {str(node.value): node for node in entries if isinstance(node, Node)}

    def _check_values(self, used: Set[Location]) -> None:
        """Check every other value of every list as if it stood there alone."""
        for at, values in self._flat.lists.items():
            if len(at) == 2 and at not in used:
                continue
            for value in values[1:]:
                chooser = Chooser(_put(self._flat.root, at, value), self._registry)
                chooser.mergers()
                self.problems += chooser.problems

    def _check_size(self, plan: SweepPlan) -> None:
        merge = self._root.deepest(("merge",))[1]
        if not self._root.at(("corpus", "general")) or not self._root.at(("corpus", "general")).value:  # type: ignore[union-attr]
            text = "merge: a sweep weighs the domain against general text; add a source to corpus.general"
            self.problems.append(Problem(merge.origin, text))
        if self.problems or plan.search == "cma":
            return
        try:
            count = sum(1 for _ in itertools.islice((p for m in plan.methods for p in m.grid()), plan.budget + 1))
        except ValidationError as error:
            told = error.errors()[0]["msg"].removeprefix("Value error, ")
            self.problems.append(Problem(merge.origin, f"merge: a combination of these lists is refused: {told}"))
            return
        if count > plan.budget:
            budget = self._root.deepest(("merge", "budget"))[1]
            text = (
                f"merge.budget: the lists make more than {plan.budget} candidates; shorten one, raise the budget, or "
                "set merge.search to cma"
            )
            self.problems.append(Problem(budget.origin, text))
        if plan.write > count:
            write = self._root.deepest(("merge", "write"))[1]
            self.problems.append(Problem(write.origin, f"merge.write: there are only {count} candidates"))


def _takes(choice: Choice, knob: str) -> bool:
    if knob == "weight":
        return not getattr(choice.cls, "ignores_weight", False)
    return knob in type(choice.config).model_fields


def _takes_gradient(choice: Choice) -> bool:
    """Whether the weight may be a gradient for each parent."""
    given = choice.config.model_dump(exclude_unset=True)
    try:
        type(choice.config).model_validate({**given, "weight": {"cpt": [0.5, 0.5], "instruct": [0.5, 0.5]}})
    except ValidationError:
        return False
    return True


def _number(node: Node) -> Any:
    """A value of a list as the schema reads it: numbers as such, also 1e-1, which YAML takes for text."""
    from domadapt.recipe.values import parse_decimal

    try:
        value = parse_decimal(node.plain())
    except ValueError:
        return node.plain()
    return float(value) if isinstance(value, int | float) else value


def _plain(select_by: Any) -> Any:
    return select_by if isinstance(select_by, str) else select_by.model_dump()
