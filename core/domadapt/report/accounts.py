"""What each stage gained and lost, and what the merge recovered: per task, and in total as in an account.

Stages: CPT against the reference, each merge against CPT. Values are benefits: positive is better whatever the
measure's direction. Totals add up: gained + lost + unclear = net. A task counts as gained or lost when CPT's
difference there is significant, so sums over them are a little flattered by selection; the net is not.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from domadapt.report.differences import BETTER, UNCLEAR, WORSE, paired_difference
from domadapt.report.statistics import fieller, student_quantile

if TYPE_CHECKING:
    from domadapt.report.ledger import Measure

Entry = Mapping[str, Any]

GAINED = "gained"
LOST = "lost"
RECOVERED = "recovered"
GIVEN_BACK = "given back"


def stage_rows(measure: Measure, entry: Entry, reference: str, cpt: str | None, merges: Sequence[str]) -> list[Entry]:
    """One row for CPT and one for each merge that was scored on this measure.

    Keys: task, metric, side, main, unit; stage and from: labels; kind: gained, lost, recovered (a merge is
    better than CPT where CPT had lost), given back (worse where CPT had gained) or not distinguishable; change:
    `paired_difference(stage, from)`; and of right-or-wrong items, for merges, recovered_items of lost_items
    (reference right, CPT wrong; merge right again) and kept_items of gained_items (None for other scores).
    """
    labels = measure.labels
    if cpt is None or cpt not in labels or reference not in labels:
        return []
    common = {name: entry[name] for name in ("task", "metric", "side", "main", "unit")}
    first = _change(measure, cpt, reference)
    kind = {BETTER: GAINED, WORSE: LOST}.get(first["verdict"], UNCLEAR)
    rows: list[Entry] = [
        {**common, "stage": cpt, "from": reference, "kind": kind, "change": first, **_items(measure, None, "", "")}
    ]
    for merge in (m for m in merges if m in labels):
        change = _change(measure, merge, cpt)
        then = {BETTER: RECOVERED if kind == LOST else GAINED, WORSE: GIVEN_BACK if kind == GAINED else LOST}
        items = _items(measure, merge, cpt, reference)
        rows.append(
            {
                **common,
                "stage": merge,
                "from": cpt,
                "kind": then.get(change["verdict"], UNCLEAR),
                "change": change,
                **items,
            }
        )
    return rows


def _change(measure: Measure, model: str, reference: str) -> dict[str, Any]:
    places = measure.labels.index(model), measure.labels.index(reference)
    return paired_difference(measure.samples, *places, measure.row.higher_is_better)


def _items(measure: Measure, merge: str | None, cpt: str, reference: str) -> dict[str, int | None]:
    """What became of the items that CPT turned from right to wrong or from wrong to right."""
    if merge is None or not measure.samples.is_binary:
        return dict.fromkeys(("recovered_items", "lost_items", "kept_items", "gained_items"))
    places = [measure.labels.index(label) for label in (reference, cpt, merge)]
    old, new, merged = (measure.samples.values[:, place] == 1 for place in places)
    return {
        "recovered_items": int((old & ~new & merged).sum()),
        "lost_items": int((old & ~new).sum()),
        "kept_items": int((~old & new & merged).sum()),
        "gained_items": int((~old & new).sum()),
    }


@dataclass
class Sum:
    """A sum of benefits over measures whose items are independent of each other."""

    value: float = 0.0
    variance: float = 0.0
    measures: int = 0
    _satterthwaite: float = field(default=0.0, repr=False)

    def add(self, value: float, stderr: float, units: float) -> None:
        """Add one measure's benefit with its standard error and effective number of units."""
        self.value += value
        self.variance += stderr**2
        self.measures += 1
        # Welch-Satterthwaite: few units behind the largest variance leave few degrees of freedom
        self._satterthwaite += stderr**4 / (units - 1) if units > 1 else math.nan

    def quantile(self) -> float:
        """Student's t for a 95 % interval of the sum."""
        if not self._satterthwaite > 0:
            return 0.0 if self.variance == 0 else math.nan
        return student_quantile(self.variance**2 / self._satterthwaite + 1)

    def plain(self) -> dict[str, Any]:
        """The sum with its interval and the number of measures in it."""
        stderr = math.sqrt(self.variance) if self.variance >= 0 else math.nan
        half = self.quantile() * stderr
        low, high = self.value - half, self.value + half
        return {"value": self.value, "stderr": stderr, "low": low, "high": high, "measures": self.measures}


