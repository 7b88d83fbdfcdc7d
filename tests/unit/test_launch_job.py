"""The sbatch file: its text, and its body run by bash with stand-ins for Slurm's commands."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from domadapt.builtin.launching.commands import SIGNALS, rank_command
from domadapt.builtin.launching.sbatch import batch_script
from domadapt.errors import MissingError, UsageError
from domadapt.recipe.schema import Launch

RUN = ["/opt/venv/bin/python", "-m", "domadapt", "run", "my recipe.yaml", "--set", "train.lr=1e-4"]

GOLDEN = """\
#!/bin/bash
#SBATCH --job-name=llama3-sec-70b
#SBATCH --partition=gpu
#SBATCH --account=sec-42
#SBATCH --nodes=16
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=12
#SBATCH --time=2-00:00:00
#SBATCH --signal=B:USR1@600
#SBATCH --open-mode=append
#SBATCH --output=/data/runs/llama3-sec-70b/slurm-%j.out
#SBATCH --requeue
#SBATCH --exclusive
#SBATCH --qos=long

cd '/home/a b' || exit 4
module load cuda/13
source venv/bin/activate

# where the ranks of the training meet
export MASTER_ADDR="$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)"
export MASTER_PORT="$((20000 + SLURM_JOB_ID % 20000))"
export SRUN_CPUS_PER_TASK="$SLURM_CPUS_PER_TASK"  # srun does not take it over by itself

/opt/venv/bin/python -m domadapt run 'my recipe.yaml' --set train.lr=1e-4 &
adapt=$! code=0
# USR1 comes to this script alone, 600 s before the end: save. TERM comes to everything
trap 'told=1; kill -USR1 "$adapt" 2>/dev/null' USR1
trap told=1 TERM
# a signal ends `wait` before the process has ended; 127: its code is known already
while told=; wait "$adapt"; now=$?; [ "$now" -ne 127 ] && code=$now; [ -n "$told" ]; do :; done
# 75: stopped, and saved; the job goes back into the queue and continues
if [ "$code" -eq 75 ]; then scontrol requeue "$SLURM_JOB_ID" && exit 0; fi
exit "$code"
"""


def slurm(options: Mapping[str, Any] | None = None, **settings: Any) -> Launch:
    return Launch.model_validate({"executor": "slurm", "gpus_per_node": 8, **settings, "options": options or {}})


def test_the_file_of_a_large_job() -> None:
    options = {
        "partition": "gpu",
        "account": "sec-42",
        "cpus_per_task": 12,
        "time": "2-00:00:00",
        "grace": 600,
        "setup": ["module load cuda/13", "source venv/bin/activate"],
        "sbatch": ["--exclusive", "--qos=long"],
    }
    launch = slurm(options, nodes=16)
    folder = Path("/data/runs/llama3-sec-70b")
    assert batch_script(launch, "llama3-sec-70b", RUN, Path("/home/a b"), folder) == GOLDEN


def test_a_job_without_gpus_asks_for_none() -> None:
    text = batch_script(slurm(gpus_per_node=0), "n", RUN, Path("/w"), Path("/r"))
    assert "gpus-per-node" not in text
    assert "ntasks-per-node" not in text


def test_a_job_must_say_how_many_gpus() -> None:
    with pytest.raises(UsageError, match=r"launch\.gpus_per_node: say how many GPUs .* \(0 for none\)"):
        batch_script(slurm(gpus_per_node=None), "n", RUN, Path("/w"), Path("/r"))


def test_a_job_that_may_not_be_requeued_ends_with_75() -> None:
    text = batch_script(slurm({"requeue": False}), "n", RUN, Path("/w"), Path("/r"))
    assert "#SBATCH --no-requeue\n" in text
    assert "scontrol requeue" not in text


def test_odd_folders_reach_sbatch_whole() -> None:
    text = batch_script(slurm(), "n", RUN, Path("/w"), Path("/runs of 50%/n"))
    assert '#SBATCH --output="/runs of 50%%/n/slurm-%j.out"\n' in text


ADAPT = """
import os, signal, sys, time
folder, ending = sys.argv[1], sys.argv[2]
told = []
for number in (signal.SIGUSR1, signal.SIGTERM):
    signal.signal(number, lambda n, _: told.append(signal.Signals(n).name))
log = open(os.path.join(folder, "log"), "a")
log.write(f"start {os.environ['MASTER_ADDR']} {os.environ['MASTER_PORT']}\\n")
log.flush()
deadline = time.monotonic() + 60
while ending == "wait" and not told and time.monotonic() < deadline:
    time.sleep(0.01)
time.sleep(0.3 if told else 0)  # saving takes its time
log.write(f"end {' '.join(told)}\\n")
log.flush()
if ending == "killed":
    os.kill(os.getpid(), signal.SIGKILL)
