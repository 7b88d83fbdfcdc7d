"""The report: ledger, verdict, report.json, report.html and the terminal table, from small made-up artifacts."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from domadapt.artifacts import Checkpoint, Corpus, Scorecard, TokenStore
from domadapt.errors import DataError
from domadapt.report.build import canonical_json, digest_without_run_facts, report_data, write_report
from domadapt.report.page import render_page
from domadapt.report.results import ModelResult, RunResults
from domadapt.report.statistics import interval
from domadapt.report.terminal import print_report

HOSTILE = '<script>alert("x")</script>&\'"><img src=x onerror=alert(1)>\x1b[31m'
BITS = {"base": (3.0, 1.6), "instruct": (3.1, 1.7), "cpt": (0.5, 2.2), "ties": (1.1, 1.8), "slerp": (1.0, 1.9)}
RIGHT = {"base": 20, "instruct": 80, "cpt": 30, "ties": 70, "slerp": 60}
DOCUMENTS, ITEMS = 30, 100


def artifact(path: Path, facts: Mapping[str, Any]) -> Path:
    path.mkdir(parents=True, exist_ok=True)
    (path / "artifact.json").write_text(json.dumps({"facts": facts, "files": {}}))
    return path


def scorecard(
    path: Path, task: str, side: str, unit: str, values: Sequence[float], weights: Sequence[float], items: str = ""
) -> Scorecard:
    """A scorecard with one metric; `items` distinguishes sets of items."""
    artifact(path, {})
    names = [f"{items}{i}" for i in range(len(values))]
    metric = "bits_per_byte" if unit else "acc"
    table = {"metric": [metric] * len(names), "item": names, "cluster": names, "value": values, "weight": weights}
    pq.write_table(pa.table(table), path / "samples.parquet")
    row = {"task": task, "metric": metric, "side": side, "n": len(names), "unit": unit, "protocol": "greedy"}
    row |= interval(values, weights, names)._asdict() | {"higher_is_better": not unit}
    (path / "scores.json").write_text(json.dumps({"rows": [row]}))
    return Scorecard(path)


def run_results(
    root: Path,
    *,
    merges: Sequence[str] = ("ties", "slerp"),
    instruct: bool = True,
    general: bool = True,
    trained: bool = True,
    levels: Mapping[str, tuple[float, float]] = BITS,
    name: str = "sec",
    quiz: str = "quiz",
) -> RunResults:
    """A whole run: bits per byte on both sides and one general task, deterministic."""
    generator = np.random.default_rng(0)
    num_bytes = generator.integers(800, 3000, DOCUMENTS).astype(float)
    shared = generator.normal(1, 0.03, DOCUMENTS)
    tasks: dict[str, Any] = {"bits_per_byte.domain": "domain"}
    if general:
        tasks |= {"bits_per_byte.general": "general", quiz: "general"}
    models = []
    for label in ("base", *(["instruct"] if instruct else []), "cpt", *merges):
        role = label if label in ("base", "instruct", "cpt") else "merged"
        cards = {}
        for number, task in enumerate(tasks):
            folder = root / label / f"task{number}"
            if task == quiz:
                answers = [1.0] * RIGHT[label] + [0.0] * (ITEMS - RIGHT[label])
                cards[task] = scorecard(folder, task, "general", "", answers, [1.0] * ITEMS)
            else:
                noise = shared * np.random.default_rng([number, *label.encode()]).normal(1, 0.01, DOCUMENTS)
                bits = levels[label][number] * num_bytes * noise
                cards[task] = scorecard(folder, task, tasks[task], "bits/byte", list(bits), list(num_bytes))
        folder = artifact(root / label / "model", {})
        models.append(
            ModelResult(label, role, Checkpoint(folder, role, "0123456789abcdef" * 4), {"tokens": 4096}, cards)
        )  # type: ignore[arg-type]
    if trained:
        write_curves(root / "cpt" / "model", steps=600)
    corpora = {side: corpus(root / f"corpus-{side}") for side in (["domain", "general"] if general else ["domain"])}
    return RunResults(
        name=name,
        domain="sec",
        models=models,
        tasks=tasks,
        corpora=corpora,  # type: ignore[arg-type]
        tokens=token_store(root / "tokens") if trained else None,
        recipe={"train.lr": 1e-3, "merge.methods": list(merges), "corpus.domain[0].source": "sec.sample"},
        origins={"train.lr": "--set train.lr=1e-3", "merge": "recipe.yaml:7"},
        providers={"merger ties": "domadapt 0.1.0"},
        run_facts={"stages": {"train": {"seconds": 12.5, "started": 5.0, "peak_bytes": 10**9}}, "host": "laptop"},
    )


def write_curves(checkpoint: Path, steps: int) -> None:
    lines: list[dict[str, Any]] = [{"step": 0, "heldout_domain": 7.0, "heldout_general": 3.0}]
    for step in range(1, steps + 1):
        lines.append({"step": step, "loss": 7 / step, "lr": 1e-3, "grad_norm": 1.0, "tokens": step * 4096})
    lines.append({"step": steps, "heldout_domain": 1.0, "heldout_general": 3.5})
    (checkpoint / "training").mkdir()
    (checkpoint / "training" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def corpus(path: Path) -> Corpus:
    splits = {"train": 80, "selection": 5, "report": 5}
    funnel = [
        {"step": "read", "in": 100, "kept": 95, "dropped": {"no text": 5}},
        {"step": "dedup.exact", "in": 95, "kept": 90, "dropped": {"duplicate": 5}},
    ]
    return Corpus(
        artifact(path, {"documents": splits, "bytes": {k: v * 1000 for k, v in splits.items()}, "funnel": funnel})
    )


def token_store(path: Path) -> TokenStore:
    artifact(path, {})
    part = {"windows": 10, "windows_used": 20, "epochs": 2.0, "share_asked": 1.0, "share_achieved": 1.0, "tokens": 2560}
    plan = {"parts": [{"name": "domain", **part}], "tokens": 2560, "seq_len": 128, "seed": 1}
    (path / "plan.json").write_text(json.dumps(plan))
    return TokenStore(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return report_data(run_results(tmp_path_factory.mktemp("run")))


def measure(data: Mapping[str, Any], task: str) -> dict[str, Any]:
    return next(m for m in data["ledger"]["measures"] if m["task"] == task)


def difference(data: Mapping[str, Any], task: str, model: str) -> dict[str, Any]:
    return next(s["difference"] for s in measure(data, task)["scores"] if s["model"] == model)


class Page(HTMLParser):
    """Collects what a browser would see: elements with their attributes, ids and visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


