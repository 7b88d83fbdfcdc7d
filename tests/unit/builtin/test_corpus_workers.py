"""Hostile documents in worker processes: each is rejected with a reason, all others are read, order and all."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import sys
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt.builtin.corpora import workers as workers_module
from domadapt.builtin.corpora.workers import dismiss_workers, parse_in_workers
from domadapt.errors import StageError

Rejected = list[tuple[str, str]]


@pytest.fixture(scope="module")
def hostile() -> Iterator[ModuleType]:
    """The parsers as a module that workers can import by name."""
    folder = str(Path(__file__).parent)
    dismiss_workers()
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("hostile", Path(folder) / "hostile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["hostile"] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(folder)
    del sys.modules["hostile"]
    dismiss_workers()


def read(parse: Any, inputs: list[tuple[str, Any]], **options: Any) -> tuple[list[Any], Rejected]:
    rejected: Rejected = []
    found = list(parse_in_workers(parse, inputs, lambda reason, where: rejected.append((reason, where)), **options))
    return found, rejected


def documents(*deeds: str) -> list[tuple[str, tuple[str, str]]]:
    return [(f"d{number}", (f"d{number}", deed)) for number, deed in enumerate(deeds)]


@pytest.mark.parametrize(
    ("deed", "reason"),
    [
        ("crash", "parser crashed"),
        ("leave", "parser crashed"),
        ("stop", "parser crashed"),
        ("raise", "parser failed"),
        ("deep", "parser failed"),
        ("killed", "worker killed"),
        ("eat", "over 256 MB of memory"),
        ("compute", "over 1 s of parsing"),
    ],
)
@pytest.mark.parametrize(("count", "ahead"), [(1, 1), (2, 1), (1, 16), (2, 2)])
def test_a_document_that_breaks_its_parser_is_rejected_and_all_others_are_read(
    hostile: ModuleType, deed: str, reason: str, count: int, ahead: int
) -> None:
    deeds = ["", "", deed, "", "", ""]
    limits = {"seconds": 1, "memory": 256 << 20}
    found, rejected = read(hostile.parse, documents(*deeds), workers=count, ahead=ahead, **limits)
    told = [f"d{n} {what}" for n in range(6) for what in ("begins", "ends") if not (n == 2 and what == "ends")]
    assert found == told
    assert [(one, where.split(":")[0]) for one, where in rejected] == [(reason, "d2")]


def test_a_parser_that_only_waits_is_given_up(hostile: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers_module, "PATIENCE", 1)
    found, rejected = read(hostile.parse, documents("", "sleep", ""), workers=2, seconds=1)
    assert found == ["d0 begins", "d0 ends", "d1 begins", "d2 begins", "d2 ends"]
    assert rejected == [("over 1 s of parsing", "d1")]


def test_what_a_parser_prints_is_in_nobodys_way(hostile: ModuleType) -> None:
    found, rejected = read(hostile.parse, documents("chatter", ""), workers=1)
    assert found == ["d0 begins", "d0 ends", "d1 begins", "d1 ends"]
    assert rejected == []


@pytest.mark.parametrize("ahead", [1, 8])
def test_a_worker_killed_from_outside_costs_no_document_and_doubles_none(
    hostile: ModuleType, ahead: int, tmp_path: Path
) -> None:
    inputs = [(str(n), str(tmp_path / str(n))) for n in range(3)]
    assert read(hostile.die_once, inputs, workers=2, ahead=ahead) == (["one", "two", "three"] * 3, [])


def test_inputs_larger_than_a_pipe_wait_for_their_turn_and_never_for_each_other(hostile: ModuleType) -> None:
    inputs = [(str(n), [bytes([n]) * (300_000 if n % 3 else 20_000)] * 3) for n in range(40)]
    found, rejected = read(hostile.echo, inputs, workers=2, ahead=16)
    assert found == [piece for _, pieces in inputs for piece in pieces]
    assert rejected == []


def _note(order: list[Any], reason: str, where: str) -> None:
    order.append(("reject", reason))


piece = st.integers() | st.text(max_size=5) | st.sampled_from([("reject", "bad"), ("reject", "worse")])


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(piece, max_size=6), max_size=12))
def test_results_and_rejections_come_in_the_order_of_the_inputs_for_any_number_of_workers(
    hostile: ModuleType, inputs: list[list[Any]]
) -> None:
    for count, ahead in ((1, 1), (3, 1), (2, 8)):
        order: list[Any] = []
        numbered = [(str(n), one) for n, one in enumerate(inputs)]
        reject = partial(_note, order)
        for result in parse_in_workers(hostile.echo, numbered, reject, workers=count, ahead=ahead):
            order.append(result)
        assert order == [one for given_pieces in inputs for one in given_pieces]


def test_results_that_wait_for_their_turn_are_of_bounded_size(
    hostile: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers_module, "BUFFER", 4 << 20)
    most = 0
    add = workers_module._Pool._take

    def watched(pool: Any, worker: Any) -> None:
        nonlocal most
        add(pool, worker)
        most = max(most, pool._buffered)

    monkeypatch.setattr(workers_module._Pool, "_take", watched)
    found, _ = read(hostile.large, [(str(n), 12) for n in range(6)], workers=3)
    assert [result[0] for result in found] == list(range(12)) * 6
    assert most < 4 * (4 << 20)


def test_workers_are_kept_for_the_next_source_and_replaced_in_time(
    hostile: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    dismiss_workers()
    inputs = [(str(n), None) for n in range(10)]
    first, folder = read(hostile.whose, inputs, workers=1)[0][0]
    assert folder == os.getcwd()
    monkeypatch.chdir(tmp_path)
    again = read(hostile.whose, inputs, workers=1)[0]
    assert set(again) == {(first, str(tmp_path))}
    monkeypatch.setattr(workers_module, "RETIREMENT", 4)
    dismiss_workers()
    assert len({number for number, _ in read(hostile.whose, inputs, workers=1)[0]}) == 3


def workers_of_this_process() -> Iterator[str]:
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # processes end while they are looked at
            parent = int(status.read_text().rpartition(")")[2].split()[1])
            if parent == os.getpid() and workers_module.WORKER in (status.parent / "cmdline").read_text():
                yield status.parent.name


def test_a_source_that_is_not_read_to_its_end_leaves_no_process_at_work(hostile: ModuleType) -> None:
    dismiss_workers()
    running = parse_in_workers(hostile.parse, documents("", "compute", "compute"), lambda *_: None, workers=2)
    assert next(running) == "d0 begins"
    assert list(workers_of_this_process())
    running.close()  # type: ignore[attr-defined]
    dismiss_workers()
    assert not list(workers_of_this_process())


def test_a_parser_that_workers_cannot_import_is_a_fault_and_no_rejection(hostile: ModuleType) -> None:
    def local(given: Any, reject: Any) -> Iterator[str]:
        yield "never"

    local.__qualname__ = "parse_nothing"
    local.__module__ = "hostile"
    hostile.parse_nothing = local  # type: ignore[attr-defined]
    try:
        with pytest.raises(StageError, match=r"a worker cannot load the parser .*parse_nothing"):
            read(local, documents("", ""))
    finally:
        del hostile.parse_nothing
