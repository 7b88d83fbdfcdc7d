"""Systematic reviews: several simulated trials of one drug class, pooled by random effects."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from domadapt_medical.sample import names
from domadapt_medical.sample.author import Author, one_of, plain
from domadapt_medical.sample.draws import binomial, split
from domadapt_medical.sample.estimates import Contrast, Estimate, p_text, percent, pooled
from domadapt_medical.sample.manuscript import Manuscript, Section, Table
from domadapt_medical.sample.setting import Setting, count


@dataclass(frozen=True)
class Review:
    """A review. trials: (name, year, blinded, contrast).  hits, dropped: records found, dropped by reason."""

    drug_class: str
    control: str
    outcome: str
    trials: tuple[tuple[str, int, bool, Contrast], ...]
    hits: int
    screened_out: int
    dropped: tuple[int, ...]

    def pool(self, blinded_only: bool = False) -> tuple[Estimate, float, float]:
        """Pooled risk ratio, I-squared, p of heterogeneity."""
        return pooled([c for _, _, blinded, c in self.trials if blinded or not blinded_only])

    @property
    def blinded(self) -> int:
        """Number of trials with blinding."""
        return sum(blinded for _, _, blinded, _ in self.trials)


def simulate(rng: random.Random, setting: Setting) -> Review:
    """Draw trials around a common effect with some heterogeneity."""
    v = setting.vocabulary
    effect, spread, risk = (
        rng.choice([0.65, 0.75, 0.85, 0.95, 1.0]),
        rng.choice([0.02, 0.12, 0.25]),
        rng.uniform(0.1, 0.4),
    )
    trials = []
    for i in range(rng.randint(5, 10)):
        n, m = (rng.randint(45, 520),) * 2
        m += rng.randint(-4, 4)
        base = min(0.7, risk * rng.uniform(0.6, 1.5))
        true = effect * 2.718281828 ** rng.gauss(0, spread)
        contrast = Contrast(max(1, binomial(rng, n, min(0.85, base * true))), n, max(1, binomial(rng, m, base)), m)
        name = rng.choice([names.trial(rng), names.person(rng)[1], names.person(rng)[1]])
        # two blinded trials at least, so that their pooled estimate is defined
        trials.append((name, rng.randint(1998, 2021), i < 2 or rng.random() < 0.55, contrast))
    trials.sort(key=lambda t: (t[1], t[0]))
    full_text = len(trials) + rng.randint(11, 70)
    screened_out = rng.randint(240, 2900)
    return Review(
        rng.choice(v["classes"])[0] + "s",
        rng.choice(["placebo", "no treatment", "usual care"]),
        rng.choice(v["events"]),
        tuple(trials),
        screened_out + full_text,
        screened_out,
        tuple(split(rng, full_text - len(trials), [4, 3, 2])),
    )


def compose(rng: random.Random, setting: Setting) -> Manuscript:
    """Simulate a review and write it up."""
    review = simulate(rng, setting)
    author = Author(rng, setting, "synthesis", _facts(review))
    introduction = author.introduction()
    analysis, _ = author.ethics_and_analysis("pooling")
    methods = author.methods(
        [
            ("Search", author.paragraph("design", ["search", "registered"])),
            ("Selection", author.paragraph("participants", ["eligible"])),
            ("Data extraction", author.paragraph("extraction", ["extraction"])),
            ("Statistical analysis", analysis),
        ]
    )
    results = Section(
        "Results",
        (
            Section(
                "Included trials", (author.paragraph("flow", ["flow", "included", "included"]), _trials_table(review))
            ),
            Section(
                "Pooled effect", (author.paragraph("primary", ["pooled", "heterogeneity", "extremes", "blinded_only"]),)
            ),
        ),
    )
    discussion = author.discussion(["principal", "principal_detail"])
    abstract = (
        Section("Background", (author.paragraph("abstract", ["gap", "aim"]),)),
        Section("Methods", (author.paragraph("abstract", ["search", "eligible"]),)),
        Section("Results", (author.paragraph("abstract", ["included", "pooled", "heterogeneity"]),)),
        Section("Conclusions", (author.paragraph("abstract", ["closing"]),)),
    )
    return Manuscript(
        author.title(),
        "synthesis",
        setting.condition,
        setting.specialty,
        (setting.condition, review.drug_class, "meta-analysis", review.outcome),
        abstract,
        (introduction, methods, results, discussion),
    )


def _facts(review: Review) -> dict[str, Any]:
    contrasts = [c for *_, c in review.trials]
    estimate, i2, p = review.pool()
    n1, n0 = sum(c.total for c in contrasts), sum(c.control_total for c in contrasts)
    e1, e0 = sum(c.events for c in contrasts), sum(c.control_events for c in contrasts)
    ordered = sorted(review.trials, key=lambda t: t[3].risk_ratio().value)
    if estimate.high < 1:
        verdict = [
            f"reduced {review.outcome}",
            f"lowered the risk of {review.outcome}",
            f"prevented some cases of {review.outcome}",
        ]
    elif estimate.low > 1:
        verdict = [f"increased {review.outcome}", f"raised the risk of {review.outcome}"]
    else:
        verdict = [f"had no clear effect on {review.outcome}", f"were not shown to prevent {review.outcome}"]
    sizes = [c.total + c.control_total for c in contrasts]
    a, b, c = review.dropped
    blinded = review.pool(blinded_only=True)[0]
    return {
        "drug_class": review.drug_class,
        "control": review.control,
        "outcome": review.outcome,
        "k": count(len(review.trials)),
        "blinded": count(review.blinded),
        "hits": str(review.hits),
        "screened_out": str(review.screened_out),
        "dropped": str(sum(review.dropped)),
        "full_text": str(review.hits - review.screened_out),
        "reasons": f"not randomised, {a}; other outcome, {b}; duplicate report, {c}",
        "n_all": str(n1 + n0),
        "n_treated": str(n1),
        "n_control": str(n0),
        "e1": str(e1),
        "e0": str(e0),
        "pe1": percent(e1, n1),
        "pe0": percent(e0, n0),
        "events_all": str(e1 + e0),
        "first": str(review.trials[0][1]),
        "last": str(review.trials[-1][1]),
        "smallest": str(min(sizes)),
        "largest": str(max(sizes)),
        "rr": estimate.text(),
        "i2": f"{100 * i2:.0f}%",
        "p_het": p_text(p),
        "het_word": "low" if i2 < 0.3 else "moderate" if i2 < 0.6 else "considerable",
        "agreed": "agreed well" if i2 < 0.3 else "agreed in part" if i2 < 0.6 else "disagreed",
        "name_low": ordered[0][0],
        "rr_low": f"{ordered[0][3].risk_ratio().value:.2f}",
        "name_high": ordered[-1][0],
        "rr_high": f"{ordered[-1][3].risk_ratio().value:.2f}",
        "rr_blinded": plain(blinded),
        "changed": "little" if abs(blinded.value - estimate.value) < 0.05 else "somewhat",
        "verdict_pool": one_of(verdict),
    }


def _trials_table(review: Review) -> Table:
    rows = [
        (
            f"{name} ({year})",
            "yes" if blinded else "no",
            f"{c.events}/{c.total}",
            f"{c.control_events}/{c.control_total}",
            plain(c.risk_ratio()),
        )
        for name, year, blinded, c in review.trials
    ]
    header = (
        (("", 2), ("Events / participants", 2), ("", 1)),
        (("Trial", 1), ("Blinded", 1), ("Treated", 1), (review.control.capitalize(), 1), ("Risk ratio", 1)),
    )
    return Table(
        f"Trials of {review.drug_class} and {review.outcome}",
        header,
        tuple(rows),
        (f"Pooled risk ratio {plain(review.pool()[0])}.",),
    )
