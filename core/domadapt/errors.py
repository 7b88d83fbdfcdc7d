"""Errors that users meet: one sentence each (where, what was wanted, what came, what to do) and an exit code.

`assert` and plain Python errors are kept for our own mistakes; those get a traceback.
"""

from __future__ import annotations

OK = 0
FAILED = 1
USAGE = 2
GATE = 3
MISSING = 4
INTERRUPTED = 75
CTRL_C = 130


class AdaptError(Exception):
    """Base of everything shown to a user as one line. `exit_code` is what the command ends with."""

    exit_code = FAILED


class RecipeError(AdaptError):
    """A recipe, an override or a command-line value cannot be used. Nothing was run."""

    exit_code = USAGE


class UsageError(AdaptError):
    """A command-line argument cannot be used. Nothing was run."""

    exit_code = USAGE


class PluginError(AdaptError):
    """A plugin, or a component a recipe names, is broken or not installed."""

    exit_code = USAGE


class DataError(AdaptError):
    """Input data is not what its format promises."""


class StageError(AdaptError):
    """A stage failed; what earlier stages made stays."""


class GateError(AdaptError):
    """A gate of `fail_if` is not met."""

    exit_code = GATE


class MissingError(AdaptError):
    """Something is missing or in the way: a GPU, disk space, a token, offline data, a lock."""

    exit_code = MISSING


class Interrupted(AdaptError):  # noqa: N818 - not a fault
    """The run was asked to stop and saved its work: the same command continues it."""

    exit_code = INTERRUPTED
