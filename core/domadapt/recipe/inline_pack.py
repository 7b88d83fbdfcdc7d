"""A domain pack that is a recipe file: `domain` is its name, the section `pack` says what a pack's code would say.

For a domain with nothing new in code: documents in files or on the hub, cleaning steps with their thresholds,
benchmarks in lm-eval's format. What needs a parser of its own needs an installed pack.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from domadapt.components import Benchmark
from domadapt.recipe.problems import Problem, shown
from domadapt.recipe.tree import Node

if TYPE_CHECKING:
    from domadapt_registry import Registry

SUFFIXES = (".yaml", ".yml")


def is_file_name(domain: str) -> bool:
    """Whether what was given as a domain names a file rather than an installed pack."""
    return domain.endswith(SUFFIXES)


def has_pack(tree: Node) -> bool:
    """Whether a recipe has a section `pack`."""
    pack = tree.child("pack")
    return pack is not None and pack.value is not None


def with_absolute_paths(tree: Node, folder: Path) -> Node:
    """The recipe with the benchmark files of its section `pack` relative to nothing: a lock file lies elsewhere."""
    pack = tree.child("pack")
    listed = pack.child("benchmarks") if pack is not None else None
    if pack is None or listed is None or not isinstance(pack.value, dict) or not isinstance(tree.value, dict):
        return tree
    children = listed.value if isinstance(listed.value, list) else [listed]
    files = [Node(str((folder / c.value).resolve()), c.origin) if isinstance(c.value, str) else c for c in children]
    inner = Node({**pack.value, "benchmarks": Node(files, listed.origin)}, pack.origin)
    return Node({**tree.value, "pack": inner}, tree.origin)


def with_inline_pack(registry: Registry, root: Node, domain: Node, label: str) -> tuple[Registry, list[Problem]]:
    """The registry and what the section `pack` of a recipe brings, and what is wrong with it.

    root: the merged recipe, `pack` in it.  label: the file, as the user gave it.
    """
    pack = root.child("pack")
    name = str(domain.value)
    if pack is None or not has_pack(root):
        return registry, []
    if name in registry.names("domain"):
        sentence = f"domain '{shown(name)}' is an installed pack already; give the domain another name, or drop 'pack'"
        return registry, [Problem(domain.origin, sentence)]
    listed = pack.child("benchmarks")
    problems: list[Problem] = []
    benchmarks: list[Benchmark] = []
    for node in listed.value if listed is not None and isinstance(listed.value, list) else []:
        if not isinstance(node.value, str):
            continue  # the schema says what is wrong
        file = Path(node.value)
        if not is_file_name(file.name):
            problems.append(Problem(node.origin, f"pack.benchmarks: a file NAME.yaml is wanted, came {file.name}"))
        elif not file.is_file():
            problems.append(Problem(node.origin, f"pack.benchmarks: there is no file {shown(str(file))}"))
        elif file.stem in registry.names("benchmark"):
            sentence = f"pack.benchmarks: there is a benchmark '{file.stem}' already; give the file another name"
            problems.append(Problem(node.origin, sentence))
        else:
            benchmarks.append(Benchmark(file.stem, file.stem, file.parent))
    return registry.extended(name, label, {"benchmarks": benchmarks}), problems
