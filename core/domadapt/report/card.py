"""The model card of a run's model: README.md with front matter for the hub, and evaluation results in its formats.

Everything comes from the run: what it was made from, on which text, how, how it scores beside its parents with
intervals, and what it is worse at, said as plainly as what it is better at. Two calls on one run give equal bytes.
Paths of this machine, host names and secrets never enter: every text passes `card_text`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domadapt.errors import UsageError
from domadapt.report import numbers
from domadapt.report.card_license import Decision, Input, decide, declared_license
from domadapt.report.card_results import eval_results, model_index, score_of
from domadapt.report.card_text import fenced, markdown, publishable, publishable_data
from domadapt.report.differences import BETTER, UNCLEAR, WORSE
from domadapt.report.finished_run import FinishedRun
from domadapt.report.origins import SourceShare, TrainingText, training_text
from domadapt.report.verdict import measure_title

if TYPE_CHECKING:
    from huggingface_hub import ModelCardData
    from jinja2 import Environment

Entry = Mapping[str, Any]

MOST_SOURCES = 40
RESULTS = ".eval_results/adapt.yaml"
_HUB_ID = re.compile(r"(?:hub:)?([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@.*)?")
_TRAINING = (
    ("train.backend", "backend"),
    ("model.start", "started from"),
    ("train.steps", "optimizer steps"),
    ("train.batch_tokens", "tokens of a step"),
    ("mix.seq_len", "tokens of a window"),
    ("mix.packing", "packing"),
    ("mix.replay", "share of general text asked"),
    ("train.lr", "peak learning rate"),
    ("train.schedule", "schedule"),
    ("train.warmup", "warm-up, share of the steps"),
    ("train.min_lr", "final rate, share of the peak"),
    ("train.weight_decay", "weight decay"),
    ("train.clip", "gradient clipping"),
    ("train.precision", "precision"),
    ("seed", "seed"),
)


@dataclass(frozen=True)
class Card:
    """A model's card. text: README.md.  results: `.eval_results/adapt.yaml`, "" where no benchmark is on the hub."""

    label: str
    text: str
    results: str
    license: Decision


@dataclass(frozen=True)
class Parent:
    """A model that the described one descends from. name: its hub id, else a name without folders."""

    role: str
    name: str
    hub_id: str | None
    revision: str | None
    license: str
    digest: str | None


def build_card(run: FinishedRun, label: str | None = None, license: str | None = None) -> Card:
    """The card of one model of a run.

    label: default the merge that the report names.  license: what the publisher says it is.
    Raises UsageError when the run did not make such a model.
    """
    label = chosen_label(run, label)
    model = run.model(label)
    assert model is not None
    parents = parents_of(run, model["role"])
    text = training_text(run.corpora(), run.tokens(), run.recipe["mix"]["packing"])
    decision = decide([*_licensed_parents(parents), *_licensed_text(text)], license)
    metadata = _metadata(run, label, parents, text, decision)
    facts = _facts(run, model, parents, text, decision)
    template = _environment().get_template("card.md.jinja")
    body = template.render(**facts, scores=_scores(run, label), judged=_judged(run, label))
    return Card(label, f"---\n{metadata.to_yaml()}\n---\n\n{body.strip()}\n", _results(run, label), decision)


def chosen_label(run: FinishedRun, label: str | None) -> str:
    """The model to describe: the one asked for, else the report's chosen merge, else the CPT model."""
    made = [m for m in run.labels("cpt", "merged") if run.checkpoint(m) is not None]
    if label is None:
        label = run.data["verdict"]["chosen_merge"] or next(iter(made), None)
    if label not in made:
        what = "made no model" if not made else f"made {', '.join(made)}"
        raise UsageError(f"run {run.name!r}: no model {label!r} to describe; the run {what}")
    return label


def parents_of(run: FinishedRun, role: str) -> list[Parent]:
    """What a model descends from: base and instruct of a merge with a CPT model made elsewhere, or CPT's start."""
    section = run.recipe["model"]
    refs = {"base": (section["base"], section.get("revision"))}
    if section.get("instruct") is not None:
        refs["instruct"] = (section["instruct"], section.get("instruct_revision"))
    if role == "cpt":
        refs = {name: ref for name, ref in refs.items() if name == section["start"]}
    elif run.recipe["train"].get("from") is not None:
        refs["cpt"] = (run.recipe["train"]["from"], None)
    return [_parent(run, name, ref, revision) for name, (ref, revision) in refs.items()]