# ledger


def test_difference_is_against_instruct_and_lower_bits_are_better(data: dict[str, Any]) -> None:
    assert data["ledger"]["reference"] == "instruct"
    found = difference(data, "bits_per_byte.domain", "cpt")
    assert found["value"] == pytest.approx(0.5 - 3.1, abs=0.05)
    assert found["low"] < found["value"] < found["high"] < 0
    assert found["verdict"] == "better"
    assert difference(data, "bits_per_byte.general", "cpt")["verdict"] == "worse"
    assert difference(data, "bits_per_byte.domain", "instruct") is None


def test_accuracy_difference_counts_flips_and_an_unnamed_unit_becomes_a_share(data: dict[str, Any]) -> None:
    found = difference(data, "quiz", "ties")
    assert found["value"] == pytest.approx(-0.1)
    assert found["p"] == pytest.approx(2 / 2**10, rel=1e-5)
    assert found["verdict"] == "worse"
    assert measure(data, "quiz")["unit"] == "share"


def test_shares_are_the_ratios_of_the_scores(data: dict[str, Any]) -> None:
    scores = {s["model"]: s["value"] for s in measure(data, "bits_per_byte.domain")["scores"]}
    share = next(s for s in data["ledger"]["shares"] if s["merge"] == "ties" and s["task"] == "bits_per_byte.domain")
    assert share["kind"] == "gain kept"
    kept = (scores["instruct"] - scores["ties"]) / (scores["instruct"] - scores["cpt"])
    assert share["value"] == pytest.approx(kept, rel=1e-4)
    assert share["low"] < kept < share["high"]
    quiz = next(s for s in data["ledger"]["shares"] if s["merge"] == "ties" and s["task"] == "quiz")
    assert (quiz["kind"], quiz["value"]) == ("loss won back", pytest.approx((70 - 30) / (80 - 30)))


