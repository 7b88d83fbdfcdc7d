"""`adapt launch`: what it prints, what it submits, and what it refuses."""

from __future__ import annotations

import os
import stat
import sys
from pathlib import Path

import pytest

from domadapt.cli import adapt
from domadapt.cli.launch import JOB

RECIPE = """\
version: 1
name: orders
domain: law
pack: {}
model: {base: "builtin:tiny", instruct: "builtin:tiny-instruct"}
corpus:
  domain: [{source: files, options: {path: nothing-here}}]
  general: [{source: general.sample}]
train: {steps: 2}
merge: {methods: [linear]}
launch: {executor: slurm, nodes: 2, gpus_per_node: 4, options: {partition: gpu, time: 90}}
"""


@pytest.fixture
def recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADAPT_RUNS", raising=False)
    (tmp_path / "law.yaml").write_text(RECIPE)
    return tmp_path / "law.yaml"


def launch(*arguments: str) -> int:
    code = adapt.main(["launch", *arguments], standalone_mode=False)
    return code if isinstance(code, int) else 0


def fake_sbatch(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> None:
    file = folder / "bin" / "sbatch"
    file.parent.mkdir()
    file.write_text(f"#!/bin/bash\n{body}\n")
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{file.parent}:{os.environ['PATH']}")


def test_print_shows_the_job_and_writes_nothing(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch("law.yaml", "--print", "--set", "train.lr=1e-4", "--merge", "slerp", "--name", "first") == 0
    text = capsys.readouterr().out
    folder = recipe.parent
    assert "#SBATCH --nodes=2\n#SBATCH --ntasks-per-node=4\n#SBATCH --gpus-per-node=4\n#SBATCH --time=90\n" in text
    assert f"#SBATCH --output={folder}/runs/first/slurm-%j.out\n" in text
    assert f"\ncd {folder} || exit 4\n" in text
    command = "run law.yaml --merge slerp --set train.lr=1e-4 --name first"
    assert f"\n{sys.executable} -m domadapt {command} &\n" in text
    assert sorted(file.name for file in folder.iterdir()) == ["law.yaml"]


def test_the_job_is_submitted_and_its_log_named(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_sbatch(recipe.parent, monkeypatch, 'echo "$@" > submitted; echo "4242;cluster"')
    assert launch("law.yaml") == 0
    file = recipe.parent / "runs" / "orders" / JOB
    assert (recipe.parent / "submitted").read_text() == f"--parsable {file}\n"
    assert file.read_text().startswith("#!/bin/bash\n#SBATCH --job-name=orders\n")
    assert capsys.readouterr().out == f"job 4242  {file}\nlog  {file.parent}/slurm-4242.out\n"


def test_what_sbatch_refuses_is_told(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fake_sbatch(recipe.parent, monkeypatch, 'echo "sbatch: error: invalid partition specified: gpu" >&2; exit 1')
    assert launch("law.yaml") == 4
    assert "sbatch refused" in (told := capsys.readouterr().err)
    assert "invalid partition specified: gpu" in told


def test_without_sbatch_the_job_is_written_all_the_same(
    recipe: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(recipe.parent))
    assert launch("law.yaml") == 4
    assert (recipe.parent / "runs" / "orders" / JOB).is_file()
    assert "sbatch is not on the PATH" in capsys.readouterr().err


def test_machines_without_a_scheduler_each_have_a_command(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch("law.yaml", "--print", "--set", "launch.executor=torchrun") == 0
    assert capsys.readouterr().out.splitlines() == [
        "# on each of 2 machines, in a folder that all of them see",
        "MASTER_ADDR=FIRST_MACHINE MASTER_PORT=29500 NODE_RANK=0 adapt launch law.yaml --set launch.executor=torchrun",
        "MASTER_ADDR=FIRST_MACHINE MASTER_PORT=29500 NODE_RANK=1 adapt launch law.yaml --set launch.executor=torchrun",
    ]


def test_this_machine_alone_is_adapt_run(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one = ["--set", "launch.executor=local", "--set", "launch.nodes=1"]
    assert launch("law.yaml", "--print", *one) == 0
    assert capsys.readouterr().out == f"adapt run law.yaml {' '.join(one)}\n"


@pytest.mark.parametrize(
    ("overrides", "code", "told"),
    [
        (["launch.executor=local"], 4, "launch.nodes is 2, but launch.executor is local"),
        (["launch.gpus_per_node=null"], 2, "launch.gpus_per_node: say how many GPUs"),
        (["launch.executor=pbs"], 2, "'pbs' is not one of local, torchrun, slurm"),
        (["launch.options.time=tomorrow"], 2, "launch.options.time"),
        (["launch.options.partiton=gpu"], 2, "did you mean 'partition'?"),
        (["launch.executor=torchrun"], 4, "MASTER_ADDR, MASTER_PORT, NODE_RANK not set"),
    ],
)
def test_what_cannot_be_launched_says_why(
    recipe: Path, overrides: list[str], code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [part for override in overrides for part in ("--set", override)]
    assert launch("law.yaml", *sets) == code
    assert told in capsys.readouterr().err


def test_a_line_break_never_reaches_the_job(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert launch("law.yaml", "--print", "--set", 'launch.options.account="a\\nrm -rf ~"') == 2
    assert "launch.options.account" in capsys.readouterr().err