def _parent(run: FinishedRun, role: str, ref: str, revision: str | None) -> Parent:
    full = f"{ref}@{revision}" if revision else ref
    digest = (run.model(role) or {}).get("digest")
    license = declared_license(full)
    if ref.startswith("builtin:"):
        return Parent(role, f"{ref.removeprefix('builtin:')} (built into adapt)", None, None, license, digest)
    match = None if ref.startswith((".", "/", "~")) else _HUB_ID.fullmatch(ref)
    if match is None or Path(ref).is_dir():
        return Parent(role, publishable(Path(ref).name) or "a local model", None, None, license, digest)
    return Parent(role, match[1], match[1], revision or full.partition("@")[2] or None, license, digest)


def _licensed_parents(parents: Sequence[Parent]) -> list[Input]:
    return [Input(f"the {p.role} model {p.name}", p.license, is_model=True) for p in parents]


def _licensed_text(text: TrainingText) -> list[Input]:
    # text that was never read in training binds nothing
    return [Input(f"text of {publishable(s.source)}", publishable(s.license)) for s in text.sources if s.tokens != 0]


def _metadata(
    run: FinishedRun, label: str, parents: Sequence[Parent], text: TrainingText, decision: Decision
) -> ModelCardData:
    from huggingface_hub import ModelCardData

    model = run.model(label)
    assert model is not None
    merged = model["role"] == "merged"
    tags = ["domain-adaptation", publishable(str(run.data["domain"]))]
    tags += ["continual-pretraining"] if run.tokens() is not None else []
    tags += ["merge"] if merged else []
    tags += ["mergekit"] if "mergekit" in model["facts"] else []
    hub_ids = list(dict.fromkeys(p.hub_id for p in parents if p.hub_id))
    measures = run.data["ledger"]["measures"]
    results = model_index(measures, label)
    return ModelCardData(
        base_model=hub_ids or None,
        base_model_relation="merge" if merged else "finetune",
        library_name="transformers",
        pipeline_tag="text-generation",
        language=text.languages or None,
        license=decision.id,
        license_name=_slug(decision.name) if decision.name else None,
        tags=sorted(tags),
        model_name=_title(run, label) if results else None,
        eval_results=results or None,
    )


def _slug(words: str) -> str:
    return re.sub(r"[^a-z0-9.]+", "-", publishable(words).lower()).strip("-") or "stated-in-the-card"


def _title(run: FinishedRun, label: str) -> str:
    return publishable(f"{run.name}-{label}")


def _results(run: FinishedRun, label: str) -> str:
    import yaml
    from huggingface_hub import eval_result_entries_to_yaml

    entries = eval_results(run.data["ledger"]["measures"], label)
    if not entries:
        return ""
    return str(yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True))


def _facts(
    run: FinishedRun, model: Entry, parents: Sequence[Parent], text: TrainingText, decision: Decision
) -> dict[str, Any]:
    """What the template shows besides the scores."""
    label, data = model["label"], run.data
    checkpoint = run.checkpoint(label)
    assert checkpoint is not None
    weights = [f for f in checkpoint.manifest["files"].items() if f[0].endswith(".safetensors")]
    cleaning = [step["use"] for step in run.recipe["corpus"]["clean"]]
    merges = run.labels("merged")
    return {
        "title": _title(run, label),
        "model": model,
        "data": data,
        "parents": parents,
        "decision": decision,
        "sources": text.sources[:MOST_SOURCES],
        "more_sources": len(text.sources) - MOST_SOURCES,
        "exact": text.exact,
        "languages": text.languages,
        "license_words": _license_words,
        "trained": run.tokens() is not None,
        "training": [(name, value) for key, name in _TRAINING if (value := _value(run.recipe, key)) is not None],
        "cleaning": cleaning,
        "decontaminated": any("contamin" in step for step in cleaning),
        "merge_facts": _merge_facts(model["facts"]),
        "mergekit": publishable_data(model["facts"].get("mergekit")),
        "merges": merges,
        "limit": run.recipe["eval"].get("limit"),
        "packages": run.resolved.get("packages", {}),
        "packs": _packs(run),
        "recipe": _recipe_text(run),
        "stages": {k: v for k, v in sorted(run.keys.items()) if k.split(".")[0] in ("corpus", "tokens", "train")},
        "weights": [(name, entry["bytes"], entry["sha256"]) for name, entry in sorted(weights)],
    }


