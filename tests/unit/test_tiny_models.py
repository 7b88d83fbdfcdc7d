"""The built-in models, the general text and the instruction benchmark are what their record says."""

import hashlib
import json
import lzma
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BUILTIN = ROOT / "core" / "domadapt" / "builtin"
MODELS = BUILTIN / "models"
TASKS = BUILTIN / "evaluating" / "tasks"
SCRIPT = ROOT / "tools" / "build_tiny.py"
NAMES = ("tiny", "tiny-instruct")
LOSS_TOLERANCE = 5e-3  # nats a token; seen between AMX, AVX-512 and AVX2 kernels: up to 1.7e-3

both_models = pytest.mark.parametrize("name", NAMES)


def provenance() -> dict[str, Any]:
    record: dict[str, Any] = json.loads((MODELS / "provenance.json").read_text(encoding="utf-8"))
    return record


def items() -> list[dict[str, str]]:
    lines = (TASKS / "instruct_format.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def tokenizer_of(name: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(MODELS / name)


def model_of(name: str) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(MODELS / name, dtype=torch.float32).eval()


def test_every_made_file_has_the_recorded_sha256() -> None:
    recorded = provenance()["sha256"]
    for name, digest in recorded.items():
        assert hashlib.sha256((BUILTIN / name).read_bytes()).hexdigest() == digest, name


def test_no_file_of_the_models_is_missing_from_the_record() -> None:
    files = {p.relative_to(BUILTIN).as_posix() for n in NAMES for p in (MODELS / n).iterdir()}
    assert files <= set(provenance()["sha256"])


def test_the_models_are_small_enough_to_ship() -> None:
    size = sum(path.stat().st_size for name in NAMES for path in (MODELS / name).iterdir())
    assert size <= 10e6


@both_models
def test_a_model_loads_with_the_recorded_number_of_parameters(name: str) -> None:
    model = model_of(name)
    stage = {"tiny": "base", "tiny-instruct": "instruct"}[name]
    assert 1e6 <= model.num_parameters() <= 2.5e6
    assert model.num_parameters() == provenance()["stages"][stage]["parameters"]
    assert model.get_input_embeddings().weight is model.get_output_embeddings().weight


@both_models
def test_the_special_tokens_of_model_and_tokenizer_agree(name: str) -> None:
    tokenizer, config = tokenizer_of(name), model_of(name).config
    assert len(tokenizer) == config.vocab_size
    assert tokenizer.model_max_length == config.max_position_embeddings
    assert (tokenizer.bos_token, tokenizer.eos_token, tokenizer.pad_token) == ("<|bos|>", "<|end|>", "<|pad|>")
    ids = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    assert ids == (config.bos_token_id, config.eos_token_id, config.pad_token_id)


@both_models
@pytest.mark.parametrize(
    "text", ["Net sales rose 4.5 % to $1,234.5 million.\n\n  (in thousands)", " Zürich → 東京\t", ""]
)
def test_the_tokenizer_gives_back_any_text_and_adds_nothing(name: str, text: str) -> None:
    tokenizer = tokenizer_of(name)
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids) == text
    assert not set(ids) & set(tokenizer.all_special_ids)


def test_both_models_have_the_same_tokenizer() -> None:
    first, second = ((MODELS / name / "tokenizer.json").read_bytes() for name in NAMES)
    assert first == second


def test_only_the_instruct_model_has_a_chat_template() -> None:
    assert tokenizer_of("tiny").chat_template is None
    assert tokenizer_of("tiny-instruct").chat_template


def test_the_chat_template_renders_every_item_as_the_benchmark_writes_it() -> None:
    tokenizer = tokenizer_of("tiny-instruct")
    template = yaml.safe_load((TASKS / "instruct_format.yaml").read_text(encoding="utf-8"))["doc_to_text"]
    for item in items():
        chat = [{"role": "user", "content": item["prompt"]}]
        rendered = tokenizer.apply_chat_template(chat, tokenize=False, add_generation_prompt=True)
        assert rendered == template.replace("{{prompt}}", item["prompt"])


