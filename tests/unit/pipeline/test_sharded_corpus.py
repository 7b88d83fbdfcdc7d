"""A corpus made over shards is the corpus that one process makes, whoever works on it and whoever is killed."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from domadapt.artifacts import SPLITS
from domadapt.builtin.cleaning.duplicates import ExactDuplicates, MinHashDuplicates
from domadapt.builtin.cleaning.text import MinLength, MinLengthOptions, Normalize
from domadapt.builtin.corpora.workers import dismiss_workers
from domadapt.builtin.executors.processes import ProcessExecutor
from domadapt.components import Cleaner, Source, Stage
from domadapt.errors import DataError, StageError
from domadapt.pipeline import sharded_cleaning, sharded_reading
from domadapt.pipeline.corpus import build_corpus
from domadapt.pipeline.sharding import Executor, Task, attempt, is_done


@pytest.fixture(scope="module")
def parts() -> Iterator[ModuleType]:
    """Sources and cleaners as a module that workers can import by name."""
    folder = str(Path(__file__).parent)
    dismiss_workers()
    sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location("shard_parts", Path(folder) / "shard_parts.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["shard_parts"] = module
    spec.loader.exec_module(module)
    yield module
    sys.path.remove(folder)
    del sys.modules["shard_parts"]
    dismiss_workers()


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sharded_cleaning, "SHARD_BYTES", 3000)


@dataclass
class Here:
    """Does tasks in this process, all of them before the first is given back, in an order drawn from a seed.

    stop_after: raises KeyboardInterrupt behind so many.  done: tasks whose work was done.
    """

    seed: int = 0
    stop_after: int = 10**9
    twice: bool = False
    done: list[Path] = field(default_factory=list)

    def run(self, tasks: Iterable[Task], stage: Stage) -> Iterator[Task]:
        """See Executor."""
        every = list(tasks)
        for task in random.Random(self.seed).sample(every, len(every)):
            if len(self.done) >= self.stop_after:
                raise KeyboardInterrupt
            if not is_done(task):
                self.done.append(task.out)
            folder = os.getcwd()
            for _ in range(1 + self.twice):
                attempt(task)
            os.chdir(folder)
        yield from every


def write_archives(folder: Path) -> list[Path]:
    """Archives of a few members each, some damaged, some with names and texts of others."""
    draw = random.Random(1)
    folder.mkdir(exist_ok=True)
    files = []
    for number in range(9):
        lines = []
        for member in range(8):
            words = [f"w{draw.randrange(400)}" for _ in range(draw.randrange(3, 60))]
            for place in range(9, len(words), 10):
                words[place] += "."
            text = draw.choice([" ".join(words), " ".join(words), "zebra crossing. same words here", "!", "why?", "ab"])
            lines.append(draw.choice([f"m{member % 6}|{text}"] * 6 + ["damaged"]))
        file = folder / f"a{number}{'.txt' if number % 4 == 3 else '.ar'}"
        file.write_text("\n".join(lines))
        files.append(file)
    return files


def lines(number: int) -> list[str]:
    draw = random.Random(number)
    texts = [" ".join(f"v{draw.randrange(300)}" for _ in range(draw.randrange(1, 60))) for _ in range(60)]
    texts += [f"{text} and more" for text in texts[::6]]
    return texts


def sources(parts: ModuleType, folder: Path) -> list[tuple[Source, int | None]]:
    files = write_archives(folder)
    return [
        (parts.Archives(files), None),
        (parts.Listed(lines(1)), None),
        (parts.Archives(files[::-1]), 40),
        (parts.Chained([file for file in files if file.suffix == ".ar"]), None),
    ]


def cleaners(parts: ModuleType) -> list[Cleaner]:
    """Of all kinds, so that independent ones come one by one and in a row, first and last, behind surveys."""
    return [
        Normalize(),
        MinLength(MinLengthOptions(characters=3)),
        parts.Counting(),
        parts.Shouting(),
        parts.Rare(),
        MinLength(MinLengthOptions(characters=8)),
        ExactDuplicates(),
        MinHashDuplicates(),
        Normalize(),
    ]


@dataclass
class Made:
    """What came of a corpus: facts, and the digest of each file."""

    facts: dict[str, Any]
    files: dict[str, str]


def make(
    folder: Path, sources: Sequence[tuple[Source, int | None]], cleaners: Sequence[Cleaner], executor: Executor | None
) -> Made:
    """Build in `folder`; its scratch folder stays, as that of an interrupted stage does."""
    out, scratch = folder / "out", folder / "scratch"
    for old in sorted(out.rglob("*"), reverse=True) if out.exists() else ():
        old.rmdir() if old.is_dir() else old.unlink()
    out.mkdir(parents=True, exist_ok=True)
    scratch.mkdir(exist_ok=True)
    stage = Stage("corpus.domain", "0" * 16, 1, "test", lambda *_: {}, scratch)
    facts = build_corpus(sources, cleaners, holdout=0.2, holdout_documents=30, out=out, stage=stage, executor=executor)
    for account in facts["sources"]:
        assert account["seen"] == account["kept"] + account["duplicates"] + account["dropped"]
    assert facts["funnel"][-1]["kept"] == sum(facts["documents"][split] for split in SPLITS)
    files = {f.relative_to(out).as_posix(): hashlib.sha256(f.read_bytes()).hexdigest() for f in out.rglob("*.*")}
    return Made(json.loads(json.dumps(facts)), files)


@pytest.fixture(scope="module")
def undisturbed(parts: ModuleType, tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The corpus as one process makes it."""
    folder = tmp_path_factory.mktemp("undisturbed")
    made = make(folder, sources(parts, folder / "archives"), cleaners(parts), None)
    dropping = {step["step"] for step in made.facts["funnel"] if sum(step["dropped"].values())}
    assert dropping == {"read", "min_length", "counting", "shouting", "dedup.exact", "dedup.minhash"}
    tallies = {step["step"]: step["tally"] for step in made.facts["funnel"] if "tally" in step}
    assert tallies["rare"]["words"] > 10
    assert tallies["shouting"]["letters"] > 1000
    assert tallies["shouting"]["known before"] == 3
    assert len(made.facts["steps"]["shouting"]["seen"]) > 2
    assert {"no archive", "damaged member", "unreadable", "parser failed"} <= set(made.facts["rejected_examples"])
    return made


