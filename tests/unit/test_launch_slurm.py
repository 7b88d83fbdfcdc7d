"""The job of a real run under stand-ins for Slurm: two ranks by srun, told to save, requeued, continued to the end."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from domadapt.cli import adapt

RECIPE = """\
version: 1
name: orders
domain: law
pack: {}
model: {base: "builtin:tiny", instruct: "builtin:tiny-instruct"}
corpus:
  domain: [{source: general.sample, take: 400}]
  general: [{source: general.sample}]
  holdout: 0.2
mix: {seq_len: 64, replay: 0.25}
train: {steps: 200, batch_tokens: 512, micro_batch: 2, precision: fp32, probe_items: 0, eval_windows: 4}
merge: {methods: []}
eval: {probes: false}
launch: {executor: slurm, nodes: 1, gpus_per_node: 2, options: {grace: 60}}
"""

SRUN = """#!{python}
# plays srun: starts the tasks on this machine, hands signals on, ends all when one fails
import os, signal, subprocess, sys
options = [word for word in sys.argv[1:] if word.startswith("--")]
program = sys.argv[1 + len(options):]
said = dict(option[2:].partition("=")[::2] for option in options)
assert "kill-on-bad-exit" in said and said["gpus-per-node"] == said["ntasks-per-node"], options
count = int(said["nodes"]) * int(said["ntasks-per-node"])
step = {{"SLURM_STEP_ID": "0", "SLURM_STEP_NUM_TASKS": str(count), "SLURM_STEP_NODELIST": "gpu01",
        "SLURM_STEP_TASKS_PER_NODE": str(count), "SLURM_NODEID": "0"}}
tasks = []
for task in range(count):
    mine = {{**os.environ, **step, "SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)}}
    tasks.append(subprocess.Popen(program, env=mine))
for number in (signal.SIGTERM, signal.SIGUSR1):
    signal.signal(number, lambda n, _: [task.send_signal(n) for task in tasks])
code = 0
for task in tasks:
    code = code or task.wait()
    if code:
        [other.kill() for other in tasks if other.poll() is None]
sys.exit(code)
"""

SCONTROL = """#!/bin/bash
echo "$*" >> scontrol.log
[ "$1" = show ] && echo 127.0.0.1
exit 0
"""


def script(folder: Path, name: str, text: str) -> None:
    file = folder / "bin" / name
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    file.chmod(file.stat().st_mode | stat.S_IXUSR)


def steps_told(folder: Path) -> list[tuple[str, int]]:
    """(kind, step) of the training's checkpoints and continuations."""
    file = folder / "runs" / "orders" / "events.jsonl"
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    return [(line["kind"], line["step"]) for line in lines if line["kind"] in ("checkpoint", "resumed")]


@pytest.mark.slow
def test_a_preempted_job_saves_goes_back_into_the_queue_and_ends_its_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADAPT_RUNS", raising=False)
    Path("law.yaml").write_text(RECIPE)
    script(tmp_path, "srun", SRUN.format(python=sys.executable))
    script(tmp_path, "scontrol", SCONTROL)
    assert not adapt.main(["launch", "law.yaml", "--print"], standalone_mode=False)
    Path("job.sbatch").write_text(capsys.readouterr().out)
    environment = {
        **os.environ,
        "PATH": f"{tmp_path / 'bin'}:{os.environ['PATH']}",
        "SLURM_JOB_ID": "4242",
        "SLURM_JOB_NODELIST": "gpu01",
        "SLURM_PROCID": "0",  # as in every batch script, which is no rank
        "SLURM_NTASKS": "2",
    }

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(["bash", "job.sbatch"], env=environment, start_new_session=True)

    def training() -> bool:
        return any(tmp_path.glob("runs/.store/train/*/attempt-*/events.jsonl"))

    with start() as job:
        deadline = time.monotonic() + 900
        while not training():
            assert job.poll() is None, "the job ended before its training"
            assert time.monotonic() < deadline
            time.sleep(0.1)
        job.send_signal(signal.SIGUSR1)
        assert job.wait(900) == 0
    assert "requeue 4242" in Path("scontrol.log").read_text()
    ((kind, saved),) = steps_told(tmp_path)
    assert kind == "checkpoint"
    assert 0 < saved < 200
    with start() as job:
        assert job.wait(900) == 0
    assert Path("scontrol.log").read_text().count("requeue") == 1
    assert ("resumed", saved) in steps_told(tmp_path)
    lines = (tmp_path / "runs/orders/stages/train/training/metrics.jsonl").read_text().splitlines()
    trained = [json.loads(line)["step"] for line in lines if "loss" in json.loads(line)]
    assert trained == list(range(1, 201))
    assert (tmp_path / "runs/orders/report.html").is_file()
