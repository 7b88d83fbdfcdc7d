"""A run that is killed and started again ends with the report of an undisturbed one."""

from __future__ import annotations

import random
import signal
import time

import pytest

from domadapt.report.build import digest_without_run_facts

from .conftest import Adapt

RUN = ("run", "--domain", "law")


def digest(adapt: Adapt) -> str:
    return digest_without_run_facts(adapt.folder / "runs/law/report.json")


def has_event(adapt: Adapt, stage: str, kind: str, count: int = 1):
    def check() -> bool:
        try:
            return sum(e["stage"] == stage and e["kind"] == kind for e in adapt.events()) >= count
        except (FileNotFoundError, ValueError):
            return False

    return check


def after(seconds: float):
    end = time.monotonic() + seconds
    return lambda: time.monotonic() > end


def test_kill_9_in_the_middle_of_training_loses_nothing(finished: Adapt, adapt: Adapt):
    assert adapt.kill_when(RUN, has_event(adapt, "train", "checkpoint", 2)) == -signal.SIGKILL
    assert "train" not in adapt.done()
    adapt(*RUN)
    resumed = [e for e in adapt.events() if e["kind"] == "resumed"]
    assert resumed
    assert resumed[0]["step"] >= 6
    assert digest(adapt) == digest(finished)


def test_kill_9_at_several_random_moments_ends_with_the_same_report(finished: Adapt, adapt: Adapt):
    rng = random.Random(5)
    for _ in range(4):
        adapt.kill_when(RUN, after(rng.uniform(1, 22)))
    adapt(*RUN)
    assert digest(adapt) == digest(finished)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_kill_9_at_any_moment_ends_with_the_same_report(finished: Adapt, adapt: Adapt, seed: int):
    rng = random.Random(seed)
    while adapt.kill_when(RUN, after(rng.uniform(0.2, 40))) != 0:
        pass
    assert digest(adapt) == digest(finished)


def test_sigterm_in_training_saves_and_ends_with_75(finished: Adapt, adapt: Adapt):
    assert adapt.kill_when(RUN, has_event(adapt, "train", "heldout"), signal.SIGTERM) == 75
    assert not [e for e in adapt.events() if e["stage"] == "train" and e["kind"] == "done"]
    adapt(*RUN)
    assert [e for e in adapt.events() if e["kind"] == "resumed"]
    assert digest(adapt) == digest(finished)


def test_ctrl_c_ends_with_130_and_the_same_command_continues(finished: Adapt, adapt: Adapt):
    assert adapt.kill_when(RUN, has_event(adapt, "tokens", "start"), signal.SIGINT) == 130
    adapt(*RUN)
    assert digest(adapt) == digest(finished)


def test_a_second_process_on_the_same_run_is_refused_by_name(adapt: Adapt):
    first = adapt.start(*RUN)
    try:
        while not has_event(adapt, "tokens", "start")() and first.poll() is None:
            time.sleep(0.05)
        said = adapt(*RUN, code=4)
        assert f"process {first.pid}" in said
    finally:
        first.kill()
        first.communicate()
