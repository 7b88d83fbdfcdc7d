"""The job directory for NeMo: what is in it, word for word, and what is refused before it is written."""

from __future__ import annotations

import json
import os
import py_compile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domadapt.artifacts import Checkpoint, TokenStore
from domadapt.builtin.training.nemo.backend import NemoOptions
from domadapt.builtin.training.nemo.handover import legacy_config, model_arguments, write_for_transformers_4
from domadapt.builtin.training.nemo.job import commands, read_result, write_job
from domadapt.builtin.training.schedule import rate_of
from domadapt.components import TrainRequest
from domadapt.errors import DataError
from domadapt.recipe.schema import Launch, Train

MakeCorpus = Any
MakeTokens = Any
OPTIONS = NemoOptions(python="/opt/nemo/bin/python")


@pytest.fixture
def tokens(make_corpus: MakeCorpus, make_tokens: MakeTokens) -> TokenStore:
    domain = make_corpus({"train": ["a red cow " * 40, "a blue cow " * 30], "selection": ["a green cow " * 20]})
    general = make_corpus({"train": ["the sea " * 60], "selection": ["the sky " * 20]})
    store: TokenStore = make_tokens({"domain": domain, "general": general}, num_samples=24, replay=0.25)
    return store


def request_of(start: Checkpoint, tokens: TokenStore, launch: Launch | None = None, **train: Any) -> TrainRequest:
    settings = Train.model_validate({"steps": 6, "batch_tokens": 64, "micro_batch": 1, "lr": 1e-4, **train})
    return TrainRequest(start, tokens, settings, num_steps=6, samples_per_step=4, launch=launch)


def test_the_job_is_complete_and_nothing_in_it_names_a_place(
    tiny_model: Checkpoint, tokens: TokenStore, tmp_path: Path
) -> None:
    folder = tmp_path / "job"
    write_job(folder, request_of(tiny_model, tokens), OPTIONS, gpus=2, seed=7)
    files = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    assert files == [
        *(f"data/{name}" for name in ("order.npy", "rates.npy")),
        *(f"data/selection/{part}.{end}" for part in ("domain", "general") for end in ("bin", "documents.npy", "idx")),
        *(f"data/train/{part}.{end}" for part in ("domain", "general") for end in ("bin", "documents.npy", "idx")),
        *(f"init/{name}" for name in ("chat_template.jinja", "config.json", "generation_config.json")),
        *(f"init/{name}" for name in ("model.safetensors", "tokenizer.json", "tokenizer_config.json")),
        *("job.json", "launch.sh", "run_nemo.py"),
    ]
    for name in ("job.json", "launch.sh", "run_nemo.py"):
        assert str(tmp_path) not in (folder / name).read_text()


def test_the_numbers_of_the_job(tiny_model: Checkpoint, tokens: TokenStore, tmp_path: Path) -> None:
    write_job(tmp_path / "job", request_of(tiny_model, tokens), OPTIONS, gpus=2, seed=7)
    assert json.loads((tmp_path / "job" / "job.json").read_text()) == {
        "model": {
            "num_layers": 2,
            "hidden_size": 32,
            "ffn_hidden_size": 64,
            "num_attention_heads": 2,
            "num_query_groups": 2,
            "kv_channels": 16,
            "init_method_std": 0.1,
            "layernorm_epsilon": 1e-6,
            "rotary_base": 10000.0,
            "seq_length": 16,
            "vocab_size": 259,
            "make_vocab_size_divisible_by": 1,
            "share_embeddings_and_output_weights": False,
        },
        "parts": ["domain", "general"],
        "seq_len": 16,
        "num_steps": 6,
        "samples_per_step": 4,
        "micro_batch": 1,
        "lr": 1e-4,
        "weight_decay": 0.1,
        "beta1": 0.9,
        "beta2": 0.95,
        "clip": 1.0,
        "bf16": True,
        "checkpoint_every": 500,
        "eval_every": 250,
        "held_out_windows": 4,
        "tensor_parallel": 1,
        "pipeline_parallel": 1,
        "recompute": False,
        "nodes": 1,
        "gpus_per_node": 2,
        "seed": 7,
    }


def test_windows_are_linked_and_order_and_rates_are_those_of_adapt(
    tiny_model: Checkpoint, tokens: TokenStore, tmp_path: Path
) -> None:
    request = request_of(tiny_model, tokens)
    write_job(tmp_path / "job", request, OPTIONS, gpus=2, seed=7)
    data = tmp_path / "job" / "data"
    for name in ("train/domain.bin", "selection/general.idx"):
        assert (data / name).stat().st_ino == (tokens.path / name).stat().st_ino
    assert np.array_equal(np.load(data / "order.npy"), tokens.order()[: 6 * 4])
    rates = [rate_of(request.settings, step, 6, 0.0) for step in range(6)]
    assert np.load(data / "rates.npy").tolist() == rates


