"""Randomised trials: two arms, or two doses against one control."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from domadapt_medical.sample import names
from domadapt_medical.sample.author import Author, contrast_facts, one_of, plain
from domadapt_medical.sample.draws import binomial, split
from domadapt_medical.sample.estimates import Contrast, Estimate, heterogeneity_p, mean_difference, p_text, percent
from domadapt_medical.sample.manuscript import Manuscript, Paragraph, Section, Table
from domadapt_medical.sample.setting import Setting, count, listing


@dataclass(frozen=True)
class Arm:
    """One arm. Events are counted among those analysed.

    by_subgroup: (people, events) with the first comorbidity and without.
    """

    name: str
    allocated: int
    lost: int
    age: tuple[float, float]
    women: int
    comorbid: tuple[int, ...]
    by_subgroup: tuple[tuple[int, int], tuple[int, int]]
    secondary: tuple[int, ...]
    change: tuple[float, float]
    adverse: tuple[int, ...]
    stopped: int

    @property
    def analysed(self) -> int:
        """Participants with an outcome."""
        return self.allocated - self.lost

    @property
    def primary(self) -> int:
        """Primary events."""
        return sum(events for _, events in self.by_subgroup)


@dataclass(frozen=True)
class Trial:
    """A finished trial. The last arm is the control. excluded: counts by reason, sum of those not randomised."""

    drug: str
    drug_class: str
    route: str
    weeks: int
    control: str
    arms: tuple[Arm, ...]
    excluded: tuple[int, ...]
    outcome: str
    secondary: tuple[str, ...]
    measure: tuple[str, str, float, float, str]
    comorbidities: tuple[str, ...]
    adverse: tuple[str, ...]
    expected: tuple[float, float]

    @property
    def randomised(self) -> int:
        """All participants."""
        return sum(arm.allocated for arm in self.arms)

    def primary(self, arm: Arm) -> Contrast:
        """The primary outcome of one arm against the control."""
        control = self.arms[-1]
        return Contrast(arm.primary, arm.analysed, control.primary, control.analysed)


def simulate(rng: random.Random, setting: Setting) -> Trial:
    """Draw the design, then every participant's outcome from it."""
    v = setting.vocabulary
    drug_class, ending = rng.choice(v["classes"])
    drug = names.drug(rng, ending)
    control = rng.choice(["placebo", "placebo", "usual care"])
    doses = sorted(rng.sample([5, 10, 15, 20, 25, 40, 50, 75, 100, 150, 200, 300], 2)) if rng.random() < 0.3 else []
    labels = [f"{drug} {dose} mg" for dose in doses] or [drug]
    outcome, *secondary = rng.sample(v["events"], 3)
    risk, effect = rng.uniform(0.12, 0.5), rng.choice([0.55, 0.65, 0.75, 0.85, 1.0, 1.12])
    size = rng.randint(58, 420)
    measure = rng.choice(v["measures"])
    comorbidities = rng.sample(v["comorbidities"], 3)
    rates = [rng.uniform(0.12, 0.55) for _ in comorbidities]
    adverse = rng.sample(v["adverse"], 4)
    adverse_rates = [rng.uniform(0.03, 0.2) for _ in adverse]
    secondary_risks = [rng.uniform(0.05, 0.35) for _ in secondary]
    age, sd = {"infants": (29.4, 2.1), "women": (30.6, 5.2)}.get(
        setting.people, (rng.uniform(44, 71), rng.uniform(8, 14))
    )
    arms = []
    for position, label in enumerate([*labels, control]):
        active = position < len(labels)
        shift = effect ** ((position + 1) / len(labels)) if active else 1.0
        allocated = size + rng.randint(-3, 3)
        lost = binomial(rng, allocated, rng.uniform(0.02, 0.1))
        analysed = allocated - lost
        with_comorbidity = binomial(rng, analysed, rates[0])
        better = -1 if measure[4] == "lower" else 1
        arms.append(
            Arm(
                name=label,
                allocated=allocated,
                lost=lost,
                age=(round(rng.gauss(age, 0.6), 1), round(sd * rng.uniform(0.93, 1.07), 1)),
                women=binomial(rng, allocated, {"men": 0.0, "women": 1.0}.get(setting.people, 0.46)),
                comorbid=tuple(binomial(rng, allocated, r) for r in rates),
                by_subgroup=(
                    (with_comorbidity, binomial(rng, with_comorbidity, min(0.9, 1.25 * risk * shift))),
                    (analysed - with_comorbidity, binomial(rng, analysed - with_comorbidity, risk * shift)),
                ),
                secondary=tuple(binomial(rng, analysed, r * (1 + shift) / 2) for r in secondary_risks),
                change=(
                    round(better * measure[3] * (0.2 + 1.4 * (1 - shift) + rng.gauss(0, 0.04)), 2),
                    round(measure[3] * rng.uniform(0.75, 1.05), 2),
                ),
                adverse=tuple(binomial(rng, allocated, r * (1.5 if active else 1)) for r in adverse_rates),
                stopped=binomial(rng, allocated, rng.uniform(0.03, 0.12)),
            )
        )
    randomised = sum(arm.allocated for arm in arms)
    return Trial(
        drug,
        drug_class,
        rng.choice(
            [
                "once daily by mouth",
                "twice daily by mouth",
                "by subcutaneous injection every four weeks",
                "by weekly infusion",
            ]
        ),
        rng.choice([8, 12, 16, 24, 26, 48, 52]),
        control,
        tuple(arms),
        tuple(split(rng, round(randomised * rng.uniform(0.15, 0.9)), [5, 3, 2])),
        outcome,
        tuple(secondary),
        tuple(measure),
        tuple(comorbidities),
        tuple(adverse),
        (risk, rng.choice([0.55, 0.6, 0.65, 0.7])),
    )


