"""A hook of a plugin that raises while work is done: it is told once, and the call goes on without it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from types import SimpleNamespace
from typing import Any

import pluggy
import pytest

from domadapt_registry.containment import contain

hookspec = pluggy.HookspecMarker("toy")
hookimpl = pluggy.HookimplMarker("toy")
Steps = Callable[[], Generator[None, int, Any]]


class Refusal(Exception):
    """What plugins may raise on purpose."""


class Hooks:
    """The hooks of these tests."""

    @hookspec(firstresult=True)
    def adapt_answer(self, question: str) -> int | None:
        raise NotImplementedError


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def ask(told: list[str]) -> Callable[..., int]:
    """Registers the host's answer and guarded plugins, and asks."""

    def call(*plugins: object, answer: Callable[[str], int] = len) -> int:
        manager = pluggy.PluginManager("toy")
        manager.add_hookspecs(Hooks)
        manager.register(SimpleNamespace(adapt_answer=hookimpl(lambda question: answer(question))))
        for plugin in plugins:
            manager.register(plugin)
            contain(manager, plugin, "plugin 'bad' (bad 1.0)", (Refusal,), told.append)
        result: int = manager.hook.adapt_answer(question="four")
        assert manager.hook.adapt_answer(question="four") == result
        return result

    return call


def raising(error: BaseException) -> Any:
    def answer(question: str) -> int:
        raise error

    return SimpleNamespace(adapt_answer=hookimpl(answer))


def wrapping(steps: Steps) -> Any:
    def answer() -> Generator[None, int, Any]:
        return (yield from steps())

    return SimpleNamespace(adapt_answer=hookimpl(wrapper=True)(answer))


@pytest.mark.parametrize("error", [KeyError("x"), SystemExit(0)])
def test_an_answer_that_fails_is_no_answer_and_is_told_once(
    ask: Callable[..., int], told: list[str], error: BaseException
) -> None:
    assert ask(raising(error)) == 4
    (sentence,) = told
    assert sentence.startswith(f"plugin 'bad' (bad 1.0): adapt_answer failed ({type(error).__name__}: ")
    assert sentence.endswith("); going on without it")


@pytest.mark.parametrize("error", [Refusal("not here"), KeyboardInterrupt()])
def test_what_a_plugin_may_raise_is_raised(ask: Callable[..., int], told: list[str], error: BaseException) -> None:
    with pytest.raises(type(error)):
        ask(raising(error))
    assert told == []


def early() -> Generator[None, int, int]:
    raise KeyError("early")
    yield


def late() -> Generator[None, int, int]:
    yield
    raise KeyError("late")


def twice() -> Generator[None, int, int]:
    result = yield
    yield
    return result


@pytest.mark.parametrize(("steps", "said"), [(early, "early"), (late, "late"), (twice, "second yield")])
def test_a_wrapper_that_fails_is_as_if_it_were_not_there(
    ask: Callable[..., int], told: list[str], steps: Steps, said: str
) -> None:
    assert ask(wrapping(steps)) == 4
    (sentence,) = told
    assert said in sentence


def test_a_wrapper_that_works_sees_the_result_and_may_change_it(ask: Callable[..., int], told: list[str]) -> None:
    def doubled() -> Generator[None, int, int]:
        return 2 * (yield)

    assert ask(wrapping(doubled)) == 8
    assert told == []


def refuse_early() -> Generator[None, int, int]:
    raise Refusal
    yield


def refuse_late() -> Generator[None, int, int]:
    yield
    raise Refusal


@pytest.mark.parametrize("steps", [refuse_early, refuse_late])
def test_a_wrapper_may_refuse(ask: Callable[..., int], told: list[str], steps: Steps) -> None:
    with pytest.raises(Refusal):
        ask(wrapping(steps))
    assert told == []


def broken(question: str) -> int:
    raise ValueError(question)


def passing() -> Generator[None, int, int]:
    return (yield)


def failing() -> Generator[None, int, int]:
    try:
        return (yield)
    except ValueError:
        raise KeyError("while looking") from None


def twice_when_it_failed() -> Generator[None, int, int]:
    try:
        return (yield)
    except ValueError:
        yield
        return 0


@pytest.mark.parametrize(("steps", "tells"), [(passing, 0), (failing, 1), (twice_when_it_failed, 1)])
def test_what_the_work_raised_comes_through_a_wrapper(
    ask: Callable[..., int], told: list[str], steps: Steps, tells: int
) -> None:
    with pytest.raises(ValueError, match="four"):
        ask(wrapping(steps), answer=broken)
    assert len(told) == tells


def test_a_wrapper_may_deal_with_what_the_work_raised_or_say_it_in_its_own_words(
    ask: Callable[..., int], told: list[str]
) -> None:
    def dealt() -> Generator[None, int, int]:
        try:
            return (yield)
        except ValueError:
            return 7

    def said() -> Generator[None, int, int]:
        try:
            return (yield)
        except ValueError as error:
            raise Refusal from error

    assert ask(wrapping(dealt), answer=broken) == 7
    with pytest.raises(Refusal):
        ask(wrapping(said), answer=broken)
    assert told == []
