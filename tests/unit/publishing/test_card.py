"""The model card: what it says, where its numbers come from, and what never stands in it."""

from __future__ import annotations

import json
import re
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from huggingface_hub import ModelCard, parse_eval_result_entries

from domadapt.errors import DataError, UsageError
from domadapt.report.card import build_card, parents_of
from domadapt.report.finished_run import open_run
from domadapt.report.origins import training_text

from .finished_runs import DOMAIN, make_run

HOSTILE = "<script>alert(1)</script> | **bold** ``` [x](https://evil.example) \x1b[31m"


def front_matter(text: str) -> dict[str, Any]:
    return ModelCard(text).data.to_dict()  # the hub's own reader


def test_the_front_matter_is_what_the_hub_reads(tmp_path: Path) -> None:
    data = front_matter(build_card(open_run(make_run(tmp_path))).text)
    assert data["base_model_relation"] == "merge"
    assert data["library_name"] == "transformers"
    assert data["license"] == "apache-2.0"
    assert data["language"] == ["en"]
    assert set(data["tags"]) == {"merge", "mergekit", "sec", "domain-adaptation", "continual-pretraining"}


def test_parents_from_the_hub_are_named_by_their_ids_and_no_others_are(tmp_path: Path) -> None:
    models = {"model.base": "hub:org/base@abc", "model.instruct": "/home/alice/models/chatty"}
    run = open_run(make_run(tmp_path, changes=models))
    card = build_card(run)
    assert front_matter(card.text)["base_model"] == ["org/base"]
    assert "chatty" in card.text
    assert "alice" not in card.text
    (base, instruct) = parents_of(run, "merged")
    assert (base.hub_id, base.revision) == ("org/base", "abc")
    assert (instruct.hub_id, instruct.name) == (None, "chatty")


def test_built_in_models_are_no_models_of_the_hub(tmp_path: Path) -> None:
    text = build_card(open_run(make_run(tmp_path))).text
    assert "base_model" not in front_matter(text)
    assert "tiny-instruct (built into adapt)" in text


def test_the_cpt_model_is_a_finetune_of_where_it_started(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path, changes={"model.base": "org/base", "model.instruct": "org/chat"}))
    data = front_matter(build_card(run, "cpt").text)
    assert data["base_model"] == ["org/chat"]
    assert data["base_model_relation"] == "finetune"
    assert not {"merge", "mergekit"} & set(data["tags"])


def test_a_cpt_model_made_elsewhere_is_a_parent_and_cannot_be_described(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path, changes={"train.from": "org/cpt", "model.base": "org/base"}))
    data = front_matter(build_card(run).text)
    assert data["base_model"] == ["org/base", "org/cpt"]
    assert "continual-pretraining" not in data["tags"]
    with pytest.raises(UsageError, match="no model 'cpt' to describe; the run made ties"):
        build_card(run, "cpt")


def test_tokens_are_counted_through_the_windows_that_training_read(tmp_path: Path) -> None:
    # windows of 8: 0 read twice, 1 never, 2 and 3 once. filings: tokens 0-9 and 24-31, notes: 10-23
    run = open_run(make_run(tmp_path))
    text = training_text(run.corpora(), run.tokens(), "concat")
    read = {(s.side, s.source): s.tokens for s in text.sources}
    assert text.exact
    assert read == {("domain", "filings"): 8 * 2 + 0 + 8, ("domain", "notes"): 8, ("general", "stories"): 16}
    assert sum(s.share or 0 for s in text.sources) == pytest.approx(1)
    assert [(s.documents, s.bytes) for s in text.sources] == [(2, 150), (1, 50), (1, 80)]


def test_with_best_fit_packing_tokens_are_divided_by_bytes_and_the_card_says_so(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path, changes={"mix.packing": "best_fit"}))
    text = training_text(run.corpora(), run.tokens(), "best_fit")
    assert {s.source: s.tokens for s in text.sources if s.side == "domain"} == {"filings": 24.0, "notes": 8.0}
    assert "divided by bytes of text" in build_card(run).text


def test_a_corpus_too_large_to_be_read_is_shared_out_by_the_bytes_of_its_accounts(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path))
    corpora = run.corpora()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(corpora["domain"]), "batches", lambda *_: pytest.fail("its text was read"))
        licenses = {"CC0": {"documents": 3, "bytes": 75}, "": {"documents": 1, "bytes": 25}}
        corpora["domain"].manifest["facts"]["sources"] = [{"source": "filings", "licenses": licenses}] * 2
        corpora["general"].manifest["facts"]["sources"] = []
        text = training_text(corpora, run.tokens(), "concat", most_bytes=1)
    assert not text.exact
    assert [(s.license, s.documents, s.bytes, s.tokens) for s in text.sources] == [
        ("CC0", 6, 150, 24.0), ("", 2, 50, 8.0),
    ]  # fmt: skip


def test_scores_stand_beside_reference_and_base_with_intervals(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path))
    text = build_card(run).text
    header = next(line for line in text.splitlines() if line.startswith("| measure"))
    assert [c.strip() for c in header.strip("| ").split("|")][:5] == ["measure", "instruct", "base", "cpt", "ties"]
    row = next(line for line in text.splitlines() if line.startswith("| quiz"))
    assert "80.0 % (" in row
    assert "70.0 % (" in row
    assert "−10.0 points (" in row


