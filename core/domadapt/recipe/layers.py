"""Lay one layer of a recipe over another: core < pack < extended recipes < recipe < `--set` < `--merge`.

Mappings merge key by key, lists and scalars replace. One exception keeps overrides usable: where a layer
names another component, the options that lower layers gave to the former one do not reach the new one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from pydantic import BaseModel

from domadapt.recipe.problems import Problem, UnreadableRecipeError, shown
from domadapt.recipe.reading import read_value
from domadapt.recipe.schema import Recipe
from domadapt.recipe.tree import CORE_DEFAULT, Location, Node, Origin, dotted, node_of
from domadapt.recipe.values import Section, keys_of

_STEP = re.compile(r'"([^"]*)"|([^."]+)')
_SHORT: dict[Location, str] = {
    ("corpus", "clean"): "use",
    ("track",): "use",
    ("eval", "domain"): "task",
    ("eval", "general"): "task",
}
"""Lists whose entries may be a name alone, and the key that it stands for."""
_FIXED = {"domain": "give --domain", "extends": "write it in the file", "version": "it belongs to the file"}


def core_defaults() -> Node:
    """The lowest layer: every default of the schema, in the schema's order."""
    return _defaults(Recipe, Origin(CORE_DEFAULT))


def _defaults(section: type[Section], origin: Origin) -> Node:
    children: dict[str, Node] = {}
    for key, field in keys_of(section).items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            children[key] = _defaults(field.annotation, origin)
        elif not field.is_required() and key not in ("extends", "resolved"):
            children[key] = node_of(_dumped(field.get_default(call_default_factory=True)), origin)
    return Node(children, origin)


def _dumped(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(by_alias=True)
    if isinstance(value, (list, tuple)):
        return [_dumped(child) for child in value]
    return value


def overlay(lower: Node, upper: Node, at: Location = ()) -> Node:
    """The two layers as one. A mapping with nothing in it yet (`mix:`) changes nothing."""
    if not isinstance(lower.value, dict):
        return upper
    if upper.value is None:
        return lower
    if not isinstance(upper.value, dict):
        return upper
    selector = _selector(at)
    children = dict(lower.value)
    if selector and selector in upper.value:
        _forget_options(children, selector, upper.value[selector])
    for key, child in upper.value.items():
        children[key] = overlay(children[key], child, (*at, key)) if key in children else child
    return Node(children, upper.origin)


def apply_overrides(root: Node, overrides: Sequence[str]) -> tuple[Node, list[Problem]]:
    """Apply `--set` values in their order; what cannot be applied becomes a problem."""
    problems: list[Problem] = []
    for override in overrides:
        origin = Origin("--set", written=f"--set {override}")
        location, value, found = _parsed(override, origin)
        problems += found
        if value is None:
            continue
        changed = _put(root, location, value, (), origin)
        if isinstance(changed, Problem):
            problems.append(changed)
        else:
            root = changed
    return root, problems


def apply_merge_methods(root: Node, names: Sequence[str]) -> Node:
    """Replace `merge.methods` by the names given with `--merge`, when there are any."""
    if not names:
        return root
    methods = [Node(name, Origin("--merge", written=f"--merge {name}")) for name in names]
    origin = Origin("--merge", written=" ".join(f"--merge {name}" for name in names))
    return overlay(root, Node({"merge": Node({"methods": Node(list(methods), origin)}, origin)}, root.origin))


def _parsed(override: str, origin: Origin) -> tuple[Location, Node | None, list[Problem]]:
    path, equals, text = override.partition("=")
    steps = [match[1] if match[1] is not None else match[2] for match in _STEP.finditer(path.strip())]
    if not equals or not steps or ".".join(steps) != path.strip().replace('"', ""):
        return (), None, [Problem(origin, "write --set KEY=VALUE, for example --set train.lr=2e-5")]
    if steps[0] in _FIXED:
        sentence = f"'{steps[0]}' decides which files are read and cannot be set; {_FIXED[steps[0]]}"
        return (), None, [Problem(origin, sentence)]
    try:
        value, problems = read_value(text, origin)
    except UnreadableRecipeError as error:
        sentence = str(error).removeprefix(shown(origin.written)).strip()
        return (), None, [Problem(origin, f"the value is {sentence}; put it in quotes if it is meant as text")]
    return tuple(steps), value, problems


def _put(node: Node, location: Location, value: Node, at: Location, origin: Origin) -> Node | Problem:
    """The tree with `value` laid over what stands at `location` (relative to `node`, which stands at `at`)."""
    if not location:
        return overlay(node, value, at)
    step, rest = str(location[0]), location[1:]
    if isinstance(node.value, list):
        return _put_in_list(node, node.value, step, rest, value, at, origin)
    if not isinstance(node.value, dict):
        if isinstance(node.value, str) and at[:-1] in _SHORT:
            node = Node({_SHORT[at[:-1]]: node}, node.origin)  # the short form of an entry, a name alone
        elif node.value is None:
            node = Node({}, node.origin)
        else:
            return Problem(
                origin, f"'{dotted(at)}' is a value ({shown(repr(node.value))}), nothing can be set below it"
            )
    children: dict[str, Node] = dict(node.value)  # type: ignore[arg-type]
    if step == _selector(at) and not rest:
        _forget_options(children, step, value)
    below = children.get(step)
    if below is None:
        children[step] = _nested(rest, value, origin)
        return Node(children, node.origin)
    changed = _put(below, rest, value, (*at, step), origin)
    if isinstance(changed, Problem):
        return changed
    children[step] = changed
    return Node(children, node.origin)


def _put_in_list(
    node: Node, entries: list[Node], step: str, rest: Location, value: Node, at: Location, origin: Origin
) -> Node | Problem:
    if not step.isdecimal():
        return Problem(origin, f"'{dotted(at)}' is a list; say which entry, counted from 0: {dotted((*at, 0, step))}")
    index = int(step)
    if index >= len(entries):
        have = f"entries 0 to {len(entries) - 1}" if len(entries) > 1 else "entry 0 only" if entries else "no entries"
        return Problem(origin, f"'{dotted(at)}' has {have}; to add one, set the whole list")
    changed = _put(entries[index], rest, value, (*at, index), origin)
    if isinstance(changed, Problem):
        return changed
    return Node([*entries[:index], changed, *entries[index + 1 :]], node.origin)


def _nested(location: Location, value: Node, origin: Origin) -> Node:
    for step in reversed(location):
        value = Node({str(step): value}, origin)
    return value


def _selector(at: Location) -> str:
    """The key that names a component in the mapping at a location, or ""."""
    match at:
        case ("mix",):
            return "mixer"
        case ("train",):
            return "backend"
        case ("corpus", "domain" | "general", int()):
            return "source"
        case ("corpus", "clean", int()) | ("track", int()):
            return "use"
    return ""


def _forget_options(children: dict[str, Node], selector: str, chosen: Node) -> None:
    """Drop options that were given to another component, unless this very layer gave them."""
    former, options = children.get(selector), children.get("options")
    if former is None or options is None or former.value == chosen.value or not isinstance(options.value, dict):
        return
    kept = {key: child for key, child in options.value.items() if child.origin.layer == chosen.origin.layer == "--set"}
    children["options"] = Node(kept, options.origin)
