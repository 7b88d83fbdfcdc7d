"""Surveys of prevalence: one finding, counted by region and by age, and what goes with it."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from domadapt_medical.sample import names
from domadapt_medical.sample.author import Author, contrast_facts, one_of, plain
from domadapt_medical.sample.draws import binomial, split
from domadapt_medical.sample.estimates import Contrast, heterogeneity_p, p_text, percent, wilson
from domadapt_medical.sample.manuscript import Manuscript, Section, Table
from domadapt_medical.sample.setting import Setting, count


@dataclass(frozen=True)
class Survey:
    """A survey of people with one condition.

    regions, bands: (name, people, people with the finding); each sums to the whole.
    """

    finding: str
    factor: str
    regions: tuple[tuple[str, int, int], ...]
    bands: tuple[tuple[str, int, int], ...]
    by_factor: Contrast
    sampled: int
    excluded: int

    @property
    def people(self) -> int:
        """Analysed."""
        return sum(n for _, n, _ in self.regions)

    @property
    def cases(self) -> int:
        """With the finding."""
        return sum(k for _, _, k in self.regions)


def simulate(rng: random.Random, setting: Setting) -> Survey:
    """Draw people by region, cases by region, and distribute both over bands and the factor."""
    v = setting.vocabulary
    base = rng.uniform(0.08, 0.45)
    regions = []
    for _ in range(rng.randint(3, 5)):
        n = rng.randint(110, 900)
        regions.append((names.place(rng), n, max(1, binomial(rng, n, min(0.9, base * rng.uniform(0.7, 1.35))))))
    people, cases = sum(n for _, n, _ in regions), sum(k for _, _, k in regions)
    labels = {
        "infants": ("first week", "second week", "later"),
        "women": ("under 25", "25 to 34", "35 and over"),
    }.get(setting.people, ("18 to 44", "45 to 64", "65 and over"))
    sick = split(rng, cases, [2, 3, 4])
    well = split(rng, people - cases, [3, 3, 3])
    exposed_sick, exposed_well = binomial(rng, cases, 0.5), binomial(rng, people - cases, rng.uniform(0.25, 0.5))
    with_factor = exposed_sick + exposed_well
    sampled = round(people * rng.uniform(1.15, 2.2))
    return Survey(
        rng.choice(v["comorbidities"]),
        rng.choice(v["exposures"]),
        tuple(regions),
        tuple((label, s + w, s) for label, s, w in zip(labels, sick, well, strict=True)),
        Contrast(exposed_sick, with_factor, cases - exposed_sick, people - with_factor),
        sampled,
        binomial(rng, people, 0.03),
    )


def compose(rng: random.Random, setting: Setting) -> Manuscript:
    """Simulate a survey and write it up."""
    survey = simulate(rng, setting)
    in1 = (f"with {survey.factor}", f"in participants with {survey.factor}", f"among those with {survey.factor}")
    in0 = ("without", "in the others", "in those without it")
    stated = contrast_facts(survey.by_factor, survey.finding, in1, in0)
    author = Author(rng, setting, "survey", {**_facts(survey), **stated})
    introduction = author.introduction()
    parts = [
        ("Sample", author.paragraph("design", ["design", "setting_sentence"])),
        ("Measurements", author.paragraph("outcomes", ["case_definition", *author.some(["case_definition"], 0, 1)])),
    ]
    analysis, ethics = author.ethics_and_analysis("prevalence_methods")
    methods = author.methods([*parts, ("Statistical analysis", analysis), ("Ethics", ethics)])
    prevalence = author.paragraph("primary", ["flow", "overall", "by_region", "by_age"])
    factor = author.paragraph("secondary", ["contrast"])
    results = Section(
        "Results",
        (
            Section("Prevalence", (prevalence, _prevalence_table(survey))),
            Section(f"Relation with {survey.factor}", (factor, _factor_table(survey))),
        ),
    )
    discussion = author.discussion(["principal", "principal_detail"])
    abstract = (
        Section("Background", (author.paragraph("abstract", ["gap", "aim"]),)),
        Section("Methods", (author.paragraph("abstract", ["design", "case_definition"]),)),
        Section("Results", (author.paragraph("abstract", ["overall", "by_region", "contrast"]),)),
        Section("Conclusions", (author.paragraph("abstract", ["closing"]),)),
    )
    return Manuscript(
        author.title(),
        "survey",
        setting.condition,
        setting.specialty,
        (setting.condition, survey.finding, "prevalence", survey.factor),
        abstract,
        (introduction, methods, results, discussion),
    )


def _facts(survey: Survey) -> dict[str, Any]:
    low = min(survey.regions, key=lambda r: r[2] / r[1])
    high = max(survey.regions, key=lambda r: r[2] / r[1])
    share = survey.cases / survey.people
    ratio, p = survey.by_factor.risk_ratio(), survey.by_factor.p_value()
    found = f"associated with {'more' if ratio.value > 1 else 'less'} {survey.finding}"
    factor = [f"was {found}", f"was {found} in this sample"]
    if p >= 0.05:
        factor = [f"was not clearly related to {survey.finding}", f"had no convincing relation with {survey.finding}"]
    bands: dict[str, str] = {}
    for i, (name, n, k) in enumerate(survey.bands, 1):
        bands |= {f"a{i}": percent(k, n), f"b{i}": name}
    return {
        "finding": survey.finding,
        "factor": survey.factor,
        "n_regions": count(len(survey.regions)),
        "sampled": str(survey.sampled),
        "n_excluded": count(survey.excluded),
        "n": str(survey.people),
        "p_n": percent(survey.people, survey.sampled),
        "cases": str(survey.cases),
        "p_all": percent(survey.cases, survey.people),
        "prevalence": wilson(survey.cases, survey.people).text(1, percent=True),
        "lowest_name": low[0],
        "lowest": percent(low[2], low[1]),
        "kl": str(low[2]),
        "nl": str(low[1]),
        "highest_name": high[0],
        "highest": percent(high[2], high[1]),
        "kh": str(high[2]),
        "nh": str(high[1]),
        "p_regions": _p(survey.regions),
        "p_ages": _p(survey.bands),
        "rounded": f"one in {count(round(1 / share))}" if share < 0.4 else f"{round(10 * share)} in ten",
        "verdict_factor": one_of(factor),
        **bands,
    }


def _p(groups: tuple[tuple[str, int, int], ...]) -> str:
    return p_text(heterogeneity_p([k for _, _, k in groups], [n for _, n, _ in groups]))


def _prevalence_table(survey: Survey) -> Table:
    rows = [("District", "", "")]
    rows += [(name, f"{k}/{n}", plain(wilson(k, n), 1, 100)) for name, n, k in survey.regions]
    rows += [("Age", "", "")]
    rows += [(name, f"{k}/{n}", plain(wilson(k, n), 1, 100)) for name, n, k in survey.bands]
    rows += [("All", f"{survey.cases}/{survey.people}", plain(wilson(survey.cases, survey.people), 1, 100))]
    return Table(
        f"Prevalence of {survey.finding}",
        ((("Group", 1), ("Cases / participants", 1), ("Prevalence, %", 1)),),
        tuple(rows),
    )


def _factor_table(survey: Survey) -> Table:
    c = survey.by_factor
    rows = (
        ("present", str(c.events), str(c.total - c.events), str(c.total)),
        ("absent", str(c.control_events), str(c.control_total - c.control_events), str(c.control_total)),
    )
    header = ((("", 1), (survey.finding, 2), ("", 1)), ((survey.factor, 1), ("yes", 1), ("no", 1), ("Total", 1)))
    return Table(
        f"{survey.finding[0].upper()}{survey.finding[1:]} by {survey.factor}",
        header,
        rows,
        (f"Risk ratio {plain(c.risk_ratio())}.",),
    )
