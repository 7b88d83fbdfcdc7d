"""Text out of real inline-XBRL 10-Ks: the sec pack's parser beside edgartools, Beautiful Soup on lxml and trafilatura.

    ADAPT_REAL_DATA=DIR python bench/corpus_extraction.py [--quick]

One process a side, the sides taking turns on the same files of DIR/sec/ixbrl, held in memory; start and imports are not
timed. Ours is the parser as the source calls it: metadata and items are part of its time. What the text must hold is
looked at too: words and numbers of the visible text as Beautiful Soup sees it (each as often as it is there), and rows
of tables, each on one line of ours with the same cells in it. Megabytes of HTML a second:

    edgartools bs4 trafilatura   our rate over theirs
    retained_words               words of bs4's visible text that ours has; `words` has the same of every side
    rows                         rows of two cells and more that are one line of ours
    two_processes                files read by one worker process of the source over the same by two, on the clock
"""

from __future__ import annotations

import argparse
import json
import lzma
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

from peers import peers_python

HERE = Path(__file__).parent
SIDES = ("ours", "edgartools", "bs4", "trafilatura")
PEERS = SIDES[1:]
BARS = {"edgartools": ">= 10", "bs4": ">= 5", "retained_words": ">= 0.99", "rows": ">= 0.95", "two_processes": ">= 1.6"}
QUICK = 8
"""Files of the quick run."""
WORD = re.compile(r"[A-Za-z]{3,}|\d[\d,.]*\d")


