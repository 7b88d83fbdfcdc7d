"""Pages of the documentation that are made from the code: components with their options, commands with theirs.

An mkdocs hook (`hooks:` in mkdocs.yml): pages are made while the site is built and lie nowhere else.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from typing import Any

import click
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic_core import PydanticUndefined

from domadapt.cli import COMMANDS, adapt, frame
from domadapt.components import Component, Options
from domadapt_registry import Registry

KINDS = {
    "sources": "`corpus.domain[].source`, `corpus.general[].source`",
    "cleaners": "`corpus.clean[]`",
    "mixers": "`mix.mixer`",
    "backends": "`train.backend`",
    "mergers": "`merge.methods[]`, `--merge`",
    "evaluators": "named by a benchmark",
    "trackers": "`track[]`",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the made pages."""
    registry = frame.open_registry()
    files.append(File.generated(config, "reference/components.md", content=components_page(registry)))
    files.append(File.generated(config, "reference/commands.md", content=commands_page()))
    return files


def components_page(registry: Registry) -> str:
    """Every component that is installed, by kind, with its options."""
    parts = ["# Components", "Everything a recipe can name, with its options. `adapt plugins` lists what *you* have."]
    for kind, place in KINDS.items():
        parts += [f"## {kind.capitalize()}", f"Selected in {place}."]
        for name in registry.names(kind):
            component = registry.find(kind, name)
            owner = registry.provider(kind, name).distribution
            parts += [f"### `{name}` {{ #{kind}-{_anchor(name)} }}", f"*{owner}* {_prose(component)}".strip()]
            if component.caveat:
                parts.append(f"!!! note\n    {component.caveat}")
            if rows := list(_options(component.Config)):
                parts.append("\n".join(["| option | default | meaning |", "|---|---|---|", *rows]))
    return "\n\n".join(parts) + "\n"


def _options(config: type[Options]) -> Iterator[str]:
    for key, field in config.documented().model_fields.items():
        default = "required" if field.is_required() else f"`{_plain(field.get_default(call_default_factory=True))}`"
        yield f"| `{field.alias or key}` | {default} | {_cell(field.description or '')} |"


def _plain(value: Any) -> str:
    if value is PydanticUndefined:
        return ""
    if isinstance(value, (set, frozenset, tuple)):
        value = sorted(value, key=str)
    return _cell(repr(value))


def _prose(component: type[Component]) -> str:
    """The class's own docstring, lists and all, as Markdown."""
    text = inspect.cleandoc(component.__doc__ or "")
    return text if component.__doc__ else ""


def commands_page() -> str:
    """Every command with its arguments and options, as `--help` has them."""
    parts = ["# Commands", "`adapt COMMAND --help` says the same."]
    for name in COMMANDS:
        parts += _command(adapt, name, "adapt", 2)
    return "\n\n".join(parts) + "\n"


def _command(group: click.Group, name: str, parent: str, level: int) -> list[str]:
    if group is adapt:
        _, command, _ = adapt.resolve_command(click.Context(adapt, info_name="adapt"), [name])
    else:
        command = group.get_command(click.Context(group), name)
    assert command is not None
    path = f"{parent} {name}"
    context = click.Context(command, info_name=path)
    parts = [f"{'#' * level} `{path}`", _help(command), f"    {command.get_usage(context).removeprefix('Usage: ')}"]
    rows = [_option(option, context) for option in command.params if isinstance(option, click.Option)]
    if rows:
        parts.append("\n".join(["| option | meaning |", "|---|---|", *rows]))
    if isinstance(command, click.Group):
        for inner in command.list_commands(context):
            parts += _command(command, inner, path, level + 1)
    return parts


def _help(command: click.Command) -> str:
    text = inspect.cleandoc(command.help or "")
    # click's mark for a paragraph that keeps its lines
    return re.sub(r"\x08\n((?:.+\n?)+)", lambda m: "\n" + re.sub(r"(?m)^", "    ", m[1]), text)


def _option(option: click.Option, context: click.Context) -> str:
    record = option.get_help_record(context)
    names, meaning = record if record else (", ".join(option.opts), option.help or "")
    return f"| `{_cell(names)}` | {_cell(meaning)} |"


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|").strip()


def _anchor(name: str) -> str:
    return re.sub(r"\W+", "-", name)
