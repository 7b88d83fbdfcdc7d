"""Collect what the `adapt_register_*` hooks of one plugin return, and refuse what is not a component.

What a hook must return is read from its specification's annotation: `Iterable[type[X]]` wants concrete
subclasses of X, `Iterable[X]` wants instances.
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pluggy

from domadapt_registry.guard import Failure, guarded
from domadapt_registry.hooks import COLLECTED, hook_names


@dataclass(frozen=True)
class Wanted:
    """What the items of a collected hook must be. base None: anything with a name."""

    base: type | None = None
    is_class: bool = False


def wanted_items(hookspecs: object, hook: str, names: Mapping[str, Any]) -> Wanted:
    """Read from the annotation of a hook's specification what it collects.

    names: what the specifications' module imports for type checkers only.
    """
    try:
        annotation = typing.get_type_hints(getattr(hookspecs, hook), localns=dict(names))["return"]
    except (NameError, KeyError):
        return Wanted()
    (item,) = typing.get_args(annotation) or (Any,)
    is_class = typing.get_origin(item) is type
    base = typing.get_args(item)[0] if is_class else item
    return Wanted(base if inspect.isclass(base) else None, is_class)


def kinds(manager: pluggy.PluginManager) -> list[str]:
    """The kinds of components, plural as in the hooks' names: "mergers"."""
    return [name.removeprefix(COLLECTED) for name in hook_names(manager) if name.startswith(COLLECTED)]


def collect(
    manager: pluggy.PluginManager, plugin: object, wanted: Mapping[str, Wanted]
) -> tuple[dict[str, dict[str, object]], Failure | None]:
    """The components of a registered plugin by kind and name, or why they cannot be used."""
    components: dict[str, dict[str, object]] = {}
    for kind in kinds(manager):
        hook = COLLECTED + kind
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.plugin is not plugin:
                continue
            # list() inside the guard: a hook may be a generator, and generators raise late
            outcome = guarded(lambda function=implementation.function: _items(function()))  # type: ignore[misc]
            if outcome.failure is not None:
                text = f"{hook}() failed: {outcome.failure.sentence}"
                return {}, Failure(text, outcome.failure.traceback)
            items: list[Any] = outcome.value or []
            if sentence := _first_fault(hook, items, wanted.get(kind, Wanted())):
                return {}, Failure(sentence, "")
            if items:
                components[kind] = {item.name: item for item in items}
    return components, None


def _items(returned: object) -> list[Any]:
    if isinstance(returned, (str, bytes, Mapping)) or not isinstance(returned, Iterable):
        raise TypeError(f"it must return a list or another iterable of components, not {type(returned).__name__}")
    return list(returned)


def _first_fault(hook: str, items: list[Any], wanted: Wanted) -> str:
    seen: set[str] = set()
    for item in items:
        outcome = guarded(lambda item=item: _fault(item, wanted))  # type: ignore[misc]
        sentence = outcome.failure.sentence if outcome.failure else outcome.value
        if sentence:
            return f"{hook}() gave {_shown(item)}: {sentence}"
        if item.name in seen:
            return f"{hook}() gave two components of the name '{item.name}'"
        seen.add(item.name)
    return ""


def _fault(item: Any, wanted: Wanted) -> str:
    base = wanted.base
    if base is not None and wanted.is_class:
        if not inspect.isclass(item):
            return f"the class is wanted, a subclass of {base.__name__}, not an instance"
        if not issubclass(item, base):
            return f"it is no subclass of {base.__name__}"
        if inspect.isabstract(item):
            missing: frozenset[str] = getattr(item, "__abstractmethods__", frozenset())
            return f"it does not implement {', '.join(sorted(missing))}"
    elif base is not None and not isinstance(item, base):
        return f"it is no {base.__name__}"
    name = getattr(item, "name", None)
    if not isinstance(name, str) or not name:
        return "it has no name; set the attribute `name` to what a user is to write"
    return ""


def _shown(item: object) -> str:
    return item.__name__ if inspect.isclass(item) else f"an object of type {type(item).__name__}"
