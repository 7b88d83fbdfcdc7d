"""Who was at work when something was raised: the component and its plugin, for one sentence."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from domadapt.hookspecs import ENTRY_POINT_GROUP
from domadapt_registry import plugin_of


def culprit(error: BaseException, *, foreign: bool = False) -> str:
    """ "component 'bio.notes' (domadapt_bio.source.Notes) of plugin 'bio' (domadapt-bio 1.0)", as far as it is known.

    The innermost frame decides that is a component's method or in an installed plugin's package; "" when none is.
    foreign: adapt's own components do not count.
    """
    plugins: dict[str, str] = {}
    for frame in reversed([frame for frame, _ in traceback.walk_tb(error.__traceback__)]):
        owner: Any = frame.f_locals.get("self")
        if _is_component(owner):
            cls = type(owner)
            plugin = plugin_of(cls.__module__, ENTRY_POINT_GROUP)
            if foreign and not plugin:
                continue
            return f"component '{owner.name}' ({cls.__module__}.{cls.__qualname__}){' of ' if plugin else ''}{plugin}"
        module = str(frame.f_globals.get("__name__", ""))
        if module.startswith("pluggy."):
            return ""  # what lies around the hook that failed, its wrappers among it, only passes the error on
        if module not in plugins:
            plugins[module] = plugin_of(module, ENTRY_POINT_GROUP)
        if plugins[module]:
            return plugins[module]
    return ""


def _is_component(owner: Any) -> bool:
    # a component can only be at work if its module was imported; this module must not import it at every start
    module = sys.modules.get("domadapt.components")
    return module is not None and isinstance(owner, module.Component)