def test_verdict_of_a_shown_effect_names_gain_loss_and_what_the_merge_did(data: dict[str, Any]) -> None:
    verdict = data["verdict"]
    assert verdict["effect"] == "shown"
    assert verdict["chosen_merge"] == "ties"
    assert [n["verdict"] for n in verdict["numbers"]] == ["better", "worse", None, None]
    told = " ".join(verdict["sentences"])
    assert "CPT is better than instruct on domain bits per byte" in told
    assert "It costs general ability" in told
    assert "keeps 77" in told
    assert "wins back 80" in told
    assert "best balanced of 2 merges by these same numbers" in told


def test_verdict_without_an_effect_says_so_and_what_could_be_missed(tmp_path: Path) -> None:
    same = dict.fromkeys(BITS, (3.0, 1.7))
    verdict = report_data(run_results(tmp_path, levels=same, merges=["ties"]))["verdict"]
    assert verdict["effect"] == "not shown"
    assert verdict["headline"] == "No domain gain can be shown."
    assert "could go unnoticed" in verdict["sentences"][0]
    assert verdict["numbers"][2]["value"] is None
    # the accuracy still fell: a loss anywhere is told although the held-out text shows none
    assert "It costs general ability" in " ".join(verdict["sentences"])
    assert verdict["loss_measure"]["task"] == "quiz"


def test_verdict_of_a_merge_that_gives_nothing_back(tmp_path: Path) -> None:
    levels = {**BITS, "ties": BITS["cpt"]}
    verdict = report_data(run_results(tmp_path, levels=levels, merges=["ties"]))["verdict"]
    assert verdict["effect"] == "partly"
    assert "does not measurably win the general loss back" in verdict["headline"]


def test_verdict_of_training_that_hurt_the_domain(tmp_path: Path) -> None:
    levels = {**BITS, "cpt": (3.9, 2.2)}
    verdict = report_data(run_results(tmp_path, levels=levels, merges=["ties"]))["verdict"]
    assert verdict["headline"] == "Continued pre-training made the domain worse."
    assert verdict["numbers"][2]["about"] == "no gain to keep"


def test_without_instruct_the_base_is_the_reference(tmp_path: Path) -> None:
    data = report_data(run_results(tmp_path, instruct=False, merges=["ties"]))
    assert data["ledger"]["reference"] == "base"
    assert "better than base" in data["verdict"]["sentences"][0]
    assert difference(data, "bits_per_byte.domain", "base") is None


def test_fewer_than_six_documents_give_no_verdict(tmp_path: Path) -> None:
    results = run_results(tmp_path, merges=[], general=False)
    models = []
    for model in results.models:
        card = scorecard(
            tmp_path / "few" / model.label, "few", "domain", "bits/byte", [BITS[model.label][0]] * 5, [1.0] * 5
        )
        models.append(replace(model, scorecards={"few": card}))
    data = report_data(replace(results, models=models, tasks={"few": "domain"}))
    found = difference(data, "few", "cpt")
    assert found["high"] < 0
    assert found["verdict"] == "not distinguishable"
    told = data["verdict"]["sentences"][0]
    assert "5 independent units" in told
    assert "with fewer than 6 no verdict is given" in told
    assert "could go unnoticed" not in told


def test_models_scored_on_different_items_are_refused(tmp_path: Path) -> None:
    results = run_results(tmp_path, merges=["ties"])
    scorecard(tmp_path / "cpt" / "task2", "quiz", "general", "", [1.0] * ITEMS, [1.0] * ITEMS, items="other")
    with pytest.raises(
        DataError, match=r"task quiz: cpt was scored on 100 items that are not the 100 items of base.*--fresh"
    ):
        report_data(results)


def test_a_task_that_one_model_lacks_leaves_a_gap_and_the_rest_stands(tmp_path: Path) -> None:
    results = run_results(tmp_path, merges=["ties"])
    models = [
        replace(m, scorecards={k: v for k, v in m.scorecards.items() if k != "quiz"}) if m.label == "cpt" else m
        for m in results.models
    ]
    data = report_data(replace(results, models=models))
    assert {s["model"] for s in measure(data, "quiz")["scores"]} == {"base", "instruct", "ties"}
    share = next(s for s in data["ledger"]["shares"] if s["task"] == "quiz")
    assert share["kind"] is None
    assert "cpt or instruct has no score here" in share["reason"]
    render_page(data)
    print_report(data, Console(file=io.StringIO(), width=80))


# report.json


