"""A pack that is one file: the manual's recipe with a section `pack`, in a folder as a user would have it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from domadapt import errors
from domadapt.cli import adapt

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text(encoding="utf-8")
TASK = """
task: orders
dataset_path: json
dataset_kwargs: {data_files: {test: orders.jsonl}}
output_type: multiple_choice
test_split: test
doc_to_text: "{{prompt}}"
doc_to_choice: "{{choices}}"
doc_to_target: answer
metric_list: [{metric: acc, aggregation: mean, higher_is_better: true}]
"""


def call(*arguments: str) -> Result:
    return CliRunner().invoke(adapt, list(arguments), env={"COLUMNS": "200"})


@pytest.fixture
def legal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """legal.yaml as in the manual, its benchmark and its documents."""
    (text,) = re.findall(r"```yaml\n(version: 1\ndomain: legal\n.*?)```", PAGE, re.DOTALL)
    (tmp_path / "legal.yaml").write_text(text)
    (tmp_path / "orders.yaml").write_text(TASK)
    shared = {"prompt": "The lease was broken.", "choices": [" Affirmed.", " Reversed."]}
    items = [{**shared, "item": str(n), "answer": n % 2} for n in range(12)]
    (tmp_path / "orders.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    (tmp_path / "decisions").mkdir()
    for n in range(60):
        heard = [f"On day {k * n % 31} the court of county {n} heard witness {k + n} on the lease." for k in range(12)]
        said = " ".join(heard)
        (tmp_path / "decisions" / f"{n}.txt").write_text(said + " Affirmed.\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_manuals_pack_in_one_file_is_planned_by_its_path(legal: Path) -> None:
    done = call("plan", "--domain", "./legal.yaml")
    assert done.exit_code == errors.OK, done.output
    assert "eval.instruct.orders" in done.stdout
    assert call("plan", "./legal.yaml").stdout == done.stdout


def test_another_recipe_of_the_domain_extends_it(legal: Path) -> None:
    (legal / "more.yaml").write_text("version: 1\nextends: legal.yaml\ntrain: {steps: 7}\n")
    done = call("plan", "more.yaml")
    assert done.exit_code == errors.OK, done.output
    assert "eval.instruct.orders" in done.stdout


def test_a_benchmark_file_that_is_not_there_is_told_with_its_place(legal: Path) -> None:
    (legal / "orders.yaml").unlink()
    done = call("plan", "--domain", "./legal.yaml", "--set", "eval.domain=[]")
    assert done.exit_code == errors.USAGE
    assert re.search(r"legal\.yaml:3:\d+ .*orders\.yaml", done.stderr)


@pytest.mark.slow
def test_it_runs_to_its_report(legal: Path) -> None:
    done = call("run", "--domain", "./legal.yaml", "--set", "train.steps=2")
    assert done.exit_code == errors.OK, done.output
    (report,) = (legal / "runs").glob("*/report.json")
    assert "orders" in {task["task"] for task in json.loads(report.read_bytes())["tasks"]}
