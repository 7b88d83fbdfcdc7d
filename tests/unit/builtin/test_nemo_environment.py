"""The job in an environment made from requirements/nemo.txt, as far as a machine without GPU goes.

ADAPT_NEMO_PYTHON names its interpreter. There: imports, every argument of NeMo's recipe, the data that its data module
and sampler read, the schedule, and the start model as transformers 4 computes it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domadapt.artifacts import Checkpoint, TokenStore
from domadapt.builtin.training.nemo.backend import NemoOptions
from domadapt.builtin.training.nemo.handover import write_for_transformers_4
from domadapt.builtin.training.nemo.job import write_job
from domadapt.builtin.training.schedule import rate_of
from domadapt.builtin.training.windows import WindowReader, held_out
from domadapt.components import TrainRequest
from domadapt.recipe.schema import Launch, Train

PYTHON = os.environ.get("ADAPT_NEMO_PYTHON", "")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not PYTHON, reason="ADAPT_NEMO_PYTHON is not set: no environment from requirements/nemo.txt"),
]


def run_there(program: list[str]) -> str:
    done = subprocess.run([PYTHON, *program], capture_output=True, text=True, timeout=2400, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def test_the_job_is_built_and_its_data_read(
    tiny_model: Checkpoint, make_corpus: Any, make_tokens: Any, tmp_path: Path
) -> None:
    texts = [f"cow {number} is red. " * (1 + number % 7) for number in range(40)]
    domain = make_corpus({"train": texts, "selection": ["a green cow " * 20]})
    general = make_corpus({"train": ["the sea " * 60], "selection": ["the sky " * 20]})
    # best_fit leaves padding, which must not be counted in the loss
    tokens: TokenStore = make_tokens(
        {"domain": domain, "general": general}, num_samples=24, replay=0.25, packing="best_fit", seq_len=64
    )
    settings = Train.model_validate({"steps": 6, "batch_tokens": 256, "micro_batch": 1, "lr": 1e-4, "warmup": 0.3})
    launch = Launch(gpus_per_node=4)
    request = TrainRequest(tiny_model, tokens, settings, num_steps=6, samples_per_step=4, launch=launch)
    write_job(tmp_path / "job", request, NemoOptions(tensor_parallel=2), gpus=4, seed=7)
    told = json.loads(run_there([str(tmp_path / "job" / "run_nemo.py"), "check"]).splitlines()[-1])
    assert told["pieces"] == ["data", "log", "model", "optim", "resume", "trainer"]
    assert told["samples"] == 24
    assert told["digest"] == digest_of(tokens)
    assert told["held_out"] == held_out(tokens, "selection", "domain", len(told["held_out"]))[0].tolist()
    # two copies of the model: of each step's four samples, one micro-batch of one for either, in turn
    assert told["of_each_rank"] == [[[n] for n in range(first, 24, 2)] for first in (0, 1)]
    assert told["rates"] == pytest.approx([rate_of(settings, step, 6, 0.0) for step in range(6)], rel=1e-12)


def digest_of(tokens: TokenStore) -> str:
    """What adapt's own backends train on, in the form that NeMo takes."""
    ids, labels, _ = WindowReader(tokens).samples(0, len(tokens.order()))
    digest = hashlib.sha256()
    assert (labels < 0).any(), "a case without padding shows nothing"
    for row, marked in zip(ids, labels, strict=True):
        shifted = np.append(row[1:], 0)
        counted = np.append(marked[1:] >= 0, False)
        for part in (row, shifted, counted, np.arange(len(row))):
            digest.update(part.astype(np.int64).tobytes())
    return digest.hexdigest()


LOGITS = """
import sys
import numpy as np, torch
from transformers import AutoModelForCausalLM, AutoTokenizer, __version__
assert __version__.startswith("4."), __version__
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], torch_dtype=torch.float32, attn_implementation="eager")
tokenizer = AutoTokenizer.from_pretrained(sys.argv[1])
with torch.no_grad():
    np.save(sys.argv[2], model(torch.arange(3, 50)[None]).logits.numpy())
print(tokenizer.apply_chat_template([{"role": "user", "content": "hi"}], tokenize=False))
"""


def test_transformers_4_computes_the_start_model_to_the_last_bit(tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from domadapt.testing.models import write_tiny_model

    start = write_tiny_model(tmp_path / "start")
    config = json.loads((start.path / "config.json").read_text())
    config["rope_parameters"] = {"rope_theta": 500000.0, "rope_type": "default"}
    (start.path / "config.json").write_text(json.dumps(config))
    write_for_transformers_4(start, tmp_path / "init")
    script = tmp_path / "logits.py"
    script.write_text(LOGITS)
    rendered = run_there([str(script), str(tmp_path / "init"), str(tmp_path / "there.npy")])
    model = AutoModelForCausalLM.from_pretrained(start.path, dtype=torch.float32, attn_implementation="eager")
    with torch.no_grad():
        here = model(torch.arange(3, 50)[None]).logits.numpy()
    assert np.array_equal(np.load(tmp_path / "there.npy"), here)
    chat = AutoTokenizer.from_pretrained(start.path).apply_chat_template(
        [{"role": "user", "content": "hi"}], tokenize=False
    )
    assert rendered.rstrip("\n") == chat.rstrip("\n")
