"""`adapt experiment`: arms, their names, what they share, and the table against the first one."""

from __future__ import annotations

import csv
import html
import io
import json
import re
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import numpy as np
import pytest

from domadapt.builtin.mixing.replay import ReplayMixer
from domadapt.cli import adapt
from domadapt.cli import experiment as command
from domadapt.components import MixRequest
from domadapt.errors import DataError, Interrupted, MissingError, StageError, UsageError
from domadapt.planning.estimate import Measured
from domadapt.report.build import canonical_json
from domadapt.report.compare import RunScores
from domadapt.report.experiment import Arm, FailedArm, experiment_data, items_text
from domadapt.report.experiment_page import render_experiment

from .experiments import ITEMS, arm, four_arms, report
from .scores import scorecard

GAP = Path(__file__).parents[2] / "examples" / "stability-gap"


def test_every_arm_is_compared_with_the_first_and_adjusted_over_all(tmp_path: Path) -> None:
    arms = [arm(tmp_path, "a", 60, 1.5), arm(tmp_path, "b", 90, 1.2), arm(tmp_path, "c", 61, 1.5)]
    found = experiment_data(arms)
    assert [entry["arm"] for entry in found["arms"]] == ["a", "b", "c"]
    assert found["comparisons"] == 8
    rows = {(row["arm"], row["task"]): row for row in found["models"]["cpt"]}
    assert rows["b", "quiz"]["value"] == pytest.approx(30 / ITEMS)
    assert rows["b", "bits_per_byte.domain"]["verdict"] == "better"
    assert rows["c", "quiz"]["verdict"] == "not distinguishable"
    assert all(row["p_holm"] >= row["p"] for row in rows.values())
    assert {row["arm"] for row in found["models"]["merged"]} == {"b", "c"}
    assert not found["skipped"]


def test_a_model_that_an_arm_shares_with_the_first_is_told_not_compared(tmp_path: Path) -> None:
    arms = [arm(tmp_path, "a", 60, 1.5, digest="one"), arm(tmp_path, "b", 60, 1.5, digest="one")]
    found = experiment_data(arms)
    assert "cpt" not in found["models"]
    assert [(s["arm"], s["model"], s["reason"]) for s in found["skipped"]] == [
        ("b", "cpt", "it is the first arm's model")
    ]


def test_the_json_read_back_makes_the_same_page(tmp_path: Path) -> None:
    data = experiment_data(four_arms(tmp_path), name="sec-starter.replay")
    assert render_experiment(json.loads(canonical_json(data))) == render_experiment(data)


def test_a_merge_that_only_one_arm_has_is_told_not_compared(tmp_path: Path) -> None:
    first, second = arm(tmp_path, "a", 60, 1.5), arm(tmp_path, "b", 90, 1.2)
    alone = replace(second, scores=RunScores("b", {"cpt": second.scores.cards["cpt"]}, None, {}))
    for arms, reason in (([first, alone], "it has no such model"), ([alone, first], "the first arm has no such model")):
        data = experiment_data(arms)
        assert "merged" not in data["models"]
        assert [(s["model"], s["reason"]) for s in data["skipped"]] == [("merged", reason)]
    other = replace(first, scores=RunScores("a", {"cpt": first.scores.cards["cpt"]}, None, {}))
    assert experiment_data([other, alone])["skipped"] == []


def test_arms_with_no_task_in_common_are_refused(tmp_path: Path) -> None:
    first, second = arm(tmp_path, "a", 60, 1.5), arm(tmp_path, "b", 60, 1.5)
    for label in ("cpt", "ties"):
        del first.scores.cards[label]["quiz"]  # type: ignore[attr-defined]
        del second.scores.cards[label]["bits_per_byte.domain"]  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="only one of the two was scored on it"):
        experiment_data([first, second])


@pytest.fixture
def two(tmp_path: Path) -> list[Arm]:
    """Two arms of which the second is better, dips and recovers, and trained for longer."""
    plain, better = arm(tmp_path, "a", 60, 1.5), arm(tmp_path, "b", 90, 1.2, tokens=2000)
    first = report([0.5, 0.52, 0.54], [4.0, 4.2, 4.3])
    second = report([0.5, 0.3, 0.6], [4.0, 3.9, 3.8], steps=20)
    return [replace(plain, report=first), replace(better, report=second)]


