"""The default run of `adapt run --domain sec` as a plain script: the same library calls, in one process, by hand.

    python bench/pipeline_by_hand.py SETTINGS.json OUT

Corpus, cleaning, tokens, training, merge, evaluation of four models, intervals, one JSON file. What it leaves out is
what `adapt` adds: no engine, store, keys, checksums, resuming, recipe or report page; documents stay in memory from
the first line to the last, each model is loaded once, and lm-eval gets both tasks of a model in one call. It is the
peer of `bench/pipeline.py`, which writes SETTINGS.json from the recipe and compares the results.

From domadapt it takes what no library has: the documents (the sec pack's sample, the general sample), the files of
the models and benchmarks, near-duplicates, and the bootstrap.

Legend of shapes: B windows, T tokens, V vocabulary.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
import lzma
import math
import os
import re
import shutil
import sys
import time
import unicodedata
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("HF_DATASETS_OFFLINE", "1")
os.environ.setdefault("TQDM_DISABLE", "1")
os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")

import numpy as np
import pyarrow as pa
import torch
import yaml
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer

import domadapt
import domadapt_sec
from domadapt.builtin.cleaning.minhash.clusters import NearDuplicates
from domadapt.report.statistics import JointSamples, interval
from domadapt_sec.sample import SampleSource

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # Apex and Transformer Engine are missed, which files do not need
    from megatron.core.datasets.indexed_dataset import IndexedDatasetBuilder

CORE = Path(domadapt.__file__).parent / "builtin"
BASE, INSTRUCT = CORE / "models" / "tiny", CORE / "models" / "tiny-instruct"
TASKS = {
    "sec_continuation": Path(domadapt_sec.__file__).parent / "benchmarks",
    "instruct_format": CORE / "evaluating" / "tasks",
}
SIDES = ("domain", "general")
SPLITS = ("train", "selection", "report")
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja", "generation_config.json")

CONTROL = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u2060\ufeff\ufffe\uffff]")
SPACES_AT_END = re.compile(r"[^\S\n]+$", re.MULTILINE)
BLANK_LINES = re.compile(r"\n{3,}")


class Document(NamedTuple):
    """A document, the company (or topic) it belongs to and the split it is pinned to, if any."""

    id: str
    text: str
    group: str
    split: str


Corpus = dict[str, list[Document]]
"""Documents by split."""
Scores = dict[tuple[str, str], tuple[list[str], list[float], list[float]]]
"""(task, metric) -> clusters, values and weights of the items."""


# --- corpus ---------------------------------------------------------------------------------------------------------


def domain_batches() -> Iterator[list[Document]]:
    """Sample filings, made and parsed by the pack."""
    for batch in SampleSource().read(lambda reason, where: None):
        columns = (batch[name].to_pylist() for name in ("id", "text", "group"))
        yield [Document(*row, "") for row in zip(*columns, strict=True)]


def general_batches() -> Iterator[list[Document]]:
    """The general sample, each document pinned to a split."""
    with lzma.open(CORE / "corpora" / "general_sample.jsonl.xz", "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    documents = [Document(row["id"], row["text"], row["group"], row["split"]) for row in rows]
    for at in range(0, len(documents), 256):
        yield documents[at : at + 256]


def normalized(text: str) -> str:
    """NFC, one kind of line end, no control characters, no spaces at line ends."""
    text = text.replace("\r\n", "\n").replace("\r", "\n").replace("\u2028", "\n").replace("\xa0", " ")
    text = CONTROL.sub("", unicodedata.normalize("NFC", text))
    return BLANK_LINES.sub("\n\n", SPACES_AT_END.sub("", text)).strip("\n")


def clean(batches: Iterator[list[Document]]) -> list[Document]:
    """Normalise, drop short ones, exact duplicates, near-duplicates."""
    kept: list[Document] = []
    seen: set[bytes] = set()
    index = NearDuplicates(words=5, bands=14, rows=8, threshold=0.72)
    for batch in batches:
        fresh = []
        for document in batch:
            text = normalized(document.text)
            digest = hashlib.blake2b(" ".join(text.lower().split()).encode(), digest_size=16).digest()
            if len(text) >= 200 and digest not in seen:
                seen.add(digest)
                fresh.append(document._replace(text=text))
        found = index.find(pa.array([d.text for d in fresh], pa.string()))
        kept += [document for document, near in zip(fresh, found, strict=True) if near < 0]
    return kept


def split(documents: Sequence[Document], settings: dict[str, Any]) -> Corpus:
    """Hold out whole groups: pinned ones where they belong, of the others a seeded share in each split."""
    place = {d.group: d.split for d in documents}
    free = [group for group, pinned in place.items() if not pinned]
    free.sort(key=lambda g: hashlib.sha256(f"{settings['seed']}/holdout/{g}".encode()).digest())
    share = max(1, round(settings["holdout"] * len(free)))
    for number, group in enumerate(free):
        place[group] = ("report", "selection", "train")[min(2, number // share)]
    corpus: Corpus = {s: [d for d in documents if place[d.group] == s] for s in SPLITS}
    for held in ("selection", "report"):
        corpus[held] = corpus[held][: settings["holdout_documents"]]
    return corpus


# --- tokens ---------------------------------------------------------------------------------------------------------


def write_tokens(corpora: dict[str, Corpus], settings: dict[str, Any], out: Path) -> None:
    """Tokenise, pack into windows of seq_len and write Megatron's .bin/.idx. Held-out text is padded, not cut."""
    tokenizer = AutoTokenizer.from_pretrained(BASE)
    seq_len = settings["seq_len"]
    for side, corpus in corpora.items():
        for name, documents in corpus.items():
            folder = out / name
            folder.mkdir(parents=True, exist_ok=True)
            texts = [d.text for d in documents]
            encoded = tokenizer(
                texts, add_special_tokens=False, split_special_tokens=True, return_attention_mask=False, verbose=False
            )
            bos, eos, pad = tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id
            stream = np.concatenate([np.array([bos, *ids, eos], np.uint16) for ids in encoded["input_ids"]])
            np.save(folder / f"{side}.length.npy", len(stream))
            if name != "train":
                stream = np.pad(stream, (0, -len(stream) % seq_len), constant_values=pad)
            builder = IndexedDatasetBuilder(str(folder / f"{side}.bin"), dtype=np.uint16)
            for window in stream[: len(stream) // seq_len * seq_len].reshape(-1, seq_len):
                builder.add_document(window, [seq_len])
            builder.finalize(str(folder / f"{side}.idx"))


def read_windows(tokens: Path, name: str, side: str, seq_len: int) -> np.ndarray:
    """The windows of one side of one split, uint16 [n, T]."""
    return np.memmap(tokens / name / f"{side}.bin", dtype=np.uint16, mode="r").reshape(-1, seq_len)


def training_order(available: Sequence[int], settings: dict[str, Any]) -> np.ndarray:
    """(side, window) of each sample: general windows at even distances, each pass a permutation of its own."""
    total = settings["steps"] * settings["samples_per_step"]
    general = round(total * settings["replay"])
    counts = np.floor((np.arange(total) + 1) * general / total + 1e-9).astype(np.int64)
    side = np.diff(counts, prepend=0)
    order = np.stack([side, np.zeros_like(side)], axis=1)
    for number, count in enumerate((total - general, general)):
        rng = np.random.Generator(np.random.Philox(key=[settings["seed"], number]))
        passes = [rng.permutation(available[number]) for _ in range(-(-count // available[number]))]
        order[side == number, 1] = np.concatenate(passes)[:count]
    return order


# --- training -------------------------------------------------------------------------------------------------------


def learning_rate(step: int, settings: dict[str, Any]) -> float:
    """Linear warm-up, then half a cosine down to min_lr."""
    warmup = math.ceil(settings["steps"] * settings["warmup"])
    if step < warmup:
        return float(settings["lr"] * (step + 1) / warmup)
    progress = (step - warmup) / max(1, settings["steps"] - warmup)
    floor = settings["min_lr"]
    return float(settings["lr"] * (floor + (1 - floor) * 0.5 * (1 + math.cos(math.pi * progress))))


def loss_sum(model: Any, ids: np.ndarray, labels: np.ndarray) -> torch.Tensor:
    """Sum of the next-token losses in nats; ids and labels [B, T]."""
    with torch.autocast("cpu", torch.bfloat16):
        logits_BTV = model(input_ids=torch.from_numpy(ids), use_cache=False).logits
    targets = torch.from_numpy(labels[:, 1:]).flatten()
    return torch.nn.functional.cross_entropy(logits_BTV[:, :-1].float().flatten(0, 1), targets, reduction="sum")


def held_out_windows(tokens: Path, side: str, settings: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """The first windows of the selection split with their labels, -100 on padding."""
    ids = read_windows(tokens, "selection", side, settings["seq_len"])[: settings["eval_windows"]].astype(np.int64)
    length = int(np.load(tokens / "selection" / f"{side}.length.npy"))
    is_text = (np.arange(ids.size) < length).reshape(ids.shape)
    return ids, np.where(is_text, ids, -100)


def measure(model: Any, held: dict[str, tuple[np.ndarray, np.ndarray]], micro_batch: int) -> dict[str, float]:
    """Held-out loss of each side, nats per token."""
    losses = {}
    model.eval()
    with torch.no_grad():
        for side, (ids, labels) in held.items():
            parts = [slice(at, at + micro_batch) for at in range(0, len(ids), micro_batch)]
            total = sum(loss_sum(model, ids[part], labels[part]).item() for part in parts)
            losses[f"heldout_{side}"] = total / int((labels[:, 1:] >= 0).sum())
    model.train()
    return losses


def train(tokens: Path, settings: dict[str, Any], out: Path) -> None:
    """Continual pre-training, fp32 weights under bf16 autocast; a checkpoint to resume from now and then."""
    num_threads = torch.get_num_threads()
    torch.set_num_threads(settings["threads"])  # fixed: another number gives other last bits
    torch.manual_seed(settings["seed"])
    model: Any = AutoModelForCausalLM.from_pretrained(settings["start"], dtype=torch.float32)
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    optimizer = torch.optim.AdamW(
        [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}],
        lr=settings["lr"],
        betas=(settings["beta1"], settings["beta2"]),
        weight_decay=settings["weight_decay"],
    )
    windows = [read_windows(tokens, "train", side, settings["seq_len"]) for side in SIDES]
    order = training_order([len(w) for w in windows], settings)
    held = {side: held_out_windows(tokens, side, settings) for side in SIDES}
    per_step, micro_batch = settings["samples_per_step"], settings["micro_batch"]
    log = [{"step": 0, **measure(model, held, micro_batch)}]
    model.train()
    for step in range(settings["steps"]):
        rate = learning_rate(step, settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        rows = order[step * per_step : (step + 1) * per_step]
        ids = np.stack([windows[side][window] for side, window in rows]).astype(np.int64)
        loss = 0.0
        for at in range(0, per_step, micro_batch):
            part = ids[at : at + micro_batch]
            share = loss_sum(model, part, part) / (per_step * (settings["seq_len"] - 1))
            share.backward()
            loss += share.item()
        norm = float(torch.nn.utils.clip_grad_norm_(model.parameters(), settings["clip"]))
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        done = step + 1
        log.append({"step": done, "loss": loss, "lr": rate, "grad_norm": norm})
        if done == settings["steps"] or done % settings["eval_every"] == 0:
            log.append({"step": done, **measure(model, held, micro_batch)})
        if done < settings["steps"] and done % settings["checkpoint_every"] == 0:
            state = {"step": done, "model": model.state_dict(), "optimizer": optimizer.state_dict()}
            torch.save({**state, "rng": torch.get_rng_state()}, out.parent / f"checkpoint-{done}.pt")
            (out.parent / f"checkpoint-{done - 2 * settings['checkpoint_every']}.pt").unlink(missing_ok=True)
    torch.set_num_threads(num_threads)
    model.to(AutoConfig.from_pretrained(settings["start"]).dtype).save_pretrained(out)
    copy_files(Path(settings["start"]), out)
    (out / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))


def copy_files(source: Path, target: Path) -> None:
    """Tokenizer, chat template and generation config."""
    for name in TOKENIZER_FILES:
        if (source / name).is_file():
            shutil.copyfile(source / name, target / name)


# --- merge ----------------------------------------------------------------------------------------------------------


def merge(cpt: Path, settings: dict[str, Any], out: Path) -> None:
    """TIES of the instruct and the CPT model on the base, in fp32, by mergekit."""
    from mergekit.config import MergeConfiguration
    from mergekit.merge import MergeOptions, run_merge

    weights = {"instruct": 1 - settings["weight"], "cpt": settings["weight"]}
    models = [
        {"model": str(path), "parameters": {"weight": weights[role], "density": settings["density"][role]}}
        for role, path in (("instruct", INSTRUCT), ("cpt", cpt))
    ]
    recipe = {
        "merge_method": "ties",
        "base_model": str(BASE),
        "models": models,
        "parameters": {"normalize": settings["normalize"], "lambda": settings["scale"]},
        "dtype": "float32",
        "out_dtype": str(AutoConfig.from_pretrained(INSTRUCT).dtype).removeprefix("torch."),
    }
    options = MergeOptions(
        quiet=True, write_model_card=False, copy_tokenizer=False, random_seed=settings["seed"], device="cpu"
    )
    run_merge(MergeConfiguration.model_validate(recipe), str(out), options)
    copy_files(INSTRUCT, out)


# --- evaluation -----------------------------------------------------------------------------------------------------


def bits_per_byte(model: Any, tokenizer: Any, documents: Sequence[Document], batch_tokens: int) -> list[float]:
    """Bits of each document over rolling windows, each token scored once; longest windows first."""
    length = min(model.config.max_position_embeddings, 2048)
    windows = []
    for number, ids in enumerate(tokenizer([d.text for d in documents], add_special_tokens=False)["input_ids"]):
        stream = [tokenizer.bos_token_id, *ids]
        for first in range(0, len(ids), length):
            end = min(first + length, len(ids))
            windows.append((number, stream[max(0, end - length) : end + 1], end - first))
    windows.sort(key=lambda w: -len(w[1]))
    nats = [0.0] * len(documents)
    at = 0
    while at < len(windows):
        batch = windows[at : at + max(1, batch_tokens // (len(windows[at][1]) - 1))]
        at += len(batch)
        longest = len(batch[0][1])
        padded = torch.tensor([ids + [0] * (longest - len(ids)) for _, ids, _ in batch])
        logits_BTV = model(padded[:, :-1], use_cache=False).logits
        targets = padded[:, 1:].flatten()
        losses = torch.nn.functional.cross_entropy(logits_BTV.flatten(0, 1), targets, reduction="none")
        for (number, ids, num_scored), row in zip(batch, losses.view(len(batch), -1).double(), strict=True):
            nats[number] += float(row[len(ids) - 1 - num_scored : len(ids) - 1].sum())
    return [n / math.log(2) for n in nats]


def write_task_overrides(folder: Path) -> None:
    """lm-eval takes data files relative to the working folder: write task files with absolute ones."""
    folder.mkdir()
    for name, source in TASKS.items():
        files = {"test": str(source / f"{name}.jsonl")}
        override = {"include": str(source / f"{name}.yaml"), "task": name, "dataset_kwargs": {"data_files": files}}
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(override))


def evaluate(folder: Path, corpora: dict[str, Corpus], tasks: Any, settings: dict[str, Any]) -> Scores:
    """Bits per byte of both report splits, then both benchmarks in one call of lm-eval."""
    import lm_eval.evaluator
    from lm_eval.models.huggingface import HFLM

    lm_eval.evaluator.get_git_commit_hash = lambda: None
    lm_eval.evaluator.add_env_info = lambda results: None  # a report on the machine that runs `pip list`, 0.5 s a call
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    scores: Scores = {}
    for side in SIDES:
        documents = [
            d._replace(text=d.text.encode()[:65_536].decode("utf-8", "ignore")) for d in corpora[side]["report"]
        ]
        documents = documents[: settings["limit"]]
        with torch.inference_mode():
            bits = bits_per_byte(model, tokenizer, documents, settings["eval_batch_tokens"])
        lengths = [float(len(d.text.encode())) for d in documents]
        scores[f"bits_per_byte.{side}", "bits_per_byte"] = ([d.group for d in documents], bits, lengths)
    length = min(model.config.max_position_embeddings, 4096)
    result = lm_eval.evaluator.simple_evaluate(
        model=HFLM(
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=max(1, settings["eval_batch_tokens"] // length),
            max_length=length,
        ),
        tasks=list(TASKS),
        task_manager=tasks,
        limit=settings["limit"],
        bootstrap_iters=0,
        log_samples=True,
    )
    for task in TASKS:
        samples = sorted(result["samples"][task], key=lambda s: s["doc_id"])
        clusters = [str(s["doc"].get("cluster", s["doc"].get("item", s["doc_id"]))) for s in samples]
        for metric in result["higher_is_better"][task]:
            scores[task, metric] = (clusters, [float(s[metric]) for s in samples], [1.0] * len(samples))
    return scores


def with_intervals(models: dict[str, Scores]) -> list[dict[str, Any]]:
    """Each score with its interval, and its paired difference from the instruct model."""
    rows = []
    labels = list(models)
    for (task, metric), (clusters, _, _) in models["instruct"].items():
        samples = [models[label][task, metric] for label in labels]
        joint = JointSamples.of([s[1] for s in samples], [s[2] for s in samples], clusters)
        for number, label in enumerate(labels):
            row = {"model": label, "task": task, "metric": metric}
            row |= interval(samples[number][1], samples[number][2], clusters)._asdict()
            if label != "instruct":
                row["difference"] = joint.difference(number, labels.index("instruct"))._asdict()
            rows.append(row)
    return rows


def main() -> None:
    """Everything, in order."""
    settings, out = json.loads(Path(sys.argv[1]).read_bytes()), Path(sys.argv[2])
    settings["start"] = {"base": BASE, "instruct": INSTRUCT}[settings["start"]]
    out.mkdir(parents=True)
    clock = [("start", time.perf_counter())]
    batches = {"domain": domain_batches(), "general": general_batches()}
    corpora = {side: split(clean(batches[side]), settings) for side in SIDES}
    clock.append(("corpus", time.perf_counter()))
    write_tokens(corpora, settings, out / "tokens")
    clock.append(("tokens", time.perf_counter()))
    train(out / "tokens", settings, out / "cpt")
    clock.append(("train", time.perf_counter()))
    merge(out / "cpt", settings, out / "ties")
    clock.append(("merge", time.perf_counter()))

    from lm_eval.tasks import TaskManager

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    write_task_overrides(out / "tasks")
    tasks = TaskManager(include_path=str(out / "tasks"), include_defaults=False)
    folders = {"base": BASE, "instruct": INSTRUCT, "cpt": out / "cpt", "ties": out / "ties"}
    models = {label: evaluate(folder, corpora, tasks, settings) for label, folder in folders.items()}
    clock.append(("eval", time.perf_counter()))
    (out / "scores.json").write_text(json.dumps(with_intervals(models), indent=1) + "\n")
    clock.append(("report", time.perf_counter()))
    seconds = {name: now - before for (_, before), (name, now) in itertools.pairwise(clock)}
    (out / "seconds.json").write_text(json.dumps(seconds) + "\n")


if __name__ == "__main__":
    main()
