"""Keep what a plugin's hook raises from ending the work of others: it is told, and the call goes on without it.

Only for hooks that are called while work is done. An answer (`firstresult`) that failed is no answer, so the next
plugin is asked; a wrapper that failed is as if it were not there, and the result of what it wraps is kept. Exceptions
that the host lets plugins raise on purpose pass.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any

import pluggy

from domadapt_registry.guard import sentence_of
from domadapt_registry.hooks import COLLECTED, hook_names

Tell = Callable[[str], None]
Failed = Callable[[BaseException], None]
Deliberate = tuple[type[BaseException], ...]
_BUGS = (Exception, SystemExit)


def contain(manager: pluggy.PluginManager, plugin: object, said: str, deliberate: Deliberate, tell: Tell) -> None:
    """Guard a registered plugin's answers and wrappers. said: how sentences name it.  tell: takes each one once."""
    told: set[str] = set()

    def failing(hook: str) -> Failed:
        def failed(error: BaseException) -> None:
            sentence = f"{said}: {hook} failed ({sentence_of(error)}); going on without it"
            if sentence not in told:
                told.add(sentence)
                tell(sentence)

        return failed

    for hook in hook_names(manager):
        if hook.startswith(COLLECTED):
            continue
        for implementation in getattr(manager.hook, hook).get_hookimpls():
            if implementation.plugin is not plugin or implementation.hookwrapper:
                continue
            guard = _wrapper if implementation.wrapper else _answer
            function: Any = implementation.function
            implementation.function = guard(function, deliberate, failing(hook))


def _answer(function: Any, deliberate: Deliberate, failed: Failed) -> Any:
    def call(*arguments: object) -> object:
        try:
            return function(*arguments)
        except deliberate:
            raise
        except _BUGS as error:
            failed(error)
            return None

    return call


def _wrapper(function: Any, deliberate: Deliberate, failed: Failed) -> Any:
    def call(*arguments: object) -> Generator[None, Any, Any]:
        generator = None
        try:
            generator = function(*arguments)
            next(generator)
        except deliberate:
            raise
        except _BUGS as error:  # it did not come as far as its `yield`
            failed(error)
            return (yield)
        try:
            result = yield
        except BaseException as error:
            return _throw(generator, error, deliberate, failed)
        try:
            generator.send(result)
        except StopIteration as end:
            return end.value
        except deliberate:
            raise
        except _BUGS as error:
            failed(error)
            return result
        generator.close()
        failed(RuntimeError("it has a second yield"))
        return result

    return call


def _throw(
    generator: Generator[None, Any, Any],
    error: BaseException,
    deliberate: Deliberate,
    failed: Failed,
) -> Any:
    """Let a wrapper see what the wrapped work raised: it may pass it on, say it in its own words, or deal with it."""
    try:
        generator.throw(error)
    except StopIteration as end:
        return end.value
    except BaseException as raised:
        if raised is error or isinstance(raised, deliberate) or not isinstance(raised, _BUGS):
            raise
        failed(raised)
    else:
        generator.close()
        failed(RuntimeError("it has a second yield"))
    raise error
