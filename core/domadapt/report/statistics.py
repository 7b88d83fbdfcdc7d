"""Uncertainty of scores: intervals, paired differences and shares, from the samples of models on the same items.

Every metric is a ratio sum(value) / sum(weight), so one bootstrap serves accuracy and bits per byte. Models are
compared on the same resampled items: that is two to four times sharper than comparing their separate intervals.
Standard errors are closed formulas, intervals are percentiles of 10 000 resamples of clusters (documents,
passages); 200 documents cost 0.04 s for all models of a run together, 10 000 items 1.5 s.
Sources: Miller 2024, arXiv 2411.00640 (clusters, pairing); Hesterberg 2015, arXiv 1411.5279 (expanded percentiles).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

RESAMPLES = 10_000
CHUNK_DRAWS = 2**22
Z95 = 1.959964
Z80 = 0.841621
MIN_CLUSTERS = 6
"""With fewer independent units no two-sided test can reach p < 0.05 (2 / 2**5 > 0.05), so no verdict is given."""


class Interval(NamedTuple):
    """An estimate with its standard error and 95 % interval. NaN where the samples cannot tell (one cluster)."""

    value: float
    stderr: float
    low: float
    high: float

    def excludes(self, point: float) -> bool:
        """Whether the whole interval lies on one side of `point`; False when the interval is unknown."""
        return self.low > point or self.high < point


def interval(
    values: Sequence[float] | Array, weights: Sequence[float] | Array, clusters: Sequence[object], seed: int = 0
) -> Interval:
    """The score sum(values) / sum(weights) of one model with its standard error and 95 % interval.

    clusters: one label per item; items that share a label (questions on one passage) count as one unit.
    Right-or-wrong scores get Wilson's interval at the effective number of items, everything else the cluster
    bootstrap. With a single cluster stderr, low and high are NaN, except that Wilson's interval still holds.
    """
    samples = JointSamples.of([values], [weights], clusters, seed)
    if not samples.is_binary:
        return samples.score(0)
    stderr = samples.stderr(np.array([1.0]))
    return Interval(samples.scores[0].item(), stderr, *_wilson(samples, stderr))


def _wilson(samples: JointSamples, stderr: float) -> tuple[float, float]:
    """Wilson's interval; dependence within clusters lowers the number of items to the effective one."""
    p = samples.scores[0].item()
    size = float(len(samples.values))
    if samples.is_clustered:
        # all right or all wrong says nothing about dependence: then only the clusters count
        size = min(size, p * (1 - p) / stderr**2) if 0 < p < 1 and stderr > 0 else samples.num_clusters
    centre = (p + Z95**2 / (2 * size)) / (1 + Z95**2 / size)
    half = Z95 / (1 + Z95**2 / size) * math.sqrt(p * (1 - p) / size + Z95**2 / (4 * size**2))
    return max(0.0, centre - half), min(1.0, centre + half)


