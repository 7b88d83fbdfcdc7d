"""One side of bench/corpus_dedup.py, in its own environment: SIDE TEXTS OUT; the last line is one JSON object."""

from __future__ import annotations

import json
import os
import re
import resource
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

WORDS, BANDS, ROWS = 5, 14, 8
WORD = re.compile(r"\w+")
BATCH = 4096


def shingles(text: str) -> set[str]:
    """Word 5-grams, as fast as Python makes them."""
    words = WORD.findall(text.lower())
    if len(words) < WORDS:
        return {" ".join(words)}
    return set(map(" ".join, zip(words, words[1:], words[2:], words[3:], words[4:], strict=False)))


def ours(bands: int, rows: int, threshold: float) -> Callable[[list[str]], list[int]]:
    """adapt's step, from strings."""

    def run(texts: list[str]) -> list[int]:
        import numpy as np
        import pyarrow as pa

        from domadapt.builtin.cleaning.minhash.clusters import NearDuplicates

        near, column = NearDuplicates(WORDS, bands, rows, threshold), pa.array(texts)
        found = [near.find(column[start : start + BATCH]) for start in range(0, len(column), BATCH)]
        return np.flatnonzero(np.concatenate(found) >= 0).tolist()  # type: ignore[no-any-return]

    return run


def rensa(texts: list[str]) -> list[int]:
    """rensa's RMinHash and its index; a document that has a candidate is dropped."""
    from rensa import RMinHash, RMinHashLSH

    index, dropped = RMinHashLSH(threshold=0.72, num_perm=BANDS * ROWS, num_bands=BANDS), []
    for start in range(0, len(texts), BATCH):
        sets = [list(shingles(text)) for text in texts[start : start + BATCH]]
        made = RMinHash.from_token_sets(sets, num_perm=BANDS * ROWS, seed=42)
        for number, signature in enumerate(made, start):
            if index.query(signature):
                dropped.append(number)
            else:
                index.insert(number, signature)
    return dropped


def datasketch(texts: list[str]) -> list[int]:
    """datasketch's MinHash and its index."""
    from datasketch import MinHash, MinHashLSH

    index, dropped = MinHashLSH(num_perm=BANDS * ROWS, params=(BANDS, ROWS)), []
    sets = ([shingle.encode() for shingle in shingles(text)] for text in texts)
    for number, signature in enumerate(MinHash.generator(sets, num_perm=BANDS * ROWS)):
        if index.query(signature):
            dropped.append(number)
        else:
            index.insert(number, signature)
    return dropped


def datatrove(texts: list[str], out: Path) -> tuple[Callable[[], None], Callable[[], list[int]]]:
    """datatrove's four stages with a process a core: what is timed, and what reads the result."""
    from datatrove.executor import LocalPipelineExecutor
    from datatrove.pipeline.dedup import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.pipeline.writers import JsonlWriter
    from datatrove.utils.typeshelper import Languages

    cores = os.cpu_count() or 1
    (out / "in").mkdir(parents=True, exist_ok=True)
    for part in range(cores):
        with (out / "in" / f"{part}.jsonl").open("w") as lines:
            for number in range(part, len(texts), cores):
                lines.write(json.dumps({"id": str(number), "text": texts[number]}) + "\n")
    config = MinhashConfig(n_grams=WORDS, num_buckets=BANDS, hashes_per_bucket=ROWS)

    def stage(name: str, tasks: int, *pipeline: Any) -> None:
        logs = str(out / "logs" / name)
        LocalPipelineExecutor(pipeline=list(pipeline), tasks=tasks, workers=cores, logging_dir=logs).run()

    def run() -> None:
        read = JsonlReader(str(out / "in"))
        stage("signatures", cores, read, MinhashDedupSignature(str(out / "s"), config, Languages.english))
        stage("buckets", BANDS, MinhashDedupBuckets(str(out / "s"), str(out / "b"), config=config))
        stage("cluster", 1, MinhashDedupCluster(str(out / "b"), str(out / "r"), config=config))
        kept = JsonlWriter(str(out / "kept"), compression=None)
        stage("filter", cores, read, MinhashDedupFilter(str(out / "r")), kept)

    def result() -> list[int]:
        lines = (line for file in (out / "kept").iterdir() for line in file.open())
        return sorted(set(range(len(texts))) - {int(json.loads(line)["id"]) for line in lines})

    return run, result


def memory(documents: int) -> dict[str, int]:
    """Peak memory of the component on so many documents that nobody keeps, and how many it kept."""
    import pyarrow as pa

    from domadapt.artifacts import document_schema
    from domadapt.builtin.cleaning.duplicates import MinHashDuplicates

    cleaner, kept = MinHashDuplicates(), 0
    for batch in _stream(documents):
        columns = [pa.array(column, pa.string()) for column in batch]
        kept += cleaner.clean(pa.RecordBatch.from_arrays(columns, schema=document_schema()))[0].num_rows
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {"peak_bytes": peak * (1 if sys.platform == "darwin" else 1024), "kept": kept}


def _stream(documents: int) -> Iterator[list[list[str]]]:
    """Different documents of 60 words, in the columns of record batches of 256."""
    for start in range(0, documents, 256):
        names = [f"d{number}" for number in range(start, min(start + 256, documents))]
        texts = [" ".join(f"{name}w{place}" for place in range(60)) for name in names]
        yield [names, texts, names, names, names, ["{}"] * len(names)]


SIDES: dict[str, Callable[[list[str]], list[int]]] = {
    "ours": ours(20, 6, 1e-9),
    "ours 14x8": ours(BANDS, ROWS, 1e-9),
    "default": ours(BANDS, ROWS, 0.72),
    "rensa": rensa,
    "datasketch": datasketch,
}


def main() -> None:
    """Read the texts, run, tell."""
    side, file, out = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if side.startswith("memory"):
        print(json.dumps(memory(int(side.split()[1]))))
        return
    texts = [json.loads(line)["text"] for line in file.open(encoding="utf-8")]
    if side == "datatrove":
        run, result = datatrove(texts, out)
    else:
        SIDES[side](texts[:300])  # imports, and what is loaded once
    before, started = os.times(), time.perf_counter()
    if side == "datatrove":
        run()
    else:
        dropped = SIDES[side](texts)
    seconds, after = time.perf_counter() - started, os.times()
    if side == "datatrove":
        dropped = result()
    told = {"seconds": seconds, "cpu_seconds": sum(after[:4]) - sum(before[:4]), "dropped": dropped}
    print(json.dumps(told))


if __name__ == "__main__":
    main()
