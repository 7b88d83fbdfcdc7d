"""What became of each plugin: one row a plugin, and who provides a component."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["ok", "broken", "incompatible", "claimed twice", "disabled"]


@dataclass(frozen=True)
class PluginRow:
    """A plugin that was found, loaded or not.

    name: of its entry point.  distribution, version: what to install or uninstall, "" when unknown.
    reason: why the state is not "ok"; for an "ok" plugin what else there is to know, or "".
    gives: component names by kind ("mergers": ["slerp"]), and under "hooks" the other hooks it implements.
    caveats: what its authors warn of, by component ("backend nemo").  location: file of its module.
    traceback: of a failure, for authors.
    """

    name: str
    distribution: str
    version: str
    state: State
    reason: str = ""
    gives: Mapping[str, list[str]] = field(default_factory=dict)
    caveats: Mapping[str, str] = field(default_factory=dict)
    location: str | None = None
    traceback: str = field(default="", repr=False)


@dataclass(frozen=True)
class Provider:
    """The plugin behind a component.

    editable: its code may change without its version changing (an editable install, or a folder on
    PYTHONPATH), so that `location`, the file of its module, has to be looked at to know what it does.
    """

    plugin: str
    distribution: str
    version: str
    editable: bool
    location: str | None = None