def test_equal_runs_in_different_places_write_equal_bytes(tmp_path: Path) -> None:
    for place in ("a", "b/deeper"):
        write_report(report_data(run_results(tmp_path / place / "in")), tmp_path / place / "out")
    first, second = (tmp_path / place / "out" for place in ("a", "b/deeper"))
    for file in ("report.json", "report.html"):
        assert (first / file).read_bytes() == (second / file).read_bytes()


def test_times_and_host_differ_only_under_run_facts(tmp_path: Path) -> None:
    results = run_results(tmp_path / "in", merges=["ties"])
    later = replace(results, run_facts={"stages": {"train": {"seconds": 99.0, "started": 7.0}}, "host": "other"})
    write_report(report_data(results), tmp_path / "a")
    write_report(report_data(later), tmp_path / "b")
    files = [tmp_path / place / "report.json" for place in "ab"]
    assert files[0].read_bytes() != files[1].read_bytes()
    assert digest_without_run_facts(files[0]) == digest_without_run_facts(files[1])


def test_report_json_is_canonical_and_strict(data: dict[str, Any]) -> None:
    written = canonical_json(data)
    assert written.endswith(b"}\n")
    assert canonical_json(json.loads(written)) == written
    numbers = re.findall(rb"-?\d+\.\d+(?:e-?\d+)?", written)
    assert numbers
    assert all(float(n) == float(f"{float(n):.6g}") for n in numbers)


def test_unknown_numbers_become_null(tmp_path: Path) -> None:
    results = run_results(tmp_path, merges=["ties"])
    data = report_data(replace(results, run_facts={"rate": float("nan")}))
    assert data["run_facts"]["rate"] is None


def test_something_that_is_not_plain_data_is_a_bug_that_is_named(tmp_path: Path) -> None:
    results = run_results(tmp_path, merges=["ties"])
    with pytest.raises(TypeError, match="PosixPath is not plain data"):
        report_data(replace(results, run_facts={"folder": Path("/tmp/x")}))


def test_curves_keep_the_last_of_repeated_steps_and_at_most_240_points(tmp_path: Path) -> None:
    results = run_results(tmp_path, merges=["ties"])
    file = tmp_path / "cpt" / "model" / "training" / "metrics.jsonl"
    with file.open("a") as lines:
        lines.write(json.dumps({"step": 600, "loss": 42.0, "lr": 1e-3, "grad_norm": 1.0, "tokens": 1}) + "\n")
    training = report_data(results)["training"]
    assert training["num_logged"] == 600
    assert len(training["steps"]) == 200
    assert training["steps"][-1]["step"] == 600
    assert training["steps"][-1]["loss"] == pytest.approx((7 / 598 + 7 / 599 + 42) / 3, rel=1e-5)
    assert [e["heldout_general"] for e in training["evaluations"]] == [3.0, 3.5]


def test_a_damaged_line_of_the_curves_is_named(tmp_path: Path) -> None:
    results = run_results(tmp_path, merges=["ties"])
    file = tmp_path / "cpt" / "model" / "training" / "metrics.jsonl"
    file.write_text('{"step": 1, "loss": 2.0}\n{"step": 2, "lo\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl:2: a JSON object with a step was wanted"):
        report_data(results)


def test_the_report_needs_no_torch() -> None:
    modules = "build, page, terminal, statistics, ledger"
    code = f"import sys; from domadapt.report import {modules}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


# report.html


def assert_self_contained(html: str) -> None:
    """No element fetches anything, there is no script, and ids are unique."""
    page = Page(html)
    tags = {tag for tag, _ in page.elements}
    assert not tags & {
        "script",
        "link",
        "img",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "image",
        "use",
        "audio",
        "video",
    }
    for tag, attributes in page.elements:
        assert not {a for a in attributes if a.startswith("on")}, (tag, attributes)
        assert "src" not in attributes
        # within the page, or a table as CSV inside the address itself
        assert (attributes.get("href") or "#").startswith(("#", "data:text/csv;"))
    assert "url(" not in html
    assert "@import" not in html
    policy = next(a["content"] for t, a in page.elements if t == "meta" and a.get("http-equiv"))
    assert policy is not None
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'; img-src data:")
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))
    for _, attributes in page.elements:
        for name in (attributes.get("aria-labelledby") or "").split():
            assert name in ids