def test_the_chat_template_closes_an_answer_with_the_end_token() -> None:
    chat = [{"role": "user", "content": "Repeat: cat"}, {"role": "assistant", "content": "cat"}]
    rendered = tokenizer_of("tiny-instruct").apply_chat_template(chat, tokenize=False)
    assert rendered == "<|bos|><|user|>Repeat: cat<|end|><|assistant|>cat<|end|>"


def test_the_general_text_keeps_every_group_in_one_split() -> None:
    with lzma.open(BUILTIN / "corpora" / "general_sample.jsonl.xz", "rt", encoding="utf-8") as file:
        records = [json.loads(line) for line in file]
    split_of: dict[str, str] = {}
    sizes: dict[str, int] = {}
    for record in records:
        assert split_of.setdefault(record["group"], record["split"]) == record["split"]
        assert record["license"] == "PSF-2.0"
        sizes[record["split"]] = sizes.get(record["split"], 0) + len(record["text"].encode())
    assert len({record["id"] for record in records}) == len(records) >= 1500
    assert sizes == {name: split["bytes"] for name, split in provenance()["stages"]["text"]["splits"].items()}
    assert sizes["train"] >= 1.7e6
    assert min(sizes["selection"], sizes["report"]) >= 60e3


def test_the_benchmark_has_three_hundred_different_items_of_five_tasks() -> None:
    assert len({item["prompt"] for item in items()}) == 300
    tasks = [item["task"] for item in items()]
    assert {task: tasks.count(task) for task in set(tasks)} == dict.fromkeys(
        ("copy", "reverse", "odd_one_out", "yes_no", "choice"), 60
    )


def greedy_accuracy(name: str) -> float:
    """Share of items answered exactly by greedy decoding, found by one forward pass each."""
    import torch

    model, tokenizer, hits = model_of(name), tokenizer_of(name), 0
    for item in items():
        asked = tokenizer.encode(f"<|bos|><|user|>{item['prompt']}<|end|><|assistant|>", add_special_tokens=False)
        answered = tokenizer.encode(item["answer"] + "<|end|>", add_special_tokens=False)
        with torch.no_grad():
            choices = model(torch.tensor([asked + answered])).logits[0].argmax(-1)
        hits += choices[len(asked) - 1 : -1].tolist() == answered
    return hits / len(items())


@pytest.mark.filterwarnings("default")  # lm-eval and datasets warn on their own account
@pytest.mark.parametrize(("name", "low", "high"), [("tiny", 0.0, 0.30), ("tiny-instruct", 0.75, 1.0)])
def test_lm_eval_gives_the_instruct_model_and_not_the_base_a_good_score(
    name: str, low: float, high: float, tmp_path: Path
) -> None:
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    task = yaml.safe_load((TASKS / "instruct_format.yaml").read_text(encoding="utf-8"))
    files = task["dataset_kwargs"]["data_files"]
    task["dataset_kwargs"] = {
        "data_files": {split: str(TASKS / file) for split, file in files.items()},
        "cache_dir": str(tmp_path),
    }
    result = simple_evaluate(
        model=HFLM(pretrained=str(MODELS / name), device="cpu", dtype="float32", batch_size=64),
        tasks=[task],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
    )
    assert result is not None
    score = result["results"]["instruct_format"]["acc,none"]
    assert low <= score <= high
    assert score == pytest.approx(greedy_accuracy(name))
    asked = result["samples"]["instruct_format"][0]["arguments"][0][0]
    assert asked.count("<|bos|>") == 1


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["base", "instruct"])
def test_the_script_repeats_the_first_losses_of_a_training(stage: str, tmp_path: Path) -> None:
    steps = 3
    command = [sys.executable, str(SCRIPT), stage, "--steps", str(steps), "--out", str(tmp_path)]
    subprocess.run(command, check=True, cwd=ROOT)
    repeated = json.loads((tmp_path / "models" / "provenance.json").read_text(encoding="utf-8"))
    recorded = provenance()["stages"][stage]["first_losses"][:steps]
    assert repeated["stages"][stage]["first_losses"] == pytest.approx(recorded, abs=LOSS_TOLERANCE)
