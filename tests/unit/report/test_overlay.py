"""Several runs on one page, and the command `adapt report`."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from domadapt.cli.report import command, read_report, run_folder
from domadapt.errors import DataError, UsageError
from domadapt.report.build import report_data, write_report
from domadapt.report.overlay import render_overlay


@pytest.fixture
def runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, default_data: Mapping[str, Any], make_run: Any
) -> dict[str, Any]:
    """Two runs in ./runs: one lacks a task and has another learning rate."""
    other = report_data(make_run(1, name="other", domain_tasks=("sec_qa",)))
    other["recipe"] = {**other["recipe"], "train.lr": 2e-3}
    data = {"one": dict(default_data), "other": other}
    for name, report in data.items():
        write_report(report, tmp_path / "runs" / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADAPT_RUNS", raising=False)
    return data


def test_overlay_draws_the_models_of_every_run_in_its_colour(runs: dict[str, Any]) -> None:
    html = render_overlay(runs)
    first = re.search(r'<svg viewBox[^>]*aria-labelledby="pareto0-title.*?</svg>', html, re.DOTALL)
    assert first
    for number, data in enumerate(runs.values()):
        marks = re.findall(rf'class="mark role-(\w+)[^"]*run-{number}"', first[0])
        assert sorted(marks) == sorted(m["role"] for m in data["models"])


def test_overlay_compares_only_measures_that_all_runs_have_and_says_so(runs: dict[str, Any]) -> None:
    html = render_overlay(runs)
    assert "sec_qa" in html
    assert "sec_headline" not in html
    assert "Measures that only some of the runs have are left out here" in html


def test_overlay_lists_the_recipe_values_that_differ_and_no_others(runs: dict[str, Any]) -> None:
    html = render_overlay(runs)
    assert re.search(r'<th scope="row">train\.lr<td>0\.001<td>0\.002\n', html)
    assert "train.checkpoint_every" not in html


def test_overlay_shows_the_scores_of_both_report_json(runs: dict[str, Any]) -> None:
    html = render_overlay(runs)
    for data in runs.values():
        measure = next(m for m in data["ledger"]["measures"] if m["task"] == "sec_qa")
        value = next(s["value"] for s in measure["scores"] if s["model"] == "cpt")
        assert f"{100 * value:.1f}" in html


def test_one_run_or_too_many_are_refused(runs: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="2 to 6 runs"):
        render_overlay({"one": runs["one"]})
    with pytest.raises(UsageError, match="7 were given"):
        render_overlay({str(i): runs["one"] for i in range(7)})


def test_command_prints_where_the_report_of_a_run_is(runs: dict[str, Any]) -> None:
    result = CliRunner().invoke(command, ["one"], catch_exceptions=False)
    assert result.exit_code == 0
    assert Path(result.output.strip()) == Path("runs/one/report.html")


def test_command_writes_a_page_of_several_runs(runs: dict[str, Any]) -> None:
    result = CliRunner().invoke(command, ["one", "runs/other", "--out", "both.html"], catch_exceptions=False)
    assert result.output.strip() == "both.html"
    assert Path("both.html").read_text(encoding="utf-8") == render_overlay(runs)
    CliRunner().invoke(command, ["one", "other"], catch_exceptions=False)
    assert Path("compare.html").is_file()


def test_command_prints_json_of_one_run_and_of_several(runs: dict[str, Any]) -> None:
    one = CliRunner().invoke(command, ["one", "--json"], catch_exceptions=False)
    assert json.loads(one.output) == json.loads(json.dumps(runs["one"]))
    both = CliRunner().invoke(command, ["one", "other", "--json"], catch_exceptions=False)
    assert list(json.loads(both.output)) == ["one", "other"]


def test_a_page_that_was_deleted_is_written_again(runs: dict[str, Any]) -> None:
    page = Path("runs/one/report.html")
    before = page.read_bytes()
    page.unlink()
    CliRunner().invoke(command, ["one"], catch_exceptions=False)
    assert page.read_bytes() == before


def test_an_unknown_run_is_told_with_those_there_are(runs: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="no finished run 'two' in runs; there is one, other"):
        run_folder("two")


def test_a_damaged_or_older_report_is_told(runs: dict[str, Any]) -> None:
    file = Path("runs/one/report.json")
    file.write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match=r"report\.json: damaged"):
        read_report(file.parent)
    file.write_text('{"schema": 1}', encoding="utf-8")
    with pytest.raises(DataError, match="another version of adapt"):
        read_report(file.parent)