def compose(rng: random.Random, setting: Setting) -> Manuscript:
    """Simulate a trial and write it up."""
    trial = simulate(rng, setting)
    control, best = trial.arms[-1], trial.arms[-2]
    author = Author(rng, setting, "trial", _facts(trial, rng))
    contrast = trial.primary(best)
    in1, in0 = _groups(best), _groups(control)
    stated = contrast_facts(contrast, trial.outcome, in1, in0)
    introduction = author.introduction()
    parts = [
        ("Study design", author.paragraph("design", ["design", "setting_sentence"])),
        ("Participants", author.paragraph("participants", ["eligible", *author.some(["exclusion_sentence"], 0, 1)])),
        ("Randomisation and treatment", author.paragraph("randomisation", ["randomisation", "treatment"])),
        ("Outcomes", author.paragraph("outcomes", ["primary_defined", "secondary_defined"])),
    ]
    analysis, ethics = author.ethics_and_analysis("sample_size", "estimators")
    methods = author.methods([*parts, ("Statistical analysis", analysis), ("Ethics", ethics)])
    results = _results(author, trial, stated)
    discussion = author.discussion(["principal", "principal_detail"])
    conclusion = author.sentence("closing", {})
    abstract = (
        Section("Background", (author.paragraph("abstract", ["burden", "aim"]),)),
        Section("Methods", (author.paragraph("abstract", ["design", "primary_defined"]),)),
        Section("Results", (author.paragraph("abstract", ["followup", "contrast"], **stated),)),
        Section("Conclusions", (Paragraph("abstract", (conclusion,)),)),
    )
    return Manuscript(
        author.title(),
        "trial",
        setting.condition,
        setting.specialty,
        (setting.condition, trial.drug, trial.drug_class, "randomised trial"),
        abstract,
        (introduction, methods, results, discussion),
    )


def _groups(arm: Arm) -> list[str]:
    return [f"with {arm.name}", f"in the {arm.name} group", f"among those assigned to {arm.name}"]