@dataclass(frozen=True)
class JointSamples:
    """The samples of M models on the same N items, resampled together.

    values, weights: [N, M]; a model's score is the ratio of its column sums.  clusters: [N], the cluster number
    of each item, 0..G-1.
    """

    values: Array
    weights: Array
    clusters: npt.NDArray[np.int64]
    seed: int = 0

    @classmethod
    def of(
        cls,
        values: Sequence[Sequence[float] | Array],
        weights: Sequence[Sequence[float] | Array],
        clusters: Sequence[object],
        seed: int = 0,
    ) -> JointSamples:
        """Build from one sequence of values and weights per model and one cluster label per item.

        Raises ValueError when lengths differ, there is no item, a number is not finite or the weights of a
        model do not sum to something positive.
        """
        numbers: dict[object, int] = {}
        cluster_N = np.array([numbers.setdefault(label, len(numbers)) for label in clusters], dtype=np.int64)
        if any(len(column) != len(cluster_N) for column in (*values, *weights)) or not len(cluster_N):
            raise ValueError("values, weights and clusters must have the same length, at least 1")
        values_NM = np.array(values, dtype=np.float64).T
        weights_NM = np.array(weights, dtype=np.float64).T
        if not (np.isfinite(values_NM).all() and np.isfinite(weights_NM).all()):
            raise ValueError("values and weights must be finite")
        if (weights_NM.sum(0) <= 0).any():
            raise ValueError("weights must sum to more than 0")
        return cls(values_NM, weights_NM, cluster_N, seed)

    @property
    def num_clusters(self) -> int:
        """Number of independent units."""
        return int(self.clusters.max()) + 1

    @property
    def is_clustered(self) -> bool:
        """Whether any two items share a cluster."""
        return self.num_clusters < len(self.clusters)

    @cached_property
    def is_binary(self) -> bool:
        """Whether every item is right (1) or wrong (0) with weight 1."""
        return bool(((self.values == 0) | (self.values == 1)).all() and (self.weights == 1).all())

    @property
    def is_share(self) -> bool:
        """Whether every item scores between 0 and 1 with weight 1."""
        return bool((self.values >= 0).all() and (self.values <= 1).all() and (self.weights == 1).all())

    @cached_property
    def scores(self) -> Array:
        """Each model's score, [M]."""
        ratio: Array = self.values.sum(0) / self.weights.sum(0)
        return ratio

    @cached_property
    def replicates(self) -> Array:
        """Each model's score in RESAMPLES joint resamples of the clusters, [B, M]."""
        sums_GK = _sums(np.hstack([self.values, self.weights]), self.clusters, self.num_clusters)
        sums_BK = _resampled_sums(sums_GK, self.seed)
        values_BM, weights_BM = np.split(sums_BK, 2, axis=1)
        # a resample may miss every item that carries weight (a rare metric): it says nothing about the score
        ratio: Array = np.divide(values_BM, weights_BM, out=np.full_like(values_BM, np.nan), where=weights_BM > 0)
        return ratio

    def stderr(self, contrast_M: Array) -> float:
        """Standard error of a linear combination of the models' scores, clustered, by linearisation.

        sqrt(sum over clusters of (sum of residuals)^2), residual (value - score * weight) / sum(weights);
        without clusters it is sd(d) / sqrt(n) with n - 1 in the variance. NaN with a single cluster.
        """
        if self.num_clusters < 2:
            return math.nan
        residuals_NM = (self.values - self.scores * self.weights) / self.weights.sum(0)
        totals_G = _sums(residuals_NM, self.clusters, self.num_clusters) @ contrast_M
        squares = float((totals_G**2).sum())
        count = self.num_clusters
        return math.sqrt(squares if self.is_clustered else squares * count / (count - 1))

    def score(self, model: int) -> Interval:
        """One model's score with its bootstrap interval."""
        contrast_M = self._contrast(model)
        return self._interval(self.scores[model].item(), contrast_M, self.replicates[:, model])

    def difference(self, model: int, reference: int) -> Interval:
        """The paired difference score(model) - score(reference)."""
        contrast_M = self._contrast(model, reference)
        value = (self.scores[model] - self.scores[reference]).item()
        return self._interval(value, contrast_M, self.replicates[:, model] - self.replicates[:, reference])

    def gain_kept(self, reference: int, cpt: int, merged: int) -> Interval:
        """Share of what CPT changed against the reference that the merge kept, (ref - merged) / (ref - cpt).

        The sign of the metric cancels. 1: all kept; 0: back at the reference. Meaningful only where the
        difference of CPT and reference excludes 0.
        """
        return self._share((reference, merged), (reference, cpt))

    def loss_won_back(self, reference: int, cpt: int, merged: int) -> Interval:
        """Share of what CPT lost against the reference that the merge won back, (merged - cpt) / (ref - cpt)."""
        return self._share((merged, cpt), (reference, cpt))

    def _contrast(self, model: int, reference: int | None = None) -> Array:
        """The linear combination score(model), or score(model) - score(reference)."""
        contrast_M = np.zeros(self.values.shape[1])
        contrast_M[model] = 1
        if reference is not None:
            contrast_M[reference] -= 1
        return contrast_M

    def _share(self, top: tuple[int, int], bottom: tuple[int, int]) -> Interval:
        def ratio(score: Array) -> Array:
            whole = score[..., bottom[0]] - score[..., bottom[1]]
            part = score[..., top[0]] - score[..., top[1]]
            share: Array = np.divide(part, whole, out=np.full_like(whole, np.nan), where=whole != 0)
            return share

        value = float(ratio(self.scores[np.newaxis])[0])
        replicates_B = ratio(self.replicates)
        low, high = percentile_interval(replicates_B, self.num_clusters)
        known = replicates_B[np.isfinite(replicates_B)]
        return Interval(value, float(known.std()) if len(known) and self.num_clusters > 1 else math.nan, low, high)

    def _interval(self, value: float, contrast_M: Array, replicates_B: Array) -> Interval:
        return Interval(value, self.stderr(contrast_M), *percentile_interval(replicates_B, self.num_clusters))

    def p_value(self, model: int, reference: int) -> float:
        """Two-sided p of "no difference": exact McNemar for unclustered right-or-wrong scores, else Student's t."""
        if self.is_binary and not self.is_clustered:
            new, old = self.values[:, model], self.values[:, reference]
            return mcnemar(int(((new == 1) & (old == 0)).sum()), int(((new == 0) & (old == 1)).sum()))
        stderr = self.stderr(self._contrast(model, reference))
        difference = abs(self.scores[model] - self.scores[reference])
        if not stderr > 0:
            return 1.0 if difference == 0 or math.isnan(stderr) else 0.0
        from scipy.special import stdtr

        return min(1.0, 2 * float(stdtr(self.num_clusters - 1, -difference / stderr)))