def test_what_is_worse_is_said_and_what_cannot_be_told_apart_is_no_proof_of_equality(tmp_path: Path) -> None:
    text = build_card(open_run(make_run(tmp_path, merges=("ties", "slerp"))), "slerp").text
    worse = text.partition("### What it is worse at")[2].partition("### What it is better at")[0]
    assert "- Worse than instruct on general bits per byte: +0.2" in worse
    unclear = worse.partition("Not distinguishable from instruct, which is no proof of equality:")[2]
    assert re.search(r"- quiz \(acc\): −2\.0 points .*; a true difference below \d+\.\d points would", unclear)
    assert "- Better than instruct on domain bits per byte: −2" in text
    assert "It is one of 2 merges" in text


def test_the_model_index_holds_the_scores_of_the_report(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path, quiz="medqa_4options@5"))
    card = build_card(run)
    (index,) = front_matter(card.text)["model-index"]
    found = {r["dataset"]["name"]: r["metrics"][0] for r in index["results"]}
    score = next(m for m in run.data["ledger"]["measures"] if m["task"] == "medqa_4options@5")["scores"][-1]
    assert found["medqa_4options@5"]["value"] == score["value"] == 0.7
    assert found["medqa_4options@5"]["args"]["stderr"] == score["stderr"]
    assert found["bits_per_byte.domain"]["type"] == "bits_per_byte"
    (entry,) = parse_eval_result_entries(yaml.safe_load(card.results))
    assert (entry.dataset_id, entry.task_id, entry.value) == ("GBaker/MedQA-USMLE-4-options-hf", "default", 0.7)
    assert "n 100" in str(entry.notes)


def test_benchmarks_that_are_no_dataset_of_the_hub_stand_in_the_model_index_alone(tmp_path: Path) -> None:
    assert build_card(open_run(make_run(tmp_path))).results == ""


def test_two_cards_of_a_run_are_equal_bytes(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    assert build_card(open_run(folder)).text == build_card(open_run(folder)).text


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    documents = [(text, HOSTILE, HOSTILE, tokens) for text, _, _, tokens in DOMAIN]
    text = build_card(open_run(make_run(tmp_path, domain=documents, quiz="quiz <img src=x> | `a`"))).text
    body = text.partition("\n---\n")[2]
    outside = re.sub(r"^(`{3,}).*?^\1$", "", body, flags=re.MULTILINE | re.DOTALL)
    assert "<script>" not in outside
    assert "<img" not in outside
    assert "\x1b" not in text
    assert not re.search(r"(?<!\\)\]\(https://evil", outside)
    assert set(re.findall(r"</?(\w+)", outside)) == {"details", "summary"}
    # every row of a table has as many cells as its header
    for table in re.findall(r"(?:^\|.*\n)+", outside, flags=re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1, table
    front_matter(text)


def test_no_path_no_host_and_no_secret_stands_in_a_card(tmp_path: Path) -> None:
    secret = "hf_" + "a" * 34
    options = {
        "path": "/home/alice/data/filings",
        "address": f"https://bob:{secret}@host.example/x",
        "note": "~/private/notes.txt",
    }
    changes = {"corpus.domain": [{"source": "filings", "options": options}], "model.base": "/srv/alice/base"}
    folder = make_run(tmp_path, changes=changes, host=socket.gethostname())
    text = build_card(open_run(folder)).text
    for word in ("alice", "/srv", "/home", "private/", secret, "bob", str(tmp_path), str(Path.home()) + "/"):
        assert word not in text, word
    assert "LOCAL/filings" in text
    assert "put your own folders in the place of `LOCAL/...`" in text
    assert json.loads((folder / "report.json").read_bytes())["run_facts"]["host"] == socket.gethostname()
    assert not re.search(rf"\b{re.escape(socket.gethostname())}\b", text)


def test_the_recipe_in_the_card_is_the_recipe_of_the_run(tmp_path: Path) -> None:
    run = open_run(make_run(tmp_path))
    block = re.search(r"```yaml\n(version: 1\n.*?)```", build_card(run).text, re.DOTALL)
    assert block is not None
    assert yaml.safe_load(block[1]) == run.recipe
    assert (
        "pip install domadapt==0.1.0 domadapt-sec==0.1.0\nadapt run recipe.yaml\nadapt card demo\n"
        in build_card(run).text
    )


def test_a_run_without_a_report_is_refused_with_those_that_have_one(tmp_path: Path) -> None:
    make_run(tmp_path, name="done")
    with pytest.raises(UsageError, match=r"there is no finished run 'nope' in .*; there is done"):
        open_run(tmp_path / "nope")


def test_a_run_that_was_started_again_with_other_settings_is_refused(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    lock = yaml.safe_load((folder / "recipe.lock.yaml").read_text())
    lock["resolved"]["stages"]["report"] = "0123456789abcdef"
    (folder / "recipe.lock.yaml").write_text(yaml.safe_dump(lock))
    with pytest.raises(UsageError, match="started again with other settings"):
        open_run(folder)


def test_a_result_that_the_report_was_not_made_from_is_refused(tmp_path: Path) -> None:
    folder, other = make_run(tmp_path), make_run(tmp_path, name="other")
    (folder / "stages" / "merge.ties").unlink()
    (folder / "stages" / "merge.ties").symlink_to((other / "stages" / "merge.ties").resolve())
    with pytest.raises(DataError, match="is not there; run the same"):
        build_card(open_run(folder))
