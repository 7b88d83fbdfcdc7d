"""Faults of a training in one process: it is killed, its disk fails, its checkpoints are damaged, its numbers explode.

Row numbers are those of the project's table of faults. Survived means: told aloud, nothing lost that was saved, and the
same command again ends with the bits of an undisturbed training (CPU, one thread).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

DRIVER = Path(__file__).parent / "training_driver.py"
STEPS = 9
SETTINGS = {
    "batch_tokens": 128,
    "micro_batch": 2,
    "lr": 3e-3,
    "warmup": 0.2,
    "precision": "fp32",
    "checkpoint_every": 2,
    "eval_every": 4,
    "eval_windows": 2,
}
Attempts = Callable[..., list[dict[str, Any]]]
Wanted = Sequence[tuple[str, dict[str, Any]]]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A random tiny model and 36 windows of its tokens."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    from domadapt.artifacts import SPLITS, Corpus, document_schema
    from domadapt.builtin.mixing.replay import ReplayMixer
    from domadapt.builtin.tokens.build import build_tokens
    from domadapt.components import Stage
    from domadapt.pipeline.store import publish
    from domadapt.recipe.schema import Mix
    from domadapt.testing.models import write_tiny_model

    folder = tmp_path_factory.mktemp("faults")
    model = write_tiny_model(folder / "model")
    corpora = {}
    for side in ("domain", "general"):
        work = folder / f"{side}.partial"
        for split in SPLITS:
            (work / split).mkdir(parents=True)
            numbers = range(90 if split == "train" else 6)
            names = [f"{side}-{i}" for i in numbers]
            texts = [f"The {side} claim {i} covers risk {i * i}." for i in numbers]
            empty = [""] * len(names)
            rows = pa.table([names, texts, empty, empty, names, ["{}"] * len(names)], schema=document_schema())
            pq.write_table(rows, work / split / "documents-00000.parquet")
        publish(work, folder / side, {"kind": "corpus", "facts": {}})
        corpora[side] = Corpus(folder / side)
    work = folder / "tokens.partial"
    work.mkdir()
    facts = build_tokens(
        corpora,  # type: ignore[arg-type]
        model,
        ReplayMixer(),
        Mix.model_validate({"seq_len": 32, "replay": 0.25}),
        num_samples=4 * STEPS,
        samples_per_step=4,
        out=work,
        stage=Stage("tokens", "0" * 16, 7, "", lambda *_: {}, folder),
    )
    publish(work, folder / "tokens", {"kind": "tokens", "facts": json.loads(json.dumps(facts))})
    return {"model": str(model.path), "tokens": str(folder / "tokens")}


@pytest.fixture(scope="module")
def attempts_in(
    tmp_path_factory: pytest.TempPathFactory, inputs: dict[str, str]
) -> Iterator[Callable[[Path, Wanted], list[dict[str, Any]]]]:
    """Makes attempts (scratch, fault) in a folder, one after the other, and returns how they ended.

    One process loads torch for all tests of this module.
    """
    log = tmp_path_factory.mktemp("driver") / "log"
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    with (
        log.open("w") as errors,
        subprocess.Popen(
            [sys.executable, str(DRIVER)],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
        ) as driver,
    ):
        assert driver.stdin is not None
        assert driver.stdout is not None
        to_driver, answers = driver.stdin, driver.stdout

        def make(folder: Path, wanted: Wanted) -> list[dict[str, Any]]:
            file = folder / "job.json"
            job = {**inputs, "folder": str(folder), "settings": SETTINGS, "steps": STEPS, "attempts": wanted}
            file.write_text(json.dumps(job))
            to_driver.write(f"{file}\n")
            to_driver.flush()
            assert answers.readline() == f"{file}\n", log.read_text()[-2000:]
            return json.loads((folder / "results.json").read_bytes())  # type: ignore[no-any-return]

        yield make
        to_driver.close()
        assert driver.wait(60) == 0, log.read_text()[-2000:]


@pytest.fixture
def attempts(tmp_path: Path, attempts_in: Callable[[Path, Wanted], list[dict[str, Any]]]) -> Attempts:
    """The same in the test's own folder."""
    return lambda *wanted: attempts_in(tmp_path, wanted)


@pytest.fixture(scope="module")
def whole(
    tmp_path_factory: pytest.TempPathFactory, attempts_in: Callable[[Path, Wanted], list[dict[str, Any]]]
) -> dict[str, Any]:
    """An undisturbed training."""
    (result,) = attempts_in(tmp_path_factory.mktemp("whole"), [("whole", {})])
    assert result["code"] == 0
    return result


def sweep(numbers: list[int], act: str) -> list[tuple[str, dict[str, Any]]]:
    """For each number a training that is hurt there, and the same command again."""
    return [(f"{act}-{n}", fault) for n in numbers for fault in ({"at": n, "act": act}, {})]


def killed_at_random(seed: int, count: int) -> list[tuple[str, dict[str, Any]]]:
    """Trainings that are killed one to three times, by step or in the middle of their files, and then left alone."""
    draw = random.Random(seed)
    wanted: list[tuple[str, dict[str, Any]]] = []
    for number in range(count):
        for _ in range(draw.randint(1, 3)):
            at_step = {"kill_at_step": draw.randint(1, STEPS)}
            wanted.append((f"killed-{number}", draw.choice([at_step, {"at": draw.randint(1, 110), "act": "kill"}])))
        wanted.append((f"killed-{number}", {}))
    return wanted


def check_killed(wanted: list[tuple[str, dict[str, Any]]], found: list[dict[str, Any]], digest: str) -> None:
    for (_, fault), result in zip(wanted, found, strict=True):
        if fault == {}:
            assert (result["code"], result["digest"]) == (0, digest)
            assert not [e for e in result["events"] if e["kind"] == "warning"]
        else:  # a point behind the end of a resumed training is not reached
            assert result["code"] in (-signal.SIGKILL, 0)


def test_f53_a_training_killed_at_random_points_ends_with_the_bits_of_an_undisturbed_one(
    attempts: Attempts, whole: dict[str, Any]
) -> None:
    wanted = killed_at_random(1, 3)
    check_killed(wanted, attempts(*wanted), whole["digest"])


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_f53_twenty_trainings_killed_at_random_points_end_with_the_bits_of_an_undisturbed_one(
    attempts: Attempts, whole: dict[str, Any], seed: int
) -> None:
    wanted = killed_at_random(seed, 10)
    check_killed(wanted, attempts(*wanted), whole["digest"])


def check_sweep(found: list[dict[str, Any]], digest: str, names: list[str], numbers: list[int], code: int) -> None:
    """Every hurt training ends with `code` and loses no checkpoint; the next one has the bits of the whole."""
    published = [i + 1 for i, name in enumerate(names) if name.startswith("os.rename step-") and ".partial" in name]
    removed = [i + 1 for i, name in enumerate(names) if name.startswith("os.rename step-") and ".partial" not in name]
    for number, hurt, again in zip(numbers, found[::2], found[1::2], strict=True):
        assert hurt["code"] == code, (names[number - 1], hurt)
        there = sum(at < number for at in published) - sum(at < number for at in removed)
        assert len(hurt["checkpoints"]) == there, names[number - 1]
        assert there >= min(2, sum(at < number for at in published)), "never fewer than two once there were two"
        assert (again["code"], again["digest"]) == (0, digest), names[number - 1]
        assert [e["kind"] for e in again["events"]].count("resumed") == (there > 0)


def test_f54_f71_a_kill_at_any_write_of_a_checkpoint_or_while_an_old_one_is_deleted_loses_nothing(
    attempts: Attempts, whole: dict[str, Any]
) -> None:
    numbers = list(range(5, whole["seen"] + 1, 17))
    found = attempts(*sweep(numbers, "kill"))
    check_sweep(found, whole["digest"], whole["names"], numbers, -signal.SIGKILL)


