"""One side of bench/tokens.py: SIDE FOLDER OUT; the last line is one JSON object.

FOLDER has the same documents as texts.jsonl, halves/*.jsonl and corpus/ (Parquet), and the tokenizer.  OUT is empty.
"""

from __future__ import annotations

import hashlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

SEQ_LEN = 2048
CORES = os.cpu_count() or 1
EOS = 1
_tokenizer: Any = None


def megatron(folder: Path, out: Path) -> Callable[[], Iterator[np.ndarray]]:
    """Megatron-LM's tools/preprocess_data.py: a pool that encodes lines, one process that writes documents."""
    import multiprocessing

    from megatron.core.datasets.indexed_dataset import DType, IndexedDatasetBuilder

    builder = IndexedDatasetBuilder(str(out / "text_document.bin"), dtype=DType.optimal_dtype(32_000))
    workers = multiprocessing.get_context("fork").Pool(CORES, _load_for_megatron, (folder,))
    with (folder / "texts.jsonl").open(encoding="utf-8") as lines, workers as pool:
        for ids in pool.imap(_encode_for_megatron, lines, 32):
            builder.add_document(ids, [len(ids)])
    builder.finalize(str(out / "text_document.idx"))
    return lambda: iter([np.fromfile(out / "text_document.bin", np.uint16)])


def _load_for_megatron(folder: Path) -> None:
    global _tokenizer
    from megatron.core.tokenizers.text.libraries.huggingface_tokenizer import HuggingFaceTokenizer

    _tokenizer = HuggingFaceTokenizer(str(folder / "tokenizer"))


def _encode_for_megatron(line: str) -> list[int]:
    ids: list[int] = _tokenizer.text_to_ids(json.loads(line)["text"])
    return [*ids, EOS] if ids else ids


def run_clm(folder: Path, out: Path) -> Callable[[], Iterator[np.ndarray]]:
    """transformers' run_clm: datasets.map tokenises, datasets.map groups into windows; a process a core."""
    from itertools import chain

    import datasets
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    files = [str(f) for f in sorted((folder / "corpus" / "train").glob("*.parquet"))]
    texts = datasets.load_dataset("parquet", data_files=files, split="train", columns=["text"], cache_dir=str(out))

    def tokenise(batch: Any) -> Any:
        encoded = tokenizer(batch["text"])
        return {key: [[*row, EOS if key == "input_ids" else 1] for row in rows] for key, rows in encoded.items()}

    def group(batch: Any) -> Any:
        rows = {key: list(chain(*batch[key])) for key in batch}
        whole = len(rows["input_ids"]) // SEQ_LEN * SEQ_LEN
        cut = {key: [row[i : i + SEQ_LEN] for i in range(0, whole, SEQ_LEN)] for key, row in rows.items()}
        return {**cut, "labels": cut["input_ids"].copy()}

    ids = texts.map(tokenise, batched=True, num_proc=CORES, remove_columns=texts.column_names)
    ids.map(group, batched=True, num_proc=CORES)
    # windows lose what is over in each batch of 1,000 documents: compared is what they are made of
    return lambda: (np.concatenate(batch["input_ids"]) for batch in ids.with_format("numpy").iter(1000))


def datatrove(folder: Path, out: Path) -> Callable[[], Iterator[np.ndarray]]:
    """datatrove's DocumentTokenizer, a task a core. It packs nothing."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.tokens import DocumentTokenizer

    pipeline = [
        JsonlReader(str(folder / "halves")),
        DocumentTokenizer(
            str(out / "ds"),
            tokenizer_name_or_path=str(folder / "tokenizer" / "tokenizer.json"),
            eos_token="<|end_of_text|>",
            shuffle_documents=False,
            save_final_metadata=False,
        ),
    ]
    LocalPipelineExecutor(pipeline=pipeline, tasks=CORES, workers=CORES, logging_dir=str(out / "logs")).run()
    return lambda: (np.fromfile(file, np.uint16) for file in sorted((out / "ds").glob("*.ds")))


def encode_batch_fast(folder: Path, out: Path) -> Callable[[], Iterator[np.ndarray]]:
    """tokenizers' quickest call in a plain loop, on all cores."""
    import pyarrow.parquet as pq
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder / "tokenizer" / "tokenizer.json"))
    with (out / "ids.bin").open("wb") as ids:
        for file in sorted((folder / "corpus" / "train").glob("*.parquet")):
            for batch in pq.ParquetFile(file).iter_batches(1000, columns=["text"]):
                for one in tokenizer.encode_batch_fast(batch["text"].to_pylist(), add_special_tokens=False):
                    np.array([*one.ids, EOS], np.uint16).tofile(ids)
    return lambda: iter([np.fromfile(out / "ids.bin", np.uint16)])