@pytest.fixture
def _made(two: list[Arm], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command finds these two arms made."""
    monkeypatch.setenv("ADAPT_RUNS", str(tmp_path / "runs"))
    monkeypatch.setattr(command, "plan_arms", lambda *_: [])
    monkeypatch.setattr(command, "experiment_name", lambda _: "a.b")
    monkeypatch.setattr(command, "make_arms", lambda _: command.Made(two))


@pytest.mark.usefixtures("_made")
def test_the_table_has_a_row_an_arm_and_tells_unequal_budgets_and_gaps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert adapt.main(["experiment", "--domain", "sec"], standalone_mode=False) == 0
    out = capsys.readouterr().out
    assert "after training (CPT)" in out
    assert "the merge that each run chose" in out
    rows = [line.split() for line in out.splitlines() if line.split()[:1] == ["b"]]
    quiz = next(row for row in rows if row[3] == "75.0")
    assert quiz[1:3] == ["2,000", "120"]
    assert quiz[4] == "+25.0"
    assert quiz[-1] == "▲*"
    gap = next(row for row in rows if row[-3:] == ["a", "gap,", "closed"])
    assert gap[1:] == ["50.0", "20.0", "5.9", "10", "20", "200", "+10.0", "a", "gap,", "closed"]
    assert "not of equal budget" in out
    page = tmp_path / "runs" / "a.b" / "experiment.html"
    assert out.splitlines()[-1] == f"page  {page}"
    assert page.is_file()


@pytest.mark.usefixtures("_made")
def test_the_json_printed_is_the_json_beside_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert adapt.main(["experiment", "--domain", "sec", "--json"], standalone_mode=False) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["comparisons"] == 4
    page = Path(printed.pop("page"))
    assert json.loads((page.parent / "experiment.json").read_bytes()) == printed


@pytest.mark.usefixtures("_made")
def test_the_report_of_an_experiment_is_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    adapt.main(["experiment", "--domain", "sec"], standalone_mode=False)
    capsys.readouterr()
    assert adapt.main(["report", "a.b"], standalone_mode=False) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "runs" / "a.b" / "experiment.html")
    assert adapt.main(["report", "a.b", "--json"], standalone_mode=False) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "a.b"


def test_the_figures_of_the_page_are_those_of_the_json(two: list[Arm]) -> None:
    data = experiment_data(two, [FailedArm("c", "run-c", "<b>no room</b>")], "a.b")
    page = render_experiment(data)
    data = json.loads(canonical_json(data))
    links = re.findall(r'href="data:text/csv;charset=utf-8,([^"]*)"', page)
    tables = [list(csv.DictReader(io.StringIO(unquote(html.unescape(link))))) for link in links]
    for model in ("cpt", "merged"):
        rows = next(t for t in tables if "p_holm" in t[0] and float(t[1]["score"]) == data["models"][model][0]["b"])
        assert (rows[0]["arm"], float(rows[0]["score"])) == ("(instruct)", 10 / ITEMS)
        told = {(row["arm"], row["task"]): row for row in rows}
        for row in data["models"][model]:
            shown = told[row["arm"], row["task"]]
            for field, key in (("score", "a"), ("difference", "value"), ("low", "low"), ("p_holm", "p_holm")):
                assert float(shown[field]) == row[key]
    (gaps,) = [t for t in tables if "recovered_at" in t[0]]
    assert [(g["curve"], g["arm"], float(g["depth"]), float(g["area"])) for g in gaps] == [
        (g["curve"], g["arm"], g["depth"], g["area"]) for g in data["gaps"]
    ]
    (arms,) = [t for t in tables if "state" in t[0]]
    assert [row["tokens"] for row in arms] == ["1000", "2000", ""]
    assert "&lt;b&gt;no room&lt;/b&gt;" in page
    assert '<a href="../b/report.html">b</a>' in page
    assert not re.search(r"<script|https?://(?!www\.w3\.org)|src=|url\(", page)
    assert data["recipes"] == {"seed": {"a": "10", "b": "20"}}


def test_items_that_only_one_arm_has_are_left_out_and_told(tmp_path: Path) -> None:
    arms = [arm(tmp_path, name, 60, 1.5, sides=("domain",)) for name in "ab"]
    half = [str(i) for i in range(15)]
    card = scorecard(
        tmp_path / "half", "bits_per_byte.domain", "domain", [1500.0] * 15, weights=[1000.0] * 15, items=half
    )
    arms[1].scores.cards["cpt"]["bits_per_byte.domain"] = card  # type: ignore[index]
    data = experiment_data(arms)
    row = next(row for row in data["models"]["cpt"] if row["task"] == "bits_per_byte.domain")
    assert (row["n"], items_text(row)) == (15, "15 of 30")
    assert "15 of 30" in render_experiment(data)


def test_curves_of_other_held_out_text_are_told_apart(two: list[Arm]) -> None:
    other = replace(two[1], report=report([0.5, 0.3, 0.6], [3.5, 3.4, 3.3]))
    curves = {curve["curve"]: curve["same_start"] for curve in experiment_data([two[0], other])["curves"]}
    assert curves == {"quiz": True, "held-out general loss": False}


def test_an_arm_stands_in_the_trade_off_where_its_paired_difference_puts_it(tmp_path: Path) -> None:
    arms = [arm(tmp_path, "a", 60, 1.5), arm(tmp_path, "b", 60, 1.2)]
    assert experiment_data(arms)["tradeoff"] == {}  # one side only
    both = ("domain", "general")
    arms = [arm(tmp_path, "c", 60, 1.5, sides=both), arm(tmp_path, "d", 60, 1.2, sides=both)]
    data = experiment_data(arms)
    first, second = data["tradeoff"]["cpt"]
    change = next(r for r in data["models"]["cpt"] if r["task"] == "bits_per_byte.domain")
    assert first["domain"] == {"value": change["b"], "low": None, "high": None}
    assert second["domain"]["value"] == pytest.approx(change["a"])
    assert second["general"]["high"] == pytest.approx(change["b"] + change["high"])


def test_a_mixture_is_a_share_and_anything_else_stays() -> None:
    assert [command._number(text) for text in ("1:70", "0.001:0.999", "5e-5", "law")] == [
        repr(1 / 71),
        repr(0.001),
        "5e-5",
        "law",
    ]
    with pytest.raises(UsageError, match="no mixture"):
        command._number("0:0")


def test_commas_inside_brackets_belong_to_a_value() -> None:
    listed = "[{until: 0.5, subset: 0.1}, {}],[{subset: 0.2}]"
    assert command._varied(f"mix.schedule={listed}") == (
        "mix.schedule",
        ["[{until: 0.5, subset: 0.1}, {}]", "[{subset: 0.2}]"],
    )


@pytest.mark.parametrize("text", ["mix.replay", "=1,2", "mix.replay=1,,2"])
def test_values_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="wanted KEY=VALUE,VALUE"):
        command._varied(text)


@pytest.fixture
def _runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPT_RUNS", str(tmp_path / "runs"))


@pytest.mark.usefixtures("_runs")
def test_values_of_a_key_are_runs_that_share_what_they_have_in_common(capsys: pytest.CaptureFixture[str]) -> None:
    code = adapt.main(
        ["experiment", "--domain", "sec", "--vary", "mix.replay=1:70,1:1", "--dry-run"], standalone_mode=False
    )
    first, second, budgets = capsys.readouterr().out.splitlines()
    assert code == 0
    assert first.startswith("mix.replay=1:70 (run sec-starter.replay-1-70): 75 steps, 307,200 tokens, ")
    assert second.startswith("mix.replay=1:1 (run sec-starter.replay-1-1): 75 steps, 307,200 tokens, ")
    assert "shared with arms before" in second
    assert budgets == "budgets of the arms: equal"


@pytest.mark.usefixtures("_runs")
def test_a_dry_run_tells_unequal_budgets_and_what_a_measured_arm_will_take(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("domadapt.planning.measured.measured_here", lambda run: Measured(1000.0, 2.0, run.folder.name))
    arguments = ["experiment", "--domain", "sec", "--vary", "train.steps=50,100", "--dry-run", "--json"]
    assert adapt.main(arguments, standalone_mode=False) == 0
    plan = json.loads(capsys.readouterr().out)
    assert plan["equal_budget"] is False
    assert [(a["steps"], a["tokens"], a["seconds"]) for a in plan["arms"]] == [
        (50, 204_800, 409.6),
        (100, 409_600, 819.2),
    ]
    assert plan["arms"][1]["flops"] == 2 * plan["arms"][0]["flops"] > 1e11
    assert plan["name"] == "sec-starter.steps-50.100"


@pytest.mark.usefixtures("_runs")
def test_the_small_runs_of_a_law_are_told_beside_the_budgets(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["experiment", "--domain", "sec", "--vary", "mix.replay=law,0.1", "--dry-run"]
    assert adapt.main(arguments, standalone_mode=False) == 0
    first, second, _ = capsys.readouterr().out.splitlines()
    assert "and 1,536,000 tokens of small runs that choose the mixture; " in first
    assert "small runs" not in second


@pytest.mark.usefixtures("_runs")
def test_started_once_a_rank_it_is_refused(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    ranks = {"RANK": "1", "WORLD_SIZE": "2", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}
    for name, value in {**ranks, "MASTER_ADDR": "localhost", "MASTER_PORT": "29500"}.items():
        monkeypatch.setenv(name, value)
    assert adapt.main(["experiment", "--domain", "sec", "--vary", "seed=1,2"], standalone_mode=False) == 2
    assert "start it once" in capsys.readouterr().err


def planned(*names: str) -> list[Any]:
    """Arms whose runs have these names."""
    return [SimpleNamespace(label=name, prepared=SimpleNamespace(name=name), value="") for name in names]


@pytest.mark.usefixtures("_runs")
def test_an_experiment_is_called_after_its_arms() -> None:
    varied = command.plan_arms([], "sec", [], [], "mix.replay=1:70,1:10,0.05", None)
    assert command.experiment_name(varied) == "sec-starter.replay-1-70.1-10.0.05"
    assert command.experiment_name(planned("gap-full", "gap-subset")) == "gap-full.subset"
    assert command.experiment_name(planned("one", "two")) == "one.two"
    long = [f"sec-starter.lr-{i}e-5" for i in range(12)]
    assert len(command.experiment_name(planned(*long))) <= 64
    assert command.experiment_name(planned(*long)) != command.experiment_name(planned(*long[:-1]))


def failing(two: list[Arm], errors: dict[str, Exception]) -> Any:
    """What makes an arm: the error of this label, or the arm."""

    def make(one: Any) -> Arm:
        if one.label in errors:
            raise errors[one.label]
        return next(arm for arm in two if arm.label == one.label)

    return make


def run_failing(two: list[Arm], errors: dict[str, Exception], monkeypatch: pytest.MonkeyPatch) -> int:
    monkeypatch.setattr(command, "plan_arms", lambda *_: planned("a", "c", "b"))
    monkeypatch.setattr(command, "_make", failing(two, errors))
    return int(adapt.main(["experiment", "--domain", "sec"], standalone_mode=False))


@pytest.mark.usefixtures("_runs")
def test_an_arm_that_fails_does_not_take_the_others_with_it(
    two: list[Arm], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_failing(two, {"c": StageError("train: the loss is no number")}, monkeypatch) == 1
    out, err = capsys.readouterr()
    assert "after training (CPT)" in out
    data = json.loads((tmp_path / "runs/a.c.b/experiment.json").read_text())
    assert [(a["arm"], a["state"], a["error"]) for a in data["arms"]] == [
        ("a", "done", None),
        ("b", "done", None),
        ("c", "failed", "train: the loss is no number"),
    ]
    assert "arm 2 of 3 failed: train: the loss is no number; going on with the next" in err
    assert "experiment: 1 of 3 arms failed (c: train: the loss is no number); the 2 others are compared above" in err


@pytest.mark.usefixtures("_runs")
def test_one_arm_that_is_left_is_compared_with_nothing(
    two: list[Arm], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    errors: dict[str, Exception] = {"b": MissingError("no GPU"), "c": MissingError("no GPU")}
    assert run_failing(two, errors, monkeypatch) == 4
    assert "the one that finished has nothing to be compared with" in capsys.readouterr().err
    assert not (tmp_path / "runs/a.c.b").exists()


@pytest.mark.usefixtures("_runs")
def test_an_error_that_is_a_fault_of_a_plugin_is_named_too(
    two: list[Arm], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_failing(two, {"c": ZeroDivisionError("division by zero")}, monkeypatch) == 1
    assert "(c: ZeroDivisionError: division by zero)" in capsys.readouterr().err


@pytest.mark.usefixtures("_runs")
def test_a_stop_ends_the_experiment_and_is_no_failure_of_an_arm(
    two: list[Arm], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run_failing(two, {"c": Interrupted("stopped in train")}, monkeypatch) == 75


@pytest.mark.usefixtures("_made")
def test_a_gate_of_an_arm_that_is_not_met_is_told_by_the_exit_code(
    two: list[Arm], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unmet = replace(two[1], report={**two[1].report, "gates": [{"gate": "cpt.domain > base.domain", "met": False}]})
    monkeypatch.setattr(command, "make_arms", lambda _: command.Made([two[0], unmet]))
    assert adapt.main(["experiment", "--domain", "sec"], standalone_mode=False) == 3
    assert "gates of b that are not met: cpt.domain > base.domain" in capsys.readouterr().out


@pytest.mark.usefixtures("_runs")
def test_one_arm_is_no_experiment() -> None:
    with pytest.raises(UsageError, match="one arm is no experiment"):
        command.plan_arms([], "sec", [], [], "mix.replay=1:70", None)


@pytest.mark.usefixtures("_runs")
def test_the_strategies_of_the_stability_gap_are_arms_of_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GAP)
    names = ("full", "subset", "quality", "mixture", "fixed")
    planned = command.plan_arms([Path(f"{name}.yaml") for name in names], None, [], [], None, None)
    assert [one.label for one in planned] == list(names)
    recipes = [one.prepared.resolved.recipe for one in planned]
    assert len({(r.train.steps, r.train.batch_tokens, r.mix.seq_len, r.train.lr) for r in recipes}) == 1
    assert [recipe.mix.replay for recipe in recipes] == [0, 0, 0, 0.18, 0.18]
    keys = [one.prepared.run.graph.keys for one in planned]
    assert keys[0]["corpus.domain"] == keys[1]["corpus.domain"] != keys[2]["corpus.domain"]
    assert len({own["corpus.domain"] for own in keys[2:]}) == 1
    assert len({own["tokens"] for own in keys}) == 5
    assert command.experiment_name(planned) == "gap-full.subset.quality.mixture.fixed"


def domain_windows(recipe: str, available: int, monkeypatch: pytest.MonkeyPatch) -> np.ndarray:
    """The domain windows that a strategy trains on, in order, when its corpus has so many."""
    monkeypatch.chdir(GAP)
    one, _ = command.plan_arms([Path(f"{recipe}.yaml")], None, [], [], "seed=1,2", None)
    resolved = one.prepared.resolved.recipe
    mix, samples = resolved.mix, 176 * 16
    counts = {"domain": available, "general": 3117}
    request = MixRequest(counts, samples, mix.share, mix.max_epochs, 1, schedule=mix.schedule, samples_per_step=16)
    order = ReplayMixer().order(request)
    assert abs((order[:, 0] == 1).mean() - mix.share) <= 1 / samples
    return np.asarray(order[order[:, 0] == 0, 1])


@pytest.mark.usefixtures("_runs")
def test_the_text_of_the_mixture_is_drawn_anew_in_each_pass_and_that_of_its_fixed_twin_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A pass is as long as the best text, 750 windows, and 82 % of it are of that."""
    drawn, fixed = (domain_windows(name, 750, monkeypatch) for name in ("mixture", "fixed"))
    one_pass = 615
    assert len(set(fixed[:one_pass])) == len(set(fixed)) == one_pass
    assert [set(fixed[:one_pass])] * 2 == [set(fixed[at : at + one_pass]) for at in (one_pass, 2 * one_pass)]
    assert list(fixed[:one_pass]) != list(fixed[one_pass : 2 * one_pass])
    assert len(set(drawn)) == 750
    assert set(drawn[:one_pass]) != set(drawn[one_pass : 2 * one_pass])
    assert np.bincount(drawn).max() - np.bincount(drawn).min() <= 1


@pytest.mark.usefixtures("_runs")
def test_the_subset_is_passed_four_times_while_the_baseline_sees_everything_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    full, subset = (domain_windows(name, 2896, monkeypatch) for name in ("full", "subset"))
    assert np.bincount(full).max() == 1
    assert len(set(subset)) == 724
    assert np.bincount(subset).max() == 4
