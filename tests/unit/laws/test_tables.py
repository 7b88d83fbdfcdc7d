"""Tables and runs as the laws read them: every format, every mistake in one sentence."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domadapt.errors import DataError, MissingError, UsageError
from domadapt.laws.runs import read_run
from domadapt.laws.schedules import areas
from domadapt.laws.table import joined, read_table

ROWS = [
    {"run": "a", "tokens": 1e6, "domain_loss": 2.5, "general_loss": 3.0},
    {"run": "a", "tokens": 2e6, "domain_loss": 2.25, "general_loss": None},
]


def written(folder: Path, kind: str) -> Path:
    path = folder / f"losses.{kind}"
    if kind == "csv":
        path.write_text("run,tokens,domain_loss,general_loss\na,1e6,2.5,3.0\na,2e6,2.25,\n")
    elif kind == "json":
        path.write_text(json.dumps(ROWS))
    elif kind == "jsonl":
        path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    else:
        pq.write_table(pa.Table.from_pylist(ROWS), path)
    return path


@pytest.mark.parametrize("kind", ["csv", "parquet", "json", "jsonl"])
def test_all_formats_give_the_same_table(tmp_path: Path, kind: str) -> None:
    table = read_table(written(tmp_path, kind))
    assert list(table["run"]) == ["a", "a"]
    assert table["domain_loss"].tolist() == [2.5, 2.25]
    assert math.isnan(table["general_loss"][1])
    assert len(table.where_known("general_loss")) == 1


def test_columns_go_by_the_names_they_are_given(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("D,val\n1,2.5\n")
    table = read_table(tmp_path / "t.csv", {"tokens": "D", "loss": "val"})
    assert (table["tokens"].tolist(), table["loss"].tolist()) == ([1.0], [2.5])
    with pytest.raises(DataError, match=r"no column 'other' .* there is D, val"):
        read_table(tmp_path / "t.csv", {"loss": "other"})


@pytest.mark.parametrize(
    ("name", "text", "wanted"),
    [
        ("t.csv", "tokens,loss\n1,two\n", "column 'loss'"),
        ("t.csv", "tokens,loss\n1,inf\n", "came infinity"),
        ("t.csv", "tokens,loss\n", "no rows"),
        ("t.csv", "tokens;loss\n1;2\n", "wanted commas between columns, came ';'"),
        ("t.csv", "tokens,loss\n1,2.5\n2,half\n", "row 2: wanted a number, came 'half'"),
        ("t.json", "{", "not a json table"),
        ("t.json", "[1, 2]", "a list of objects"),
        ("t.parquet", "no parquet", "not a parquet table"),
        ("t.xlsx", "x", "ends in .csv"),
    ],
)
def test_a_file_that_is_no_table_is_refused_in_a_sentence(tmp_path: Path, name: str, text: str, wanted: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=wanted):
        read_table(tmp_path / name)["loss"].mean()


def test_a_column_of_words_where_numbers_are_wanted_names_the_row(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"tokens": 1, "loss": 2.0}\n{"tokens": 1, "loss": "x"}\n')
    with pytest.raises(DataError, match="row 2: wanted a number, came 'x'"):
        read_table(tmp_path / "t.jsonl")


def test_a_missing_file_and_a_missing_column_are_told(tmp_path: Path) -> None:
    with pytest.raises(MissingError, match="there is no file"):
        read_table(tmp_path / "none.csv")
    with pytest.raises(DataError, match="no column 'lr'"):
        read_table(written(tmp_path, "csv"))["lr"]


def test_tables_below_each_other_keep_what_each_has(tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("run,loss\nb,1.5\n")
    both = joined([read_table(written(tmp_path, "csv")), read_table(tmp_path / "other.csv")])
    assert list(both["run"]) == ["a", "a", "b"]
    assert both.where_known("loss")["loss"].tolist() == [1.5]
    assert both.where_known("tokens")["tokens"].tolist() == [1e6, 2e6]


def finished_run(folder: Path, name: str = "train", share: float = 0.75, steps: int = 4) -> Path:
    """What a training leaves in a run's folder: metrics, the plan of its tokens, its manifest."""
    train, tokens = folder / "stages" / name, folder / "stages" / name.replace("train", "tokens", 1)
    (train / "training").mkdir(parents=True)
    tokens.mkdir(parents=True)
    lines = [{"step": 0, "heldout_domain": 3.0, "heldout_general": 2.0}]
    for step in range(1, steps + 1):
        lines.append({"step": step, "loss": 2.9, "lr": 1e-3 / step, "grad_norm": 1.0, "tokens": step * 512})
    lines.append({"step": steps, "heldout_domain": 2.5, "heldout_general": 2.1})
    (train / "training" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (train / "artifact.json").write_text(json.dumps({"facts": {"parameters": 1000}}))
    parts = [{"name": "domain", "share_achieved": share}, {"name": "general", "share_achieved": 1 - share}]
    (tokens / "plan.json").write_text(json.dumps({"parts": parts}))
    return folder


def test_a_run_gives_its_held_out_losses_with_tokens_share_size_and_areas(tmp_path: Path) -> None:
    table = read_run(finished_run(tmp_path / "a"))
    assert table["tokens"].tolist() == [0, 2048]
    assert table["domain_loss"].tolist() == [3.0, 2.5]
    assert table["general_loss"].tolist() == [2.0, 2.1]
    assert set(table["domain_share"]) == {0.75}
    assert set(table["params"]) == {1000}
    s1, s2 = areas(np.array([1e-3 / step for step in range(1, 5)]))
    assert (table["s1"].tolist(), table["s2"].tolist()) == ([0, s1[-1]], [0, s2[-1]])


def test_the_small_runs_of_a_law_come_with_their_run(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    finished_run(tmp_path / "a", "train.law-0.25", 0.5)
    table = read_run(tmp_path / "a")
    assert sorted(set(table["run"])) == ["a", "a/law-0.25"]
    assert sorted(set(table["domain_share"])) == [0.5, 0.75]


def test_a_folder_without_training_is_refused(tmp_path: Path) -> None:
    (tmp_path / "stages").mkdir()
    with pytest.raises(UsageError, match="no finished training"):
        read_run(tmp_path)
    with pytest.raises(UsageError, match="neither a table"):
        read_run(tmp_path / "stages")


def test_damaged_metrics_are_told(tmp_path: Path) -> None:
    finished_run(tmp_path / "a")
    (tmp_path / "a" / "stages" / "train" / "training" / "metrics.jsonl").write_text("{")
    with pytest.raises(DataError, match="damaged"):
        read_run(tmp_path / "a")