def ours(folder: Path, out: Path) -> Callable[[], Iterator[np.ndarray]]:
    """adapt's stage as a run calls it: tokenise, probe, pack, index, order."""
    from domadapt.artifacts import Checkpoint, Corpus
    from domadapt.builtin.mixing.replay import ReplayMixer
    from domadapt.builtin.tokens.build import build_tokens
    from domadapt.components import Stage
    from domadapt.recipe.schema import Mix

    (out / "work").mkdir()
    (out / "scratch").mkdir()
    stage = Stage("tokens", "0" * 16, 1, "bench", lambda *_: {}, out / "scratch")
    facts = build_tokens(
        {"domain": Corpus(folder / "corpus")},
        Checkpoint(folder / "tokenizer"),
        ReplayMixer(),
        Mix(seq_len=SEQ_LEN, replay=0.0),
        num_samples=None,
        samples_per_step=1,
        out=out / "work",
        stage=stage,
    )
    print(json.dumps(facts["tokenized"]), file=sys.stderr)
    return lambda: iter([np.fromfile(out / "work" / "train" / "domain.bin", np.uint16)])


def without_fast_route(folder: Path, out: Path) -> Callable[[], Iterator[np.ndarray]]:
    """adapt's stage where fastokens is not installed."""
    hiding = out / "hiding"
    hiding.mkdir()
    (hiding / "fastokens.py").write_text("raise ImportError('hidden for a comparison')\n")
    sys.path.insert(0, str(hiding))  # workers get it too
    return ours(folder, out)


TRANSFORMERS = ("transformers.models.auto.tokenization_auto", "transformers.tokenization_utils_tokenizers")
IMPORTS: dict[str, tuple[str, ...]] = {
    "megatron": (
        "megatron.core.datasets.indexed_dataset",
        "megatron.core.tokenizers.text.libraries.huggingface_tokenizer",
        *TRANSFORMERS,
    ),
    "run_clm": ("datasets", *TRANSFORMERS),
    "datatrove": ("datatrove.pipeline.tokens", "tokenizers"),
    "encode_batch_fast": ("pyarrow.parquet", "tokenizers"),
    "ours": (
        "pyarrow.parquet",
        "pyarrow.compute",
        "regex",
        *TRANSFORMERS,
        "domadapt.builtin.executors.processes",
        "domadapt.builtin.mixing.drawing",
        "domadapt.builtin.mixing.placing",
        "domadapt.builtin.mixing.replay",
        "domadapt.builtin.tokens.build",
        "domadapt.recipe.schema",
    ),
}
IMPORTS["without_fast_route"] = IMPORTS["ours"]
"""Imported before the clock starts."""


SIDES = {side.__name__: side for side in (megatron, run_clm, datatrove, encode_batch_fast, ours, without_fast_route)}


def main() -> None:
    """Import, run, tell: seconds, peak memory, digest and number of the tokens."""
    side, folder, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    for module in IMPORTS[side]:
        import_module(module)
    started = time.perf_counter()
    tokens = SIDES[side](folder, out)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    told: dict[str, Any] = {"seconds": seconds, "peak_bytes": peak}
    digest, count, rest = hashlib.sha256(), 0, np.empty(0, np.uint16)
    for piece in tokens():
        stream = np.concatenate([rest, piece.astype(np.uint16)])
        whole = len(stream) // SEQ_LEN * SEQ_LEN
        digest.update(stream[:whole].tobytes())
        rest, count = stream[whole:], count + len(piece)
    # windows are compared: a side that packs has none of the tokens after the last one
    print(json.dumps({**told, "windows": count // SEQ_LEN, "sha256": digest.hexdigest()}))


if __name__ == "__main__":
    main()
