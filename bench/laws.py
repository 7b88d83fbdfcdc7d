"""How well do the laws predict runs that they have not seen? Real losses, beside naive guesses and published errors.

    ADAPT_REAL_DATA=DIR python bench/laws.py [--quick]

DIR/mixing: the losses of Data Mixing Laws (Ye et al. 2024) and RegMix (Liu et al. 2025). Every figure is of runs that
the law was not fitted to. First the published fit of the annealing law is repeated: that is the equality check. The
last line is one JSON object. --quick: fewer corpora of the tables with many.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import lzma
import os
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from domadapt.laws.annealing import Annealing
from domadapt.laws.fitting import fit
from domadapt.laws.heldout import HeldOut, held_out
from domadapt.laws.observations import Observations, observe
from domadapt.laws.schedules import areas
from domadapt.laws.study import study
from domadapt.laws.table import Table

Array = np.ndarray

STEP_TOKENS = 1e6
"""The tables count steps; the unit changes no prediction."""
COSINE = (
    "3.6696358 3.3254106 3.1908393 3.1158533 3.0604768 3.020384 2.9880967 2.9612265 2.9395165 2.9195616 2.9030452 "
    "2.8881907 2.8767889 2.8654318 2.8565135 2.8489892 2.843639 2.8398669 2.8380618 2.8376071"
)
CONSTANT = (
    "3.6714418 3.325626 3.1884103 3.111947 3.058354 3.0211415 2.9874816 2.96082 2.9406552 2.9241402 2.9054413 "
    "2.8942103 2.8807929 2.8702695 2.862175 2.8530996 2.8448784 2.8383856 2.8326995 2.8294308"
)
"""Tissue et al. 2024 (arXiv 2408.11029), their script: losses every 1000 steps, peak 2e-4, warm-up 500."""
PUBLISHED_FIT = {"L0": 2.62780, "A": 0.42966, "C": 0.41077, "alpha": 0.54985}
ENDS, MIDDLE = ("0.125", "0.5"), "0.285"
WITHIN = 0.01


def annealing() -> tuple[dict[str, float], bool]:
    """The fit of the 40 published losses, and whether it is the published one."""
    step = np.arange(20001)
    cosine = 1e-4 * (1 + np.cos(np.pi * (step - 500) / 19500))
    cosine[:501] = 2e-4
    points = np.arange(1000, 20001, 1000)
    found = [areas(rates) for rates in (cosine, np.full(20001, 2e-4))]
    inputs = {
        "s1": np.concatenate([s1[points] for s1, _ in found]),
        "s2": np.concatenate([s2[points] for _, s2 in found]),
        "loss": np.array(f"{COSINE} {CONSTANT}".split(), float),
    }
    fitted = fit(Annealing(), inputs)
    same = all(abs(fitted.named[name] - value) < 1e-5 for name, value in PUBLISHED_FIT.items())
    return {**fitted.named, "R2": fitted.r2}, same


def measurements(file: Path) -> dict[tuple[str, int], dict[str, float]]:
    """Losses by validation set, of each (run, step); the start is step 0."""
    found: dict[tuple[str, int], dict[str, float]] = defaultdict(dict)
    with lzma.open(file, "rt") as lines:
        for line in lines:
            model, data, loss = line.rstrip("\n").split("\t")
            corpus = data.split("/")[-1].removesuffix(".bin").removesuffix(".valid").removeprefix("pythia-pile.valid.")
            parts = model.split("/")
            run, step = (parts[-2], int(parts[-1])) if parts[-1].isdigit() else (parts[-1], 0)
            found[run, step][corpus] = float(loss)
    return found


def shares_of(run: str) -> list[float]:
    """Shares of the corpora, from a run's name: 70M_ct_0-0.125-0.875."""
    return [float(part) for part in run.split("_")[-1].split("-")[1:]]


def continued(folder: Path) -> Table:
    """Continued pre-training of Pythia-70M on Pile and Python: the weighted Pile loss is the general one."""
    weights = json.loads((folder / "valid_weight.json").read_text())
    rows = [
        (run, step, shares_of(run)[1], losses["starcoder.python"], sum(weights[c] * losses[c] for c in weights))
        for (run, step), losses in sorted(measurements(folder / "ct" / "70M.txt.xz").items())
        if step
    ]
    runs, steps, share, domain, general = zip(*rows, strict=True)
    return Table(
        {
            "run": np.array(runs, dtype=object),
            "tokens": np.array(steps) * STEP_TOKENS,
            "domain_share": np.array(share),
            "domain_loss": np.array(domain),
            "general_loss": np.array(general),
        },
        "mixinglaws/ct",
    )


