"""The dimensions of a model that a recipe names: from its folder when it is here, else from a small table.

Weights are not needed, and nothing is downloaded for it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from domadapt.errors import MissingError
from domadapt.planning.shapes import ModelShape, read_shape, shape_of

TABLE = Path(__file__).parent / "dimensions.json"


def known_models() -> list[str]:
    """Hub ids of the models in the table."""
    return list(_table())


def model_shape(reference: str, resolve: Callable[[str], Path | None]) -> ModelShape:
    """The dimensions of a model, from its own config.json or from the table.

    resolve: the local folder of a reference; may raise MissingError when it is not there.
    Raises MissingError when neither knows it, DataError when its family is not known to planning.
    """
    try:
        folder = resolve(reference)
    except MissingError as error:
        folder, missing = None, str(error)
    else:
        missing = f"model {reference}: nobody knows where it is"
    if folder is not None:
        return read_shape(folder, reference)
    entry = _table().get(reference.removeprefix("hub:").partition("@")[0])
    if entry is None:
        raise MissingError(f"{missing}; without its config.json its cost is not known (known: {', '.join(_table())})")
    return shape_of(entry["config"], reference, entry["source"])


@cache
def _table() -> dict[str, dict[str, Any]]:
    entries = json.loads(TABLE.read_bytes())["models"]
    return {name: entry for entry in entries for name in entry["names"]}
