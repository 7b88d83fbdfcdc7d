"""Card, push and claims by the command line, on a run made by `adapt run`."""

from __future__ import annotations

import json
import shutil
import socket

import pytest
from huggingface_hub import ModelCard

from .conftest import Adapt


def report(adapt: Adapt) -> dict:
    return json.loads((adapt.folder / "runs/law/report.json").read_bytes())


def test_the_card_of_a_run_says_what_the_report_says(copied: Adapt):
    assert copied("card", "law").strip().endswith("runs/law/card.md")
    text = (copied.folder / "runs/law/card.md").read_text()
    data = ModelCard(text).data.to_dict()
    assert data["license"] == "apache-2.0"
    assert data["base_model_relation"] == "merge"
    scores = {m["task"]: m["scores"] for m in report(copied)["ledger"]["measures"] if m["main"]}
    for result in data["model-index"][0]["results"]:
        score = next(s for s in scores[result["dataset"]["name"]] if s["model"] == "ties")
        assert result["metrics"][0]["value"] == score["value"]
    for word in (str(copied.folder), socket.gethostname()):
        assert word not in text


def test_the_token_shares_of_the_card_are_those_of_the_mixture(finished: Adapt):
    text = finished("card", "law", "--out", "-")
    shares = {p["name"]: 100 * p["share_achieved"] for p in report(finished)["mixture"]["parts"]}
    rows = [line.split("|") for line in text.splitlines() if line.startswith(("| domain | law", "| general | general"))]
    told = {row[1].strip(): float(row[-2].strip(" %")) for row in rows}
    assert told == pytest.approx(shares, abs=0.01)
    assert "CC0-1.0" in text


def test_the_same_card_is_written_again_byte_for_byte(copied: Adapt, finished: Adapt):
    assert copied("card", "law", "--out", "-") == finished("card", "law", "--out", "-")


def test_a_card_needs_a_finished_run_and_a_model_of_it(copied: Adapt):
    assert "there is no finished run 'nope'" in copied("card", "nope", code=2)
    assert "the run made cpt, ties" in copied("card", "law", "--model", "base", code=2)
    assert "base_model_relation: finetune" in copied("card", "law", "--model", "cpt", "--out", "-")


def test_push_shows_the_files_and_uploads_nothing_without_yes(finished: Adapt):
    out = finished("push", "law", "me/law")
    assert "GB  model.safetensors" in out
    assert "me/law, private" in out
    assert out.endswith("nothing was uploaded; add --yes to upload\n")


def test_claims_of_a_strangers_pack_are_judged_by_a_run(finished: Adapt):
    rows = {row["id"]: row for row in json.loads(finished("claims", "--domain", "law", "--json"))}
    falls = rows["law.domain-falls"]
    assert (falls["outcome"], falls["run"]) == ("not shown in miniature", "law")
    # bits per byte did fall, but two courts are held out, which is too few to tell anything
    assert falls["why"].startswith("not distinguishable: cpt against instruct on domain bits per byte: ")
    assert falls["why"].endswith("only 2 independent units)")
    assert rows["law.orders"]["outcome"] == "not testable here"
    assert rows["law.orders"]["why"] == "no run here with court/base, court/chat (then score law_orders)"
    text = finished("claims", "--domain", "law", "law")
    assert "61.5 % law_orders (acc)  [https://law.example/paper, Figure 1]" in text
    assert text.endswith("1 not shown in miniature, 1 not testable here\n")


def test_claims_without_any_run_are_not_testable(adapt: Adapt):
    rows = json.loads(adapt("claims", "--json"))
    assert {row["outcome"] for row in rows} == {"not testable here"}
    assert {"sec", "medical", "patent", "law"} <= {row["domain"] for row in rows}
    assert "there is no finished run 'nope'" in adapt("claims", "nope", code=2)


def test_a_run_moved_with_its_store_keeps_its_card(copied: Adapt):
    shutil.move(copied.folder / "runs", copied.folder / "moved")
    (copied.folder / "runs").symlink_to("moved")
    assert "# law-ties" in copied("card", "law", "--out", "-")
