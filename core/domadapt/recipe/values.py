"""What values of a recipe may look like: counts, decimals, names, and the base of all its sections."""

from __future__ import annotations

import decimal
import math
import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Discriminator, Field
from pydantic.fields import FieldInfo

_COUNT = re.compile(r"([0-9][0-9_]*(?:\.[0-9]+)?)\s*([KMBT]?)", re.IGNORECASE)
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
_COUNT_WANTED = "wanted a count such as 20000, 500M or 1.5B"
_RUN_NAME = "[a-z0-9][a-z0-9._-]{0,63}"
_SOURCE_NAME = "[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
_RESERVED = re.compile(r"(?:con|prn|aux|nul|com[0-9]|lpt[0-9])(?:\..*)?|.*\.(?:partial|tmp)?")
_LARGEST = 2**63


def parse_count(value: object) -> object:
    """Read a count written as a person writes it: 20000, 500M, 1.5B. Anything else is left to pydantic.

    Raises ValueError for a string that is no count, and for one that is not whole (1.5).
    """
    if isinstance(value, bool):
        raise ValueError(_COUNT_WANTED)
    if not isinstance(value, str):
        return value
    match = _COUNT.fullmatch(value.strip())
    if match is None:
        raise ValueError(_COUNT_WANTED)
    number = decimal.Decimal(match[1].replace("_", "")) * _UNITS[match[2].upper()]
    if number != number.to_integral_value():
        raise ValueError("wanted a whole number")
    return int(number)


def parse_decimal(value: object) -> object:
    """Read a number; YAML 1.1 loads `1e-5` as a string, which is meant as a number here."""
    if isinstance(value, bool):
        raise ValueError("wanted a number")
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            hint = " (5 % is 0.05)" if value.strip().endswith("%") else ""
            raise ValueError(f"wanted a number{hint}") from None
    return value


def parse_start_rate(value: object) -> object:
    """Read the rate that a warm-up rises from: a number, or the word `checkpoint`."""
    if value == "checkpoint":
        return value
    try:
        rate = float(value) if isinstance(value, (int, float, str)) and not isinstance(value, bool) else -1.0
    except ValueError:
        rate = -1.0
    if not 0 <= rate < math.inf:
        raise ValueError("wanted a rate such as 1e-6, at least 0, or 'checkpoint'")
    return rate


def parse_run_name(value: str) -> str:
    """Check the name of a run, which becomes a folder.

    Raises ValueError for anything but a short slug, for names no file system takes everywhere (con, nul),
    and for endings that mark unfinished work.
    """
    if not re.fullmatch(_RUN_NAME, value) or _RESERVED.fullmatch(value):
        raise ValueError(
            "wanted a folder name of at most 64 lower-case letters, digits, '.', '_' and '-', "
            "beginning with a letter or digit and not reserved (con, nul, *.tmp)"
        )
    return value


def parse_source_name(value: str) -> str:
    """Check the name of a source, which becomes part of file names. Raises ValueError for anything but a short word."""
    if not re.fullmatch(_SOURCE_NAME, value):
        raise ValueError("wanted a name of at most 64 letters, digits, '.', '_' and '-', such as annual-reports")
    return value


def listed(value: object) -> object:
    return [value] if isinstance(value, str) else value


def distinct(values: list[str]) -> list[str]:
    for value in values:
        if values.count(value) > 1:
            raise ValueError(f"'{value}' is named twice; remove one")
    return values


def _minutes(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def empty_for_none(value: object) -> object:
    return {} if value is None else value


Count = Annotated[int, BeforeValidator(parse_count, json_schema_input_type=int | str), Field(gt=0, lt=_LARGEST)]
Decimal = Annotated[float, BeforeValidator(parse_decimal), Field(allow_inf_nan=False)]
StartRate = Annotated[
    float | Literal["checkpoint"],
    BeforeValidator(parse_start_rate, json_schema_input_type=float | Literal["checkpoint"]),
]
Options = Annotated[dict[str, Any], BeforeValidator(empty_for_none, json_schema_input_type=dict[str, Any] | None)]
Name = Annotated[str, Field(min_length=1)]
Line = Annotated[str, Field(min_length=1, pattern=r"^[^\r\n]+$")]
SlurmTime = Annotated[
    str,
    BeforeValidator(_minutes, json_schema_input_type=int | str),
    Field(pattern=r"^([0-9]+-)?[0-9]+(:[0-9]{1,2}){0,2}$"),
]
RunName = Annotated[str, AfterValidator(parse_run_name), Field(json_schema_extra={"pattern": f"^{_RUN_NAME}$"})]
SourceName = Annotated[
    str, AfterValidator(parse_source_name), Field(json_schema_extra={"pattern": f"^{_SOURCE_NAME}$"})
]
Names = Annotated[list[str], BeforeValidator(listed, json_schema_input_type=list[str] | str), AfterValidator(distinct)]


def keys_of(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """The keys a model reads, as they are written in a recipe, with their fields."""
    return {
        field.validation_alias if isinstance(field.validation_alias, str) else name: field
        for name, field in model.model_fields.items()
    }


class Section(BaseModel):
    """Base of all sections: immutable, unknown keys refused, field docstrings kept."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def _number_of_values(value: object) -> str:
    return "several" if isinstance(value, list) else "one"


# told apart beforehand, so that a wrong number is not also told that it could have been a list
ONE_OR_SEVERAL = Discriminator(_number_of_values)
