"""Write the files of a new plugin: a whole domain pack, or the smallest plugin of one kind.

What is written is short, explained where it is not obvious, and works as it stands: it installs, its tests pass, and a
pack runs. Nothing in it refers back to this module.
"""

from __future__ import annotations

import keyword
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from domadapt.errors import MissingError, UsageError

Kind = Literal["pack", "merger", "source", "evaluator", "backend"]
TEMPLATES = Path(__file__).parent / "templates"
_NAME = re.compile(r"[a-z][a-z0-9_]{1,29}")
_WIDTH = 120


def write_plugin(name: str, kind: Kind, parent: Path) -> list[Path]:
    """Write `domadapt-NAME` below `parent`; return its files in order.

    name: of the domain or method: a Python name in lower case.
    Raises UsageError for a name that cannot be one, MissingError when the folder exists.
    """
    if not _NAME.fullmatch(name) or keyword.iskeyword(name) or name == "domadapt":
        raise UsageError(
            f"plugins new: '{name}' cannot be the name of a package; 2 to 30 lower-case letters, digits and '_' are "
            "wanted, a letter first"
        )
    folder = parent / f"domadapt-{name.replace('_', '-')}"
    if folder.exists():
        raise MissingError(f"plugins new: {folder} is there already; give another --folder, or move it away")
    files = dict(_rendered(name, kind))
    if kind == "pack":
        from domadapt.scaffolding.sample import sample_files

        files |= sample_files(name)
    for path, text in files.items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return [folder / path for path in files]


def _rendered(name: str, kind: Kind) -> Iterator[tuple[str, str]]:
    """(path below the new folder, text) of every template of a kind."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader([TEMPLATES / kind, TEMPLATES])
    environment = Environment(loader=loader, undefined=StrictUndefined, keep_trailing_newline=True)  # noqa: S701 - no HTML
    module = f"domadapt_{name}"
    words = {
        "name": name,
        "module": module,
        "dist": f"domadapt-{name.replace('_', '-')}",
        "Class": "".join(part.capitalize() for part in name.split("_")),
        "title": name.replace("_", " ").capitalize(),
        "kind": kind,
    }
    for template in sorted((TEMPLATES / kind).rglob("*.jinja")):
        path = template.relative_to(TEMPLATES / kind).as_posix()
        text = environment.get_template(path).render(words)
        yield path.removesuffix(".jinja").replace("MODULE", module).replace("NAME", name), text
    yield f"src/{module}/py.typed", ""
