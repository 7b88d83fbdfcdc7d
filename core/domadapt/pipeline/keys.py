"""Keys of stages: 16 hexadecimal digits that name a result before it exists.

A key covers who does the work (distribution, component, version), every option that can change the
result, and the keys of the inputs by role. It covers no path, no host and no time, so a result is found
again wherever it lies.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from domadapt.components import Component
from domadapt.pipeline.fingerprints import sha256_file


def canonical(value: Any) -> str:
    """Canonical JSON: sorted keys, no spaces. Raises TypeError for a type without one meaning."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def key_of(parts: Mapping[str, Any]) -> str:
    """The key of a stage from everything that decides its result."""
    return hashlib.sha256(canonical(parts).encode()).hexdigest()[:16]


def effective_options(options: BaseModel) -> dict[str, Any]:
    """The options that can change a result, as plain data."""
    fields = type(options).model_fields
    hidden = {
        name
        for name, info in fields.items()
        if isinstance(info.json_schema_extra, dict) and info.json_schema_extra.get("x-adapt-no-effect")
    }
    return options.model_dump(mode="json", exclude=hidden)


def component_identity(component: type[Component], distribution: str, editable: bool) -> str:
    """Who does the work: "distribution:component:version of the component".

    The distribution's own version does not count: an update that changes no result must not repeat a
    month of training. For a distribution installed in place (editable), where nobody raises versions
    with every edit, the digest of the source files around the component is added.
    """
    identity = f"{distribution}:{component.name}:{component.version}"
    return f"{identity}:{source_digest(Path(inspect.getfile(component)).parent)}" if editable else identity


@cache
def source_digest(folder: Path) -> str:
    """A digest of the source files in a folder of code and below: Python and templates."""
    digest = hashlib.sha256()
    for file in sorted([*folder.rglob("*.py"), *folder.rglob("*.jinja")]):
        digest.update(f"{file.relative_to(folder).as_posix()}\0{sha256_file(file)}\n".encode())
    return digest.hexdigest()[:12]


def changed_parts(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> list[str]:
    """What differs between the parts of two keys, as short phrases ("lr 0.001 -> 0.0005")."""
    differences: list[str] = []
    for name in sorted({*old, *new}):
        before, after, label = old.get(name), new.get(name), f"{prefix}{name}"
        if before == after:
            continue
        if isinstance(before, Mapping) and isinstance(after, Mapping):
            differences += changed_parts(before, after, f"{label}." if prefix or name != "options" else "")
        elif _is_digest(before) and _is_digest(after):
            differences.append(f"{label} changed")
        elif isinstance(before, str | int | float | None) and isinstance(after, str | int | float | None):
            differences.append(f"{label} {before} -> {after}")
        else:
            differences.append(f"{label} changed")
    return differences


def _is_digest(value: Any) -> bool:
    """Whether a value says nothing to a person: a sha256."""
    return isinstance(value, str) and len(value) == 64 and set(value) <= set("0123456789abcdef")
