"""`adapt plan`: offline, with neither weights nor documents here, and with everything here as before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from domadapt.cli import adapt
from domadapt.cli.plan import _offline as offline

FULL_SIZE = """\
version: 1
name: big
domain: law
pack: {}
model: {base: MODEL, start: base}
corpus:
  domain: [{source: files, options: {path: nothing-here}}]
  general: [{source: files, options: {path: nor-here}}]
mix: {tokens: 71B, seq_len: 8192, replay: 0.0140845}
train: {batch_tokens: 4_194_304, micro_batch: 1}
merge: {methods: [linear]}
"""


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("ADAPT_RUNS", raising=False)


def plan(*arguments: str) -> int:
    code = adapt.main(["plan", *arguments], standalone_mode=False)
    return code if isinstance(code, int) else 0


def write(name: str, model: str) -> None:
    Path(name).write_text(FULL_SIZE.replace("MODEL", model))


def test_a_large_recipe_is_planned_with_nothing_of_it_here(capsys: pytest.CaptureFixture[str]) -> None:
    write("big.yaml", "meta-llama/Meta-Llama-3-70B")
    assert plan("big.yaml", "--gpus", "128xH100", "--days", "31", "--json") == 0
    out, err = capsys.readouterr()
    read: dict[str, Any] = json.loads(out)
    costs = read["costs"]
    assert costs["parameters"] == {
        "value": 70553706496,
        "unit": "parameters",
        "text": "70.55 B, 69.5 B of them in matrix products",
        "how": "formula",
    }
    assert costs["flops"]["value"] == pytest.approx(3.19e22, rel=1e-3)
    assert costs["claimed_mfu"]["value"] == pytest.approx(0.094, abs=5e-4)
    assert read["stages"] == []
    assert {"key": "mix.tokens", "value": 71_000_000_000, "origin": "big.yaml:9:7"} in read["values"]
    assert err.startswith("not known yet: ")
    assert list(Path().iterdir()) == [Path("big.yaml")]


def test_what_is_assumed_can_be_said(capsys: pytest.CaptureFixture[str]) -> None:
    write("big.yaml", "meta-llama/Meta-Llama-3-70B")
    assert plan("big.yaml", "--gpus", "64xH200", "--mfu", "0.5", "--price", "4", "--json") == 0
    costs = json.loads(capsys.readouterr().out)["costs"]
    assert costs["seconds"]["text"].endswith("on 64 x H200 at 50.0 % of their peak (--mfu)")
    assert costs["money"]["value"] == pytest.approx(4 * costs["gpu_hours"]["value"])


def test_a_model_that_nobody_knows_is_named_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    write("odd.yaml", "someone/unknown-7b")
    assert plan("odd.yaml") == 4
    assert "someone/unknown-7b" in capsys.readouterr().err


def test_gpus_that_are_none_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    write("big.yaml", "meta-llama/Meta-Llama-3-70B")
    assert plan("big.yaml", "--gpus", "many") == 2
    assert "wanted a number and a name such as 128xH100" in capsys.readouterr().err


def test_where_everything_is_here_stages_and_origins_stand_below_the_costs(capsys: pytest.CaptureFixture[str]) -> None:
    Path("documents.txt").write_text("one\n\ntwo")
    text = FULL_SIZE.replace("MODEL", '"builtin:tiny"').replace("nothing-here", "documents.txt")
    text = text.replace("nor-here", "documents.txt").replace("8192", "256").replace("4_194_304", "4096")
    Path("small.yaml").write_text(text)
    assert plan("small.yaml") == 0
    out = capsys.readouterr().out
    costs, stages, values = (out.index(title) for title in ("cost of training big", "run big", "\nvalues"))
    assert costs < stages < values
    for expected in ("never run", "stages to do", "small.yaml:"):
        assert expected in out


def test_a_checkpoint_made_elsewhere_costs_no_training(capsys: pytest.CaptureFixture[str]) -> None:
    write("big.yaml", "meta-llama/Meta-Llama-3-70B")
    assert plan("big.yaml", "--set", "train.from=./cpt", "--json") == 0
    read = json.loads(capsys.readouterr().out)
    assert read["costs"] == {}


def test_the_hubs_are_off_while_planning_and_as_before_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    monkeypatch.setenv("HF_HUB_OFFLINE", "0")
    with offline():
        assert os.environ["HF_HUB_OFFLINE"] == "1"
    assert os.environ["HF_HUB_OFFLINE"] == "0"
    monkeypatch.delenv("HF_HUB_OFFLINE")
    with offline():
        pass
    assert "HF_HUB_OFFLINE" not in os.environ
