"""What can be told of a plugin's components without running them: names, options, documentation, licence."""

from __future__ import annotations

import importlib.metadata
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from domadapt.components import Options
from domadapt.testing.conformance import Finding

if TYPE_CHECKING:
    from domadapt_registry import PluginRow, Registry

_NAME = re.compile(r"[a-z][a-z0-9_]*([.-][a-z0-9_]+)*")
PREFIXED = ("sources", "cleaners", "mixers", "evaluators", "trackers")
"""Kinds whose names carry the plugin's: methods and backends have their names from the literature."""
CLASSES = (*PREFIXED, "backends", "mergers")


def checks(row: PluginRow, registry: Registry) -> Iterator[Finding]:
    """Names, doubles, options, docstrings, and the licence of the distribution."""
    own = row.distribution in ("", "domadapt")
    yield Finding("names", "; ".join(_name_problems(row, own)))
    yield Finding("is the only one of its names", row.reason)
    yield Finding("options are documented", "; ".join(_option_problems(row, registry)))
    yield Finding("components are documented", "; ".join(_undocumented(row, registry)))
    yield Finding("licence", "" if own else _licence_problem(row.distribution))


def _name_problems(row: PluginRow, own: bool) -> Iterator[str]:
    for kind, names in row.gives.items():
        for name in names:
            if kind != "hooks" and not _NAME.fullmatch(name):
                yield f"'{name}' is no name: lower-case letters, digits and '_', parts joined by '.' or '-'"
            elif not own and kind in PREFIXED and name.partition(".")[0] != row.name:
                kind = kind.removesuffix("s")
                yield f"{kind} '{name}' is to be called '{row.name}.{name}': others may have a '{name}'"


def _option_problems(row: PluginRow, registry: Registry) -> Iterator[str]:
    for kind, name, cls in _classes(row, registry):
        config = cls.Config
        if not issubclass(config, Options):
            yield f"{kind} '{name}': its Config is to be a subclass of domadapt.components.Options"
            continue
        if config.model_config.get("extra") != "forbid" or not config.model_config.get("frozen"):
            yield f"{kind} '{name}': its Config is to refuse unknown keys and changes, as Options does"
        for key, field in config.documented().model_fields.items():
            if not field.description:
                wanted = "what it is, its unit, why this default"
                yield f"{kind} '{name}': option '{key}' has no docstring below it; say {wanted}"


def _undocumented(row: PluginRow, registry: Registry) -> Iterator[str]:
    for kind, name, cls in _classes(row, registry):
        if not (cls.__dict__.get("__doc__") or "").strip():
            yield f"{kind} '{name}': its class has no docstring, which `adapt plugins show` prints"
    for name in row.gives.get("benchmarks", ()):
        if not registry.find("benchmark", name).title.strip():
            yield f"benchmark '{name}' has no title: say what it asks"
    for name in row.gives.get("domains", ()):
        if not registry.find("domain", name).title.strip():
            yield f"domain '{name}' has no title: say what it is"


def _classes(row: PluginRow, registry: Registry) -> Iterator[tuple[str, str, Any]]:
    for kind in CLASSES:
        for name in row.gives.get(kind, ()):
            yield kind.removesuffix("s"), name, registry.find(kind, name)


def _licence_problem(distribution: str) -> str:
    metadata = importlib.metadata.metadata(distribution)
    if any(metadata.get_all(key) for key in ("License-Expression", "License", "License-File")):
        return ""
    return f'{distribution} names no licence; add license = "Apache-2.0" (or yours) to [project] in its pyproject.toml'