def leave_ratios_out(table: Table) -> dict[str, dict[str, dict[str, float]]]:
    """RMSE over ten checkpoints by side, Pile share held out and law, nats per token; and of the naive guess."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for law in ("dcpt", "mixing"):
        for observations in observe(table, law):
            by_ratio = {name: folds for name, folds in observations.folds.items() if "turn" in name}
            own = Observations(observations.side, observations.law, observations.inputs, observations.groups, by_ratio)
            for error in held_out(own)[0].folds:
                share = float(error.label)
                pile = share if law == "dcpt" and own.side == "general" else 1 - share
                row = found.setdefault(own.side, {}).setdefault(f"{pile:.3g}", {})
                row[law] = error.rmse
                row["linear"] = error.naive or float("nan")
    return found


def mixtures(folder: Path, name: str, quick: bool) -> tuple[list[Observations], str]:
    """The mixing law's view of one table: losses of all validation sets at the last step that all runs share."""
    losses = measurements(folder / f"{name}.txt.xz")
    runs = sorted({run for run, step in losses if step})
    last = max(step for step in {s for _, s in losses} if all((run, step) in losses for run in runs))
    corpora = sorted(set.intersection(*(set(losses[run, last]) for run in runs)))
    mixture = np.array([shares_of(run) for run in runs])
    columns = {f"share.{i}": mixture[:, i] for i in range(mixture.shape[1])}
    columns |= {f"loss.{c}": np.array([losses[run, last][c] for run in runs]) for c in corpora[:: 4 if quick else 1]}
    return observe(Table(columns, name), "mixing"), f"{len(runs)} mixtures of {mixture.shape[1]}, step {last}"


def linear_errors(observations: Observations) -> Array:
    """Log errors of a linear regression on the shares, over the same folds."""
    inputs = observations.inputs
    x = np.stack([np.ones(len(inputs["loss"])), *(inputs[n] for n in observations.law.inputs if n != "length")], 1)
    errors = []
    for _, held in next(iter(observations.folds.values())):
        coefficients, *_ = np.linalg.lstsq(x[~held], inputs["loss"][~held], rcond=None)
        errors.append(np.log(np.maximum(x[held] @ coefficients, 1e-9) / inputs["loss"][held]))
    return np.concatenate(errors)


def regmix(folder: Path, quick: bool) -> list[tuple[str, float, float, float, float]]:
    """(corpus, Spearman and MSE of the mixing law, of a linear regression) on 256 mixtures, fitted to 512 others."""
    from scipy.stats import spearmanr

    def read(name: str) -> tuple[list[str], Array]:
        with gzip.open(folder / f"{name}_1m.csv.gz", "rt") as file:
            head, *rows = csv.reader(file)
        return head[1:], np.array([[float(cell) for cell in row[1:]] for row in rows])

    names, mixture = read("train_mixture")
    targets, losses = read("train_pile_loss")
    (_, asked), (_, truth) = read("test_mixture"), read("test_pile_loss")
    wanted = [i for i, target in enumerate(targets) if not quick or "pile_cc" in target]
    found = []
    for i in wanted:
        columns = {f"share.{n}": mixture[:, j] for j, n in enumerate(names)} | {"loss.target": losses[:, i]}
        (observations,) = observe(Table(columns, "regmix"), "mixing")
        fitted = fit(observations.law, observations.inputs, starts=4)
        shares = {f"share.{n}": asked[:, j] for j, n in enumerate(names)}
        predicted = fitted.predict({**shares, "length": np.zeros(len(asked))})
        x, y = (np.c_[np.ones(len(part)), part[:, :-1]] for part in (mixture, asked))
        linear = y @ np.linalg.lstsq(x, losses[:, i], rcond=None)[0]
        name = targets[i].split("the_pile_")[1].removesuffix("_val_loss")
        law_rank, linear_rank = (float(spearmanr(guess, truth[:, i])[0]) for guess in (predicted, linear))
        found.append((name, law_rank, _mse(predicted, truth[:, i]), linear_rank, _mse(linear, truth[:, i])))
    return found


def _mse(guess: Array, truth: Array) -> float:
    return float(((guess - truth) ** 2).mean())


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Rows as Markdown."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(str, row))} |" for row in rows)])


