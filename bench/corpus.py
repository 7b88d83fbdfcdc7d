"""Corpora: text out of filings and near-duplicates among documents, beside the libraries that others use.

    ADAPT_REAL_DATA=DIR python bench/corpus.py [--quick]

Runs bench/corpus_extraction.py (its docstring says what is measured; it needs real filings) and bench/corpus_dedup.py.
The last line is one JSON object with the ratios of both; exit code 1 when a side's result is not the equal of ours.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from datetime import date
from importlib.metadata import version
from typing import Any

import corpus_dedup
import corpus_extraction
from bars import met

PACKAGES = ("domadapt", "numba", "llvmlite", "numpy", "pyarrow", "resiliparse", "lxml")


def main() -> None:
    """Both parts, one object."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round of less, under 3 minutes")
    parser.add_argument("--rounds", type=int, help="timed rounds of each part")
    options = parser.parse_args()
    load = os.getloadavg()[0]
    parts: dict[str, dict[str, Any]] = {}
    for name, part in (("extraction", corpus_extraction.bench), ("dedup", corpus_dedup.bench)):
        print(f"== {name}", file=sys.stderr, flush=True)
        parts[name] = part(options.quick, options.rounds)
    ratios, limits = ({k: v for part in parts.values() for k, v in part[key].items()} for key in ("ratios", "limits"))
    result = {
        "bench": "corpus",
        "quick": options.quick,
        "equal": all(part["equal"] for part in parts.values()),
        "ratios": ratios,
        "limits": limits,
        "met": met(ratios, limits),
        "recalls": parts["dedup"]["recalls"],
        "details": {name: {k: v for k, v in part.items() if k not in _SHOWN} for name, part in parts.items()},
        "load_before": round(load, 2),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPUs",
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES},
        "date": date.today().isoformat(),
    }
    print(json.dumps(result))
    sys.exit(0 if result["equal"] else 1)


_SHOWN = ("equal", "ratios", "limits", "met", "recalls")

if __name__ == "__main__":
    main()