def write_filings(folder: Path, most: int | None) -> int:
    """The 10-Ks as they were filed; returns their bytes. Raises SystemExit where there are none."""
    root = os.environ.get("ADAPT_REAL_DATA")
    found = sorted((Path(root) / "sec" / "ixbrl").glob("10-K_*.html.xz")) if root else []
    if not found:
        raise SystemExit("corpus_extraction: set ADAPT_REAL_DATA to a folder with sec/ixbrl/10-K_*.html.xz")
    for file in found[:: max(1, len(found) // most) if most else 1][:most]:
        (folder / file.name.removesuffix(".xz")).write_bytes(lzma.decompress(file.read_bytes()))
    return sum(file.stat().st_size for file in folder.iterdir())


def run_side(side: str, filings: Path, out: Path) -> dict[str, float]:
    """Run a side once in its environment: seconds and CPU seconds of its extraction."""
    python = sys.executable if side == "ours" else str(peers_python())
    out.mkdir(exist_ok=True)
    script = str(HERE / "corpus_extraction_side.py")
    done = subprocess.run([python, script, side, str(filings), str(out)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{side} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return {key: float(value) for key, value in json.loads(done.stdout.splitlines()[-1]).items()}


def retained(texts: Path, wanted: Path) -> float:
    """The share of the words of one side's texts that another's have, each as often as it is there."""
    there = missing = 0
    for file in sorted(wanted.glob("*.txt")):
        words = Counter(WORD.findall(file.read_text(encoding="utf-8")))
        there += words.total()
        missing += (words - Counter(WORD.findall((texts / file.name).read_text(encoding="utf-8")))).total()
    return 1 - missing / there


def rows_on_a_line(texts: Path, wanted: Path) -> float:
    """The share of rows whose cells are one line of the texts, in their order, whatever separates them."""
    there = missing = 0
    for file in sorted(wanted.glob("*.rows")):
        rows = Counter(row.replace("\t", "") for row in file.read_text(encoding="utf-8").split("\n"))
        text = (texts / file.with_suffix(".txt").name).read_text(encoding="utf-8")
        there += rows.total()
        missing += (rows - Counter("".join(line.split()) for line in text.split("\n") if "\t" in line)).total()
    return 1 - missing / there


def time_workers(filings: Path, count: int) -> float:
    """Seconds in which so many worker processes read all files, as the source has them read; started before."""
    from domadapt.builtin.corpora.workers import parse_in_workers
    from domadapt_sec.filings import Input, read_file
    from domadapt_sec.parsing import Reading

    inputs: list[tuple[str, Input]] = [(file.name, (file.name, file, Reading())) for file in sorted(filings.iterdir())]

    def read(some: list[tuple[str, Input]]) -> int:
        return sum(1 for _ in parse_in_workers(read_file, some, lambda *why: None, workers=count))

    read(inputs[: 2 * count])
    start = time.perf_counter()
    assert read(inputs) == len(inputs)
    return time.perf_counter() - start


def bench(quick: bool, rounds: int | None = None) -> dict[str, Any]:
    """All of it: {"ratios", "limits", "equal", ...}, without the name and the machine."""
    from domadapt.builtin.corpora.workers import dismiss_workers

    rounds = rounds or (1 if quick else 3)
    with tempfile.TemporaryDirectory(prefix="bench-extraction-") as name:
        folder = Path(name)
        filings = folder / "filings"
        filings.mkdir()
        megabytes = write_filings(filings, QUICK if quick else None) / 1e6
        times: dict[str, list[dict[str, float]]] = {side: [] for side in SIDES}
        workers: dict[int, list[float]] = {1: [], 2: []}
        for number in range(rounds):
            for side in SIDES[:: 1 if number % 2 == 0 else -1]:
                times[side].append(run_side(side, filings, folder / side))
                rate = megabytes / times[side][-1]["seconds"]
                print(f"round {number}: {side:<12} {rate:8.2f} MB/s", file=sys.stderr, flush=True)
        for _ in range(max(3, rounds)):
            for count, seconds in workers.items():
                dismiss_workers()
                seconds.append(time_workers(filings, count))
        dismiss_workers()
        words = {side: retained(folder / side, folder / "bs4") for side in SIDES}
        rows = rows_on_a_line(folder / "ours", folder / "bs4")
    return _report(megabytes, times, workers, words, rows)


def _report(
    megabytes: float,
    times: Mapping[str, list[dict[str, float]]],
    workers: Mapping[int, list[float]],
    words: Mapping[str, float],
    rows: float,
) -> dict[str, Any]:
    rate = {side: megabytes / median(run["seconds"] for run in runs) for side, runs in times.items()}
    cpu = {side: megabytes / median(run["cpu_seconds"] for run in runs) for side, runs in times.items()}
    print(f"\n{'':<14}{'MB/s':>9}{'MB/s CPU':>10}{'words kept':>12}")
    for side in SIDES:
        print(f"{side:<14}{rate[side]:>9.2f}{cpu[side]:>10.2f}{words[side]:>12.4f}")
    for count, seconds in workers.items():
        print(f"{count} worker(s)   {megabytes / median(seconds):>9.2f}")
    ratios = {peer: round(rate["ours"] / rate[peer], 2) for peer in PEERS} | {
        "retained_words": round(words["ours"], 5),
        "rows": round(rows, 5),
        "two_processes": round(median(workers[1]) / median(workers[2]), 3),
    }
    return {
        "ratios": ratios,
        "limits": BARS,
        "equal": ratios["retained_words"] >= 0.99 and ratios["rows"] >= 0.95,
        "megabytes": round(megabytes, 1),
        "mb_per_second": {side: round(one, 2) for side, one in rate.items()},
        "mb_per_cpu_second": {side: round(one, 2) for side, one in cpu.items()},
        "words": {side: round(share, 4) for side, share in words.items()},
        "workers_mb_per_second": {str(n): round(megabytes / median(seconds), 2) for n, seconds in workers.items()},
    }


def main() -> None:
    """The measurement by itself."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a quarter of the filings, one round, under 3 minutes")
    parser.add_argument("--rounds", type=int, help="timed rounds (default 3, quick 1)")
    options = parser.parse_args()
    result = {"bench": "corpus_extraction", "quick": options.quick, **bench(options.quick, options.rounds)}
    print(json.dumps(result))
    sys.exit(0 if result["equal"] else 1)


if __name__ == "__main__":
    main()
