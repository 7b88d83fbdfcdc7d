"""The paired difference of two models on one measure, as plain data: interval, test, verdict, what could be missed.

A difference is called better or worse only when its 95 % interval excludes 0, at least six independent units were
scored and, for right-or-wrong items, the exact McNemar test agrees; anything else is "not distinguishable".
"""

from __future__ import annotations

from typing import Any

from domadapt.report.significance import items_needed, smallest_detectable
from domadapt.report.statistics import MIN_CLUSTERS, Interval, JointSamples

BETTER = "better"
WORSE = "worse"
UNCLEAR = "not distinguishable"

ONE_POINT = 0.01


def paired_difference(
    samples: JointSamples, model: int, reference: int, higher_is_better: bool, *, bootstrap: bool = True
) -> dict[str, Any]:
    """score(model) - score(reference) on the same items.

    model, reference: columns of the samples.  Keys: value, stderr, low, high: the difference in the measure's
    own unit and direction.  boot_low, boot_high: the bootstrap's interval (None without `bootstrap`).
    p, test: two-sided, "exact McNemar" or "Student t".  verdict: better, worse or not distinguishable.
    smallest_detectable: the difference that such samples show in 80 % of repetitions.  items_for_one_point:
    items that would show one point (right-or-wrong scores only, else None).  n, clusters, units: items, clusters
    and the effective number of clusters.  gained, lost: right-or-wrong items that only the model, and that
    only the reference, has right (None for other scores).
    """
    estimate = samples.difference(model, reference)
    spread, units = samples.uncertainty(samples.contrast(model, reference))
    flips = samples.flips(model, reference)
    exact = flips is not None and not samples.is_clustered
    p = samples.p_value(model, reference)
    num_items = len(samples.values)
    detectable = smallest_detectable(spread, units) if spread > 0 else None
    if exact and detectable is not None:
        # the exact test counts whole items: a difference must be one item larger to be found as often
        detectable += 1 / num_items
    low, high = samples.bootstrap(model, reference) if bootstrap else (None, None)
    return {
        **estimate._asdict(),
        "boot_low": low,
        "boot_high": high,
        "p": p,
        "test": "exact McNemar" if exact else "Student t",
        "verdict": _verdict(estimate, samples.num_clusters, p if exact else 0.0, higher_is_better),
        "smallest_detectable": detectable,
        "items_for_one_point": items_needed(ONE_POINT, spread**2 * num_items) if flips and spread > 0 else None,
        "n": num_items,
        "clusters": samples.num_clusters,
        "units": units,
        "gained": flips.gained if flips else None,
        "lost": flips.lost if flips else None,
    }


def _verdict(estimate: Interval, clusters: int, exact_p: float, higher_is_better: bool) -> str:
    if not estimate.excludes(0) or clusters < MIN_CLUSTERS or exact_p >= 0.05:
        return UNCLEAR
    return BETTER if (estimate.value > 0) == higher_is_better else WORSE