@pytest.mark.parametrize("seed", range(2))
def test_shards_done_in_any_order_even_twice_make_the_same_corpus(
    parts: ModuleType, undisturbed: Made, tmp_path: Path, seed: int
) -> None:
    executor = Here(seed, twice=seed == 1)
    assert make(tmp_path, sources(parts, tmp_path / "archives"), cleaners(parts), executor) == undisturbed
    assert len(executor.done) > 30
    assert {out.parent.name for out in executor.done} >= {"parsed", "step-1", "step-4", "step-9"}


@pytest.mark.parametrize("workers", [1, 3])
def test_processes_make_the_same_corpus_for_any_number_of_them(
    parts: ModuleType, undisturbed: Made, tmp_path: Path, workers: int
) -> None:
    executor = ProcessExecutor(workers)
    assert make(tmp_path, sources(parts, tmp_path / "archives"), cleaners(parts), executor) == undisturbed


def test_an_interrupted_corpus_goes_on_elsewhere_and_does_no_shard_twice(
    parts: ModuleType, undisturbed: Made, tmp_path: Path
) -> None:
    done: list[Path] = []
    for number in range(100):
        # each attempt by another number of workers, in another order
        executor = Here(number, stop_after=7)
        try:
            made = make(tmp_path, sources(parts, tmp_path / "archives"), cleaners(parts), executor)
            break
        except KeyboardInterrupt:
            done += executor.done
    assert made == undisturbed
    assert len(done) == len(set(done))
    assert len(done) > 30
    # and whoever comes last finds everything done
    last = Here()
    assert make(tmp_path, sources(parts, tmp_path / "archives"), cleaners(parts), last) == undisturbed
    assert last.done == []


