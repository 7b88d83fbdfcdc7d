"""The nemo backend from outside: an interpreter that plays NeMo, its results, its failures, its interruptions."""

from __future__ import annotations

import json
import stat
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domadapt.artifacts import Checkpoint, TokenStore
from domadapt.builtin.training.nemo.backend import NemoBackend, NemoOptions
from domadapt.builtin.training.nemo.returning import merged_lines
from domadapt.components import Stage, TrainRequest
from domadapt.errors import Interrupted, MissingError, StageError
from domadapt.recipe.schema import Launch, Train

PLAYED = """#!{python}
# plays the interpreter of a NeMo environment: `python run_nemo.py STEP` and torchrun's `train`
import json, os, shutil, signal, sys, time
step, job = sys.argv[-1], json.load(open("job.json"))
with open("calls", "a") as file:
    file.write(" ".join(sys.argv[1:]) + "\\n")
play = os.environ.get("PLAY", "")
if step == "import" and play == "broken":
    sys.exit("ImportError: no module named nemo")
if step == "train":
    told = []
    signal.signal(signal.SIGTERM, lambda *_: told.append(1))
    with open("metrics.jsonl", "a") as file:
        for number in range(1, job["num_steps"] + 1):
            line = {{"step": number, "loss": 6.0 - number / 10, "lr": 1e-4, "grad_norm": 1.0, "tokens": number * 64}}
            file.write(json.dumps(line) + "\\n")
            file.flush()
            deadline = time.monotonic() + 60
            while play == "stop" and number == 3 and not told and time.monotonic() < deadline:
                time.sleep(0.01)
            if told:
                json.dump({{"status": "interrupted", "step": number}}, open("result.json", "w"))
                sys.exit(75)
        file.write(json.dumps({{"step": job["num_steps"], "heldout_domain": 5.4}}) + "\\n")
if step == "export":
    os.makedirs("export")
    shutil.copy("init/config.json", "export")
    if play != "other":
        shutil.copy("init/model.safetensors", "export")
    else:
        shutil.copy(os.environ["OTHER"], "export/model.safetensors")
    tokens = job["num_steps"] * job["samples_per_step"] * job["seq_len"]
    steps = job["num_steps"] - (play == "short")
    json.dump({{"status": "done", "nemo": "2.7.3", "hf_dir": "export", "steps": steps, "tokens": tokens,
               "metrics": "metrics.jsonl"}}, open("result.json", "w"))
"""

Train6 = Callable[..., dict[str, Any]]


@pytest.fixture
def request_6(tiny_model: Checkpoint, make_corpus: Any, make_tokens: Any) -> TrainRequest:
    corpus = make_corpus({"train": ["a red cow " * 90], "selection": ["a green cow " * 20]})
    tokens: TokenStore = make_tokens({"domain": corpus}, num_samples=24)
    settings = Train.model_validate({"steps": 6, "batch_tokens": 64, "micro_batch": 1, "lr": 1e-4})
    return TrainRequest(tiny_model, tokens, settings, 6, 4, launch=Launch(gpus_per_node=2))


@pytest.fixture
def python(tmp_path: Path) -> Path:
    file = tmp_path / "bin" / "python"
    file.parent.mkdir()
    file.write_text(PLAYED.format(python=sys.executable))
    file.chmod(file.stat().st_mode | stat.S_IXUSR)
    return file


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "out").mkdir()
    return tmp_path / "out"