@pytest.mark.parametrize(
    "case",
    [
        {},
        {"merges": ["ties"]},
        {"merges": []},
        {"instruct": False},
        {"general": False},
        {"trained": False},
        {"instruct": False, "general": False, "trained": False, "merges": ["ties"]},
    ],
    ids=lambda case: ",".join(f"{k}={v}" for k, v in case.items()) or "all",
)
def test_every_kind_of_run_gives_a_page_that_fetches_nothing(tmp_path: Path, case: dict[str, Any]) -> None:
    data = report_data(run_results(tmp_path / "in", **case))
    write_report(data, tmp_path / "out")
    html = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert_self_contained(html)
    text = Page(html).text
    assert data["verdict"]["headline"] in text
    assert ("no training curves" in text) == (not case.get("trained", True))
    assert ("There is no general corpus" in text) == (not case.get("general", True))
    assert ("This run made no merge" in text) == (case.get("merges") == [])
    assert "nan" not in re.sub(r"[a-z]{4,}", "", text).lower().split()


def test_hostile_names_stay_text_on_the_page(tmp_path: Path) -> None:
    results = run_results(tmp_path, name=HOSTILE, quiz=HOSTILE)
    models = [replace(m, label=f"{m.label}{HOSTILE}") if m.role == "merged" else m for m in results.models]
    hostile = replace(
        results,
        models=models,
        domain=HOSTILE,
        recipe={HOSTILE: HOSTILE},
        origins={HOSTILE: HOSTILE},
        providers={HOSTILE: HOSTILE},
        run_facts={"stages": {HOSTILE: {"seconds": 1.0, "started": 1.0}}, HOSTILE: HOSTILE},
    )
    html = render_page(report_data(hostile))
    assert "<script>" not in html
    assert "<img" not in html
    assert_self_contained(html)
    assert '<script>alert("x")</script>' in Page(html).text


def test_every_chart_has_its_numbers_as_a_table(data: dict[str, Any]) -> None:
    html = render_page(data)
    page = Page(html)
    charts = [a for t, a in page.elements if t == "svg" and a.get("role") == "img"]
    assert len(charts) == 8  # 2 scatters, 2 ledgers, curves, 2 funnels, timeline; sources are not known here
    for caption in ("Paired difference", "All scores", "Held-out losses", "Documents of the domain corpus", "Stages"):
        assert re.search(rf"<details[^>]*>(?:(?!</details>).)*<caption>{caption}", html, re.DOTALL), caption
    assert "−2.6" in page.text
    assert "duplicate 5" in page.text


def test_recipe_values_stand_beside_their_origins(data: dict[str, Any]) -> None:
    html = render_page(data)
    assert "train.lr<td>0.001<td>--set train.lr=1e-3\n" in html
    assert "merge.methods<td>ties, slerp<td>recipe.yaml:7\n" in html


# terminal


def printed(data: dict[str, Any], width: int, *, terminal: bool = False) -> str:
    file = io.StringIO()
    print_report(data, Console(file=file, width=width, force_terminal=terminal))
    return file.getvalue()


@pytest.mark.parametrize("width", [60, 80, 120])
def test_terminal_table_fits_the_width_and_cuts_no_number(data: dict[str, Any], width: int) -> None:
    text = printed(data, width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    for entry in data["ledger"]["measures"]:
        for score in entry["scores"]:
            shown = f"{score['value']:.3f}" if entry["unit"] == "bits/byte" else f"{100 * score['value']:.1f}"
            assert f"{shown} ± " in text
    assert data["verdict"]["headline"] in " ".join(text.split())


def test_rows_are_the_models_in_their_order(data: dict[str, Any]) -> None:
    first = [line.split()[0] for line in printed(data, 100).splitlines() if " ± " in line]
    assert first[:5] == ["base", "instruct", "cpt", "ties", "slerp"]


def test_without_a_terminal_there_is_no_colour(data: dict[str, Any]) -> None:
    assert "\x1b" not in printed(data, 80)
    assert "\x1b" in printed(data, 80, terminal=True)


def test_control_characters_and_markup_in_names_do_not_reach_the_terminal(tmp_path: Path) -> None:
    results = run_results(tmp_path, name="\x1b[2J[red]x[/red]", quiz="\x1b]0;title\x07quiz")
    text = printed(report_data(results), 80)
    assert "\x1b" not in text
    assert "\x07" not in text
    assert "[red]x[/red]" in text
