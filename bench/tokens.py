"""Tokenise and pack: adapt's tokens stage beside the arrangements others use, same tokenizer, same documents, same ids.

    python bench/tokens.py [--quick]

Documents are what the installed Python packages have of prose: docstrings of modules and text files, exact copies left
out; the tokenizer is a byte-level BPE with 32,000 tokens and Llama-3's splitting, trained on an eighth of it. One
process a side, the sides taking turns, all with a process or a thread a core; imports are not timed, loading the
tokenizer is. Each side reads what it reads quickest: Megatron's arrangement and datatrove JSON lines, the others
Parquet. Equal means that every window has the same ids in every arrangement, byte for byte.

    megatron run_clm datatrove encode_batch_fast   their seconds over ours
    megatron_without_fast_route                    Megatron's over ours where fastokens is not installed
    memory_4x                                      our peak memory for four times the documents over that for one time

Peaks are those of the process itself: what the workers of other arrangements take is not in them.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from bars import met
from peers import peers_python

HERE = Path(__file__).parent
PEERS = ("megatron", "run_clm", "datatrove", "encode_batch_fast")
SIDES = ("ours", "without_fast_route", *PEERS)
BARS = {
    "megatron": ">= 15", "run_clm": ">= 18", "datatrove": ">= 1", "encode_batch_fast": ">= 8",
    "megatron_without_fast_route": ">= 2", "memory_4x": "<= 1.1",
}  # fmt: skip
FULL, QUICK = 64_000_000, 12_000_000
"""Bytes of text."""
DOCSTRING = re.compile(r'"""(.+?)"""', re.DOTALL)
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
    r"|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPECIAL = ["<|begin_of_text|>", "<|end_of_text|>"]


def documents(most: int) -> Iterator[str]:
    """Prose of installed packages, in the order of its paths, until there are so many bytes."""
    seen: set[str] = set()
    size = 0
    roots = [Path(path) for path in dict.fromkeys([*sys.path, sysconfig.get_path("stdlib")]) if Path(path).is_dir()]
    for root in roots:
        for file in sorted(root.rglob("*")):
            if file.suffix not in (".py", ".md", ".rst", ".txt") and file.name != "METADATA":
                continue
            try:
                text = file.read_text(encoding="utf-8")
            except (OSError, ValueError):
                continue
            if file.suffix == ".py":
                text = "\n\n".join(DOCSTRING.findall(text))
            if len(text) < 200 or text in seen or any(token in text for token in SPECIAL):
                continue
            seen.add(text)
            yield text
            size += len(text.encode())
            if size >= most:
                return


def write_input(folder: Path, most: int) -> tuple[int, int]:
    """All that the sides read; returns documents and bytes."""
    texts = list(documents(most))
    (folder / "halves").mkdir(parents=True)
    with (folder / "texts.jsonl").open("w", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"text": text}) + "\n" for text in texts)
    half = len(texts) // 2
    for number, some in enumerate((texts[:half], texts[half:])):
        with (folder / "halves" / f"{number}.jsonl").open("w", encoding="utf-8") as lines:
            lines.writelines(json.dumps({"text": text, "id": str(i)}) + "\n" for i, text in enumerate(some))
    write_corpus(folder / "corpus", texts)
    train_tokenizer(folder / "tokenizer", texts[::8])
    return len(texts), sum(len(text.encode()) for text in texts)


def write_corpus(final: Path, texts: list[str], times: int = 1) -> None:
    """A finished corpus with these documents to train on, so many times."""
    import pyarrow as pa

    from domadapt.artifacts import document_schema
    from domadapt.pipeline.shards import ShardWriter
    from domadapt.pipeline.store import publish

    work = final.with_name(f"{final.name}.partial")
    for split in ("train", "selection", "report"):
        writer = ShardWriter(work / split, "documents")
        some = texts * times if split == "train" else texts[:20]
        for start in range(0, len(some), 512):
            rows = some[start : start + 512]
            names = [str(number) for number in range(start, start + len(rows))]
            same = ["bench"] * len(rows)
            columns = [names, rows, same, same, names, ["{}"] * len(rows)]
            writer.write(
                pa.RecordBatch.from_arrays([pa.array(c, pa.string()) for c in columns], schema=document_schema())
            )
        writer.close()
    publish(work, final, {"kind": "corpus", "facts": {}})


def train_tokenizer(folder: Path, texts: list[str]) -> None:
    """The tokenizer of all sides."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=32_000, special_tokens=SPECIAL, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(texts, trainer)
    folder.mkdir()
    made.save(str(folder / "tokenizer.json"))
    settings = {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": SPECIAL[1], "model_max_length": 10**30}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))


def run_side(side: str, folder: Path) -> dict[str, Any]:
    """Run a side once in its environment."""
    python = str(peers_python()) if side == "datatrove" else sys.executable
    with tempfile.TemporaryDirectory(dir=folder.parent) as out:
        command = [python, str(HERE / "tokens_side.py"), side, str(folder), out]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])  # type: ignore[no-any-return]


