"""A table as the laws take it: which law in which form, for which side, with what can be held out.

Here is where data that cannot tell a law's parameters apart is refused, with what is missing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from domadapt.errors import DataError, UsageError
from domadapt.laws import annealing, cmr, crossdomain, crosslingual, dynamics, mixing, outofdomain
from domadapt.laws.dcpt import DCPT, PARAMS, RATIO, TOKENS
from domadapt.laws.fitting import fit
from domadapt.laws.folds import Folds, by_mixture, by_name, by_value, distinct_values, late, usable
from domadapt.laws.law import LOSS, Inputs, Law
from domadapt.laws.schedules import areas, with_warmup_at_peak
from domadapt.laws.table import Table

if TYPE_CHECKING:
    Array = np.ndarray

MIN_RATIOS, MIN_LENGTHS, MIN_SIZES = 4, 3, 3
MIN_DOMAINS = 4
MIN_MIXTURES = 3
ROUNDED = 0.05
"""Shares that sum to 1 may miss it by this, as rounded numbers in names of runs do."""
MOST_STEPS = 1e7
"""More steps of an optimizer than anyone takes: tokens in the wrong column."""
ALIKE = 0.01
"""Ratios that differ by less are one ratio, achieved a little differently in each run."""


@dataclass(frozen=True)
class Observations:
    """What a law is fitted to. side: "domain", "general", or "" where a table has one loss.

    inputs: its columns and "loss".  groups: the run of each row.  folds: by what it shows, such as "each ratio in
    turn".  notes: what the data cannot tell.  start: the loss before training, where it was measured.
    constants: what the law took from a stage before it; of the mixing law, the longest length.
    """

    side: str
    law: Law
    inputs: Inputs
    groups: Array
    folds: Mapping[str, Folds]
    notes: Sequence[str] = ()
    start: float | None = None
    constants: Mapping[str, float] = field(default_factory=dict)


def observe(table: Table, law: str, limit: float | None = None) -> list[Observations]:
    """What the law is fitted to, one entry a side. limit: general loss that a critical ratio keeps (law "cmr").

    Raises UsageError for an unknown law, DataError when columns are missing or cannot identify its parameters.
    """
    if law not in PREPARED:
        raise UsageError(f"law: there is no law {law!r}; there is {', '.join(PREPARED)}")
    once, repeated = _once(table)
    found = _critical(once, limit) if law == "cmr" else PREPARED[law](once)
    if not repeated:
        return found
    return [replace(o, notes=[*o.notes, f"{repeated} rows that repeat others count once"]) for o in found]


def _once(table: Table) -> tuple[Table, int]:
    """The table without rows that are equal to an earlier one in everything, and how many those are."""
    rows = list(zip(*(map(repr, column.tolist()) for column in table.columns.values()), strict=True))
    first = {row: number for number, row in reversed(list(enumerate(rows)))}
    return _chosen(table, np.array(sorted(first.values()), int)), len(rows) - len(first)


def _sides(table: Table) -> list[tuple[str, str]]:
    """(side, column of its loss) of the losses that a table has."""
    sides = [(side, f"{side}_{LOSS}") for side in ("domain", "general") if f"{side}_{LOSS}" in table]
    if not sides:
        table[LOSS]  # says what is missing
        sides = [("", LOSS)]
    for _, column in sides:
        _positive(table, column)
    return sides


def _positive(table: Table, column: str) -> None:
    """Raise DataError for numbers that have no logarithm."""
    wrong = np.flatnonzero(table[column] <= 0)
    if len(wrong):
        raise DataError(
            f"{table.where}: column '{column}', row {wrong[0] + 1}: wanted a number above 0 (laws take its logarithm), "
            f"came {table[column][wrong[0]]:g}"
        )


def _ratio(table: Table, side: str) -> Array:
    """The share of the corpus whose loss it is."""
    if RATIO in table and not side:
        return table[RATIO]
    share = table["domain_share"]
    wrong = share[(share < -1e-9) | (share > 1 + 1e-9)]
    if len(wrong):
        raise DataError(f"{table.where}: column 'domain_share': wanted shares from 0 to 1, came {wrong[0]:g}")
    return 1 - share if side == "general" else share


def _ratio_columns(table: Table, side: str) -> list[str]:
    return [RATIO] if RATIO in table and not side else ["domain_share"]


def _dcpt(table: Table) -> list[Observations]:
    return [_dcpt_side(table, side, column, DCPT) for side, column in _sides(table)]


def _dcpt_side(table: Table, side: str, column: str, form: Callable[..., DCPT]) -> Observations:
    extra = [name for name in (crossdomain.INITIAL, crossdomain.DECLINE) if form is crossdomain.CrossDomain]
    sizes = PARAMS in table
    if sizes:
        _positive(table, PARAMS)
    rows = table.where_known(column, TOKENS, *_ratio_columns(table, side), *([PARAMS] if sizes else []), *extra)
    start = _start(rows, column)
    rows = _chosen(rows, rows[TOKENS] > 0)
    ratio = _ratio(rows, side)
    told = f"{rows.where}: law dcpt{f', {side} loss' if side else ''}"
    _want(told, "mixture ratios", ratio, MIN_RATIOS, "the terms of the ratio have four parameters")
    _want(told, "training lengths (tokens)", rows[TOKENS], MIN_LENGTHS, "the term of the length has two parameters")
    notes = []
    varied = sizes and len(distinct_values(rows[PARAMS])) > 1
    if varied:
        _want(told, "sizes of model", rows[PARAMS], MIN_SIZES, "the term of the size has two parameters beside E")
    else:
        notes.append("one size of model: the term of the size is part of E, and other sizes cannot be predicted")
    law = form(sizes=varied)
    inputs = {name: ratio if name == RATIO else rows[name] for name in law.inputs} | {LOSS: rows[column]}
    groups = rows.runs()
    folds = {"each ratio in turn": by_value(ratio, MIN_RATIOS), "the end of each run": late(groups, rows[TOKENS])}
    return Observations(side, law, inputs, groups, usable(folds), notes, start)


def _cross_domain(table: Table) -> list[Observations]:
    side, column = _sides(table)[0]
    names = table["domain"]
    if len(set(names)) < MIN_DOMAINS:
        raise DataError(
            f"{table.where}: law cross-domain: {len(set(names))} domains, {MIN_DOMAINS} at least are wanted: its term "
            "of the domain has three parameters beside E"
        )
    found = _dcpt_side(table, side, column, crossdomain.CrossDomain)
    rows = table.where_known(column, TOKENS, *_ratio_columns(table, side), crossdomain.INITIAL, crossdomain.DECLINE)
    rows = _chosen(rows, rows[TOKENS] > 0)
    folds = usable({"each domain in turn": by_name(rows["domain"])}) or found.folds
    return [Observations(side, found.law, found.inputs, found.groups, folds, found.notes, found.start)]


def _areas(table: Table, first: str, second: str) -> Table:
    """The table with the areas of the learning rate, from the columns or from step and lr of each run."""
    if first in table and second in table:
        return table.where_known(first, second)
    if "s1" in table and "s2" in table:
        return Table({**table.columns, first: table["s1"], second: table["s2"]}, table.where).where_known(first, second)
    if "step" not in table or "lr" not in table:
        raise DataError(
            f"{table.where}: no learning rates; this law wanted columns step and lr, or the areas s1 and s2"
        )
    steps, rates, runs = table["step"], table["lr"], table.runs()
    for name, column, most in (("step", steps, MOST_STEPS), ("lr", rates, 1e3)):
        wrong = np.flatnonzero((column < 0) | (column > most))
        if len(wrong):
            raise DataError(
                f"{table.where}: column '{name}', row {wrong[0] + 1}: wanted a number from 0 to {most:g}, came "
                f"{column[wrong[0]]:g}"
            )
    one, two = np.full(len(table), np.nan), np.full(len(table), np.nan)
    for run in dict.fromkeys(runs):
        rows = np.flatnonzero(runs == run)
        known = rows[np.isfinite(rates[rows]) & np.isfinite(steps[rows])]
        order = known[np.argsort(steps[known])]
        if not len(order):
            raise DataError(
                f"{table.where}: run {run!r} has no learning rates; wanted columns step and lr, or s1 and s2"
            )
        every = np.interp(np.arange(1, int(steps[order[-1]]) + 1), steps[order], rates[order])
        s1, s2 = areas(with_warmup_at_peak(every))
        at = np.clip(np.nan_to_num(steps[rows]), 0, len(every)).astype(int)
        one[rows], two[rows] = np.r_[0.0, s1][at], np.r_[0.0, s2][at]
    return Table({**table.columns, first: one, second: two}, table.where)


def _annealing(table: Table) -> list[Observations]:
    rows = _areas(table, annealing.S1, annealing.S2)
    found = []
    for side, column in _sides(table):
        own = rows.where_known(column)
        own = _chosen(own, own[annealing.S1] > 0)
        inputs = {annealing.S1: own[annealing.S1], annealing.S2: own[annealing.S2], LOSS: own[column]}
        told = f"{table.where}: law annealing"
        _want(told, "lengths", inputs[annealing.S1], 5, "it has four parameters")
        if not np.ptp(inputs[annealing.S2]) > 0:
            raise DataError(f"{told}: the learning rate never falls, so that C cannot be known; add a run that anneals")
        folds = {"each run in turn": by_name(own.runs()), "the end of each run": late(own.runs(), own[annealing.S1])}
        found.append(Observations(side, annealing.Annealing(), inputs, own.runs(), usable(folds)))
    return found


def _dynamics(table: Table) -> list[Observations]:
    rows = _areas(table, dynamics.S1_CPT, dynamics.S2_CPT)
    found = []
    for side, column in _sides(table):
        corpus: dynamics.Corpus = "cpt" if side == "domain" else "pt"
        shared = RATIO in table if not side else "domain_share" in table
        known, sized = dynamics.S1_PT in table, PARAMS in table
        for name in (*([dynamics.S1_PT] if known else []), *([PARAMS] if sized else [])):
            _positive(table, name)
        own = rows.where_known(column, *([dynamics.S1_PT] if known else []), *([PARAMS] if sized else []))
        ratio = _ratio(own, side) if shared else np.ones(len(own))
        told = f"{table.where}: law dynamics{f', {side} loss' if side else ''}"
        _want(told, "lengths", own[dynamics.S1_CPT], 6, "its terms of the length have four parameters")
        replay = bool(np.ptp(ratio) > ALIKE)
        if replay:
            _want(told, "mixture ratios", np.round(ratio, 3), 3, "the terms of the ratio have two parameters")
        sizes = sized and len(distinct_values(own[PARAMS])) > 1
        if sizes:
            _want(told, "sizes of model", own[PARAMS], MIN_SIZES, "the term of the size has two parameters beside L0")
        annealed = dynamics.S2_PT in table and len(distinct_values(own[dynamics.S2_PT])) > 1
        law = dynamics.Dynamics(corpus, replay=replay, pretraining_known=known, annealed=annealed, sizes=sizes)
        if not np.ptp(own[dynamics.S2_CPT]) > 0:
            raise DataError(
                f"{told}: the learning rate never falls, so that C2 cannot be known; add a run that anneals"
            )
        notes = [] if known else ["pre-training unknown: S1pt is a parameter, S2pt part of L0 (open models)"]
        inputs = {name: ratio if name == RATIO else own[name] for name in law.inputs} | {LOSS: own[column]}
        groups = own.runs()
        folds = {"each run in turn": by_name(groups), "the end of each run": late(groups, own[dynamics.S1_CPT])}
        if sizes:
            folds["each size in turn"] = by_value(own[PARAMS], MIN_SIZES)
        found.append(Observations(side, law, inputs, groups, usable(folds), notes))
    return found


def _critical(table: Table, limit: float | None) -> list[Observations]:
    notes: list[str] = []
    if "critical_ratio" in table:
        rows = table.where_known(TOKENS, "critical_ratio")
        lengths, ratios = rows[TOKENS], rows["critical_ratio"]
    else:
        if limit is None:
            raise UsageError("law cmr: say which general loss is kept, with --general-loss-at-most")
        rows = table.where_known(TOKENS, "domain_share", "general_loss")
        lengths = distinct_values(rows[TOKENS][rows[TOKENS] > 0])
        found = [
            cmr.critical_ratio(rows["domain_share"][at], rows["general_loss"][at], limit)
            for at in (rows[TOKENS] == length for length in lengths)
        ]
        outside = sum(ratio is None for ratio in found)
        if outside:
            notes.append(f"at {outside} of {len(found)} lengths the critical ratio lies outside of those measured")
        lengths = lengths[[ratio is not None for ratio in found]]
        ratios = np.array([ratio for ratio in found if ratio is not None])
    _want(f"{table.where}: law cmr", "lengths with a critical ratio", lengths, 4, "it has three parameters")
    inputs = {TOKENS: lengths, LOSS: ratios}
    groups = np.array([f"{length:g}" for length in lengths], dtype=object)
    folds = {"each length in turn": by_value(lengths, 4)}
    return [Observations("", cmr.CriticalRatio(), inputs, groups, usable(folds), notes)]


def _cross_lingual(table: Table) -> list[Observations]:
    rows = table.where_known(PARAMS, TOKENS, LOSS, "start")
    for name in (PARAMS, TOKENS, LOSS):
        _positive(rows, name)
    scratch = _chosen(rows, rows["start"] == "scratch")
    told = f"{table.where}: law cross-lingual"
    own = _chosen(rows, rows["start"] != "scratch")
    for name, part in (("from scratch (start: scratch)", scratch), ("that start from another language", own)):
        if not len(part):
            raise DataError(f"{told}: no runs {name}; the law compares both")
        _want(f"{told}, runs {name}", "sizes of model", part[PARAMS], MIN_SIZES, "the term of the size needs them")
        _want(f"{told}, runs {name}", "lengths", part[TOKENS], MIN_LENGTHS, "the term of the length needs them")
    columns = {PARAMS: scratch[PARAMS], TOKENS: scratch[TOKENS], LOSS: scratch[LOSS]}
    first = fit(crosslingual.FromScratch(), columns)
    p = first.named
    law = crosslingual.CrossLingual(p["E"], p["A"], p["alpha"])
    inputs = {PARAMS: own[PARAMS], TOKENS: own[TOKENS], LOSS: own[LOSS]}
    sizes = {"each size in turn": by_value(scratch[PARAMS], MIN_SIZES)}
    stages = Observations("scratch", crosslingual.FromScratch(), columns, scratch.runs(), usable(sizes))
    folds = usable({"each size in turn": by_value(own[PARAMS], MIN_SIZES)})
    return [stages, Observations("continued", law, inputs, own.runs(), folds, constants=p)]


def _out_of_domain(table: Table) -> list[Observations]:
    targets = [name for name in table.columns if name.startswith("loss.")]
    told = f"{table.where}: law out-of-domain"
    if not targets:
        raise DataError(f"{told}: no column 'loss.NAME'; it predicts losses on other sets from those of both corpora")
    known = (outofdomain.GENERAL, outofdomain.DOMAIN)
    found = []
    for column in targets:
        rows = table.where_known(column, *known)
        for name in (column, *known):
            _positive(rows, name)
        _want(f"{told}, {column}", "pairs of losses", rows[known[0]] + rows[known[1]], 4, "it has two parameters")
        inputs = {name: rows[name] for name in known} | {LOSS: rows[column]}
        folds = {"each run in turn": by_name(rows.runs())}
        side = column.removeprefix("loss.")
        found.append(Observations(side, outofdomain.OutOfDomain(), inputs, rows.runs(), usable(folds)))
    return found


def _mixing(table: Table) -> list[Observations]:
    shares = [name for name in table.columns if name.startswith("share.")]
    targets = [name for name in table.columns if name.startswith("loss.")]
    if not shares:
        shares, targets = [RATIO if RATIO in table else "domain_share"], [column for _, column in _sides(table)]
    found = []
    for column in targets:
        _positive(table, column)
        left_out = 0
        rows = table.where_known(column, *shares, *([TOKENS] if TOKENS in table else []))
        if TOKENS in table:
            rows = _chosen(rows, rows[TOKENS] > 0)
            rows, left_out = _often_measured(rows, shares)
        lengths = rows[TOKENS] if TOKENS in table else np.zeros(len(rows))
        values, number = np.unique(lengths, return_inverse=True)
        mixtures = np.stack([rows[name] for name in shares], 1)
        varied = [name for name in shares if np.ptp(rows[name]) > 0]
        # shares that sum to 1 in every row, rounding apart: the last one says nothing of its own
        if len(varied) > 1 and np.ptp(mixtures.sum(1)) < ROUNDED:
            varied = varied[:-1]
        distinct, mixture = np.unique(np.round(mixtures, 9), axis=0, return_inverse=True)
        wanted = len(varied) + 2
        if len(distinct) < wanted:
            raise DataError(
                f"{table.where}: law mixing, {column}: {len(distinct)} mixtures of {len(shares)} corpora, {wanted} at "
                "least are wanted: it has one parameter for each corpus and two for each length"
            )
        law = mixing.Mixing(varied, len(values))
        inputs = {name: rows[name] for name in varied} | {mixing.LENGTH: number.astype(float), LOSS: rows[column]}
        folds = usable({"mixtures in turn": by_mixture(mixture, distinct, wanted)})
        side = column.removeprefix("loss.").removesuffix("_loss")
        side = "" if side == LOSS else side
        longest = {TOKENS: float(values[-1])} if TOKENS in table else {}
        notes = [f"it predicts only lengths measured, {values[-1]:.4g} tokens the longest"] if longest else []
        if left_out:
            notes.append(f"{left_out} lengths measured of fewer than {MIN_MIXTURES} mixtures are left out")
        found.append(Observations(side, law, inputs, mixture.astype(str), folds, notes, constants=longest))
    return found


def _often_measured(table: Table, shares: Sequence[str]) -> tuple[Table, int]:
    """The rows of lengths at which enough mixtures were measured to know their (c, k); how many other lengths."""
    mixtures = np.round(np.stack([table[name] for name in shares], 1), 3)
    lengths, number = np.unique(table[TOKENS], return_inverse=True)
    often = np.array([len(np.unique(mixtures[number == i], axis=0)) >= MIN_MIXTURES for i in range(len(lengths))], bool)
    return (_chosen(table, often[number]), int((~often).sum())) if often.any() else (table, 0)


PREPARED: dict[str, Callable[[Table], list[Observations]]] = {
    "dcpt": _dcpt,
    "cross-domain": _cross_domain,
    "cmr": lambda table: _critical(table, None),
    "annealing": _annealing,
    "dynamics": _dynamics,
    "cross-lingual": _cross_lingual,
    "mixing": _mixing,
    "out-of-domain": _out_of_domain,
}
"""The laws by the name that a command line gives."""


def _start(table: Table, column: str) -> float | None:
    """The loss before training, the mean where several runs measured it."""
    before = table[column][table[TOKENS] == 0]
    return float(before.mean()) if len(before) else None


def _chosen(table: Table, rows: Array) -> Table:
    return Table({name: column[rows] for name, column in table.columns.items()}, table.where)


def _want(told: str, what: str, values: Array, least: int, reason: str) -> None:
    count = len(distinct_values(values)) if len(values) else 0
    if count < least:
        raise DataError(f"{told}: {count} {what}, {least} at least are wanted: {reason}")