def _facts(trial: Trial, rng: random.Random) -> dict[str, Any]:
    control, best = trial.arms[-1], trial.arms[-2]
    contrast = trial.primary(best)
    ratio, difference, clear = contrast.risk_ratio(), contrast.risk_difference(), contrast.p_value() < 0.05
    if clear and ratio.value < 1:
        verdict = [
            f"reduced {trial.outcome} compared with {trial.control}",
            f"lowered the risk of {trial.outcome}",
            f"was superior to {trial.control} in preventing {trial.outcome}",
        ]
        supports = "supports the use of"
    elif clear:
        verdict = [f"increased the risk of {trial.outcome}", f"led to more {trial.outcome} than {trial.control}"]
        supports = "argues against"
    else:
        verdict = [
            f"did not significantly reduce {trial.outcome}",
            f"had no clear effect on {trial.outcome}",
            f"was not shown to prevent {trial.outcome}",
        ]
        supports = "does not support"
    excluded, screened = sum(trial.excluded), trial.randomised + sum(trial.excluded)
    analysed = sum(arm.analysed for arm in trial.arms)
    a, b, c = trial.excluded
    with_a = sum(arm.comorbid[0] for arm in trial.arms)
    planned = round(trial.randomised, -1)
    return {
        "drug": trial.drug,
        "drug_class": trial.drug_class,
        "best": best.name,
        "control": trial.control,
        "control_got": "the others received a matching placebo"
        if trial.control == "placebo"
        else "the others continued as before",
        "route": trial.route,
        "weeks": str(trial.weeks),
        "outcome": trial.outcome,
        "sec1": trial.secondary[0],
        "sec2": trial.secondary[1],
        "measure": trial.measure[0],
        "unit": trial.measure[1],
        "ae": one_of(trial.adverse),
        "comorbidity_a": trial.comorbidities[0],
        "design_words": one_of(
            [
                "randomised, double-blind, placebo-controlled",
                "multicentre, double-blind, randomised",
                "placebo-controlled, parallel-group",
            ]
            if trial.control == "placebo"
            else ["randomised, open-label", "multicentre, randomised, assessor-blinded", "pragmatic, randomised"]
        ),
        "arms_words": "two parallel arms" if len(trial.arms) == 2 else "three parallel arms",
        "arms_list": listing([arm.name for arm in trial.arms]).replace(" and ", " or "),
        "ratio": "a 1:1" if len(trial.arms) == 2 else "a 1:1:1",
        "risk0": f"{100 * trial.expected[0]:.0f}%",
        "rr0": f"{trial.expected[1]:.2f}",
        "randomised_planned": str(planned),
        "screened": str(screened),
        "excluded": str(excluded),
        "reasons": f"{a} did not meet the criteria, {b} declined, and {c} for other reasons",
        "reasons_words": f"did not meet the criteria ({a}), declined ({b}), or were left out for other reasons ({c})",
        "randomised": str(trial.randomised),
        "allocation": listing([f"{arm.allocated} to {arm.name}" for arm in trial.arms]),
        "lost": count(trial.randomised - analysed),
        "lost_cap": count(trial.randomised - analysed),
        "analysed": str(analysed),
        "p_analysed": percent(analysed, trial.randomised),
        "age1": f"{best.age[0]:.1f}",
        "sd1": f"{best.age[1]:.1f}",
        "age0": f"{control.age[0]:.1f}",
        "sd0": f"{control.age[1]:.1f}",
        "c_all": str(with_a),
        "pc_all": percent(with_a, trial.randomised),
        "verdict_benefit": one_of(verdict),
        "supports": supports,
        "per1000": f"{abs(1000 * difference.value):.0f}",
        "fewer": "fewer" if difference.value < 0 else "more",
        "ci_low": f"{ratio.low:.2f}",
        "ci_high": f"{ratio.high:.2f}",
        **contrast_facts(contrast, trial.outcome, _groups(best), _groups(control)),
    }


def _results(author: Author, trial: Trial, stated: dict[str, Any]) -> Section:
    control = trial.arms[-1]
    flow = author.paragraph("flow", ["flow", "followup", "baseline"])
    sentences = [
        author.sentence("contrast", contrast_facts(trial.primary(arm), trial.outcome, _groups(arm), _groups(control)))
        for arm in reversed(trial.arms[:-1])
    ]
    best = trial.arms[-2]
    ratios = []
    for (n, k), (m, j) in zip(best.by_subgroup, control.by_subgroup, strict=True):
        ratios.append(plain(Contrast(k, n, j, m).risk_ratio()) if n and m else "not estimable")
    sentences.append(author.sentence("subgroup", {"sub1": ratios[0], "sub2": ratios[1]}))
    primary = Paragraph("primary", tuple(sentences))
    secondary = [
        author.sentence(
            "contrast",
            contrast_facts(
                Contrast(best.secondary[i], best.analysed, control.secondary[i], control.analysed),
                name,
                _groups(best),
                _groups(control),
            ),
        )
        for i, name in enumerate(trial.secondary)
    ]
    difference, p = _change(best, control)
    secondary.append(
        author.sentence(
            "continuous",
            {"m1": signed(best.change[0]), "m0": signed(control.change[0]), "diff": plain(difference), "pm": p_text(p)},
        )
    )
    safety = []
    for i in author.rng.sample(range(len(trial.adverse)), author.rng.randint(2, 3)):
        a1, a0 = best.adverse[i], control.adverse[i]
        safety.append(
            author.sentence(
                "safety",
                {
                    "ae": trial.adverse[i],
                    "a1": str(a1),
                    "t1": str(best.allocated),
                    "pa1": percent(a1, best.allocated),
                    "a0": str(a0),
                    "t0": str(control.allocated),
                    "pa0": percent(a0, control.allocated),
                },
            )
        )
    safety.append(
        author.sentence(
            "stopped",
            {
                "s1": str(best.stopped),
                "ps1": percent(best.stopped, best.allocated),
                "s0": str(control.stopped),
                "ps0": percent(control.stopped, control.allocated),
                "ae": one_of(trial.adverse),
            },
        )
    )
    author.know(stated)  # the discussion speaks of the primary outcome again
    blocks = (
        Section("Participants", (flow, _baseline_table(trial, author.setting.people))),
        Section("Primary outcome", (primary,)),
        Section("Secondary outcomes", (Paragraph("secondary", tuple(secondary)), _outcome_table(trial))),
        Section("Safety", (Paragraph("safety", tuple(safety)), _safety_table(trial))),
    )
    if author.rng.random() < 0.35:
        return Section("Results", tuple(block for part in blocks for block in part.blocks))
    return Section("Results", blocks)


