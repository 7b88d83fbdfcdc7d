"""The arithmetic of clinical papers: intervals and tests that follow from counts alone.

Only the standard library, so that a simulated number is the same wherever it is computed. Formulas:
Altman, Machin, Bryant, Gardner, Statistics with Confidence, 2nd edition, BMJ Books 2000.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

Z = 1.959963984540054  # 97.5 % point of the normal distribution


@dataclass(frozen=True)
class Estimate:
    """A value with its 95 % confidence interval."""

    value: float
    low: float
    high: float

    def text(self, digits: int = 2, percent: bool = False) -> str:
        """ "0.71 (95% CI 0.55 to 0.92)", as percentages when asked."""
        unit, scale = ("%", 100.0) if percent else ("", 1.0)
        value, low, high = (f"{scale * x:.{digits}f}" for x in (self.value, self.low, self.high))
        return f"{value}{unit} (95% CI {low} to {high})"


def wilson(events: int, total: int) -> Estimate:
    """A proportion with Wilson's interval."""
    p = events / total
    centre = (p + Z * Z / (2 * total)) / (1 + Z * Z / total)
    half = Z / (1 + Z * Z / total) * math.sqrt(p * (1 - p) / total + Z * Z / (4 * total * total))
    return Estimate(p, max(0.0, centre - half), min(1.0, centre + half))


def chi_square_p(x: float, df: int) -> float:
    """P(chi-square with df degrees of freedom > x), by the recurrence over df."""
    term = math.erfc(math.sqrt(x / 2)) if df % 2 else math.exp(-x / 2)
    total, n = term, 1 if df % 2 else 2
    while n < df:
        # in logarithms: x / 2 may be too small for a float
        total += math.exp((n / 2) * (math.log(x) - math.log(2)) - x / 2 - math.lgamma(n / 2 + 1)) if x > 0 else 0.0
        n += 2
    return min(1.0, total)


def normal_p(z: float) -> float:
    """Two-sided p-value of a standard normal statistic."""
    return math.erfc(abs(z) / math.sqrt(2))


def heterogeneity_p(events: list[int], totals: list[int]) -> float:
    """Pearson's chi-square test that several proportions are equal."""
    share = sum(events) / sum(totals)
    x = sum((e - n * share) ** 2 / (n * share * (1 - share)) for e, n in zip(events, totals, strict=True))
    return chi_square_p(x, len(events) - 1)


@dataclass(frozen=True)
class Contrast:
    """Events in two groups: the first is the one studied, the second the comparator."""

    events: int
    total: int
    control_events: int
    control_total: int

    @property
    def rates(self) -> tuple[float, float]:
        """Proportions with the event."""
        return self.events / self.total, self.control_events / self.control_total

    def risk_ratio(self) -> Estimate:
        """Risk ratio, Katz's log interval. Zero cells get half an event, as reviews do."""
        a, n, c, m = self._cells()
        return _log_interval(math.log(a / n) - math.log(c / m), 1 / a - 1 / n + 1 / c - 1 / m)

    def odds_ratio(self) -> Estimate:
        """Odds ratio, Woolf's log interval."""
        a, n, c, m = self._cells()
        return _log_interval(math.log(a / (n - a)) - math.log(c / (m - c)), 1 / a + 1 / (n - a) + 1 / c + 1 / (m - c))

    def risk_difference(self) -> Estimate:
        """Difference of proportions with its normal interval."""
        p, q = self.rates
        half = Z * math.sqrt(p * (1 - p) / self.total + q * (1 - q) / self.control_total)
        return Estimate(p - q, p - q - half, p - q + half)

    def p_value(self) -> float:
        """Pearson's chi-square without correction; Fisher's exact test when an expected count is below 5."""
        events, total = self.events + self.control_events, self.total + self.control_total
        expected = min(events, total - events) * min(self.total, self.control_total) / total
        if events in (0, total):
            return 1.0
        if expected < 5:
            return self._fisher()
        return heterogeneity_p([self.events, self.control_events], [self.total, self.control_total])

    def _cells(self) -> tuple[float, float, float, float]:
        a, n, c, m = self.events, self.total, self.control_events, self.control_total
        half = 0.5 if 0 in (a, c, n - a, m - c) else 0.0
        return a + half, n + 2 * half, c + half, m + 2 * half

    def _fisher(self) -> float:
        a, n, m = self.events, self.total, self.control_total
        events = a + self.control_events
        weights = {k: math.comb(n, k) * math.comb(m, events - k) for k in range(max(0, events - m), min(n, events) + 1)}
        return sum(w for w in weights.values() if w <= weights[a]) / sum(weights.values())


def pooled(contrasts: list[Contrast]) -> tuple[Estimate, float, float]:
    """Random-effects risk ratio of several studies, I-squared (0 to 1), p-value of the heterogeneity.

    Source: DerSimonian and Laird 1986, Controlled Clinical Trials 7:177.
    """
    ratios = [c.risk_ratio() for c in contrasts]
    logs = [math.log(r.value) for r in ratios]
    variances = [((math.log(r.high) - math.log(r.low)) / (2 * Z)) ** 2 for r in ratios]
    weights = [1 / v for v in variances]
    mean = sum(w * y for w, y in zip(weights, logs, strict=True)) / sum(weights)
    q = sum(w * (y - mean) ** 2 for w, y in zip(weights, logs, strict=True))
    df = len(contrasts) - 1
    tau2 = max(0.0, (q - df) / (sum(weights) - sum(w * w for w in weights) / sum(weights)))
    weights = [1 / (v + tau2) for v in variances]
    mean = sum(w * y for w, y in zip(weights, logs, strict=True)) / sum(weights)
    return _log_interval(mean, 1 / sum(weights)), max(0.0, (q - df) / q) if q > 0 else 0.0, chi_square_p(q, df)


def mantel_haenszel(strata: list[Contrast]) -> Estimate:
    """Risk ratio over strata, Greenland and Robins' interval (Biometrics 1985;41:55)."""
    top = bottom = spread = 0.0
    for s in strata:
        total = s.total + s.control_total
        top += s.events * s.control_total / total
        bottom += s.control_events * s.total / total
        both = s.events + s.control_events
        spread += (s.total * s.control_total * both - s.events * s.control_events * total) / total**2
    return _log_interval(math.log(top / bottom), spread / (top * bottom))


def mean_difference(mean: float, sd: float, n: int, other: float, other_sd: float, m: int) -> tuple[Estimate, float]:
    """Difference of two means with its normal interval, and the p-value of the z test."""
    se = math.sqrt(sd * sd / n + other_sd * other_sd / m)
    difference = mean - other
    return Estimate(difference, difference - Z * se, difference + Z * se), normal_p(difference / se)


def p_text(p: float) -> str:
    """ "P<0.001", "P=0.03": two digits, three below 0.01 and near 0.05, where two would hide the verdict."""
    if p < 0.001:
        return "P<0.001"
    return f"P={p:.3f}" if p < 0.01 or 0.045 <= p < 0.055 else f"P={p:.2f}"


def percent(events: int, total: int) -> str:
    """ "12.3%"."""
    return f"{100 * events / total:.1f}%"


def _log_interval(log: float, variance: float) -> Estimate:
    half = Z * math.sqrt(variance)
    return Estimate(math.exp(log), math.exp(log - half), math.exp(log + half))
