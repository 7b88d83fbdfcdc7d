"""Everything an author of a pack can get wrong, as checks: `check_pack("legal")` in a test, or `adapt plugins check`.

Each check says in one sentence what was wanted, what came and what to do. They need no network; sources are tried on
damaged files, benchmarks on a tiny random model. A pack takes seconds, most of them the imports of torch and lm-eval.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from domadapt.errors import PluginError
from domadapt_registry.errors import suggestion

if TYPE_CHECKING:
    from domadapt_registry import PluginRow, Registry


@dataclass(frozen=True)
class Finding:
    """What one check found. problem: "" when all is well."""

    check: str
    problem: str = ""


class NonconformingError(AssertionError):
    """A pack does not do what adapt expects of it."""


def check_pack(name: str) -> None:
    """Check an installed plugin. Raises NonconformingError with a line for each problem; PluginError for no plugin."""
    from domadapt.cli.frame import open_registry

    problems = [f"{f.check}: {f.problem}" for f in findings(name, open_registry()) if f.problem]
    if problems:
        raise NonconformingError(f"pack '{name}' has {len(problems)} problems:\n  " + "\n  ".join(problems))


def findings(name: str, registry: Registry) -> Iterator[Finding]:
    """Every check of a plugin in order, as it is made. Raises PluginError when there is no such plugin."""
    from domadapt.testing.conformance import components, content, importing

    row = plugin_row(name, registry)
    yield Finding("loads", "" if row.state == "ok" else f"it is {row.state}: {row.reason}")
    if row.state != "ok":
        return
    for module in (importing, components, content):
        yield from module.checks(row, registry)


def plugin_row(name: str, registry: Registry) -> PluginRow:
    """The row of a plugin. Raises PluginError when none has this name."""
    for row in registry.rows:
        if row.name == name:
            return row
    raise PluginError(f"there is no plugin '{name}'{suggestion(name, [row.name for row in registry.rows])}")
