"""Memory of a training that is not split: what autograd keeps to the byte, what a process occupies within a tenth."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from domadapt.artifacts import Checkpoint, TokenStore
from domadapt.planning.process import Pass, layer_bytes, process_memory
from domadapt.planning.shapes import ModelShape, read_shape

SEQ_LEN, ROWS = 16, 3


def kept_by_autograd(layers: int, kv_heads: int, *, autocast: bool) -> int:
    """Bytes of all tensors that the forward pass of transformers' Llama saves, weights left out."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=64,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=layers,
        num_attention_heads=4,
        num_key_value_heads=kv_heads,
        max_position_embeddings=SEQ_LEN,
    )
    model = LlamaForCausalLM(config).train()
    weights = {p.untyped_storage().data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def pack(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    ids = torch.zeros(ROWS, SEQ_LEN, dtype=torch.long)
    with (
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
        torch.autocast("cpu", torch.bfloat16, enabled=autocast),
    ):
        logits = model(input_ids=ids, use_cache=False).logits
    assert logits.requires_grad
    return sum(kept.values())


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("kv_heads", [4, 1])
def test_a_layer_keeps_exactly_what_is_counted(kv_heads: int, autocast: bool) -> None:
    measured = kept_by_autograd(3, kv_heads, autocast=autocast) - kept_by_autograd(2, kv_heads, autocast=autocast)
    shape = ModelShape("tiny", 32, 3, 48, 4, kv_heads, 8, 64)
    one = Pass(SEQ_LEN, ROWS, autocast, recompute=False, accumulates=False)
    copies = 2 * shape.layer_matrices if autocast else 0
    assert measured == layer_bytes(shape, one) + copies


def test_recomputation_and_smaller_passes_need_less(llama3_8b: ModelShape) -> None:
    whole = process_memory(llama3_8b, Pass(4096, 4, True, False, True))
    assert process_memory(llama3_8b, Pass(4096, 4, True, True, True)).live < whole.live
    assert process_memory(llama3_8b, Pass(4096, 2, True, False, True)).live < whole.live
    assert process_memory(llama3_8b, Pass(4096, 4, True, False, False)).live < whole.live
    assert whole.states == 16 * llama3_8b.parameters
    assert process_memory(llama3_8b, Pass(4096, 4, True, False, True), ranks=8).states == 2 * llama3_8b.parameters


TRAIN = """
import json, resource, sys
from pathlib import Path
from domadapt.artifacts import Checkpoint, TokenStore
from domadapt.builtin.training.torch_loop import TorchBackend, TorchOptions
from domadapt.components import Stage, TrainRequest
from domadapt.recipe.schema import Train
folder, settings, options = Path(sys.argv[1]), json.loads(sys.argv[2]), json.loads(sys.argv[3])
tokens = TokenStore(folder / "tokens")
stage = Stage("train", "0" * 16, 1, "test", lambda *_: {}, folder / "scratch")
for made in (folder / "scratch", folder / "out"):
    made.mkdir()
read = Train.model_validate(settings)
per_step = read.batch_tokens // tokens.facts["seq_len"]
request = TrainRequest(Checkpoint(folder / "model"), tokens, read, read.steps, per_step)
TorchBackend(TorchOptions(**options)).train(request, folder / "out", stage)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
"""

SIZES: list[tuple[str, dict[str, int], int, dict[str, Any], dict[str, Any]]] = [
    ("10 M", {"hidden_size": 320, "num_hidden_layers": 6, "intermediate_size": 896}, 2, {}, {}),
    ("10 M fp32", {"hidden_size": 320, "num_hidden_layers": 6, "intermediate_size": 896}, 2, {"precision": "fp32"}, {}),
    ("26 M", {"hidden_size": 512, "num_hidden_layers": 7, "intermediate_size": 1408}, 2, {}, {}),
    ("26 M, large passes", {"hidden_size": 512, "num_hidden_layers": 7, "intermediate_size": 1408}, 4, {}, {}),
]


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="resident memory is measured on Linux")
@pytest.mark.parametrize(("size", "dimensions", "micro_batch", "train", "options"), SIZES, ids=[s[0] for s in SIZES])
def test_the_predicted_memory_is_within_a_tenth_of_the_measured(
    size: str,
    dimensions: dict[str, int],
    micro_batch: int,
    train: dict[str, Any],
    options: dict[str, Any],
    tmp_path: Path,
    make_corpus: Any,
    make_tokens: Any,
) -> None:
    """Peak resident memory of a training in a process of its own, probes and checkpoints left out."""
    from transformers import LlamaConfig, LlamaForCausalLM

    from domadapt.testing.models import write_byte_tokenizer

    seq_len, heads = 512, dimensions["hidden_size"] // 64
    config = LlamaConfig(
        vocab_size=8192,
        num_attention_heads=heads,
        num_key_value_heads=heads,
        max_position_embeddings=seq_len,
        tie_word_embeddings=True,
        **dimensions,
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path / "model")
    write_byte_tokenizer(tmp_path / "model", context=seq_len)
    corpus = make_corpus(
        {"train": ["the company reports its revenue and its risk " * 200], "selection": ["abc " * 200]}
    )
    tokens: TokenStore = make_tokens({"domain": corpus}, num_samples=12, seq_len=seq_len)
    tokens.path.rename(tmp_path / "tokens")
    settings = {"steps": 3, "batch_tokens": 4 * seq_len, "micro_batch": micro_batch, "eval_windows": 1, **train}
    command = [sys.executable, "-c", TRAIN, str(tmp_path), json.dumps(settings), json.dumps(options)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200, check=True)
    measured = int(done.stdout.split()[-1])
    assert measured > resource.getpagesize()
    one = Pass(seq_len, micro_batch, train.get("precision") != "fp32", False, accumulates=micro_batch < 4)
    predicted = process_memory(read_shape(Checkpoint(tmp_path / "model").path), one).resident
    assert predicted == pytest.approx(measured, rel=0.1)