def bench(quick: bool, rounds: int | None = None, folder: Path | None = None) -> dict[str, Any]:
    """All of it: {"ratios", "limits", "equal", ...}, without the name."""
    rounds = rounds or (1 if quick else 3)
    with tempfile.TemporaryDirectory(prefix="bench-tokens-", dir=folder) as name:
        given = Path(name) / "one"
        count, size = write_input(given, QUICK if quick else FULL)
        print(f"{count:,} documents, {size / 1e6:.1f} MB", file=sys.stderr, flush=True)
        runs: dict[str, list[dict[str, Any]]] = {side: [] for side in SIDES}
        for number in range(rounds):
            for side in SIDES[:: 1 if number % 2 == 0 else -1]:
                runs[side].append(run_side(side, given))
                rate = size / 1e6 / runs[side][-1]["seconds"]
                print(f"round {number}: {side:<20} {rate:8.2f} MB/s", file=sys.stderr, flush=True)
        large = Path(name) / "four"
        large.mkdir()
        (large / "tokenizer").symlink_to(given / "tokenizer")
        write_corpus(large / "corpus", list(documents(size)), times=4)
        grown = run_side("ours", large)["peak_bytes"]
    return _report(count, size, runs, grown)


def _report(count: int, size: int, runs: Mapping[str, list[dict[str, Any]]], grown: int) -> dict[str, Any]:
    seconds = {side: median(run["seconds"] for run in of_side) for side, of_side in runs.items()}
    first = runs["ours"][0]
    unequal = [
        side
        for side, of_side in runs.items()
        if any((run["windows"], run["sha256"]) != (first["windows"], first["sha256"]) for run in of_side)
    ]
    print(f"\n{'':<20}{'MB/s':>9}{'peak MB':>9}   ids")
    for side, of_side in runs.items():
        peak = median(run["peak_bytes"] for run in of_side)
        same = "others" if side in unequal else "equal"
        print(f"{side:<20}{size / 1e6 / seconds[side]:>9.2f}{peak / 1e6:>9.0f}   {same}")
    ratios = {peer: seconds[peer] / seconds["ours"] for peer in PEERS}
    ratios["megatron_without_fast_route"] = seconds["megatron"] / seconds["without_fast_route"]
    ratios["memory_4x"] = grown / median(run["peak_bytes"] for run in runs["ours"])
    return {
        "equal": not unequal,
        "ratios": {key: round(ratio, 3) for key, ratio in ratios.items()},
        "limits": BARS,
        "met": met(ratios, BARS),
        "documents": count,
        "bytes": size,
        "mb_per_second": {side: round(size / 1e6 / s, 3) for side, s in seconds.items()},
        "peak_mb": {side: round(median(run["peak_bytes"] for run in of) / 1e6) for side, of in runs.items()},
    }


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round, a fifth of the text")
    parser.add_argument("--rounds", type=int, help="timed rounds (default 3, quick 1)")
    parser.add_argument("--folder", type=Path, help="where the texts and results lie meanwhile (default: /tmp)")
    options = parser.parse_args()
    result = bench(options.quick, options.rounds, options.folder)
    print(json.dumps({"bench": "tokens", "quick": options.quick, **result}))
    sys.exit(0 if result["equal"] else 1)


if __name__ == "__main__":
    main()