def _value(recipe: Entry, key: str) -> Any:
    found: Any = recipe
    for part in key.split("."):
        found = found.get(part) if isinstance(found, Mapping) else None
    return found


def _license_words(share: SourceShare) -> str:
    return share.license or "unknown"


def _merge_facts(facts: Entry) -> list[tuple[str, str]]:
    return [(name, _words(value)) for name, value in sorted(facts.items()) if name != "mergekit" and value is not None]


def _words(value: Any) -> str:
    if isinstance(value, Mapping):
        return f"({', '.join(f'{name} {_words(item)}' for name, item in value.items())})"
    return ("yes" if value else "no") if isinstance(value, bool) else str(value)


def _packs(run: FinishedRun) -> list[str]:
    """Distributions whose components worked in the run, as pip requirements."""
    used = {" ".join(str(by).split()[:2]) for by in run.data["providers"].values()}
    return [publishable(by).replace(" ", "==", 1) for by in sorted(used)]


def _recipe_text(run: FinishedRun) -> str:
    import yaml

    text = yaml.safe_dump(publishable_data(run.recipe), sort_keys=False, allow_unicode=True, width=1000)
    return fenced(text, "yaml")


def _scores(run: FinishedRun, label: str) -> dict[str, Any]:
    """A table: measures by model, and this model's difference to the reference."""
    ledger = run.data["ledger"]
    reference = ledger["reference"]
    columns = list(dict.fromkeys([reference, *run.labels("base"), *run.labels("cpt"), label]))
    rows = []
    for measure in ledger["measures"]:
        unit = numbers.unit_of(measure["unit"])
        cells = [_score_cell(score_of(measure, column), unit) for column in columns]
        score = score_of(measure, label)
        difference = score["difference"] if score else None
        if difference is None:
            cells += [numbers.UNKNOWN] * 2
        else:
            interval = numbers.bounds(difference, unit, signed=True)
            cells += [f"{numbers.change(difference['value'], unit)} ({interval})", difference["verdict"]]
        counted = score["n"] if score else None
        better = "↑" if measure["higher_is_better"] else "↓"
        rows.append([f"{measure_title(measure)} {better}", *cells, numbers.count(counted)])
    headers = ["measure", *columns, f"{label} against {reference}", "verdict", "items"]
    return {"headers": headers, "rows": rows, "reference": reference}


def _score_cell(score: Entry | None, unit: numbers.Unit) -> str:
    if score is None:
        return numbers.UNKNOWN
    return f"{numbers.level(score['value'], unit)} ({numbers.bounds(score, unit)})"


def _judged(run: FinishedRun, label: str) -> dict[str, list[str]]:
    """One sentence a measure, by verdict: what is worse, what cannot be told apart, what is better."""
    ledger = run.data["ledger"]
    told: dict[str, list[str]] = {WORSE: [], UNCLEAR: [], BETTER: []}
    for measure in ledger["measures"]:
        score = score_of(measure, label)
        difference = score["difference"] if score else None
        if difference is None:
            continue
        unit = numbers.unit_of(measure["unit"])
        by = f"{numbers.change(difference['value'], unit)} ({numbers.bounds(difference, unit, signed=True)})"
        missed = (
            _could_be_missed(measure, difference, ledger["min_clusters"]) if difference["verdict"] == UNCLEAR else ""
        )
        told.setdefault(difference["verdict"], []).append(f"{measure_title(measure)}: {by}{missed}")
    return {"worse": told[WORSE], "unclear": told[UNCLEAR], "better": told[BETTER]}


def _could_be_missed(measure: Entry, difference: Entry, min_clusters: int) -> str:
    if measure["clusters"] < min_clusters:
        return f"; {measure['clusters']} independent units are too few for any verdict"
    if difference["smallest_detectable"] is None:
        return ""
    unit = numbers.unit_of(measure["unit"])
    size = f"{numbers.plain(difference['smallest_detectable'], unit)}{unit.change}"
    return f"; a true difference below {size} would often go unnoticed"


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(  # the filter `md` escapes for Markdown, where HTML's escaping alone is not enough
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=False,  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(md=markdown, plain=publishable, count=numbers.count, size=numbers.size, fenced=fenced)
    return environment