def test_inputs_are_asked_for_once_and_a_source_that_parses_nothing_is_read_once(
    parts: ModuleType, tmp_path: Path
) -> None:
    archives, listed = parts.Archives(write_archives(tmp_path / "archives")), parts.Listed(lines(2))
    make(tmp_path, [(archives, None), (listed, None)], [], Here())
    assert archives.listed == sum(file.suffix == ".ar" for file in archives.files)
    assert listed.read_times == 2  # once until its first document shows that it parses nothing


def test_an_input_belongs_to_a_shard_by_its_name_and_all_shards_are_used() -> None:
    assert sharded_reading.shard_of("320193/0000320193-24-000123.txt") == 47
    shards = [sharded_reading.shard_of(f"file {number}") for number in range(20_000)]
    assert set(shards) == set(range(256))
    assert max(map(shards.count, set(shards))) < 2 * 20_000 / 256


def test_a_worker_that_is_killed_costs_nothing(parts: ModuleType, tmp_path: Path) -> None:
    """The parser's process is killed, then the worker that waits for it; 6 inputs, each in a shard of its own."""
    folder = tmp_path / "deaths"
    folder.mkdir()
    made = make(tmp_path, [(parts.Dying(folder, 6), None)], [Normalize()], ProcessExecutor(2))
    assert {file.name: len(file.read_text()) for file in folder.iterdir()} == {f"i{n}": 3 for n in range(6)}
    assert made.facts["sources"][0]["kept"] + made.facts["sources"][0]["dropped"] == 6
    assert made.facts["rejected_examples"] == {}


def test_workers_killed_at_any_moment_do_not_change_the_corpus(
    parts: ModuleType, undisturbed: Made, tmp_path: Path
) -> None:
    over, killed = threading.Event(), list[int]()

    def kill() -> None:
        draw, done = random.Random(4), 0
        # two: a shard is given to three workers and no more, and all of them may be at the same one
        while not over.wait(0.01) and len(killed) < 2:
            if _shards_done(tmp_path / "scratch") >= done and (workers := _descendants(os.getpid())):
                killed.append(draw.choice(workers))
                with contextlib.suppress(ProcessLookupError):
                    os.kill(killed[-1], signal.SIGKILL)
                done += 20

    killer = threading.Thread(target=kill)
    killer.start()
    try:
        made = make(tmp_path, sources(parts, tmp_path / "archives"), cleaners(parts), ProcessExecutor(2))
    finally:
        over.set()
        killer.join()
    assert len(killed) == 2
    assert made == undisturbed


def _shards_done(scratch: Path) -> int:
    """os.walk passes over a folder that is renamed while it looks; Path.glob raises."""
    return sum("given.sha256" in files for _, _, files in os.walk(scratch))


def _descendants(pid: int) -> list[int]:
    """Processes below one, those that are workers."""
    found = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (task / "children").read_text().split()):
            try:
                if b"domadapt.builtin.corpora.worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                    found += [child, *_descendants(child)]
            except OSError:
                continue
    return found


def test_a_shard_whose_workers_are_always_killed_ends_the_stage_with_a_way_out(
    parts: ModuleType, tmp_path: Path
) -> None:
    task = Task(parts.kill_myself, tmp_path / "given", tmp_path / "out")
    (tmp_path / "given").write_text("x")
    stage = Stage("corpus.domain", "", 1, "", lambda *_: {}, tmp_path)
    with pytest.raises(StageError, match=r"corpus.domain: .*shard out.*run the same command to continue"):
        list(ProcessExecutor(1).run([task], stage))


