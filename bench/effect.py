"""Does the default run show the paper's effect? The same run over several seeds, in one table.

    python bench/effect.py [--quick] [--domain sec]

Asked of every seed: CPT is better than instruct on the domain and worse in general, and the merge keeps at least 60 %
of the gain and wins back at least 60 % of the loss, with 95 % intervals that exclude 0. The seed decides the held-out
companies, the order of data and the replayed text; the models at the start and the benchmark items are the same. The
last line is one JSON object; nothing here is timed. --quick: 2 seeds instead of 5.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

LIMIT = 0.60


def run(domain: str, seed: int, runs: Path) -> dict[str, Any]:
    """The report of one run."""
    name = f"{domain}-effect-{seed}"
    command = [sys.executable, "-m", "domadapt", "run", "--domain", domain, "--name", name, "--set", f"seed={seed}"]
    environment = {**os.environ, "ADAPT_RUNS": str(runs)}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL)
    data: dict[str, Any] = json.loads((runs / name / "report.json").read_bytes())
    return data


def summary(report: dict[str, Any]) -> dict[str, Any]:
    """What one run shows: CPT against instruct on both texts, and the shares of the run's merge, with intervals."""
    ledger, merge = report["ledger"], report["verdict"]["chosen_merge"]
    row: dict[str, Any] = {"merge": merge}
    shown = True
    for side, wanted in (("domain", "better"), ("general", "worse")):
        measure = next(m for m in ledger["measures"] if m["task"] == f"bits_per_byte.{side}")
        difference = next(s["difference"] for s in measure["scores"] if s["model"] == "cpt")
        row[side] = [difference[k] for k in ("value", "low", "high")]
        shown &= difference["verdict"] == wanted
    for kind, task in (("gain kept", "bits_per_byte.domain"), ("loss won back", "bits_per_byte.general")):
        share = next(s for s in ledger["shares"] if s["merge"] == merge and s["task"] == task)
        row[kind] = [share[k] for k in ("value", "low", "high")]
        shown &= share["value"] is not None and share["value"] >= LIMIT and share["low"] > 0
    row["shown"] = bool(shown)
    return row


def table(rows: dict[int, dict[str, Any]]) -> str:
    """The rows as a Markdown table, ready for docs/benchmarks.md."""
    head = "| seed | CPT, domain bits/byte | CPT, general bits/byte | merge | gain kept % | loss won back % | shown |"
    lines = [head, "|---|---|---|---|---|---|---|"]
    for seed, row in rows.items():
        differences = [f"{v:+.3f} [{low:+.3f}, {high:+.3f}]" for v, low, high in (row["domain"], row["general"])]
        shares = [
            "-" if row[k][0] is None else "{:.1f} [{:.1f}, {:.1f}]".format(*(100 * x for x in row[k]))
            for k in ("gain kept", "loss won back")
        ]
        cells = [str(seed), *differences, row["merge"], *shares, "yes" if row["shown"] else "no"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> int:
    """Run all seeds, print the table; 0 when every seed shows the effect."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--domain", default="sec")
    parser.add_argument("--runs", type=Path, help="keep the runs there; the same folder again continues")
    arguments = parser.parse_args()
    seeds = range(1, 3 if arguments.quick else 6)
    with tempfile.TemporaryDirectory() as temporary:
        runs = arguments.runs or Path(temporary)
        reports = {seed: run(arguments.domain, seed, runs) for seed in seeds}
    rows = {seed: summary(report) for seed, report in reports.items()}
    print(table(rows))
    shown = all(row["shown"] for row in rows.values())
    ratios = {
        f"{kind} min": min(row[kind][0] or 0.0 for row in rows.values()) for kind in ("gain kept", "loss won back")
    }
    limits = dict.fromkeys(ratios, f">= {LIMIT}")
    result = {"bench": "effect", "domain": arguments.domain, "ratios": ratios, "limits": limits, "equal": shown}
    print(json.dumps({**result, "seeds": rows}))
    return 0 if shown else 1


if __name__ == "__main__":
    sys.exit(main())
