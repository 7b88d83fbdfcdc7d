"""A training is stopped, its mixture changed in the recipe, the same command given again: no sample is lost or twice.

The recipe has three small sources by name. The command stops itself when a step is done, so that no test waits for a
moment: by Ctrl-C, which saves, or by kill -9, after which the last checkpoint counts.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from domadapt.artifacts import TokenStore
from domadapt.cli import adapt
from domadapt.pipeline.continuing import newest_step

PER_STEP = 8
RECIPE: dict[str, Any] = {
    "version": 1,
    "domain": "blend",
    "pack": {"title": "Three small sources"},
    "model": {"base": "builtin:tiny"},
    "corpus": {
        "domain": [
            {"source": "files", "name": "filings", "options": {"path": "filings"}},
            {"source": "files", "name": "news", "options": {"path": "news"}},
        ],
        "general": [{"source": "files", "options": {"path": "general"}}],
        "clean": [],
        "holdout": 0.2,
    },
    "mix": {
        "seq_len": 32, "replay": 0.1, "max_epochs": 99,
        "sources": {"filings": {"weight": 70}, "news": {"weight": 1}},
    },
    "train": {
        "steps": 40, "batch_tokens": 32 * PER_STEP, "micro_batch": PER_STEP, "lr": 1e-3, "precision": "fp32",
        "schedule": "constant", "warmup": 0, "checkpoint_every": 3, "eval_every": 1000, "eval_windows": 2,
    },
    "merge": {"methods": []},
    "eval": {"probes": False, "limit": 2},
}  # fmt: skip
DRIVER = """
import os, signal, sys
import domadapt.cli.display as display
from domadapt.cli import adapt
from tests_of_changed_mixtures import stopping
display.open_display = stopping(int(sys.argv[1]), lambda: os.kill(os.getpid(), getattr(signal, sys.argv[2])))
adapt(sys.argv[3:], prog_name="adapt")
"""


def stopping(step: int, stop: Callable[[], None]) -> Callable[[], Any]:
    """A display that shows nothing and stops the run when a step of its training is done."""

    @contextlib.contextmanager
    def open_display() -> Iterator[Callable[[str, str, Mapping[str, Any]], None]]:
        def observe(stage: str, kind: str, data: Mapping[str, Any]) -> None:
            if (stage, kind) == ("train", "progress") and data["done"] == step:
                stop()

        yield observe

    return open_display


@dataclass
class Blend:
    """A folder with texts, a recipe and its run."""

    folder: Path

    def write(self, **sections: Mapping[str, Any]) -> None:
        """The recipe with changed values."""
        changed = {name: {**RECIPE[name], **values} for name, values in sections.items()}
        (self.folder / "blend.yaml").write_text(yaml.safe_dump({**RECIPE, **changed}))

    @property
    def lock(self) -> dict[str, Any]:
        """The lock file of the run as it was started last."""
        return yaml.safe_load((self.folder / "runs/blend/recipe.lock.yaml").read_text())  # type: ignore[no-any-return]

    @property
    def keys(self) -> dict[str, str]:
        """Keys of its stages."""
        return dict(self.lock["resolved"]["stages"])

    @property
    def tokens(self) -> TokenStore:
        """What the run trains on now, also while it is stopped."""
        return TokenStore(self.folder / "runs/.store/tokens" / self.keys["tokens"])

    def events(self, kind: str) -> list[dict[str, Any]]:
        lines = (self.folder / "runs/blend/events.jsonl").read_text().splitlines()
        return [event for event in map(json.loads, lines) if (event["stage"], event["kind"]) == ("train", kind)]

    def saved(self) -> int:
        """Step of the newest checkpoint."""
        return newest_step(self.folder / "runs/.store/train" / f"{self.keys['train']}.scratch")


def write_blend(folder: Path) -> Blend:
    """70 : 1 and a tenth of general text."""
    rng = random.Random(3)
    for name, documents in (("filings", 12), ("news", 9), ("general", 9)):
        words = [name[0] + "".join(rng.choices("aeioumnrst", k=rng.randint(2, 7))) for _ in range(99)]
        (folder / name).mkdir()
        for number in range(documents):
            (folder / name / f"{number}.txt").write_text(" ".join(rng.choices(words, k=120)) + "\n")
    found = Blend(folder)
    found.write()
    return found


def call(command: str, *more: str) -> Any:
    """The command in this process."""
    return CliRunner().invoke(adapt, [command, "blend.yaml", *more], env={"COLUMNS": "200"})


@pytest.fixture
def blend(tmp_path: Path) -> Blend:
    """Texts and a recipe."""
    return write_blend(tmp_path)


@pytest.fixture(scope="module")
def once_stopped(tmp_path_factory: pytest.TempPathFactory) -> Blend:
    """A training that was stopped by Ctrl-C at step 7. Tests must not change it."""
    found = write_blend(tmp_path_factory.mktemp("stopped"))
    with pytest.MonkeyPatch.context() as patched:
        patched.chdir(found.folder)
        patched.setenv("ADAPT_HOME", str(found.folder / "home"))
        patched.setattr("domadapt.cli.display.open_display", stopping(7, lambda: os.kill(os.getpid(), signal.SIGINT)))
        assert call("run").exit_code == 130
    assert found.saved() == 7
    return found


@pytest.fixture
def stopped(once_stopped: Blend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Blend:
    """A copy of it, with its folder as the working folder."""
    shutil.copytree(once_stopped.folder, tmp_path / "blend", symlinks=True)
    monkeypatch.chdir(tmp_path / "blend")
    return Blend(tmp_path / "blend")


def check_trained(
    blend: Blend, stretches: list[tuple[int, Mapping[str, float]]], read: list[np.ndarray], per_step: int = PER_STEP
) -> None:
    """That the samples of a finished training are those of its stretches, and no window comes twice before its turn.

    stretches: (step until which, shares asked by part).  read: order of windows as it was planned in each stretch.
    """
    tokens, names = blend.tokens, list(stretches[0][1])
    order, plan = tokens.order(), tokens.plan
    (done,) = blend.events("done")
    assert done["facts"]["consumed"] == {part["name"]: part["windows_used"] for part in plan["parts"]}
    asked, first = dict.fromkeys(names, 0.0), 0
    for number, (step, shares) in enumerate(stretches):
        last = step * per_step
        assert (read[number][first:last] == order[first:last]).all()
        told = plan["stages"][number]
        assert (told["mixture"], told["first"], told["last"]) == (number, first, last)
        for part, name in enumerate(names):
            wanted, came = shares[name] * (last - first), int((order[first:last, 0] == part).sum())
            asked[name] += wanted
            assert told["parts"][name] == {"asked": pytest.approx(wanted), "windows": came}
            # more than two parts: no window too much at any time, up to two too few for a while behind a stop
            assert -2 < (order[:last, 0] == part).sum() - asked[name] < 1
        first = last
    assert len(order) == first
    for part, line in enumerate(plan["parts"]):
        uses = Counter(order[order[:, 0] == part, 1].tolist())
        whole, rest = divmod(sum(uses.values()), line["windows"])
        assert sorted(uses[window] for window in range(line["windows"])) == [
            *[whole] * (line["windows"] - rest),
            *[whole + 1] * rest,
        ]
    steps = [line["step"] for line in metrics(blend) if "loss" in line]
    assert steps == list(range(1, stretches[-1][0] + 1))


def metrics(blend: Blend) -> list[dict[str, Any]]:
    lines = (blend.folder / "runs/blend/stages/train/training/metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def shares(replay: float, filings: float, news: float) -> dict[str, float]:
    of_domain = (1 - replay) / (filings + news)
    return {"domain.filings": filings * of_domain, "domain.news": news * of_domain, "general": replay}


CHANGED: dict[str, Any] = {"replay": 0.5, "sources": {"filings": {"weight": 2}, "news": {"weight": 1}}}


def test_weights_changed_after_ctrl_c_count_from_the_step_at_which_training_was_stopped(stopped: Blend) -> None:
    before = np.array(stopped.tokens.order())
    stopped.write(mix=CHANGED, train={"steps": 12})
    done = call("run")
    assert done.exit_code == 0, done.output
    assert "the training goes on at step 7 of 12 with the changed mixture" in done.stderr
    assert "windows 1 to 56, before the stop: domain.filings 50 (49.69 asked), domain.news 1 (0.7099" in done.stderr
    after = np.array(stopped.tokens.order())
    check_trained(stopped, [(7, shares(0.1, 70, 1)), (12, shares(0.5, 2, 1))], [before, after])
    for line in stopped.tokens.plan["parts"]:
        assert abs(line["share_achieved"] - line["share_asked"]) * 12 * PER_STEP < 1
    assert [event["step"] for event in stopped.events("resumed")] == [7]
    page = (stopped.folder / "runs/blend/report.html").read_text()
    assert "Stages of the mixture" in page
    assert "1 to 56, before the stop" in page

    again = call("run")
    assert "goes on" not in again.stderr
    assert len(stopped.events("done")) == 1, "the same command again makes nothing twice"
    plan = call("plan").stdout
    assert re.search(r"mix\.earlier\.0\.until_step +7 +the training before it was stopped", plan)
    assert re.search(r"mix: domain\.news +23\d tokens, 7\.\d+ %: 0\.\d+ passes over [\d.]+ K tokens +measured", plan)
    assert re.search(r"mix: stage 2 +steps 7 to 12: domain\.filings 33.33 %, domain\.news 16.67 %, general 50 %", plan)
    assert "mix.earlier" not in call("run", "--fresh", "--dry-run").stdout
    shutil.copy(stopped.folder / "runs/blend/recipe.lock.yaml", "lock.yaml")
    elsewhere = CliRunner().invoke(adapt, ["plan", "lock.yaml", "--json"], env={"ADAPT_RUNS": "elsewhere"})
    keys = {stage["stage"]: stage["key"] for stage in json.loads(elsewhere.stdout)["stages"]}
    same = [keys[stage] == stopped.keys[stage] for stage in ("tokens", "train")]
    assert all(same), "the lock file alone repeats the run"


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"mix": CHANGED}, "goes on at step 7 of 40 with the changed mixture"),
        ({"mix": CHANGED, "train": {"steps": 9}}, "goes on at step 7 of 9 with the changed mixture"),
        ({"train": {"steps": 80}}, "goes on at step 7 of 80"),
        ({"mix": CHANGED, "train": {"steps": 7}}, "begins anew: changed were also the number of steps, now 7"),
        ({"mix": CHANGED, "train": {"lr": 2e-3}}, "begins anew: changed were also the learning rates of these steps"),
        ({"mix": CHANGED, "train": {"clip": 0.5}}, "begins anew: changed were also train.clip"),
        ({"mix": {**CHANGED, "seq_len": 16}}, "begins anew: changed were also mix.seq_len"),
        ({"mix": {**CHANGED, "packing": "greedy"}}, "begins anew: changed were also mix.packing"),
        (
            {"mix": {"replay": 0.1, "sources": {"general.files": {"max_epochs": 9}}}},
            "the sources of general text that mix tells apart now",
        ),
        ({"mix": CHANGED, "corpus": {"holdout": 0.3}}, "begins anew: changed were also the corpora"),
        ({"mix": {"max_epochs": 50}}, ""),
        ({"train": {"checkpoint_every": 5}}, ""),
        ({"train": {"lr": 2e-3}}, ""),
    ],
)
def test_what_else_was_changed_decides_whether_a_training_goes_on(
    stopped: Blend, changed: dict[str, Mapping[str, Any]], told: str
) -> None:
    stopped.write(**changed)
    done = call("plan")
    assert done.exit_code == 0, done.output
    assert (told in done.stderr) if told else ("step 7" not in done.stderr)
    assert ("mix.earlier.0.until_step" in done.stdout) == (told.startswith("goes on"))


def test_a_change_that_is_taken_back_before_anything_was_trained_leaves_no_trace(stopped: Blend) -> None:
    stopped.write(mix=CHANGED)
    built = CliRunner().invoke(adapt, ["corpus", "build", "blend.yaml"])
    assert built.exit_code == 0, built.output
    assert [one["until_step"] for one in stopped.lock["mix"]["earlier"]] == [7]
    stopped.write(mix={**CHANGED, "replay": 0.2})
    assert "goes on at step 7 of 40" in call("plan").stderr
    stopped.write()
    done = call("plan")
    assert re.search(r"train +continue +was interrupted", done.stdout)
    assert "mix.earlier" not in done.stdout


@pytest.mark.slow
def test_a_blend_of_a_thousandth_becomes_one_of_70_to_1_to_within_a_window(
    blend: Blend, monkeypatch: pytest.MonkeyPatch
) -> None:
    """2,560 windows of 8 tokens: a window of news and one of general text in a thousand, then one in 71."""
    monkeypatch.chdir(blend.folder)
    train = {"steps": 40, "batch_tokens": 512, "micro_batch": 64}
    extreme = {"filings": {"weight": 0.999}, "news": {"weight": 0.001}}
    blend.write(mix={"seq_len": 8, "replay": 0.001, "sources": extreme}, train=train)
    with monkeypatch.context() as patched:
        patched.setattr("domadapt.cli.display.open_display", stopping(20, lambda: os.kill(os.getpid(), signal.SIGINT)))
        assert call("run").exit_code == 130
    before = np.array(blend.tokens.order())
    for line in blend.tokens.plan["parts"]:
        assert abs(line["share_achieved"] - line["share_asked"]) * 2560 < 1
    blend.write(mix={"seq_len": 8, "replay": 1 / 71}, train=train)
    done = call("run")
    assert done.exit_code == 0, done.output
    stretches = [(20, shares(0.001, 0.999, 0.001)), (40, shares(1 / 71, 70, 1))]
    check_trained(blend, stretches, [before, np.array(blend.tokens.order())], per_step=64)


BACKENDS = {
    "torch": {"backend": "torch"},
    "torch on two ranks": {"backend": "torch", "options": {"num_processes": 2}},
    "megatron": {"backend": "megatron"},
    "megatron on two ranks": {"backend": "megatron", "options": {"tensor_parallel": 2}},
}


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("backend", list(BACKENDS))
def test_weights_changed_twice_by_ctrl_c_and_kill_9_and_a_longer_training(blend: Blend, backend: str) -> None:
    (blend.folder / "tests_of_changed_mixtures.py").write_text(Path(__file__).read_text())

    def run(step: int, number: str) -> int:
        command = [sys.executable, "-c", DRIVER, str(step), number, "run", "blend.yaml"]
        env = {**os.environ, "PYTHONPATH": str(blend.folder)}
        process = subprocess.Popen(command, cwd=blend.folder, env=env, start_new_session=True, stderr=subprocess.PIPE)
        _, told = process.communicate(timeout=500)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # ranks of a killed run
        assert process.returncode in (0, 130, -signal.SIGKILL), told.decode()
        return process.returncode

    settings, mixtures, read = BACKENDS[backend], [(0.1, 70, 1), (0.5, 2, 1), (0.3, 1, 4)], []
    for (replay, filings, news), step, number, steps in zip(
        mixtures, (5, 16, 0), ("SIGINT", "SIGKILL", "SIGINT"), (400, 400, 24), strict=True
    ):
        sources = {"filings": {"weight": filings}, "news": {"weight": news}}
        blend.write(mix={"replay": replay, "sources": sources}, train={"steps": steps, **settings})
        ended = run(step, number)
        assert ended == {"SIGINT": 130, "SIGKILL": -signal.SIGKILL}[number] if step else ended == 0
        read.append(np.array(blend.tokens.order()))
    # ranks of a killed run may publish what they were writing: the lock says where the next one went on
    stops = [one["until_step"] for one in blend.lock["mix"]["earlier"]]
    # between a kill and its checkpoint steps were trained that do not count: they come again, in the new mixture
    assert stops[0] >= 5
    assert 9 <= stops[1] < 24
    check_trained(blend, [(stop, shares(*mix)) for stop, mix in zip([*stops, 24], mixtures, strict=True)], read)
    assert [event["step"] for event in blend.events("taken_over")] == stops