def _change(arm: Arm, control: Arm) -> tuple[Estimate, float]:
    return mean_difference(*arm.change, arm.analysed, *control.change, control.analysed)


def signed(x: float) -> str:
    """A change with its sign: "−3.2"."""
    return f"{x:+.1f}".replace("-", "−") if abs(x) >= 1 else f"{x:+.2f}".replace("-", "−")


def _header(trial: Trial, attribute: str) -> tuple[tuple[str, int], ...]:
    return tuple((f"{arm.name} (n={getattr(arm, attribute)})", 1) for arm in trial.arms)


def _cells(counts: list[int], totals: list[int]) -> tuple[str, ...]:
    return tuple(f"{k} ({percent(k, n)[:-1]})" for k, n in zip(counts, totals, strict=True))


def _baseline_table(trial: Trial, people: str) -> Table:
    totals = [arm.allocated for arm in trial.arms]
    age = "Gestational age, weeks, mean (SD)" if people == "infants" else "Age, years, mean (SD)"
    rows = [(age, *(f"{arm.age[0]:.1f} ({arm.age[1]:.1f})" for arm in trial.arms))]
    if people not in ("men", "women"):
        rows.append(("Female sex, No. (%)", *_cells([arm.women for arm in trial.arms], totals)))
    for i, name in enumerate(trial.comorbidities):
        rows.append((f"{name[0].upper()}{name[1:]}, No. (%)", *_cells([arm.comorbid[i] for arm in trial.arms], totals)))
    return Table(
        f"Baseline characteristics of {trial.randomised} randomised {people}",
        ((("Characteristic", 1), *_header(trial, "allocated")),),
        tuple(rows),
        ("SD, standard deviation.",),
    )


def _outcome_table(trial: Trial) -> Table:
    totals = [arm.analysed for arm in trial.arms]
    rows = [
        (
            trial.outcome,
            *_cells([arm.primary for arm in trial.arms], totals),
            *_p([arm.primary for arm in trial.arms], totals),
        )
    ]
    for i, name in enumerate(trial.secondary):
        counts = [arm.secondary[i] for arm in trial.arms]
        rows.append((name, *_cells(counts, totals), *_p(counts, totals)))
    return Table(
        f"Outcomes at {trial.weeks} weeks",
        (
            (("", 1), ("No. (%) with the event", len(trial.arms)), ("", 1)),
            (("Outcome", 1), *_header(trial, "analysed"), ("P value", 1)),
        ),
        tuple(rows),
        ("P values for equality of all groups.",),
    )


def _p(counts: list[int], totals: list[int]) -> tuple[str]:
    if len(counts) == 2:
        return (p_text(Contrast(counts[0], totals[0], counts[1], totals[1]).p_value())[1:].lstrip("="),)
    return (p_text(heterogeneity_p(counts, totals))[1:].lstrip("=") if 0 < sum(counts) < sum(totals) else "–",)


def _safety_table(trial: Trial) -> Table:
    totals = [arm.allocated for arm in trial.arms]
    rows = [(name, *_cells([arm.adverse[i] for arm in trial.arms], totals)) for i, name in enumerate(trial.adverse)]
    rows.append(("stopped treatment", *_cells([arm.stopped for arm in trial.arms], totals)))
    return Table("Adverse events, No. (%)", ((("Event", 1), *_header(trial, "allocated")),), tuple(rows))