@pytest.mark.slow
def test_f54_f71_a_kill_at_every_write_of_a_checkpoint_loses_nothing(attempts: Attempts, whole: dict[str, Any]) -> None:
    numbers = list(range(1, whole["seen"] + 1))
    found = attempts(*sweep(numbers, "kill"))
    check_sweep(found, whole["digest"], whole["names"], numbers, -signal.SIGKILL)


def failures(names: list[str]) -> list[int]:
    """Where a full disk can show: all but what only takes away."""
    return [i + 1 for i, name in enumerate(names) if name.split()[0] not in ("os.remove", "os.rmdir", "os.rename")]


def check_full_disk(found: list[dict[str, Any]], digest: str) -> None:
    for hurt, again in zip(found[::2], found[1::2], strict=True):
        assert hurt["code"] == 4
        assert "the disk is full" in hurt["said"]
        assert "run the same command again" in hurt["said"]
        assert (again["code"], again["digest"]) == (0, digest)


def test_f55_a_disk_that_is_full_at_a_write_of_a_checkpoint_ends_with_4_and_keeps_the_earlier_ones(
    attempts: Attempts, whole: dict[str, Any]
) -> None:
    numbers = failures(whole["names"])[4::19]
    found = attempts(*sweep(numbers, "ENOSPC"))
    check_full_disk(found, whole["digest"])
    check_sweep(found, whole["digest"], whole["names"], numbers, 4)


@pytest.mark.slow
def test_f55_a_disk_that_is_full_at_every_write_of_a_checkpoint_ends_with_4(
    attempts: Attempts, whole: dict[str, Any]
) -> None:
    numbers = failures(whole["names"])
    found = attempts(*sweep(numbers, "ENOSPC"))
    check_full_disk(found, whole["digest"])


def test_f56_a_checkpoint_whose_fsync_fails_is_not_published(attempts: Attempts, whole: dict[str, Any]) -> None:
    fsyncs = [i + 1 for i, name in enumerate(whole["names"]) if name.startswith("fsync")]
    numbers = fsyncs[3:4] + fsyncs[20:21]
    found = attempts(*sweep(numbers, "EIO"))
    check_sweep(found, whole["digest"], whole["names"], numbers, 1)
    assert all("Input/output error" in hurt["said"] for hurt in found[::2])


def test_f68_sigterm_once_and_twice_saves_and_ends_with_75(attempts: Attempts, whole: dict[str, Any]) -> None:
    """The second one comes while the checkpoint is written."""
    term = int(signal.SIGTERM)
    once, again, twice, more = attempts(
        ("once", {"signals_at": [[3, term]]}),
        ("once", {}),
        ("twice", {"signals_at": [[3, term], [3, term]]}),
        ("twice", {}),
    )
    for stopped in (once, twice):
        assert stopped["code"] == 75
        assert "saved; run the same command to continue" in stopped["said"]
    assert [again["digest"], more["digest"]] == [whole["digest"]] * 2


def test_f69_ctrl_c_once_saves_and_twice_leaves_at_once_with_nothing_lost(
    attempts: Attempts, whole: dict[str, Any]
) -> None:
    ctrl_c = int(signal.SIGINT)
    once, again, twice, more = attempts(
        ("once", {"signals_at": [[3, ctrl_c]]}),
        ("once", {}),
        ("twice", {"signals_at": [[5, ctrl_c], [5, ctrl_c]]}),
        ("twice", {}),
    )
    assert once["code"] == 75  # adapt run makes it 130
    assert twice["code"] in (75, 130)  # it may have been quicker than the second one
    assert len(twice["checkpoints"]) == 2
    assert [again["digest"], more["digest"]] == [whole["digest"]] * 2