def total_rows(
    measures: Sequence[Measure], rows: Sequence[Entry], reference: str, cpt: str | None, merges: Sequence[str]
) -> list[Entry]:
    """Totals by side and unit over the main measures: one row for CPT, one for each merge.

    Keys: side, unit, stage, from, tasks (how many).  For CPT: gained, lost, unclear, net, each a sum of benefits
    {value, stderr, low, high, measures}.  For a merge: recovered and given_back: sums of its change against CPT
    over the tasks that CPT had lost, and gained; share_recovered and share_kept: of CPT's loss and
    gain, {value, low, high} or None where CPT lost, or gained, nothing; net: against the reference.
    """
    by_name = {(m.task, m.row.metric): m for m in measures}
    mains = [row for row in rows if row["main"] and row["stage"] == cpt]
    totals: list[Entry] = []
    for side, unit in dict.fromkeys((row["side"], row["unit"]) for row in mains):
        group = [(by_name[r["task"], r["metric"]], r["kind"]) for r in mains if (r["side"], r["unit"]) == (side, unit)]
        common = {"side": side, "unit": unit}
        totals += [{**common, **row} for row in _group_totals(group, reference, str(cpt), merges)]
    return totals


def _group_totals(
    group: Sequence[tuple[Measure, str]], reference: str, cpt: str, merges: Sequence[str]
) -> Iterator[Entry]:
    all_kinds = (GAINED, LOST, UNCLEAR)
    sums = {"gained": (GAINED,), "lost": (LOST,), "unclear": (UNCLEAR,), "net": all_kinds}
    first = {name: _sum(group, kinds, cpt, reference).plain() for name, kinds in sums.items()}
    yield {"stage": cpt, "from": reference, "tasks": len(group), **first}
    for merge in merges:
        scored = [(measure, kind) for measure, kind in group if merge in measure.labels]
        if not scored:
            continue
        yield {
            "stage": merge,
            "from": cpt,
            "tasks": len(scored),
            "recovered": _sum(scored, (LOST,), merge, cpt).plain(),
            "given_back": _sum(scored, (GAINED,), merge, cpt).plain(),
            "share_recovered": _total_share(scored, LOST, (merge, cpt), (reference, cpt)),
            "share_kept": _total_share(scored, GAINED, (merge, reference), (cpt, reference)),
            "net": _sum(scored, all_kinds, merge, reference).plain(),
        }


def _sum(group: Sequence[tuple[Measure, str]], kinds: Sequence[str], model: str, reference: str) -> Sum:
    total = Sum()
    for measure, kind in group:
        if kind in kinds:
            contrast = _benefit(measure, model, reference)
            total.add(float(measure.samples.scores @ contrast), *measure.samples.uncertainty(contrast))
    return total


def _benefit(measure: Measure, model: str, reference: str) -> Any:
    """The contrast model - reference, turned so that positive is better."""
    contrast = measure.samples.contrast(measure.labels.index(model), measure.labels.index(reference))
    return contrast if measure.row.higher_is_better else -contrast


def _total_share(
    group: Sequence[tuple[Measure, str]], kind: str, top: tuple[str, str], bottom: tuple[str, str]
) -> dict[str, Any] | None:
    """The ratio of two summed differences over the measures of one kind, with Fieller's interval."""
    chosen = [measure for measure, own in group if own == kind]
    if not chosen:
        return None
    part, whole = (sum(float(m.samples.scores @ _benefit(m, *pair)) for m in chosen) for pair in (top, bottom))
    share = part / whole
    covariance, size = np.zeros((2, 2)), Sum()
    for measure in chosen:
        contrasts = np.stack([_benefit(measure, *pair) for pair in (top, bottom)], axis=1)
        contrasts[:, 0] -= share * contrasts[:, 1]
        own, units = measure.samples.covariance(contrasts)
        # answers that are all alike are not known to be so on the next item
        own[0, 0] = max(own[0, 0], measure.samples.least_variance(_benefit(measure, *top), own[0, 0]))
        covariance += own
        size.add(0.0, math.sqrt(own[1, 1]), units)
    low, high = fieller(share, whole, covariance, size.quantile())
    return {"value": share, "low": low, "high": high}
