"""Check a plugin's hooks against the hook specifications, with sentences an author can act on.

pluggy is silent about a misspelt hook until asked, about an unmarked one for ever, and says of a wrong
argument only in which function it stands.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pluggy

from domadapt_registry.errors import suggestion

COLLECTED = "adapt_register_"
"""Hooks of this prefix are collected: what they return is looked up by kind (the rest of the hook's name) and name."""


@dataclass(frozen=True)
class Implementation:
    """A function of a plugin that is marked as a hook."""

    hook: str
    function: str
    arguments: tuple[str, ...]
    wrapper: bool
    optional: bool


def hook_names(manager: pluggy.PluginManager) -> list[str]:
    """The hooks that have a specification."""
    callers = {name: getattr(manager.hook, name) for name in vars(manager.hook) if not name.startswith("_")}
    return sorted(name for name, caller in callers.items() if caller.has_spec())


def implementations(manager: pluggy.PluginManager, plugin: object) -> list[Implementation]:
    """The hooks a plugin implements, by the specification they are meant for."""
    found = []
    for attribute in dir(plugin):
        options = manager.parse_hookimpl_opts(plugin, attribute)
        if options is None:
            continue
        parameters = inspect.signature(getattr(plugin, attribute)).parameters
        arguments = tuple(name for name in parameters if not (inspect.isclass(plugin) and name == "self"))
        wrapper = bool(options.get("wrapper") or options.get("hookwrapper"))
        hook = options.get("specname") or attribute
        found.append(Implementation(hook, attribute, arguments, wrapper, bool(options.get("optionalhook"))))
    return found


def fault(manager: pluggy.PluginManager, plugin: object, found: Sequence[Implementation], project: str) -> str:
    """What is wrong with a plugin's hooks, in one sentence; "" when nothing is. found: its implementations."""
    known = hook_names(manager)
    for implementation in found:
        if implementation.hook in known:
            if sentence := _argument_fault(manager, implementation):
                return sentence
        elif not implementation.optional:
            return f"there is no hook '{implementation.hook}'{suggestion(implementation.hook, known)}"
    if unmarked := _unmarked(plugin, known, {i.function for i in found}, project):
        return f"{unmarked} is not marked as a hook: put @{project}.hookimpl above it"
    if not found:
        return f"it implements no hook: nothing in it is marked with @{project}.hookimpl"
    return ""


def _argument_fault(manager: pluggy.PluginManager, implementation: Implementation) -> str:
    hook = implementation.hook
    wanted = getattr(manager.hook, hook).spec.argnames
    wrong = [name for name in implementation.arguments if name not in wanted]
    if wrong:
        signature = f"{hook}({', '.join(wanted)})"
        return f"{hook} has an argument '{wrong[0]}' that the hook does not pass; its signature is {signature}"
    if implementation.wrapper and hook.startswith(COLLECTED):
        return f"{hook} is collected from one plugin at a time and cannot be wrapped"
    return ""


def _unmarked(plugin: object, known: Iterable[str], marked: set[str], project: str) -> str:
    for name in known:
        function = inspect.getattr_static(plugin, name, None)
        # a specification imported for reading (from hookspecs import ...) is no forgotten implementation
        if inspect.isfunction(function) and name not in marked and not hasattr(function, f"{project}_spec"):
            return name
    return ""
