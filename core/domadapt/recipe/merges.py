"""What stands in `merge.methods` besides names of methods: files with a configuration of mergekit, and sets of merges.

Both are replaced in the tree before anything is checked: a file by its name without suffix, with its contents as
`merge.options.NAME.config`, a set by its members. So a lock file holds the configuration itself and needs no file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from domadapt.recipe.problems import Problem, UnreadableRecipeError, shown
from domadapt.recipe.reading import read_document, read_tree
from domadapt.recipe.tree import Document, Node

if TYPE_CHECKING:
    from domadapt_registry import Registry

SUFFIXES = (".yml", ".yaml")
CONFIG = "config"
"""The option that makes a name a whole configuration."""
CONFIG_MERGER = "mergekit"
"""The merger that takes it."""
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def with_merges(root: Node, registry: Registry) -> tuple[Node, list[Problem]]:
    """The recipe with files and sets replaced, and what is wrong with them."""
    problems: list[Problem] = []
    merge = root.child("merge")
    methods = merge.child("methods") if merge is not None else None
    if merge is None or methods is None or not isinstance(merge.value, dict):
        return root, problems
    entries = methods.value if isinstance(methods.value, list) else [methods]
    options = merge.child("options")
    given = dict(options.value) if options is not None and isinstance(options.value, dict) else {}
    expanded = [list(_expanded(entry, registry, problems)) for entry in entries]
    if all(len(found) == 1 and found[0][0] is entry for entry, found in zip(entries, expanded, strict=True)):
        return root, problems
    names: list[Node] = []
    in_sets: list[object] = []
    for entry, found in zip(entries, expanded, strict=True):
        for name, config in found:
            if config is not None:
                given[str(name.value)] = Node({CONFIG: config}, name.origin)
            elif name.value != entry.value:
                in_sets.append(name.value)
            if name.value not in in_sets or all(other.value != name.value for other in names):
                names.append(name)  # a member of a set may be named by itself too; all else twice is a mistake
    merge = Node(
        {
            **merge.value,
            "methods": Node(names, methods.origin),
            "options": Node(dict(given), options.origin if options is not None else merge.origin),
        },
        merge.origin,
    )
    assert isinstance(root.value, dict)
    return Node({**root.value, "merge": merge}, root.origin), problems


def _expanded(entry: Node, registry: Registry, problems: list[Problem]) -> Iterator[tuple[Node, Node | None]]:
    """(name, its configuration when it is a file) of each merge an entry stands for."""
    value = entry.value
    if not isinstance(value, str):
        yield entry, None
    elif value.endswith(SUFFIXES):
        yield from _from_file(entry, value, problems)
    else:
        for name in _members(value, registry) or (entry,):
            yield Node(name, entry.origin) if isinstance(name, str) else name, None


def _members(name: str, registry: Registry) -> tuple[str, ...]:
    try:
        return tuple(getattr(registry.find("merger", name), "members", ()))
    except LookupError:  # said where the name is looked up
        return ()


def _from_file(entry: Node, value: str, problems: list[Problem]) -> Iterator[tuple[Node, Node | None]]:
    path = _beside(value, entry.origin.document)
    label = path.stem
    if not _LABEL.fullmatch(label):
        text = f"merge.methods: '{shown(value)}' would name the merge '{shown(label)}'; wanted letters, digits, . _ -"
        problems.append(Problem(entry.origin, text))
        return
    try:
        tree, found = read_tree(read_document(path, str(path)), "merge file")
    except UnreadableRecipeError as error:
        problems.append(Problem(entry.origin, f"merge.methods: {error}"))
        return
    problems += found
    yield Node(label, entry.origin), tree


def _beside(value: str, document: Document | None) -> Path:
    """A file that a recipe names lies beside the recipe; one from the command line, where the command runs."""
    path = Path(value).expanduser()
    if document is None or path.is_absolute():
        return path
    return Path(document.label).parent / path
