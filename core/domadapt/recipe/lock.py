"""The lock file: everything a run resolved to, each value with its origin, and a recipe again itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from domadapt.recipe.problems import shown
from domadapt.recipe.reading import resolves_to_text
from domadapt.recipe.resolved import MERGE_KNOBS, SIDES, Choice, ResolvedRecipe
from domadapt.recipe.sweeps import is_list
from domadapt.recipe.tree import CORE_DEFAULT, Location, Node, Origin, dotted, node_of

_HEAD = """\
# Written by adapt: every value of a run and where it came from. It is a recipe: adapt run FILE repeats the run.
# The block `resolved` is a record and is not read.
"""
_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./@+-:")


def resolved_tree(resolved: ResolvedRecipe) -> Node:
    """All values in the schema's order, component options with their defaults, each with its origin."""
    data = resolved.recipe.model_dump(mode="json", by_alias=True, exclude={"extends", "resolved"})
    owners: dict[Location, str] = {}

    def put(choice: Choice, section: dict[str, Any], at: Location) -> None:
        section["options"] = choice.config.model_dump(mode="json", by_alias=True)
        owners[(*at, "options")] = choice.name

    for side in SIDES:
        for index, choice in enumerate(resolved.sources[side]):
            put(choice, data["corpus"][side][index], ("corpus", side, index))
    for index, choice in enumerate(resolved.cleaners):
        put(choice, data["corpus"]["clean"][index], ("corpus", "clean", index))
    for index, choice in enumerate(resolved.trackers):
        put(choice, data["track"][index], ("track", index))
    put(resolved.mixer, data["mix"], ("mix",))
    put(resolved.backend, data["train"], ("train",))
    data["merge"]["options"] = _method_options(resolved, owners)
    return _with_origins(data, resolved.loaded.root, (), owners)


def describe_origins(resolved: ResolvedRecipe) -> list[tuple[str, Any, str]]:
    """(dotted path, value, origin) of every final value, in the schema's order."""
    return [(dotted(at), node.plain(), str(node.origin)) for at, node in resolved_tree(resolved).scalars()]


def lock_text(resolved: ResolvedRecipe, facts: Mapping[str, Any]) -> str:
    """The text of recipe.lock.yaml. It loads as a recipe and resolves to the same values.

    facts: the block `resolved`, plain data: versions, revisions and digests of what was used.
    """
    lines = list(_mapping(resolved_tree(resolved), 0, origins=True))
    if facts:
        lines += ["", "resolved:", *_mapping(node_of(dict(facts), Origin("adapt")), 1, origins=False)]
    return _HEAD + "\n".join(lines) + "\n"


def _method_options(resolved: ResolvedRecipe, owners: dict[Location, str]) -> dict[str, Any]:
    """Options of every method; a general knob stays where it is, so that it can still be changed there."""
    given = resolved.recipe.merge.options
    options: dict[str, Any] = {}
    for name, choice in resolved.mergers.items():
        values = choice.config.model_dump(mode="json", by_alias=True)
        shared = {key for key in MERGE_KNOBS if key not in given.get(name, {})}
        if resolved.recipe.merge.density is None:
            shared.discard("density")
        options[name] = {key: value for key, value in values.items() if key not in shared}
        owners[("merge", "options", name)] = name
    for method in resolved.sweep.methods if resolved.sweep else ():
        values = method.choice.config.model_dump(mode="json", by_alias=True)
        swept = {axis.key for axis in method.axes}
        # a list of --set came after an option of the method's own: in the lock nothing comes after
        own = {k: v for k, v in given.get(method.label, {}).items() if k not in swept or is_list(v)}
        options[method.label] = {k: v for k, v in values.items() if k not in swept | set(MERGE_KNOBS)} | own
        owners[("merge", "options", method.label)] = method.label
    return options | {name: dict(values) for name, values in given.items() if name not in options}


def _with_origins(value: Any, root: Node, at: Location, owners: Mapping[Location, str]) -> Node:
    origin = _origin(root, at, owners)
    if isinstance(value, dict):
        return Node({k: _with_origins(v, root, (*at, k), owners) for k, v in value.items()}, origin)
    if isinstance(value, list):
        return Node([_with_origins(v, root, (*at, i), owners) for i, v in enumerate(value)], origin)
    return node_of(value, origin)


def _origin(root: Node, at: Location, owners: Mapping[Location, str]) -> Origin:
    existing, node = root.deepest(at)
    if existing == at or not isinstance(node.value, dict):  # a step's or method's short form is one scalar
        return node.origin
    for depth in range(len(at), 0, -1):
        if (owner := owners.get(at[:depth])) is not None:
            return Origin(f"default of {owner}")
    return Origin(CORE_DEFAULT)


def _mapping(node: Node, depth: int, *, origins: bool) -> Iterator[str]:
    assert isinstance(node.value, dict)
    for key, child in node.value.items():
        yield from _entry(f"{'  ' * depth}{_text(key)}:", child, depth, origins=origins)


def _entry(head: str, node: Node, depth: int, *, origins: bool) -> Iterator[str]:
    if isinstance(node.value, dict) and node.value:
        yield head
        yield from _mapping(node, depth + 1, origins=origins)
    elif isinstance(node.value, list) and node.value:
        yield head
        for child in node.value:
            yield from _list_entry(child, depth + 1, origins=origins)
    else:
        comment = f"  # {shown(str(node.origin))}" if origins else ""
        yield f"{head} {_scalar(node.plain())}{comment}"


def _list_entry(node: Node, depth: int, *, origins: bool) -> Iterator[str]:
    pad = "  " * depth
    if isinstance(node.value, dict) and node.value:
        first, *rest = _mapping(node, depth + 1, origins=origins)
        yield f"{pad}- {first.lstrip()}"
        yield from rest
    elif isinstance(node.value, list) and node.value:
        yield f"{pad}-"
        for child in node.value:
            yield from _list_entry(child, depth + 1, origins=origins)
    else:
        yield from _entry(f"{pad}-", node, depth, origins=origins)


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return _decimal(value)
    return "{}" if isinstance(value, dict) else "[]" if isinstance(value, list) else str(value)


def _decimal(value: float) -> str:
    text = repr(value).replace("inf", ".inf").replace("nan", ".nan")
    mantissa, exponent, power = text.partition("e")
    # YAML 1.1 reads 1e-05 as text; 1.0e-05 is a number to every reader
    return f"{mantissa}.0e{power}" if exponent and "." not in mantissa else text


def _text(value: str) -> str:
    plain = value and value[0].isalnum() and value[-1] != ":" and set(value) <= _PLAIN and value.isascii()
    if plain and resolves_to_text(value):
        return value
    quoted: str = yaml.dump(value, default_style='"', width=10**9, allow_unicode=True)
    return quoted.removesuffix("\n")
