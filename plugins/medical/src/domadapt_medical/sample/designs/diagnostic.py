"""Diagnostic accuracy: a new assay and a conventional test against the same reference standard."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

from domadapt_medical.sample import names
from domadapt_medical.sample.author import Author, one_of, plain
from domadapt_medical.sample.draws import binomial
from domadapt_medical.sample.estimates import percent, wilson
from domadapt_medical.sample.manuscript import Manuscript, Section, Table
from domadapt_medical.sample.setting import Setting, count


@dataclass(frozen=True)
class Accuracy:
    """A two-by-two table of a test against the reference standard."""

    name: str
    true_positive: int
    false_positive: int
    false_negative: int
    true_negative: int

    @property
    def diseased(self) -> int:
        """Positive by the reference standard."""
        return self.true_positive + self.false_negative

    @property
    def healthy(self) -> int:
        """Negative by the reference standard."""
        return self.false_positive + self.true_negative

    @property
    def positive(self) -> int:
        """Positive by the test."""
        return self.true_positive + self.false_positive

    @property
    def negative(self) -> int:
        """Negative by the test."""
        return self.false_negative + self.true_negative


@dataclass(frozen=True)
class Diagnosis:
    """A study: two tests on the same people. cutoff: of the new assay, in `unit`."""

    index: Accuracy
    conventional: Accuracy
    target: str
    cutoff: float
    unit: str
    minutes: int
    approached: int
    invalid: int

    @property
    def analysed(self) -> int:
        """People with both tests and the reference standard."""
        return self.index.diseased + self.index.healthy


def simulate(rng: random.Random, setting: Setting) -> Diagnosis:
    """Draw disease, then both tests given disease."""
    v = setting.vocabulary
    n = rng.randint(140, 1350)
    diseased = binomial(rng, n, rng.uniform(0.12, 0.5))
    diseased = min(max(diseased, 12), n - 12)
    tables = []
    for name, low in ((names.assay(rng), 0.7), (rng.choice(v["scans"]), 0.6)):
        sensitivity, specificity = rng.uniform(low, 0.97), rng.uniform(low, 0.97)
        found, cleared = binomial(rng, diseased, sensitivity), binomial(rng, n - diseased, specificity)
        # a cell of 0 leaves likelihood ratios undefined
        found, cleared = min(max(found, 1), diseased - 1), min(max(cleared, 1), n - diseased - 1)
        tables.append(Accuracy(name, found, n - diseased - cleared, diseased - found, cleared))
    invalid = binomial(rng, n, rng.uniform(0.01, 0.06))
    return Diagnosis(
        tables[0],
        tables[1],
        rng.choice([setting.condition, *v["processes"][:2]]),
        round(rng.uniform(0.4, 48), 1),
        rng.choice(["ng/mL", "pg/mL", "units/L", "µg/L"]),
        rng.choice([8, 10, 12, 15, 20, 35]),
        n + invalid + rng.randint(12, 160),
        invalid,
    )


def compose(rng: random.Random, setting: Setting) -> Manuscript:
    """Simulate a study of two tests and write it up."""
    study = simulate(rng, setting)
    index, other = study.index, study.conventional
    author = Author(rng, setting, "diagnostic", {**_facts(study), **_test_facts(index)})
    introduction = author.introduction()
    parts = [
        ("Study design", author.paragraph("design", ["design", "setting_sentence"])),
        ("Index test", author.paragraph("index", ["index_test"])),
        ("Reference standard", author.paragraph("reference", ["reference_test"])),
    ]
    analysis, ethics = author.ethics_and_analysis("measures_defined")
    methods = author.methods([*parts, ("Statistical analysis", analysis), ("Ethics", ethics)])
    flow = author.paragraph("flow", ["flow", "prevalence"])
    first = author.paragraph("primary", ["accuracy", "predictive", "predictive", "missed"])
    second = author.paragraph("secondary", ["accuracy", "predictive"], **_test_facts(other))
    results = Section(
        "Results",
        (
            Section("Participants", (flow, _counts_table(study))),
            Section(f"Accuracy of {index.name}", (first,)),
            Section(f"Accuracy of {other.name}", (second, _accuracy_table(study))),
        ),
    )
    author.know(_test_facts(index))
    discussion = author.discussion(["principal", "principal_detail"])
    abstract = (
        Section("Background", (author.paragraph("abstract", ["gap", "aim"]),)),
        Section("Methods", (author.paragraph("abstract", ["design", "index_test"]),)),
        Section("Results", (author.paragraph("abstract", ["prevalence", "accuracy"]),)),
        Section("Conclusions", (author.paragraph("abstract", ["closing"]),)),
    )
    return Manuscript(
        author.title(),
        "diagnostic",
        setting.condition,
        setting.specialty,
        (setting.condition, index.name, "sensitivity", "diagnostic accuracy"),
        abstract,
        (introduction, methods, results, discussion),
    )


def _facts(study: Diagnosis) -> dict[str, Any]:
    index, other = study.index, study.conventional
    gain = (index.true_positive + index.true_negative) - (other.true_positive + other.true_negative)
    share = gain / study.analysed
    verdict = "exceeded" if share > 0.03 else "was below" if share < -0.03 else "was close to"
    useful = index.true_positive / index.diseased > 0.85 and index.false_negative / index.negative < 0.1
    more = index.true_positive - other.true_positive
    return {
        "index": index.name,
        "conventional": other.name,
        "target": study.target,
        "cutoff": f"{study.cutoff:.1f}",
        "unit": study.unit,
        "minutes": count(study.minutes),
        "approached": str(study.approached),
        "invalid": count(study.invalid),
        "n": str(study.analysed),
        "p_n": percent(study.analysed, study.approached),
        "d": str(index.diseased),
        "p_d": percent(index.diseased, study.analysed),
        "tp_i": str(index.true_positive),
        "tp_c": str(other.true_positive),
        "sens_i": percent(index.true_positive, index.diseased),
        "spec_i": percent(index.true_negative, index.healthy),
        "sens_c": f"a sensitivity of {percent(other.true_positive, other.diseased)}",
        "spec_c": f"a specificity of {percent(other.true_negative, other.healthy)}",
        "residual": percent(index.false_negative, index.negative),
        "verdict_test": verdict,
        "verdict_missed": "found more cases than" if more > 0 else "found fewer cases than" if more < 0 else "equalled",
        "can": one_of(["can help to exclude", "is a useful first test for", "reliably detects"])
        if useful
        else one_of(
            ["cannot on its own exclude", "is no substitute for the reference standard in", "misses too many cases of"]
        ),
    }


def _test_facts(test: Accuracy) -> dict[str, Any]:
    sensitivity, specificity = test.true_positive / test.diseased, test.true_negative / test.healthy
    return {
        "test": test.name,
        "tp": str(test.true_positive),
        "fp": str(test.false_positive),
        "fn": count(test.false_negative),
        "tn": str(test.true_negative),
        "dis": str(test.diseased),
        "hea": str(test.healthy),
        "pos": str(test.positive),
        "neg": str(test.negative),
        "sens": percent(test.true_positive, test.diseased),
        "spec": percent(test.true_negative, test.healthy),
        "ppv": percent(test.true_positive, test.positive),
        "npv": percent(test.true_negative, test.negative),
        "lr1": f"{sensitivity / (1 - specificity):.1f}",
        "lr0": f"{(1 - sensitivity) / specificity:.2f}",
    }


def _counts_table(study: Diagnosis) -> Table:
    rows = []
    for test in (study.index, study.conventional):
        for word, sick, well in (
            ("positive", test.true_positive, test.false_positive),
            ("negative", test.false_negative, test.true_negative),
        ):
            rows.append((f"{test.name}, {word}", str(sick), str(well), str(sick + well)))
    header = (("", 1), ("Reference standard", 2), ("", 1)), (("Result", 1), ("Present", 1), ("Absent", 1), ("Total", 1))
    return Table(f"Test results by presence of {study.target}", header, tuple(rows))


def _accuracy_table(study: Diagnosis) -> Table:
    rows = []
    for name, part, whole in (
        ("Sensitivity, %", "true_positive", "diseased"),
        ("Specificity, %", "true_negative", "healthy"),
        ("Positive predictive value, %", "true_positive", "positive"),
        ("Negative predictive value, %", "true_negative", "negative"),
    ):
        cells = (plain(wilson(getattr(t, part), getattr(t, whole)), 1, 100) for t in (study.index, study.conventional))
        rows.append((name, *cells))
    return Table(
        f"Accuracy for {study.target} among {study.analysed} participants",
        ((("Measure", 1), (study.index.name, 1), (study.conventional.name, 1)),),
        tuple(rows),
    )