os._exit(75 if told else int(ending))
"""

SCONTROL = """#!/bin/bash
echo "$*" >> "$SCONTROL_LOG"
[ "$1" = show ] && printf 'gpu07\\ngpu08\\n'
exit "${SCONTROL_CODE:-0}"
"""


class Job:
    """A job's file, run as Slurm would run it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log, self.scontrol = folder / "log", folder / "scontrol.log"
        program, command = folder / "adapt.py", folder / "bin" / "scontrol"
        program.write_text(ADAPT)
        command.parent.mkdir()
        command.write_text(SCONTROL)
        command.chmod(command.stat().st_mode | stat.S_IXUSR)

    def start(self, ending: str, **variables: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-S", str(self.folder / "adapt.py"), str(self.folder), ending]
        script = self.folder / "job.sbatch"
        script.write_text(batch_script(slurm({"grace": 30}), "job", command, self.folder, self.folder))
        environment = {
            **os.environ,
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "SLURM_JOB_ID": "4242",
            "SLURM_JOB_NODELIST": "gpu[07-08]",
            "SCONTROL_LOG": str(self.scontrol),
            **variables,
        }
        return subprocess.Popen(["bash", str(script)], env=environment, start_new_session=True)

    def started(self) -> None:
        deadline = time.monotonic() + 60
        while not (self.log.exists() and "start" in self.log.read_text()):
            assert time.monotonic() < deadline, "the job did not start"
            time.sleep(0.01)

    @property
    def requeued(self) -> bool:
        return "requeue 4242" in self.scontrol.read_text()


@pytest.fixture
def job(tmp_path: Path) -> Job:
    return Job(tmp_path)


def test_a_job_that_ends_well_ends_well(job: Job) -> None:
    assert job.start("0").wait(60) == 0
    assert job.log.read_text() == "start gpu07 24242\nend \n"
    assert not job.requeued


@pytest.mark.parametrize("code", [1, 2, 3, 4])
def test_the_code_of_a_failed_run_is_the_jobs(job: Job, code: int) -> None:
    assert job.start(str(code)).wait(60) == code
    assert not job.requeued


def test_usr1_to_the_script_reaches_the_run_once_and_the_job_is_requeued(job: Job) -> None:
    process = job.start("wait")
    job.started()
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 0
    assert job.log.read_text().endswith("end SIGUSR1\n")
    assert job.requeued


def test_term_to_all_processes_reaches_the_run_once_and_the_job_is_requeued(job: Job) -> None:
    process = job.start("wait")
    job.started()
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == 0
    assert job.log.read_text().endswith("end SIGTERM\n")
    assert job.requeued


def test_the_signals_may_come_together(job: Job) -> None:
    process = job.start("wait")
    job.started()
    process.send_signal(signal.SIGUSR1)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(60) == 0
    assert job.requeued


def test_a_killed_run_is_not_requeued(job: Job) -> None:
    assert job.start("killed").wait(60) == 128 + signal.SIGKILL
    assert not job.requeued


def test_a_refused_requeue_leaves_the_code_of_an_interrupted_run(job: Job) -> None:
    process = job.start("wait", SCONTROL_CODE="1")
    job.started()
    process.send_signal(signal.SIGUSR1)
    assert process.wait(60) == 75


def test_bash_finds_nothing_wrong_with_the_golden_file(tmp_path: Path) -> None:
    file = tmp_path / "job.sbatch"
    file.write_text(GOLDEN)
    subprocess.run(["bash", "-n", str(file)], check=True)


Command = Callable[..., list[str]]
PROGRAM = ["-m", "package.worker", "request.json"]


def test_srun_alone_starts_the_ranks_of_a_job() -> None:
    launch = slurm({"srun": ["--cpu-bind=cores"]}, nodes=2)
    command = rank_command(launch, 8, PROGRAM, environment={"SLURM_JOB_ID": "1"}, python="python")
    assert command == [
        *("srun", "--nodes=2", "--ntasks-per-node=8", "--gpus-per-node=8", "--kill-on-bad-exit=1"),
        *("--cpu-bind=cores", "python", *PROGRAM),
    ]


def test_outside_of_a_job_slurm_is_refused_with_the_way_out() -> None:
    with pytest.raises(MissingError, match=r"SLURM_JOB_ID is not set\); `adapt launch` submits one"):
        rank_command(slurm(), 8, PROGRAM, environment={})


def test_torchrun_on_one_machine_hands_on_the_signal_to_save() -> None:
    command = rank_command(Launch(executor="torchrun"), 4, PROGRAM, environment={}, python="python")
    assert command == [
        *("python", "-m", "torch.distributed.run", f"--signals-to-handle={SIGNALS}", "--shutdown-timeout=300"),
        *("--standalone", "--nproc-per-node=4", *PROGRAM),
    ]
    assert "SIGUSR1" in SIGNALS


def test_several_machines_need_an_executor_that_knows_them() -> None:
    with pytest.raises(MissingError, match=r"launch\.executor is local, which is this machine; set launch\.executor"):
        rank_command(Launch(nodes=2), 4, PROGRAM, environment={})