@pytest.mark.parametrize(
    ("fault", "error", "told"),
    [
        (False, DataError, r"^refusing: this text cannot be had$"),
        (
            True,
            StageError,
            r"^corpus.domain: shard 00000\d failed with ZeroDivisionError: one by nought; the place is ",
        ),
    ],
)
def test_what_a_cleaner_raises_in_a_worker_is_raised_here(
    parts: ModuleType, tmp_path: Path, fault: bool, error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        make(tmp_path, [(parts.Listed(lines(3)), None)], [parts.Refusing(fault)], ProcessExecutor(2))


def _copy(given: Path, out: Path) -> None:
    (out / "made").write_bytes(given.read_bytes())


def test_a_task_is_done_again_when_its_file_is_another_and_not_otherwise(tmp_path: Path) -> None:
    given, out = tmp_path / "given", tmp_path / "out"
    given.write_text("one")
    task = Task(_copy, given, out)
    attempt(task)
    made = (out / "made").stat()
    attempt(task)
    assert (out / "made").stat().st_ino == made.st_ino
    given.write_text("two")
    assert not is_done(task)
    attempt(task)
    assert (out / "made").read_text() == "two"
    assert is_done(task)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given", "out"]


def _stop_in_the_middle(given: Path, out: Path) -> None:
    (out / "half").write_text("x")
    raise KeyboardInterrupt


def test_what_was_begun_and_not_finished_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "given").write_text("one")
    task = Task(_stop_in_the_middle, tmp_path / "given", tmp_path / "out")
    with pytest.raises(KeyboardInterrupt):
        attempt(task)
    assert not is_done(task)
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


def _wait_and_copy(given: Path, out: Path) -> None:
    time.sleep(0.2)
    _copy(given, out)


def test_a_task_done_by_two_workers_at_once_has_one_result(tmp_path: Path) -> None:
    (tmp_path / "given").write_text("one")
    task = Task(_wait_and_copy, tmp_path / "given", tmp_path / "out")
    both = [threading.Thread(target=attempt, args=(task,)) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    assert is_done(task)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given", "out"]


@pytest.fixture(scope="module")
def cluster(parts: ModuleType) -> Iterator[Any]:
    """A Ray cluster of this machine: three nodes of one CPU each, whose workers can import `parts`."""
    ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'domadapt[ray]'")
    from ray.cluster_utils import Cluster

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        made = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
        for _ in range(2):
            made.add_node(num_cpus=1)
        made.wait_for_nodes()
        patch.setenv("RAY_ADDRESS", made.address)
        yield made
        ray.shutdown()
        made.shutdown()


@pytest.mark.filterwarnings("ignore")
def test_ray_makes_the_same_corpus_though_a_worker_and_a_machine_are_lost(
    cluster: Any, parts: ModuleType, undisturbed: Made, tmp_path: Path
) -> None:
    from domadapt.builtin.executors.ray_tasks import RayExecutor

    archives, executor = tmp_path / "archives", Losing(RayExecutor(None), cluster)
    made = make(tmp_path, sources(parts, archives), cleaners(parts), executor)
    assert made == undisturbed
    assert executor.killed
    assert len(cluster.worker_nodes) == 1
    # what is done is done, for another number of workers and another executor
    for another in (RayExecutor(1), Here()):
        shards = {file: file.stat().st_ino for file in tmp_path.glob("scratch/**/given.sha256")}
        assert make(tmp_path, sources(parts, archives), cleaners(parts), another) == undisturbed
        assert {file: file.stat().st_ino for file in tmp_path.glob("scratch/**/given.sha256")} == shards


@dataclass
class Losing:
    """An executor of a cluster that loses a worker behind its third shard and a machine behind the eighth."""

    executor: Executor
    cluster: Any
    killed: list[int] = field(default_factory=list)
    count: int = 0

    def run(self, tasks: Iterable[Task], stage: Stage) -> Iterator[Task]:
        """See Executor."""
        for task in self.executor.run(tasks, stage):
            self.count += 1
            if self.count >= 3 and not self.killed:
                self._kill_a_worker()
            if self.count == 8:
                self.cluster.remove_node(next(iter(self.cluster.worker_nodes)), allow_graceful=False)
            yield task

    def _kill_a_worker(self) -> None:
        """One that is at a shard; they take milliseconds each, so that one must be waited for."""
        until = time.monotonic() + 1
        while not self.killed and time.monotonic() < until:
            for pid in filter(_is_ray_task, map(int, filter(str.isdigit, os.listdir("/proc")))):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                    self.killed.append(pid)
                    return


def _is_ray_task(pid: int) -> bool:
    try:
        return b"ray::attempt" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
