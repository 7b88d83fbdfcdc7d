"""mergekit's settings of a merge, resolved to one number for each tensor and model.

A setting is a number, a list of numbers (a gradient over the layers, interpolated linearly) or a list of
`{filter, value}` (the first filter that is part of the tensor's name wins; one without a filter is for the rest).
Same rules as mergekit 0.1.5's `evaluate_setting`; nothing is imported here, so that settings can be resolved and
checked before anything runs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from domadapt.errors import RecipeError

Settings = Callable[[str, str | None], Mapping[str, Any]]
"""settings(tensor name, role) -> the numbers of that parent for that tensor; role None: those of the whole merge."""

_LAYER = re.compile(r"\.(?:layers|h|blocks|layer)\.(\d+)\.")


def position(tensor_name: str, num_layers: int) -> float:
    """Where on a gradient a tensor lies, 0 to 1: first to last layer; embeddings, final norm and output layer at 0.

    A model of one layer has it at 1, as mergekit.
    """
    layer = _LAYER.search(tensor_name)
    if layer is None:
        return 0.0
    return int(layer[1]) / (num_layers - 1) if num_layers > 1 else 1.0


def evaluate(setting: Any, tensor_name: str, at: float) -> Any:
    """The value of a setting for one tensor at a position, None when no filter fits.

    Raises RecipeError when it is none of the forms above.
    """
    if isinstance(setting, (bool, int, float, str)):
        return _number(setting)
    if isinstance(setting, Mapping):
        setting = [setting]
    if not isinstance(setting, list):
        raise RecipeError(f"a merge setting is a number, a list of numbers or a list of filters, not {setting!r}")
    if not setting:
        return None
    if all(isinstance(value, (bool, int, float, str)) for value in setting):
        return _interpolated([_number(value) for value in setting], at)
    for condition in setting:
        if not isinstance(condition, Mapping) or "value" not in condition:
            raise RecipeError(f"an entry of a filtered merge setting needs 'value' (and 'filter'), not {condition!r}")
        wanted = condition.get("filter")
        if wanted is None or wanted == "*" or wanted in tensor_name:
            return evaluate(condition["value"], tensor_name, at)
    return None


def settings_of(config: Mapping[str, Any], roles: Mapping[str, str], num_layers: int) -> Settings:
    """The settings of a whole mergekit configuration as a function.

    roles: the role of each model, by what the configuration calls it.  A parent's own parameters come before those
    of the whole merge.
    """
    shared = config.get("parameters") or {}
    own = {roles[str(model["model"])]: model.get("parameters") or {} for model in config.get("models") or ()}

    def settings(tensor_name: str, role: str | None) -> Mapping[str, Any]:
        at = position(tensor_name, num_layers)
        values: dict[str, Any] = {}
        for source in (shared,) if role is None else (shared, own.get(role, {})):
            for key, setting in source.items():
                if (value := evaluate(setting, tensor_name, at)) is not None:
                    values[key] = value
        return values

    return settings


def _number(value: Any) -> Any:
    """mergekit reads numbers in quotes as numbers (YAML makes `1e-5` a string)."""
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        return value


def _interpolated(values: list[Any], at: float) -> Any:
    if any(isinstance(value, (bool, str)) for value in values):  # switches and names are chosen, not mixed
        return values[int(at * (len(values) - 1))]
    scaled = at * (len(values) - 1)
    lower = int(scaled)
    upper = min(len(values) - 1, lower + 1)
    share = scaled - lower
    return (1 - share) * values[lower] + share * values[upper]
