"""Run a plugin's code so that nothing it does at import stops the program.

Everything but Ctrl-C is caught, `sys.exit()` too: pluggy's own loader lets one broken plugin end the
program. What the plugin prints goes to stderr, because stdout belongs to the result.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Failure:
    """What a plugin's code raised: a sentence for users, a traceback for its author."""

    sentence: str
    traceback: str


@dataclass(frozen=True)
class Outcome(Generic[T]):
    """What a guarded call returned, or why it did not."""

    value: T | None
    failure: Failure | None


def guarded(call: Callable[[], T]) -> Outcome[T]:
    """Call and return the value or the failure, whatever is raised except KeyboardInterrupt."""
    try:
        with contextlib.redirect_stdout(sys.stderr):
            return Outcome(call(), None)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        trace = traceback.TracebackException.from_exception(error)
        return Outcome(None, Failure(_sentence(error, trace), "".join(trace.format())))


def sentence_of(error: BaseException) -> str:
    """What was raised and where, in one line."""
    return _sentence(error, traceback.TracebackException.from_exception(error))


def _sentence(error: BaseException, trace: traceback.TracebackException) -> str:
    # str() of a foreign exception may raise itself; TracebackException has dealt with that.
    text = " ".join(list(trace.format_exception_only())[-1].split())
    # Neither importlib's frames nor this module's say anything about the plugin.
    frames = [f for f in trace.stack if not f.filename.startswith("<") and f.filename != __file__]
    frames = [f for f in frames if "importlib" not in f.filename]
    return f"{text} ({frames[-1].filename}:{frames[-1].lineno})" if frames else text
