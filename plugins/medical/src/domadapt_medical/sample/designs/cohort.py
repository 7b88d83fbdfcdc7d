"""Cohort studies: one exposure, one outcome, a confounder handled by stratification."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from domadapt_medical.sample.author import Author, contrast_facts, one_of, plain
from domadapt_medical.sample.draws import binomial
from domadapt_medical.sample.estimates import Contrast, Estimate, mantel_haenszel, p_text, percent
from domadapt_medical.sample.manuscript import Manuscript, Paragraph, Section, Table
from domadapt_medical.sample.setting import Setting


@dataclass(frozen=True)
class Cohort:
    """A followed-up cohort. strata: contrasts exposed against unexposed, by age group; they sum to `total`."""

    exposure: str
    outcome: str
    second: str
    bands: tuple[str, ...]
    strata: tuple[Contrast, ...]
    second_contrast: Contrast
    comorbidities: tuple[str, ...]
    comorbid: tuple[tuple[int, int], ...]
    years: float
    invited: int

    @property
    def total(self) -> Contrast:
        """All ages together."""
        return Contrast(
            *(sum(getattr(s, f) for s in self.strata) for f in ("events", "total", "control_events", "control_total"))
        )

    def adjusted(self) -> Estimate:
        """Risk ratio adjusted for age, Mantel-Haenszel."""
        return mantel_haenszel(list(self.strata))


_BANDS = {
    "infants": ("below 28 weeks", "28 to 31 weeks", "32 weeks or more"),
    "women": ("below 25 years", "25 to 34 years", "35 years or more"),
}


def simulate(rng: random.Random, setting: Setting) -> Cohort:
    """Draw exposure by age, then events given both."""
    v = setting.vocabulary
    outcome, second = rng.sample(v["events"], 2)
    size, share = rng.randint(380, 5200), rng.uniform(0.18, 0.5)
    risk, effect, ageing = rng.uniform(0.05, 0.22), rng.choice([0.9, 1.0, 1.15, 1.3, 1.5, 1.8]), rng.uniform(1.05, 1.5)
    strata = []
    for band, weight in enumerate((0.3, 0.4, 0.3)):
        n = round(size * weight * rng.uniform(0.9, 1.1))
        exposed = binomial(rng, n, min(0.8, share * (0.8 + 0.2 * band)))
        base = risk * ageing**band
        # at least one event a cell, so that every ratio in the paper is defined
        strata.append(
            Contrast(
                max(1, binomial(rng, exposed, min(0.9, base * effect))),
                exposed,
                max(1, binomial(rng, n - exposed, base)),
                n - exposed,
            )
        )
    exposed, unexposed = sum(s.total for s in strata), sum(s.control_total for s in strata)
    rate = rng.uniform(0.04, 0.15)
    comorbidities = rng.sample(v["comorbidities"], 3)
    rates = [rng.uniform(0.1, 0.5) for _ in comorbidities]
    return Cohort(
        exposure=rng.choice(v["exposures"]),
        outcome=outcome,
        second=second,
        bands=_BANDS.get(setting.people, ("below 50 years", "50 to 64 years", "65 years or more")),
        strata=tuple(strata),
        second_contrast=Contrast(
            binomial(rng, exposed, rate * (1 + effect) / 2), exposed, binomial(rng, unexposed, rate), unexposed
        ),
        comorbidities=tuple(comorbidities),
        comorbid=tuple((binomial(rng, exposed, r * 1.1), binomial(rng, unexposed, r)) for r in rates),
        years=round(rng.uniform(1.4, 9.6), 1),
        invited=round((exposed + unexposed) * rng.uniform(1.1, 1.9)),
    )


def compose(rng: random.Random, setting: Setting) -> Manuscript:
    """Simulate a cohort and write it up."""
    cohort = simulate(rng, setting)
    stated = contrast_facts(cohort.total, cohort.outcome, _EXPOSED, _UNEXPOSED)
    author = Author(rng, setting, "cohort", {**_facts(cohort), **stated})
    introduction = author.introduction()
    parts = [
        ("Study population", author.paragraph("design", ["design", "setting_sentence"])),
        ("Exposure", author.paragraph("exposure", ["exposure_defined"])),
        ("Outcomes", author.paragraph("outcomes", ["outcome_defined"])),
    ]
    analysis, ethics = author.ethics_and_analysis("adjustment")
    methods = author.methods([*parts, ("Statistical analysis", analysis), ("Ethics", ethics)])
    population = author.paragraph("flow", ["flow", "baseline", *author.some(["baseline"], 0, 1)])
    main = author.paragraph("primary", ["followup", "contrast", "adjusted", "by_age"])
    second = author.sentence("contrast", contrast_facts(cohort.second_contrast, cohort.second, _EXPOSED, _UNEXPOSED))
    results = Section(
        "Results",
        (
            Section("Participants", (population, _population_table(cohort))),
            Section(
                f"{cohort.exposure[0].upper()}{cohort.exposure[1:]} and {cohort.outcome}", (main, _risk_table(cohort))
            ),
            Section("Secondary outcome", (Paragraph("secondary", (second,)),)),
        ),
    )
    author.know(stated)
    discussion = author.discussion(["principal", "principal_detail"])
    abstract = (
        Section("Background", (author.paragraph("abstract", ["gap", "aim"]),)),
        Section("Methods", (author.paragraph("abstract", ["design", "outcome_defined"]),)),
        Section("Results", (author.paragraph("abstract", ["contrast", "adjusted"]),)),
        Section("Conclusions", (author.paragraph("abstract", ["closing"]),)),
    )
    return Manuscript(
        author.title(),
        "cohort",
        setting.condition,
        setting.specialty,
        (setting.condition, cohort.exposure, cohort.outcome, "cohort study"),
        abstract,
        (introduction, methods, results, discussion),
    )


_EXPOSED = ("among the exposed", "in exposed participants", "in those exposed")
_UNEXPOSED = ("among the unexposed", "in unexposed participants", "in those not exposed")


def _facts(cohort: Cohort) -> dict[str, Any]:
    total, adjusted, crude = cohort.total, cohort.adjusted(), cohort.total.risk_ratio()
    n_all = total.total + total.control_total
    (ca1, ca0), old = cohort.comorbid[0], cohort.strata[-1]
    events = total.events + total.control_events
    name = cohort.outcome
    if adjusted.low > 1:
        verdict = [f"was associated with a higher risk of {name}", f"went along with more {name}", f"predicted {name}"]
    elif adjusted.high < 1:
        verdict = [f"was associated with a lower risk of {name}", f"went along with less {name}"]
    else:
        verdict = [
            f"was not clearly associated with {name}",
            f"did not predict {name}",
            f"showed no convincing relation with {name}",
        ]
    return {
        "exposure": cohort.exposure,
        "second": cohort.second,
        "years": f"{cohort.years:.1f}",
        "n_all": str(n_all),
        "n1_all": str(total.total),
        "n0_all": str(total.control_total),
        "invited": str(cohort.invited),
        "p_invited": percent(n_all, cohort.invited),
        "p_exposed": percent(total.total, n_all),
        "comorbidity_a": cohort.comorbidities[0],
        "ca1": str(ca1),
        "pca1": percent(ca1, total.total),
        "ca0": str(ca0),
        "pca0": percent(ca0, total.control_total),
        "old1": str(old.total),
        "pold1": percent(old.total, total.total),
        "old0": str(old.control_total),
        "pold0": percent(old.control_total, total.control_total),
        "k_all": str(events),
        "pk_all": percent(events, n_all),
        "crude": f"{crude.value:.2f}",
        "mh": adjusted.text(),
        "verdict_assoc": one_of(verdict),
        **{f"s{i}": f"{s.risk_ratio().value:.2f}" for i, s in enumerate(cohort.strata, 1)},
        **{f"b{i}": band for i, band in enumerate(cohort.bands, 1)},
    }


def _population_table(cohort: Cohort) -> Table:
    total = cohort.total
    rows = [
        (
            f"Age {band}" if "weeks" not in band else f"Gestation {band}",
            _cell(s.total, total.total),
            _cell(s.control_total, total.control_total),
        )
        for band, s in zip(cohort.bands, cohort.strata, strict=True)
    ]
    for name, (k1, k0) in zip(cohort.comorbidities, cohort.comorbid, strict=True):
        rows.append((name[0].upper() + name[1:], _cell(k1, total.total), _cell(k0, total.control_total)))
    header = (
        ("Characteristic, No. (%)", 1),
        (f"Exposed (n={total.total})", 1),
        (f"Unexposed (n={total.control_total})", 1),
    )
    return Table(f"Characteristics by {cohort.exposure}", (header,), tuple(rows))


def _risk_table(cohort: Cohort) -> Table:
    rows = []
    for band, s in zip((*cohort.bands, "All"), (*cohort.strata, cohort.total), strict=True):
        rows.append(
            (
                band,
                f"{s.events}/{s.total}",
                f"{s.control_events}/{s.control_total}",
                plain(s.risk_ratio()),
                p_text(s.p_value())[1:].lstrip("="),
            )
        )
    return Table(
        f"Risk of {cohort.outcome} by age",
        (
            (("", 1), ("Events / participants", 2), ("", 2)),
            (("Age", 1), ("Exposed", 1), ("Unexposed", 1), ("Risk ratio", 1), ("P value", 1)),
        ),
        tuple(rows),
        (f"Age-adjusted risk ratio {plain(cohort.adjusted())} (Mantel-Haenszel).",),
    )


def _cell(k: int, n: int) -> str:
    return f"{k} ({percent(k, n)[:-1]})"