def test_the_model_comes_back_with_the_starts_config_and_the_curves(
    request_6: TrainRequest, python: Path, out: Path, make_stage: Callable[..., Stage]
) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    stage = make_stage()
    facts = NemoBackend(NemoOptions(python=str(python))).train(request_6, out, stage)
    assert (facts["steps"], facts["tokens"], facts["nemo"], facts["dtype"]) == (6, 6 * 4 * 16, "2.7.3", "float32")
    loaded = AutoModelForCausalLM.from_pretrained(out)
    assert facts["parameters"] == sum(p.numel() for p in loaded.parameters())
    assert AutoTokenizer.from_pretrained(out).chat_template
    assert "rope_theta" not in json.loads((out / "config.json").read_text())
    lines = [json.loads(line) for line in (out / "training" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6, 6]
    assert lines[-1] == {"step": 6, "heldout_domain": 5.4}
    calls = (stage.scratch / "job" / "calls").read_text().splitlines()
    assert [call.split()[-1] for call in calls] == ["import", "train", "export"]
    assert "torch.distributed.run --standalone --nproc-per-node=2" in calls[1]


def test_a_request_to_stop_reaches_nemo_and_the_run_goes_on_later(
    request_6: TrainRequest,
    python: Path,
    out: Path,
    make_stage: Callable[..., Stage],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PLAY", "stop")
    monkeypatch.setattr("domadapt.builtin.training.nemo.backend.POLL_SECONDS", 0.01)
    asked: list[bool] = []

    def emit(kind: str, data: Any) -> None:
        if kind == "progress" and data["done"] == 3:
            asked.append(True)

    stage = make_stage(emit=emit, stop_requested=lambda: bool(asked))
    backend = NemoBackend(NemoOptions(python=str(python)))
    with pytest.raises(Interrupted, match="saved by NeMo; run the same command to continue"):
        backend.train(request_6, out, stage)
    monkeypatch.delenv("PLAY")
    facts = backend.train(request_6, out, make_stage())
    assert facts["steps"] == 6
    lines = (out / "training" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2, 3, 4, 5, 6, 6]


def test_a_job_to_be_run_elsewhere_is_written_and_its_command_said(
    request_6: TrainRequest, python: Path, out: Path, make_stage: Callable[..., Stage]
) -> None:
    import subprocess

    backend = NemoBackend(NemoOptions(run="print", python=str(python)))
    assert backend.requirements() == []
    stage = make_stage()
    with pytest.raises(Interrupted, match=r"run `bash .*/job/launch\.sh` where NeMo is, bring result\.json"):
        backend.train(request_6, out, stage)
    assert not (stage.scratch / "job" / "calls").exists()
    subprocess.run(["bash", str(stage.scratch / "job" / "launch.sh")], check=True, timeout=120)
    assert backend.train(request_6, out, make_stage())["steps"] == 6


def test_a_job_that_fails_is_told_with_its_last_line(
    request_6: TrainRequest,
    python: Path,
    out: Path,
    make_stage: Callable[..., Stage],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PLAY", "broken")
    told = r"NeMo ended with code 1 and without a result: ImportError: no module named nemo \(all of it: .*nemo\.log\)"
    with pytest.raises(StageError, match=told):
        NemoBackend(NemoOptions(python=str(python))).train(request_6, out, make_stage())


def test_a_result_of_fewer_steps_is_refused(
    request_6: TrainRequest,
    python: Path,
    out: Path,
    make_stage: Callable[..., Stage],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PLAY", "short")
    with pytest.raises(StageError, match="NeMo's result is of 5 steps, 6 were asked for"):
        NemoBackend(NemoOptions(python=str(python))).train(request_6, out, make_stage())


@pytest.mark.parametrize(
    ("change", "told"),
    [("missing", "lm_head.weight has shape None, the start model's"), ("nan", "values that are not finite")],
)
def test_another_model_than_was_sent_is_refused(
    change: str,
    told: str,
    request_6: TrainRequest,
    python: Path,
    out: Path,
    tmp_path: Path,
    make_stage: Callable[..., Stage],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from safetensors.torch import load_file, save_file

    tensors = load_file(request_6.start.path / "model.safetensors")
    if change == "missing":
        del tensors["lm_head.weight"]
    else:
        tensors["model.norm.weight"][0] = float("nan")
    save_file(tensors, tmp_path / "other.safetensors")
    monkeypatch.setenv("PLAY", "other")
    monkeypatch.setenv("OTHER", str(tmp_path / "other.safetensors"))
    with pytest.raises(StageError, match=told):
        NemoBackend(NemoOptions(python=str(python))).train(request_6, out, make_stage())


def test_what_is_missing_is_said_before_anything_runs(python: Path) -> None:
    assert "requirements/nemo.txt" in NemoBackend(NemoOptions()).requirements()[0]
    both = NemoOptions(python=str(python), container="image")
    assert "train.options.python" in NemoBackend(both).requirements()[0]
    assert NemoBackend(NemoOptions(python="/nowhere")).requirements() == [
        "train.options.python: there is no interpreter /nowhere"
    ]
    assert NemoBackend(NemoOptions(python=str(python))).requirements() == []
    assert NemoBackend(NemoOptions(container="image")).requirements() == []


@pytest.mark.parametrize(
    ("launch", "told"),
    [
        (Launch(executor="torchrun", nodes=2, gpus_per_node=8), r"several machines with launch\.executor: slurm only"),
        (Launch(gpus_per_node=0), r"NeMo trains on GPUs, and there are none; set launch\.gpus_per_node"),
    ],
)
def test_surroundings_without_gpus_or_scheduler_are_refused(
    launch: Launch, told: str, request_6: TrainRequest, out: Path, make_stage: Callable[..., Stage]
) -> None:
    from dataclasses import replace

    with pytest.raises(MissingError, match=told):
        NemoBackend(NemoOptions(run="print")).train(replace(request_6, launch=launch), out, make_stage())


def test_lines_written_again_after_a_checkpoint_count_once() -> None:
    text = "".join(
        json.dumps(line) + "\n"
        for line in (
            {"step": 1, "loss": 6.0},
            {"step": 2, "loss": 5.9},
            {"step": 2, "heldout_domain": 5.5},
            {"step": 2, "loss": 5.8},
            {"step": 3, "loss": 5.7},
        )
    )
    assert merged_lines(text) == [
        {"step": 1, "loss": 6.0},
        {"step": 2, "loss": 5.8},
        {"step": 2, "heldout_domain": 5.5},
        {"step": 3, "loss": 5.7},
    ]


def test_the_list_of_plugins_says_what_never_ran() -> None:
    assert NemoBackend.caveat.endswith("no training with NeMo has ever run")