def test_a_job_is_written_again_over_what_an_attempt_left(
    tiny_model: Checkpoint, tokens: TokenStore, tmp_path: Path
) -> None:
    for _ in range(2):
        write_job(tmp_path / "job", request_of(tiny_model, tokens), OPTIONS, gpus=2, seed=7)
        (tmp_path / "job" / "metrics.jsonl").touch()
    assert (tmp_path / "job" / "metrics.jsonl").exists()


def test_where_links_are_not_possible_files_are_copied(
    tiny_model: Checkpoint, tokens: TokenStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(source: object, target: object) -> None:
        raise OSError("another file system")

    monkeypatch.setattr(os, "link", refuse)
    write_job(tmp_path / "job", request_of(tiny_model, tokens), OPTIONS, gpus=2, seed=7)
    name = "train/domain.bin"
    assert (tmp_path / "job" / "data" / name).read_bytes() == (tokens.path / name).read_bytes()


def test_the_script_is_python(tiny_model: Checkpoint, tokens: TokenStore, tmp_path: Path) -> None:
    write_job(tmp_path / "job", request_of(tiny_model, tokens), OPTIONS, gpus=2, seed=7)
    script = tmp_path / "job" / "run_nemo.py"
    py_compile.compile(str(script), cfile=str(tmp_path / "compiled"), doraise=True)
    assert "domadapt" not in script.read_text()


HEAD = """\
#!/bin/bash
# Continual pre-training with nemo-toolkit 2.7.3. Each step is skipped when it is done; again: continues.
set -eu
cd "$(dirname "$0")"
export HF_HUB_OFFLINE=1 TOKENIZERS_PARALLELISM=false
trap : TERM USR1  # the training saves and ends by itself
"""
SIGNALS = "--signals-to-handle=SIGTERM,SIGINT,SIGHUP,SIGQUIT,SIGUSR1 --shutdown-timeout=600"
DOCKER = (
    "docker run --rm --gpus=all --ipc=host --network=host --env=HF_HUB_OFFLINE "
    '"--volume=$PWD:/job" --workdir=/job nvcr.io/nvidia/nemo:25.11'
)
BOX = '--container-image=nvcr.io/nvidia/nemo:25.11 "--container-mounts=$PWD:/job" --container-workdir=/job'

GOLDEN = {
    "here, by an interpreter": (
        NemoOptions(python="/opt/a b/python"),
        None,
        "'/opt/a b/python' run_nemo.py import\n"
        f"'/opt/a b/python' -m torch.distributed.run --standalone --nproc-per-node=8 {SIGNALS} run_nemo.py train\n"
        "'/opt/a b/python' run_nemo.py export\n",
    ),
    "here, in a container": (
        NemoOptions(container="nvcr.io/nvidia/nemo:25.11"),
        None,
        f"{DOCKER} python run_nemo.py import\n"
        f"{DOCKER} python -m torch.distributed.run --standalone --nproc-per-node=8 {SIGNALS} run_nemo.py train\n"
        f"{DOCKER} python run_nemo.py export\n",
    ),
    "in a job of Slurm": (
        NemoOptions(python="/opt/nemo/bin/python"),
        Launch.model_validate(
            {"executor": "slurm", "nodes": 16, "gpus_per_node": 8, "options": {"srun": ["--cpu-bind=cores"]}}
        ),
        "srun --nodes=1 --ntasks=1 --gpus-per-node=1 /opt/nemo/bin/python run_nemo.py import\n"
        "srun --nodes=16 --ntasks-per-node=8 --gpus-per-node=8 --kill-on-bad-exit=1 --cpu-bind=cores "
        "/opt/nemo/bin/python run_nemo.py train\n"
        "srun --nodes=1 --ntasks=1 --gpus-per-node=1 /opt/nemo/bin/python run_nemo.py export\n",
    ),
    "in a job of Slurm, in a container": (
        NemoOptions(container="nvcr.io/nvidia/nemo:25.11"),
        Launch(executor="slurm", nodes=2, gpus_per_node=8),
        f"srun --nodes=1 --ntasks=1 --gpus-per-node=1 {BOX} python run_nemo.py import\n"
        f"srun --nodes=2 --ntasks-per-node=8 --gpus-per-node=8 --kill-on-bad-exit=1 {BOX} python run_nemo.py train\n"
        f"srun --nodes=1 --ntasks=1 --gpus-per-node=1 {BOX} python run_nemo.py export\n",
    ),
}


@pytest.mark.parametrize("where", GOLDEN)
def test_the_commands_of_a_job(where: str) -> None:
    options, launch, expected = GOLDEN[where]
    assert commands(options, launch, 8) == HEAD + expected


def test_layouts_that_do_not_divide_the_work_are_refused(
    tiny_model: Checkpoint, tokens: TokenStore, tmp_path: Path
) -> None:
    with pytest.raises(DataError, match="3 GPUs cannot be divided by 2 ranks of tensor and pipeline parallelism"):
        write_job(tmp_path / "a", request_of(tiny_model, tokens), NemoOptions(tensor_parallel=2), gpus=3, seed=7)
    with pytest.raises(DataError, match=r"4 windows a step cannot be divided among 8 copies .* micro-batches of 1"):
        write_job(tmp_path / "b", request_of(tiny_model, tokens), OPTIONS, gpus=8, seed=7)


def test_a_document_mask_is_refused(tiny_model: Checkpoint, tokens: TokenStore, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"knows no train\.document_mask; set it to false, or another backend"):
        write_job(tmp_path / "job", request_of(tiny_model, tokens, document_mask=True), OPTIONS, gpus=2, seed=7)


def test_the_config_has_the_keys_of_transformers_4_beside_those_of_5() -> None:
    plain = {"dtype": "bfloat16", "rope_parameters": {"rope_theta": 500000.0, "rope_type": "default"}}
    assert legacy_config(plain) == {**plain, "rope_theta": 500000.0, "rope_scaling": None, "torch_dtype": "bfloat16"}
    scaled = {"rope_theta": 5e5, "rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}
    legacy = legacy_config({"rope_parameters": scaled})
    assert legacy["rope_theta"] == 5e5
    assert legacy["rope_scaling"] == {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0}
    old = {"rope_theta": 5e5, "torch_dtype": "float16"}
    assert legacy_config(old) == old


def test_the_tokenizer_is_of_a_class_that_transformers_4_knows(tiny_model: Checkpoint, tmp_path: Path) -> None:
    config = write_for_transformers_4(tiny_model, tmp_path / "init")
    assert json.loads((tmp_path / "init" / "config.json").read_text()) == config
    settings = json.loads((tmp_path / "init" / "tokenizer_config.json").read_text())
    assert settings["tokenizer_class"] == "PreTrainedTokenizerFast"
    assert (tmp_path / "init" / "chat_template.jinja").is_file()
    untouched = json.loads((tiny_model.path / "config.json").read_text())
    assert "torch_dtype" not in untouched


LLAMA3 = {
    "model_type": "llama",
    "hidden_act": "silu",
    "num_hidden_layers": 32,
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "initializer_range": 0.02,
    "rms_norm_eps": 1e-5,
    "rope_theta": 500000.0,
    "vocab_size": 128256,
    "rope_scaling": {
        "rope_type": "llama3",
        "factor": 8.0,
        "low_freq_factor": 1.0,
        "high_freq_factor": 4.0,
        "original_max_position_embeddings": 8192,
    },
}


def test_llama_3_1_has_its_scaled_rotary_embedding() -> None:
    arguments = model_arguments(LLAMA3, 8192)
    assert arguments["scale_factor"] == 8.0
    assert (arguments["rotary_base"], arguments["num_query_groups"], arguments["kv_channels"]) == (500000.0, 8, 128)
    assert arguments["make_vocab_size_divisible_by"] == 128


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "qwen2"}, "model_type: qwen2"),
        ({"attention_bias": True}, "attention_bias: True"),
        ({"hidden_act": "gelu"}, "hidden_act: gelu"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "rope_scaling: .*yarn"),
        ({"rope_scaling": {**LLAMA3["rope_scaling"], "low_freq_factor": 2.0}}, "rope_scaling: "),  # type: ignore[dict-item]
    ],
)
def test_a_model_that_nemo_would_compute_otherwise_is_refused(change: dict[str, Any], told: str) -> None:
    with pytest.raises(DataError, match=f"trains Llama models as NeMo builds them, not with {told}"):
        model_arguments({**LLAMA3, **change}, 8192)


def test_a_result_is_what_was_agreed_or_refused(tmp_path: Path) -> None:
    assert read_result(tmp_path) is None
    file = tmp_path / "result.json"
    for text, told in (
        ("{", "is not the result of a job"),
        ('{"status": "ok"}', "status is 'ok'"),
        ("{}", "'status'"),
        ('{"status": "done", "hf_dir": "export"}', "there is no model in export"),
    ):
        file.write_text(text)
        with pytest.raises(DataError, match=told):
            read_result(tmp_path)
    file.write_text('{"status": "interrupted", "step": 3}')
    assert read_result(tmp_path) == {"status": "interrupted", "step": 3}
