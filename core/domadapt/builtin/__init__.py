"""The core's own components. They reach the engine through the same hooks as any plugin's."""

PLUGINS = (("core", "domadapt.builtin.plugin"),)
"""Built-in plugins as (name, module)."""
