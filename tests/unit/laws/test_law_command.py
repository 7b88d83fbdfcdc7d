"""`adapt law`: fit and advice from a table or from runs, as text, JSON and a page; refusals with their codes."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domadapt.cli import adapt
from domadapt.cli.law import LAWS
from domadapt.errors import FAILED, MISSING, USAGE
from domadapt.laws import study as studies
from domadapt.laws.observations import PREPARED
from domadapt.laws.table import Table
from domadapt.report.law_page import render_law_page

from .test_balance import PEAK, STEPS
from .test_balance import measured as with_rates
from .test_study import measured
from .test_tables import finished_run


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, few_starts: None) -> None:
    """Fewer starts and resamples: what is tested here is what is said, not how sure it is."""
    original = studies.study

    def fewer(observations: Any, *, seed: int = 0) -> studies.Study:
        return original(observations, seed=seed, draws=20, starts=3)

    monkeypatch.setattr(studies, "study", fewer)


@pytest.fixture
def losses(tmp_path: Path) -> Path:
    """A table of planted losses as CSV."""
    return written(measured(), tmp_path / "losses.csv")


BALANCE = ["suggest", "LOSSES", "--law", "dynamics", "--balance", "0.5"]
BOUND = ["suggest", "LOSSES", "--law", "dynamics", "--general-loss-at-most", "3%"]


def written(table: Table, path: Path) -> Path:
    """A table as CSV."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(table.columns)
        writer.writerows(zip(*table.columns.values(), strict=True))
    return path


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    code = adapt.main(["law", *map(str, arguments)], standalone_mode=False)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_command_names_the_laws_there_are() -> None:
    assert tuple(PREPARED) == LAWS