def rows_of(found: Mapping[str, Mapping[str, Mapping[str, float]]]) -> Iterable[list[str]]:
    """One row a side and ratio, the least error bold."""
    for side, by_ratio in found.items():
        for ratio, errors in sorted(by_ratio.items()):
            best = min(errors.values())
            told = [f"**{errors[k]:.4f}**" if errors[k] == best else f"{errors[k]:.4f}" for k in COLUMNS]
            yield ["Python" if side == "domain" else "weighted Pile", ratio, *told]


COLUMNS = ("dcpt", "mixing", "linear")


def main() -> int:
    """Print the tables; 0 when the published fit is repeated and the bars are met by one of the laws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    root = os.environ.get("ADAPT_REAL_DATA")
    if root is None or not (Path(root) / "mixing" / "mixinglaws").is_dir():
        raise SystemExit("laws: set ADAPT_REAL_DATA to a folder with mixing/mixinglaws and mixing/regmix")
    folder = Path(root) / "mixing"
    fitted, same = annealing()
    print("annealing law, 40 published losses:", ", ".join(f"{k} {v:.5f}" for k, v in fitted.items()))
    started = time.process_time()
    ct = continued(folder / "mixinglaws")
    errors = leave_ratios_out(ct)
    print("\nContinued pre-training of Pythia-70M, one of five ratios held out, RMSE of its ten checkpoints (nats):\n")
    print(table(["loss", "Pile share held out", "D-CPT", "data mixing law", "linear"], rows_of(errors)))
    account = study(observe(ct, "dcpt")[0])
    seconds = time.process_time() - started
    print(f"\nD-CPT, Python: R2 {account.fit.r2:.4f}; both tables and one bootstrap took {seconds:.0f} s of CPU")
    print("\nData mixing law, every mixture (or tenth) held out in turn, relative RMSE, mean over validation sets:\n")
    print(table(["table", "what", "law", "linear regression"], mixture_rows(folder / "mixinglaws", arguments.quick)))
    found = regmix(folder / "regmix", arguments.quick)
    print("\nRegMix, 256 mixtures after 512 (published, Pile-CC: Spearman 0.9845 by LightGBM, 0.9008 linear):\n")
    told = [[n, *(f"{v:.4f}" for v in values)] for n, *values in found]
    print(table(["validation set", "law Spearman", "law MSE", "linear Spearman", "linear MSE"], told))
    ratios, met = judged(errors)
    pile = next(row for row in found if row[0] == "pile_cc")
    ratios["regmix pile_cc spearman"] = pile[1]
    limits = {name: "> 1" if "linear /" in name else f"<= {WITHIN}" for name in ratios}
    limits["regmix pile_cc spearman"] = "published 0.9845"
    print(json.dumps({"bench": "laws", "ratios": ratios, "limits": limits, "equal": same, "met": met}))
    return 0 if same else 1


def mixture_rows(folder: Path, quick: bool) -> Iterable[list[str]]:
    """Held-out errors of the mixing law and of a linear regression, a row a table."""
    for name in ("2Mix/70M", "2Mix/160M", "5Mix/70M", "RedPajama/70M", "RedPajama/160M")[: 3 if quick else 5]:
        observed, what = mixtures(folder, name, quick)
        held: list[HeldOut] = [held_out(o)[0] for o in observed]
        law = np.mean([h.rmse for h in held])
        linear = np.mean([np.sqrt((linear_errors(o) ** 2).mean()) for o in observed])
        yield [name, f"{what}, {len(observed)} sets", f"{law:.2%}", f"{linear:.2%}"]


def judged(errors: Mapping[str, Mapping[str, Mapping[str, float]]]) -> tuple[dict[str, float], dict[str, bool]]:
    """Errors of the line over a law's at both ends (above 1: the law is better), the middle's error, and what holds."""
    ratios, met = {}, {}
    for side, by_ratio in errors.items():
        for law in ("dcpt", "mixing"):
            for end in ENDS:
                ratio = by_ratio[end]["linear"] / by_ratio[end][law]
                ratios[f"{side} {end} linear / {law}"] = round(ratio, 2)
                met[f"{side} {end} {law}"] = ratio > 1
            middle = by_ratio[MIDDLE][law]
            ratios[f"{side} {MIDDLE} {law}"] = round(middle, 4)
            met[f"{side} {MIDDLE} {law}"] = middle <= WITHIN
    return ratios, met


if __name__ == "__main__":
    sys.exit(main())
