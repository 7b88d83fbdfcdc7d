"""One number of a plan: what it is, as text and as a value, and how it is known."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

How = Literal["formula", "assumed", "recipe", "measured", "claimed"]
"""formula: arithmetic on dimensions.  assumed: rests on a value that nobody measured here, which the text names.
measured: by an earlier run here.  claimed: what the user said."""


@dataclass(frozen=True)
class Figure:
    """key: for programs.  value: in `unit`, None when it cannot be known.  text: for people, with the unit."""

    key: str
    label: str
    value: float | None
    unit: str
    text: str
    how: How

    def as_json(self) -> dict[str, Any]:
        """For programs."""
        return {"value": self.value, "unit": self.unit, "text": self.text, "how": self.how}


def billions(number: float) -> str:
    """A number of parameters or tokens: 70.55 B, 820 M, 512."""
    for unit, name in ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K")):
        if number >= unit:
            return f"{number / unit:.4g} {name}"
    return f"{number:.0f}"


def gib(num_bytes: float) -> str:
    """A size in memory."""
    for unit, name in ((2**40, "TiB"), (2**30, "GiB"), (2**20, "MiB")):
        if num_bytes >= unit:
            return f"{num_bytes / unit:.{1 if num_bytes >= 10 * unit else 2}f} {name}"
    return f"{num_bytes / 2**10:.0f} KiB"


def percent(share: float) -> str:
    """A share of 1."""
    return f"{100 * share:.{1 if share < 0.995 else 0}f} %"


def span(seconds: float) -> str:
    """A time: 7.3 days, 2.5 hours, 40 minutes."""
    if seconds >= 2 * 86400:
        return f"{seconds / 86400:.1f} days"
    if seconds >= 2 * 3600:
        return f"{seconds / 3600:.1f} hours"
    return f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{seconds:.0f} seconds"
