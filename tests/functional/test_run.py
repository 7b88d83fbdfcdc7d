"""A whole run by the command line: from documents to a report, and the same command again."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

from .conftest import Adapt


def report(adapt: Adapt, run: str = "law") -> dict:
    return json.loads((adapt.folder / "runs" / run / "report.json").read_bytes())


def test_a_pack_from_a_scratch_wheel_runs_to_a_report_with_no_edit_to_the_core(finished: Adapt):
    data = report(finished)
    assert [m["label"] for m in data["models"]] == ["base", "instruct", "cpt", "ties"]
    assert {t["task"] for t in data["tasks"]} == {
        "bits_per_byte.domain",
        "bits_per_byte.general",
        "law_orders",
        "instruct_format",
        "probes",
    }
    assert (finished.folder / "runs/law/report.html").stat().st_size > 10_000


def test_every_document_is_accounted_for(finished: Adapt):
    for corpus in report(finished)["corpora"].values():
        steps = corpus["funnel"]
        for step, following in zip(steps, [*steps[1:], None], strict=True):
            assert step["in"] == step["kept"] + sum(step["dropped"].values())
            if following is not None:
                assert following["in"] == step["kept"]
    domain = report(finished)["corpora"]["domain"]["funnel"][0]
    assert (domain["in"], domain["dropped"]) == (91, {"sealed": 1})


def test_the_asked_share_of_general_text_is_trained_on(finished: Adapt):
    shares = {p["name"]: p["share_achieved"] for p in report(finished)["mixture"]["parts"]}
    assert shares == {"domain": 0.75, "general": 0.25}


def test_the_same_command_again_executes_nothing(copied: Adapt):
    before = copied.events()
    text = (copied.folder / "runs/law/report.json").read_bytes()
    out = copied("run", "--domain", "law")
    assert copied.events() == before
    assert (copied.folder / "runs/law/report.json").read_bytes() == text
    assert "ties" in out
    assert "report.html" in out


def test_another_merge_method_repeats_merging_its_evaluation_and_the_report_only(copied: Adapt):
    before = len(copied.done())
    copied("run", "--domain", "law", "--merge", "slerp")
    executed = copied.done()[before:]
    assert set(executed) == {
        "merge.slerp",
        "eval.slerp.bits_per_byte.domain",
        "eval.slerp.bits_per_byte.general",
        "eval.slerp.law_orders",
        "eval.slerp.instruct_format",
        "eval.slerp.probes",
        "report",
    }
    assert [m["label"] for m in report(copied)["models"]] == ["base", "instruct", "cpt", "slerp"]


def test_several_merge_methods_are_compared_in_one_report(copied: Adapt):
    methods = ["ties", "linear", "slerp", "task_arithmetic", "dare_ties", "dare_linear"]
    copied("run", "--domain", "law", *(a for m in methods for a in ("--merge", m)))
    assert [m["label"] for m in report(copied)["models"]] == ["base", "instruct", "cpt", *methods]


def test_a_checkpoint_made_elsewhere_enters_at_the_merge(finished: Adapt, adapt: Adapt):
    shutil.copytree((finished.folder / "runs/law/stages/train").resolve(), adapt.folder / "elsewhere")
    (adapt.folder / "elsewhere/artifact.json").unlink()
    adapt("run", "--domain", "law", "--set", "train.from=./elsewhere")
    assert not {"train", "tokens"} & set(adapt.done())
    assert {m["label"]: m["digest"] for m in report(adapt)["models"]} == {
        m["label"]: m["digest"] for m in report(finished)["models"]
    }
    assert all(re.fullmatch("[0-9a-f]{64}", m["digest"]) for m in report(finished)["models"])
    ours, theirs = report(finished), report(adapt)
    assert theirs["training"] is None
    assert ours["ledger"] == theirs["ledger"]


def test_every_model_of_a_run_is_a_hugging_face_folder(finished: Adapt):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    for stage in ("train", "merge.ties"):
        folder = (finished.folder / "runs/law/stages" / stage).resolve()
        assert AutoModelForCausalLM.from_pretrained(folder).config.vocab_size == 2048
        text = AutoTokenizer.from_pretrained(folder).apply_chat_template(
            [{"role": "user", "content": "Repeat: red cow"}], tokenize=False, add_generation_prompt=True
        )
        assert "red cow" in text


def test_the_corpus_is_readable_by_datasets(finished: Adapt):
    import datasets

    folder = (finished.folder / "runs/law/stages/corpus.domain").resolve()
    files = [str(f) for f in sorted((folder / "report").glob("*.parquet"))]
    rows = datasets.load_dataset("parquet", data_files={"report": files}, cache_dir=str(finished.folder / "cache"))
    assert set(rows["report"].column_names) == {"id", "text", "source", "license", "group", "meta"}


def test_the_lock_file_repeats_the_run(copied: Adapt):
    shutil.copy(copied.folder / "runs/law/recipe.lock.yaml", copied.folder / "again.yaml")
    out = copied("plan", "again.yaml", "--json")
    made_anew = {s["stage"]: s["reason"] for s in json.loads(out)["stages"] if s["action"] != "reuse"}
    assert made_anew.keys() <= {"report"}, made_anew


def test_a_changed_value_is_named_as_the_reason(copied: Adapt):
    out = copied("plan", "--domain", "law", "--set", "train.lr=5e-4", "--json")
    stages = {s["stage"]: s for s in json.loads(out)["stages"]}
    assert stages["tokens"]["action"] == "reuse"
    assert re.search(r"lr 0\.001 -> 0\.0005", stages["train"]["reason"])
    assert "train" in stages["merge.ties"]["reason"]


def test_from_a_stage_makes_it_and_what_follows_anew(copied: Adapt):
    before = len(copied.done())
    digest = (copied.folder / "runs/law/stages/train/model.safetensors").read_bytes()
    copied("run", "--domain", "law", "--from", "merge")
    executed = copied.done()[before:]
    assert executed[0] == "merge.ties"
    assert not {"train", "tokens", "eval.cpt.law_orders"} & set(executed)
    assert (copied.folder / "runs/law/stages/train/model.safetensors").read_bytes() == digest


def test_status_tells_what_is_done(finished: Adapt):
    (state,) = json.loads(finished("status", "--json"))
    assert (state["run"], state["state"], state["current"]) == ("law", "done", None)
    assert "train" in state["done"]
    assert "law: done" in finished("status")


def test_clean_deletes_only_what_no_run_refers_to(copied: Adapt):
    assert "nothing to delete" in copied("clean")
    copied("run", "--domain", "law", "--merge", "slerp")
    shown = copied("clean")
    assert "add --yes" in shown
    assert "merge" in shown
    copied("clean", "--yes")
    plan = json.loads(copied("plan", "--domain", "law", "--merge", "slerp", "--json"))
    assert {s["action"] for s in plan["stages"]} == {"reuse"}
    again = json.loads(copied("plan", "--domain", "law", "--merge", "ties", "--json"))
    assert "merge.ties" in {s["stage"] for s in again["stages"] if s["action"] == "run"}


def test_clean_of_a_run_deletes_it_and_its_results(copied: Adapt):
    copied("clean", "law", "--yes")
    assert not (copied.folder / "runs/law").exists()
    assert not list((copied.folder / "runs/.store").rglob("artifact.json"))


def test_clean_deletes_nothing_while_the_record_of_a_run_cannot_be_read(copied: Adapt):
    store = copied.folder / "runs/.store"
    before = sorted(store.rglob("*"))
    for name in ("state.json", "recipe.lock.yaml"):
        file = copied.folder / "runs/law" / name
        text = file.read_text()
        file.write_text("{")
        assert f"{name} cannot be read" in copied("clean", "--yes", code=1)
        file.write_text(text)
    assert sorted(store.rglob("*")) == before


def test_input_that_is_not_there_is_named_with_its_place_in_the_recipe(adapt: Adapt):
    sources = "corpus.general=[{source: general.sample}, {source: files, options: {path: ./nowhere}}]"
    said = adapt("run", "--domain", "law", "--set", sources, code=4)
    assert "corpus.general.1 (source files): nowhere: no such file or folder" in said


def test_manifests_and_reports_hold_no_path_of_this_machine(finished: Adapt):
    store = finished.folder / "runs/.store"
    texts = [*store.rglob("*.json"), *store.rglob("*.yml"), finished.folder / "runs/law/report.html"]
    assert len(texts) > 10
    for file in texts:
        assert str(finished.folder) not in file.read_text(), file


def test_a_missing_stage_name_is_a_usage_error(finished: Adapt):
    assert "no such stage" in finished("run", "--domain", "law", "--from", "mrege", code=2)


def test_no_network_is_touched_by_a_run(finished: Adapt):
    # every process of these tests fails when it reaches beyond this machine, see conftest.NO_NETWORK
    assert (Path(finished.site) / "sitecustomize.py").exists()
    assert report(finished)["verdict"]