@pytest.mark.usefixtures("quick")
def test_fit_prints_both_losses_with_held_out_errors_and_a_prediction(
    losses: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    page = tmp_path / "law.html"
    code, out, _ = run(capsys, "fit", losses, "--at", "tokens=10B,domain_share=0.9", "--out", page)
    assert code == 0
    for told in ("D-CPT law, domain loss", "D-CPT law, general loss", "each ratio in turn held out", "naive: linear"):
        assert told in out
    assert "domain there: 2.1" in out
    html = page.read_text()
    assert html.count("<svg") == 4
    assert "held-out-domain.csv" in html


@pytest.mark.usefixtures("quick")
def test_suggest_gives_the_planted_share_as_json(losses: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "suggest", losses, "--tokens", "10B", "--general-loss-at-most", "3%", "--json")
    advice = json.loads(out)["advice"]
    assert code == 0
    assert advice["domain_share"] == pytest.approx(0.913609, abs=0.03)
    assert advice["bound"] == pytest.approx(2.7 * 1.03)
    assert advice["reference"] == pytest.approx(2.7)


@pytest.mark.usefixtures("quick")
def test_suggest_for_little_domain_text(losses: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "suggest", losses, "--domain-tokens", "5B")
    assert code == 0
    assert out.startswith("domain share: 0.5")


@pytest.mark.usefixtures("quick")
def test_the_dynamics_law_is_asked_for_a_schedule_by_a_weight(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = written(with_rates(), tmp_path / "rates.csv")
    planned = ["--law", "dynamics", "--steps", STEPS, "--peak-lr"]
    code, out, err = run(capsys, "suggest", table, *planned, f"{PEAK / 4},{PEAK}", "--balance", "0.5")
    assert code == 0, err
    assert out.startswith("advised: peak learning rate 0.001, 400 steps, ")
    assert "of 2 schedules the best in" in out


def test_runs_of_one_ratio_are_not_asked_for_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = with_rates()
    one = Table({name: column[table["domain_share"] == 0.9] for name, column in table.columns.items()}, "one")
    planned = ["--law", "dynamics", "--steps", STEPS, "--peak-lr", PEAK]
    code, _, err = run(capsys, "suggest", written(one, tmp_path / "one.csv"), *planned, "--balance", "0.5")
    assert code == USAGE
    assert "too few ratios to say anything of others; wanted three" in err


@pytest.mark.usefixtures("quick")
def test_a_poor_fit_is_shown_and_ends_with_its_reasons(
    losses: Path, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    lines = losses.read_text().splitlines()
    noisy = [line.rsplit(",", 2)[0] + f",{rng.uniform(1, 4)},{rng.uniform(1, 4)}" for line in lines[1:]]
    path = tmp_path / "noise.csv"
    path.write_text("\n".join([lines[0], *noisy]))
    code, out, err = run(capsys, "fit", path)
    assert code == FAILED
    assert "R2" in out, err
    assert "nothing is advised" in err
    assert run(capsys, "suggest", path, "--tokens", "10B", "--general-loss-at-most", "3%")[0] == FAILED


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["suggest", "LOSSES"], USAGE, "wanted one of --general-loss-at-most"),
        (["suggest", "LOSSES", "--general-loss-at-most", "3 percent", "--tokens", "1B"], USAGE, "a percentage (3%)"),
        (["suggest", "LOSSES", "--general-loss-at-most", "3%"], USAGE, "wanted --tokens"),
        (["suggest", "LOSSES", "--compute", "1e20"], USAGE, "wants --domain-share"),
        (["suggest", "LOSSES", "--compute", "many", "--domain-share", "1"], USAGE, "wanted a count"),
        (["fit", "LOSSES", "--at", "tokens"], USAGE, "wanted NAME=VALUE"),
        (["fit", "LOSSES", "--columns", "loss=none"], FAILED, "no column 'none'"),
        (["fit", "none.csv"], MISSING, "there is no file none.csv"),
        (["fit", "no-such-run"], USAGE, "neither a table"),
        (["fit", "LOSSES", "--law", "dcp"], USAGE, "'dcp' is not one of"),
        (["fit", "LOSSES", "--law", "annealing"], FAILED, "wanted columns step and lr"),
        (["fit", "LOSSES", "--at", "tokens=1B"], USAGE, "--at: wanted domain_share too"),
        (["fit", "LOSSES", "--at", "tokens=1B,domain_share=2"], USAGE, "domain_share=2 is no share"),
        (["fit", "LOSSES", "--at", "tokens=0,domain_share=1"], USAGE, "tokens=0 is no point"),
        (["fit", "LOSSES", "--law", "out-of-domain"], FAILED, "no column 'loss.NAME'"),
        (
            ["suggest", "LOSSES", "--law", "mixing", "--compute", "1e20"],
            USAGE,
            "--compute is asked of the laws dcpt and",
        ),
        (
            ["suggest", "LOSSES", "--law", "mixing", "--domain-tokens", "1B"],
            USAGE,
            "--domain-tokens is asked of the law",
        ),
        (["suggest", "LOSSES", "--compute", "1e20", "--domain-share", "1"], USAGE, "one size of model was measured"),
        (["suggest", "LOSSES", "--law", "mixing", "--tokens", "20B", "--general-loss-at-most", "3%"], USAGE, "8e+09"),
        (["suggest", "LOSSES", "--law", "annealing", "--general-loss-at-most", "3"], FAILED, "step and lr"),
        (["suggest", "LOSSES", "--law", "cmr", "--general-loss-at-most", "3"], FAILED, "lengths with a critical ratio"),
        (["suggest", "LOSSES", "--balance", "0.5"], USAGE, "--balance is asked of the law dynamics"),
        (["suggest", "LOSSES", "--balance", "0.5", "--steps", "9"], USAGE, "asked of the law dynamics, not of dcpt"),
        (["suggest", "LOSSES", "--law", "dynamics", "--balance", "0.5"], USAGE, "wants --steps and --peak-lr"),
        ([*BALANCE, "--steps", "many"], USAGE, "wanted counts such as 500"),
        ([*BALANCE, "--steps", "9"], USAGE, "--peak-lr: wanted learning rates such as 3e-5"),
        ([*BOUND, "--steps", "9", "--peak-lr", "1e-3,2e-3"], USAGE, "one --steps and one --peak-lr"),
    ],
)
@pytest.mark.usefixtures("quick")
def test_what_cannot_be_answered_is_told_in_a_line(
    arguments: list[str], code: int, told: str, losses: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [str(losses) if argument == "LOSSES" else argument for argument in arguments]
    found, _, err = run(capsys, *given)
    assert found == code
    assert told in err
    assert "Traceback" not in err


def test_runs_are_read_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ADAPT_RUNS", str(tmp_path))
    finished_run(tmp_path / "one")
    code, _, err = run(capsys, "fit", "one")
    assert code == FAILED
    assert "1 mixture ratios, 4 at least are wanted" in err


def test_a_page_asks_nothing_of_the_network_and_keeps_hostile_names_as_text() -> None:
    name = "<script src=//evil>"
    points = {"group": [name, "b"], "tokens": [1e6, 2e6], "measured": [2.0, 1.9], "predicted": [2.0, 1.9]}
    study = {
        "title": "law", "source": "paper", "side": "domain", "value": "loss", "n": 2, "runs": 2, "r2": 1.0, "rmse": 0.0,
        "against": [name],
        "starts": {"agreeing": 1, "tried": 1}, "parameters": [], "held_out": [], "notes": [name], "points": points,
    }  # fmt: skip
    html = render_law_page([study], None, name)
    assert "<script" not in html
    assert "http" not in html.replace("http-equiv", "")
    assert html.count("&lt;script") >= 3
