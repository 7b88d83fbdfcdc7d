"""`adapt experiment`: arms, their names, what they share, and the table against the first one."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from domadapt.cli import adapt
from domadapt.cli import experiment as command
from domadapt.errors import DataError, UsageError
from domadapt.report.compare import RunScores
from domadapt.report.experiment import Arm, experiment_data

from .scores import answers, scorecard

GAP = Path(__file__).parents[2] / "examples" / "stability-gap"
ITEMS = 120


def arm(folder: Path, name: str, right: int, level: float, *, tokens: int = 1000, digest: str | None = None) -> Arm:
    """A run whose CPT model has so many quiz items right and so many bits per byte, and a merge a bit better."""
    shared = np.random.default_rng(0).normal(1, 0.05, 30) * 1000
    cards = {}
    for label, lift in (("cpt", 0), ("ties", 5)):
        stages = folder / name / "stages"
        bits = level * shared * np.random.default_rng([*name.encode()]).normal(1, 0.005, 30)
        cards[label] = {
            "quiz": scorecard(stages / f"eval.{label}.quiz", "quiz", "general", answers(ITEMS, range(right + lift))),
            "bits_per_byte.domain": scorecard(
                stages / f"eval.{label}.bits", "bits_per_byte.domain", "domain", list(bits), weights=[1000.0] * 30
            ),
        }
    return Arm(name, folder / name, RunScores(name, cards, "ties", {"cpt": digest or name, "ties": name}), tokens)


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


def test_arms_with_no_task_in_common_are_refused(tmp_path: Path) -> None:
    first, second = arm(tmp_path, "a", 60, 1.5), arm(tmp_path, "b", 60, 1.5)
    for label in ("cpt", "ties"):
        del first.scores.cards[label]["quiz"]  # type: ignore[attr-defined]
        del second.scores.cards[label]["bits_per_byte.domain"]  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="only one of the two was scored on it"):
        experiment_data([first, second])


def test_the_table_has_a_row_an_arm_and_tells_unequal_budgets(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arms = [arm(tmp_path, "a", 60, 1.5), arm(tmp_path, "b", 90, 1.2, tokens=2000)]
    monkeypatch.setattr(command, "plan_arms", lambda *_: [])
    monkeypatch.setattr(command, "make_arms", lambda _: arms)
    assert adapt.main(["experiment", "--domain", "sec"], standalone_mode=False) == 0
    out = capsys.readouterr().out
    assert "after training (CPT)" in out
    assert "the merge that each run chose" in out
    rows = [line.split() for line in out.splitlines() if line.split()[:1] == ["b"]]
    quiz = next(row for row in rows if row[2] == "75.0")
    assert quiz[1] == "2,000"
    assert quiz[3] == "+25.0"
    assert quiz[-1] == "▲*"
    assert "not of equal budget" in out
    assert adapt.main(["experiment", "--domain", "sec", "--json"], standalone_mode=False) == 0
    assert json.loads(capsys.readouterr().out)["comparisons"] == 4


def test_a_mixture_is_a_share_and_anything_else_stays() -> None:
    assert [command._number(text) for text in ("1:70", "0.001:0.999", "5e-5", "law")] == [
        repr(1 / 71),
        repr(0.001),
        "5e-5",
        "law",
    ]
    with pytest.raises(UsageError, match="no mixture"):
        command._number("0:0")


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
    first, second = capsys.readouterr().out.splitlines()
    assert code == 0
    assert first.startswith("mix.replay=1:70 (run sec-starter.replay-1-70): ")
    assert second.startswith("mix.replay=1:1 (run sec-starter.replay-1-1): ")
    assert "shared with arms before" in second


@pytest.mark.usefixtures("_runs")
def test_one_arm_is_no_experiment() -> None:
    with pytest.raises(UsageError, match="one arm is no experiment"):
        command.plan_arms([], "sec", [], [], "mix.replay=1:70", None)


@pytest.mark.usefixtures("_runs")
def test_the_strategies_of_the_stability_gap_are_four_arms_of_one_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GAP)
    names = ("full", "subset", "quality", "mixture")
    planned = command.plan_arms([Path(f"{name}.yaml") for name in names], None, [], [], None, None)
    assert [one.label for one in planned] == list(names)
    recipes = [one.prepared.resolved.recipe for one in planned]
    assert len({recipe.train.steps for recipe in recipes}) == 1
    assert [recipe.mix.replay for recipe in recipes] == [0, 0, 0, 0.18]
    keys = [one.prepared.run.graph.keys for one in planned]
    assert keys[0]["corpus.domain"] == keys[1]["corpus.domain"] != keys[2]["corpus.domain"] == keys[3]["corpus.domain"]
    assert len({own["tokens"] for own in keys}) == 4