def _sums(columns_NK: Array, cluster_N: npt.NDArray[np.int64], num_clusters: int) -> Array:
    """Column sums by cluster, [G, K]."""
    return np.stack([np.bincount(cluster_N, column, num_clusters) for column in columns_NK.T], axis=1)


def _resampled_sums(sums_GK: Array, seed: int) -> Array:
    """Column sums of RESAMPLES bootstrap resamples of the rows, [B, K].

    Draws become counts first, then one matrix product serves all columns: the cost does not grow with them.
    """
    size = len(sums_GK)
    generator = np.random.default_rng(seed)
    rows = max(1, CHUNK_DRAWS // size)
    chunks = []
    for start in range(0, RESAMPLES, rows):
        count = min(rows, RESAMPLES - start)
        draws = generator.integers(0, size, (count, size)) + size * np.arange(count)[:, np.newaxis]
        counts = np.bincount(draws.ravel(), minlength=count * size).reshape(count, size)
        chunks.append(counts @ sums_GK)
    return np.concatenate(chunks)


def percentile_interval(replicates_B: Array, num_clusters: int) -> tuple[float, float]:
    """95 % percentile interval, widened for few clusters (expanded percentiles, Hesterberg 2015, section 5.3).

    Plain percentiles are too narrow by sqrt((G - 1) / G) and by Student's t against the normal: at 10 clusters
    they cover about 90 %, at 200 the correction is below 1 %.
    """
    known = replicates_B[np.isfinite(replicates_B)]
    if num_clusters < 2 or not len(known):
        return math.nan, math.nan
    from scipy.special import stdtrit

    t = float(stdtrit(num_clusters - 1, 0.975)) * math.sqrt(num_clusters / (num_clusters - 1))
    tail = NormalDist().cdf(-t)
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def mcnemar(gained: int, lost: int) -> float:
    """Exact two-sided McNemar test of paired right-or-wrong answers.

    gained: items only the new model has right.  lost: items only the old one has right.
    """
    discordant = gained + lost
    below = ways = 1
    for k in range(1, min(gained, lost) + 1):
        # exact integers: C(n, k) from C(n, k - 1); floats underflow from about 1000 items on
        ways = ways * (discordant - k + 1) // k
        below += ways
    return min(1.0, 2 * below / (1 << discordant))


def smallest_detectable(stderr: float) -> float:
    """The difference that a comparison with this standard error finds in 80 % of repetitions at the 5 % level."""
    return (Z95 + Z80) * stderr


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's adjustment for several comparisons, in the order given. Source: Holm 1979."""
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted
