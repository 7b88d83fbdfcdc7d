"""Control arms and gates of a whole run, by the command line."""

from __future__ import annotations

import json

import pytest

from .conftest import Adapt


def report(adapt: Adapt) -> dict:
    return json.loads((adapt.folder / "runs/law/report.json").read_bytes())


def test_control_arms_are_merged_scored_and_never_chosen(copied: Adapt):
    before = len(copied.done())
    prompt = "eval.domain_prompt=You know the law."
    arms = ("self_merge", "residual", "domain_prompt")
    copied("run", "--domain", "law", "--set", prompt, *(w for arm in arms for w in ("--control", arm)))
    executed = copied.done()[before:]
    assert {n for n in executed if n.startswith("merge.")} == {"merge.control.self_merge", "merge.control.residual"}
    assert "train" not in executed
    data = report(copied)
    roles = {m["label"]: m["role"] for m in data["models"]}
    assert {label for label, role in roles.items() if role == "control"} == {f"control.{arm}" for arm in arms}
    assert data["verdict"]["chosen_merge"] == "ties"
    measure = next(m for m in data["ledger"]["measures"] if m["task"] == "law_orders")
    assert {s["model"] for s in measure["scores"]} >= {f"control.{arm}" for arm in arms}


def test_the_prompt_of_the_control_arm_reaches_the_model(copied: Adapt):
    copied("run", "--domain", "law", "--control", "domain_prompt", "--set", "eval.domain_prompt=lorem ipsum")
    measure = next(m for m in report(copied)["ledger"]["measures"] if m["task"] == "bits_per_byte.domain")
    values = {s["model"]: s["value"] for s in measure["scores"]}
    assert values["control.domain_prompt"] != values["instruct"]


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (("--control", "self_merg"), "did you mean 'self_merge'"),
        (("--control", "domain_prompt"), "eval.domain_prompt is empty"),
        (("--control", "residual", "--set", "merge.methods=[]"), "nothing is merged"),
        (("--set", "eval.fail_if=[merged.law_order < 0.5]"), "law_orders"),
    ],
)
def test_a_control_or_gate_that_cannot_be_is_a_recipe_error(copied: Adapt, option: tuple[str, ...], told: str):
    assert told in copied("run", "--domain", "law", *option, code=2)


def test_a_gate_that_is_not_met_ends_with_3_after_everything_is_made(copied: Adapt):
    told = copied("run", "--domain", "law", "--set", "eval.fail_if=[merged.law_orders <= 1]", code=3)
    assert "gate not met: merged.law_orders <= 1" in told
    gates = report(copied)["gates"]
    assert [g["met"] for g in gates] == [False]


def test_a_gate_that_is_met_ends_with_0(copied: Adapt):
    copied("run", "--domain", "law", "--set", "eval.fail_if=[merged.law_orders > 1]")
    assert [g["met"] for g in report(copied)["gates"]] == [True]
