"""Numbers as text: units, signs and digits, the same on the page, in the terminal and in the verdict."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

MINUS = "−"
UNKNOWN = "–"
NARROW_SPACE = " "


@dataclass(frozen=True)
class Unit:
    """How a unit is written: value * scale with `decimals`, then the sign for a level or for a difference."""

    scale: float
    decimals: int
    level: str
    change: str


BITS_PER_BYTE = Unit(1, 3, " bits/byte", " bits/byte")
SHARE = Unit(100, 1, NARROW_SPACE + "%", " points")
UNITS = {"bits/byte": BITS_PER_BYTE, "share": SHARE}


def unit_of(name: str) -> Unit:
    """The unit by its name in a ScoreRow; unknown units are shown as they are, with three decimals."""
    return UNITS.get(name) or Unit(1, 3, f" {name}" if name else "", f" {name}" if name else "")


def plain(value: float | None, unit: Unit, *, signed: bool = False) -> str:
    """A number in its unit, without the unit's name: 1.284, −0.031, +4.2."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    text = f"{value * unit.scale:.{unit.decimals}f}"
    if float(text) == 0:
        text = text.lstrip("-")
    elif signed and not text.startswith("-"):
        text = "+" + text
    return text.replace("-", MINUS)


def level(value: float | None, unit: Unit) -> str:
    """A score with its unit."""
    return plain(value, unit) + (unit.level if value is not None else "")


def change(value: float | None, unit: Unit) -> str:
    """A difference with its sign and unit."""
    return plain(value, unit, signed=True) + (unit.change if value is not None else "")


def bounds(estimate: Mapping[str, Any], unit: Unit, *, signed: bool = False) -> str:
    """The interval of an estimate: "1.21 to 1.34"."""
    if estimate["low"] is None or estimate["high"] is None:
        return "interval unknown"
    return f"{plain(estimate['low'], unit, signed=signed)} to {plain(estimate['high'], unit, signed=signed)}"


def share(estimate: Mapping[str, Any] | None) -> tuple[str, str]:
    """A share of 1 and its interval, "76 %" and "71 to 80 %"; one decimal more where the interval is narrow."""
    if estimate is None or estimate["value"] is None:
        return UNKNOWN, "interval unknown"
    known = estimate["low"] is not None and estimate["high"] is not None
    unit = Unit(100, 1 if known and estimate["high"] - estimate["low"] < 0.03 else 0, "", "")
    sign = NARROW_SPACE + "%"
    return plain(estimate["value"], unit) + sign, bounds(estimate, unit) + (sign if known else "")


def count(value: float | None) -> str:
    """A count with its thousands set apart by narrow spaces."""
    return UNKNOWN if value is None else f"{value:,.0f}".replace(",", NARROW_SPACE).replace("-", MINUS)


def size(num_bytes: float | None) -> str:
    """A size in bytes in the decimal unit that gives one to three leading digits."""
    if num_bytes is None:
        return UNKNOWN
    for name in ("B", "kB", "MB", "GB"):
        if abs(num_bytes) < 1000:
            return f"{num_bytes:.0f} {name}" if name == "B" else f"{num_bytes:.1f} {name}"
        num_bytes /= 1000
    return f"{num_bytes:.1f} TB"


def duration(seconds: float | None) -> str:
    """A time as a person says it: 0.4 s, 52 s, 3 min 05 s, 2 h 10 min."""
    if seconds is None:
        return UNKNOWN
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def without_nan(value: Any) -> Any:
    """Plain data with unknown numbers as null, which JSON has and NaN it has not."""
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
