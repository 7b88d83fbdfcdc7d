"""Find plugins, say what became of each, and look up by name what they give.

Built on pluggy and importlib.metadata; knows hooks, names and distributions, nothing of what they are for.
"""

from domadapt_registry.errors import ClaimedTwice, RegistryError, UnknownName
from domadapt_registry.owners import plugin_of
from domadapt_registry.registry import Registry
from domadapt_registry.rows import PluginRow, Provider, State

__all__ = ["ClaimedTwice", "PluginRow", "Provider", "Registry", "RegistryError", "State", "UnknownName", "plugin_of"]
