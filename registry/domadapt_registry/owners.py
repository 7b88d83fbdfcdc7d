"""Whose code a module is: the installed plugin with its distribution and version, for sentences about failures."""

from __future__ import annotations

from domadapt_registry.candidates import installed_candidates


def plugin_of(module: str, group: str) -> str:
    """ "plugin 'bio' (domadapt-bio 1.0)" for a module of that plugin's package; "" when it is of no installed plugin.

    module: dotted name of the module whose code failed.  group: of the entry points.
    """
    parts = module.split(".")
    best, found = 0, ""
    for candidate in installed_candidates(group):
        target = candidate.target.partition(":")[0]
        package = (target.rpartition(".")[0] or target).split(".")
        if parts[: len(package)] == package and len(package) > best:
            best, found = len(package), f"plugin '{candidate.name}' ({candidate.owner})"
    return found
