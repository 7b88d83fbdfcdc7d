"""What all commands share: the registry, what is shown where, and how an error becomes one line and a code.

stdout carries the result and nothing else; progress, warnings and errors go to stderr. Text that comes
from plugins or files passes `plain` before it reaches a terminal.
"""

from __future__ import annotations

import errno
import importlib
import json
import os
import re
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from domadapt.culprits import culprit
from domadapt.errors import CTRL_C, FAILED, MISSING, OK, USAGE, AdaptError
from domadapt_registry import Registry, RegistryError

if TYPE_CHECKING:
    from rich.console import Console

T = TypeVar("T")

DISTRIBUTION = "domadapt"
BUILTIN = "domadapt.builtin"
"""Named as plugins are, by a dotted name: the command line imports no component."""

# C0 and C1 controls, bidirectional overrides, line separators, lone surrogates
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def plain(text: str, *, lines: bool = False) -> str:
    """Text that can only be read: control characters are spelled out, so that none moves the cursor or recolours.

    lines: keep line breaks; otherwise they become spaces.
    """
    if lines:
        return "\n".join(plain(line) for line in text.split("\n"))
    spaced = re.sub(r"[\t\r\n]+", " ", text)
    return _UNSAFE.sub(lambda match: match[0].encode("unicode_escape").decode(), spaced)


def say(text: str) -> None:
    """Write a line to stderr: progress, warnings, errors."""
    click.echo(plain(text, lines=True), err=True)


def print_json(value: object) -> None:
    """Write a result for programs to stdout: JSON in ASCII, which carries no control characters."""
    click.echo(json.dumps(value, indent=2))


def console() -> Console:
    """stdout for tables. NO_COLOR and COLUMNS are honoured; no colours where stdout is no terminal."""
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)


def open_registry() -> Registry:
    """Find all plugins, adapt's own first.

    ADAPT_DISABLE=a,b leaves out the plugins named; ADAPT_PLUGINS=a,b loads of the installed plugins only
    those named (set and empty: none). adapt's own plugins are left out only by ADAPT_DISABLE.
    """
    from domadapt import __version__, components, hookspecs

    registry = Registry.discover(
        hookspecs,
        project=hookspecs.PROJECT,
        group=hookspecs.ENTRY_POINT_GROUP,
        builtin=getattr(importlib.import_module(BUILTIN), "PLUGINS", ()),
        host=DISTRIBUTION,
        host_version=__version__,
        disabled=_names("ADAPT_DISABLE") or (),
        allowed=_names("ADAPT_PLUGINS"),
        names=vars(components),
        deliberate=(AdaptError,),
        tell=say,
    )
    if registry.unmatched:
        say(f"ADAPT_DISABLE or ADAPT_PLUGINS names what is not installed: {', '.join(registry.unmatched)}")
    return registry


def contained(work: Callable[[], T], *, debug: bool) -> T:
    """Do a command's work. Whatever it raises is told in a line on stderr and ends as click's Exit with a code."""
    try:
        return work()
    except (click.ClickException, click.exceptions.Exit, click.Abort):
        raise  # click's own ways to end, shown by `exit_code`
    except KeyboardInterrupt as error:
        raise _end("interrupted", CTRL_C, error, debug) from None
    except AdaptError as error:
        raise _end(str(error), error.exit_code, error, debug) from None
    except RegistryError as error:
        raise _end(str(error), USAGE, error, debug) from None
    except (Exception, SystemExit) as error:
        if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError) and not culprit(error):
            raise error.__context__ from None  # rich turns it into sys.exit(1)
        if isinstance(error, BrokenPipeError) and not culprit(error):
            raise  # whoever reads our stdout (`| head`) has seen enough: click ends without a word
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise _end(f"{error.filename or 'writing'}: {error.strerror}", MISSING, error, debug) from None
        way_out = "" if debug else "; `adapt --debug ...` shows the traceback"
        raise _end(f"bug: {_named(error)}{_described(error)}{way_out}", FAILED, error, debug) from None


def exit_code(main: Callable[[], Any]) -> int:
    """Run click's main (not in standalone mode) and return what the process must end with.

    A command may return its exit code.
    """
    try:
        ended = main()
    except click.UsageError as error:
        path = error.ctx.command_path if error.ctx else "adapt"
        say(f"{path}: {plain(error.format_message())} (`{path} --help` lists what there is)")
        return USAGE
    except click.ClickException as error:
        say(plain(error.format_message()))
        return error.exit_code
    except click.Abort:
        say("interrupted")
        return CTRL_C
    return ended if type(ended) is int else OK


def _end(line: str, code: int, error: BaseException, debug: bool) -> click.exceptions.Exit:
    if debug:
        say("".join(traceback.format_exception(error)).rstrip("\n"))
    say(line)
    return click.exceptions.Exit(code)


def _described(error: BaseException) -> str:
    """The exception and where it was raised, in one line."""
    if isinstance(error, SystemExit):
        text = f"sys.exit({error.code!r}) was called"
    else:
        text = "".join(traceback.TracebackException.from_exception(error).format_exception_only())
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not f.filename.startswith("<")]
    return plain(text.strip()) + (f" ({plain(frames[-1].filename)}:{frames[-1].lineno})" if frames else "")


def _named(error: BaseException) -> str:
    """The component and the plugin whose code raised, where it was one's."""
    who = culprit(error)
    return f"{plain(who)}: " if who else ""


def _names(variable: str) -> list[str] | None:
    value = os.environ.get(variable)
    return None if value is None else [name.strip() for name in value.split(",") if name.strip()]
