"""Real losses, of runs held out: continued pre-training of Pythia-70M on Pile and Python (Ye et al. 2024)."""

from __future__ import annotations

import json
import lzma
import os
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest

from domadapt.laws.heldout import held_out
from domadapt.laws.observations import observe
from domadapt.laws.table import Table

ENDS, MIDDLE = (0.125, 0.5), 0.28515625
"""Shares of the Pile."""


@pytest.fixture(scope="module")
def continued() -> Table:
    """The table: five ratios, ten checkpoints each; the Pile's loss is weighted over its 22 parts."""
    root = os.environ.get("ADAPT_REAL_DATA")
    if root is None:
        pytest.skip("ADAPT_REAL_DATA is not set: no measured losses to predict")
    folder = Path(root) / "mixing" / "mixinglaws"
    weights = json.loads((folder / "valid_weight.json").read_text())
    losses: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    with lzma.open(folder / "ct" / "70M.txt.xz", "rt") as lines:
        for line in lines:
            model, data, loss = line.split("\t")
            *_, run, step = model.split("/")
            if step.isdigit():
                corpus = data.split("/")[-1].removesuffix(".bin").removesuffix(".valid")
                losses[run, int(step)][corpus.removeprefix("pythia-pile.valid.")] = float(loss)
    rows = [
        (run, step, float(run.split("-")[-1]), found["starcoder.python"], sum(weights[c] * found[c] for c in weights))
        for (run, step), found in losses.items()
    ]
    names = ("run", "tokens", "domain_share", "domain_loss", "general_loss")
    columns = dict(zip(names, map(np.array, zip(*rows, strict=True)), strict=True))
    assert len(rows) == 50
    return Table({**columns, "run": columns["run"].astype(object), "tokens": columns["tokens"] * 1.0}, "ct")


def errors(table: Table, law: str) -> dict[str, dict[float, tuple[float, float]]]:
    """side -> share of the Pile held out -> (RMSE of the law, of the line)."""
    found = {}
    for observations in observe(table, law):
        held = held_out(observations)[0]
        own = law == "dcpt" and observations.side == "general"
        shares = sorted(set(observations.inputs["ratio" if law == "dcpt" else "domain_share"]))
        found[observations.side] = {
            round(share if own else 1 - share, 9): (fold.rmse, fold.naive or 0.0)
            for share, fold in zip(shares, held.folds, strict=True)
        }
    return found


@pytest.mark.slow
def test_d_cpt_beats_the_line_at_both_ends_for_both_losses(continued: Table) -> None:
    """For the Pile at a share of 0.5 only when held to the paper's demand: 0.0039 against 0.0093, without it 0.0168."""
    found = errors(continued, "dcpt")
    for side in ("domain", "general"):
        for end in ENDS:
            law, line = found[side][end]
            assert law < line
        assert found[side][MIDDLE][0] <= 0.01


@pytest.mark.slow
def test_the_data_mixing_law_beats_the_line_at_both_ends_for_both_losses(continued: Table) -> None:
    found = errors(continued, "mixing")
    for side in ("domain", "general"):
        for end in ENDS:
            law, line = found[side][end]
            assert law < line
        assert found[side][MIDDLE][0] <= 0.01
