"""What a lookup by name can meet, each with a sentence for the user."""

from __future__ import annotations

from collections.abc import Iterable


class RegistryError(LookupError):
    """Base of the errors of a lookup."""


class UnknownName(RegistryError):  # noqa: N818
    """No working plugin gives a component of this kind and name."""


class ClaimedTwice(RegistryError):  # noqa: N818
    """More than one plugin gives a component of this kind and name."""


def suggestion(name: str, known: Iterable[str]) -> str:
    """A clause to end an "unknown name" sentence with: the closest known name, or else all of them."""
    import difflib

    choices = sorted(known)
    if close := difflib.get_close_matches(name, choices, n=1):
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(choices)}" if choices else "; none is installed"
