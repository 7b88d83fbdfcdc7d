"""Items of real filings found by the sec pack, against labels, era by era: the table of docs/benchmarks.md.

    ADAPT_REAL_DATA=DIR python bench/items.py

10-Ks, 10-Qs and 8-Ks below DIR/sec; whose labels they are is said in plugins/sec/tests/item_labels.py. Nothing is
timed. The last line is one JSON object: recall and precision of each form, and whether every era of 10-Ks reaches 0.95
of both.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "plugins" / "sec" / "tests"))
from item_labels import SOURCES, Labelled, counts, labelled, recall_and_precision

ERAS = ((1993, 2000), (2001, 2004), (2005, 2008), (2009, 2018), (2019, 2025))
"""The Web's first filings, new 8-K items in 2004, Item 1A since 2005, XBRL since 2009, inline XBRL since 2019."""
BAR = 0.95


def main() -> None:
    """The table, and one object."""
    argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0]).parse_args()
    root = os.environ.get("ADAPT_REAL_DATA")
    if not root or not (Path(root) / "sec" / "era_10k").is_dir():
        raise SystemExit("items: set ADAPT_REAL_DATA to a folder with sec/era_10k, sec/ixbrl and the others")
    filings = [filing for source in SOURCES for filing in labelled(Path(root) / "sec", source)]
    print("| form | filed | labels | filings | items | recall | precision |\n|---|---|---|---:|---:|---:|---:|")
    reached = True
    for form in ("10-K", "10-Q", "8-K"):
        for first, last in ERAS:
            era = [filing for filing in filings if filing.form == form and first <= filing.year <= last]
            for labels in sorted({filing.labels for filing in era}):
                _row(form, f"{first}–{last}", labels, [filing for filing in era if filing.labels == labels])
            if era and form == "10-K":
                reached &= min(recall_and_precision(counts(era))) >= BAR
        _row(form, "all", "all", [filing for filing in filings if filing.form == form])
    shares = {}
    for form in ("10-K", "10-Q", "8-K"):
        own = counts([filing for filing in filings if filing.form == form])
        shares[form] = [round(share, 4) for share in recall_and_precision(own)]
    limits = {"10-K, every era": f">= {BAR}"}
    print(json.dumps({"bench": "items", "recall_precision": shares, "limits": limits, "met": reached}))
    sys.exit(0 if reached else 1)


def _row(form: str, filed: str, labels: str, filings: Sequence[Labelled]) -> None:
    found = counts(list(filings))
    recall, precision = recall_and_precision(found)
    items = found["hit"] + found["missed"]
    print(f"| {form} | {filed} | {labels} | {len(filings)} | {items} | {recall:.3f} | {precision:.3f} |")


if __name__ == "__main__":
    main()
