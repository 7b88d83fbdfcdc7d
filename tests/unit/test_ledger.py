"""The ledger: flips, stages and totals, controls, clean items, and what the verdict says of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from domadapt.artifacts import Scorecard
from domadapt.report.ledger import build_ledger
from domadapt.report.verdict import build_verdict

from .scores import answers, run_of, scorecard

ITEMS = 200
TASKS = {"bits_per_byte.domain": "domain", "quiz": "general"}


def cards(
    folder: Path,
    bits: Mapping[str, float],
    right: Mapping[str, Sequence[int]],
    dirty: Sequence[bool | None] | None = None,
) -> dict[str, dict[str, Scorecard]]:
    """Bits per byte of 40 documents and answers to a quiz, by model."""
    shared = np.random.default_rng(0).normal(1, 0.05, 40)
    found = {}
    for label, level in bits.items():
        own = level * shared * np.random.default_rng([*label.encode()]).normal(1, 0.01, 40)
        found[label] = {
            "bits_per_byte.domain": scorecard(
                folder / label / "b", "bits_per_byte.domain", "domain", list(own * 1000), weights=[1000.0] * 40
            ),
            "quiz": scorecard(folder / label / "q", "quiz", "general", answers(ITEMS, right[label]), dirty=dirty),
        }
    return found


BITS = {"base": 3.0, "instruct": 3.0, "cpt": 1.0, "ties": 1.4}
# CPT loses items 0 to 49 and gains 180 to 189; the merge wins 30 of the lost back and keeps 4 of the gained
RIGHT: dict[str, Sequence[int]] = {
    "base": range(100),
    "instruct": range(180),
    "cpt": range(50, 190),
    "ties": [*range(30), *range(50, 184)],
}


@pytest.fixture
def ledger(tmp_path: Path) -> dict[str, Any]:
    return build_ledger(run_of(cards(tmp_path, BITS, RIGHT), TASKS))


def difference(ledger: Mapping[str, Any], task: str, model: str) -> Any:
    entry = next(m for m in ledger["measures"] if m["task"] == task)
    return next(s["difference"] for s in entry["scores"] if s["model"] == model)


def test_a_difference_counts_the_items_that_changed_sides(ledger: dict[str, Any]) -> None:
    found = difference(ledger, "quiz", "cpt")
    assert (found["gained"], found["lost"], found["n"]) == (10, 50, ITEMS)
    assert found["value"] == pytest.approx(-0.2)
    assert (found["test"], found["verdict"]) == ("exact McNemar", "worse")
    assert difference(ledger, "bits_per_byte.domain", "cpt")["gained"] is None


def test_every_difference_has_its_smallest_detectable_effect_and_a_bootstrap_beside_it(ledger: dict[str, Any]) -> None:
    for measure in ledger["measures"]:
        for score in measure["scores"]:
            if (found := score["difference"]) is None:
                continue
            assert found["smallest_detectable"] > 0
            assert found["boot_low"] <= found["value"] <= found["boot_high"]
            assert found["p"] <= found["p_holm"]
    found = difference(ledger, "quiz", "cpt")
    # 2.83 standard errors, and one item more for the exact test
    assert found["smallest_detectable"] == pytest.approx(2.815 * found["stderr"] + 1 / ITEMS, rel=1e-3)
    assert found["items_for_one_point"] == pytest.approx(7.8489 * found["stderr"] ** 2 * ITEMS / 1e-4, abs=1)


def test_stages_say_what_was_lost_and_what_the_merge_recovered(ledger: dict[str, Any]) -> None:
    rows = {(row["task"], row["stage"]): row for row in ledger["stages"]}
    assert rows["quiz", "cpt"]["kind"] == "lost"
    assert rows["quiz", "cpt"]["change"]["value"] == pytest.approx(-0.2)
    merge = rows["quiz", "ties"]
    assert (merge["kind"], merge["from"]) == ("recovered", "cpt")
    assert merge["change"]["value"] == pytest.approx((164 - 140) / ITEMS)
    assert [merge[name] for name in ("recovered_items", "lost_items", "kept_items", "gained_items")] == [30, 50, 4, 10]
    assert rows["bits_per_byte.domain", "cpt"]["kind"] == "gained"
    assert rows["bits_per_byte.domain", "ties"]["kind"] == "given back"


def test_totals_add_up_as_in_an_account(tmp_path: Path) -> None:
    found = cards(tmp_path, BITS, RIGHT)
    # a second general task that CPT gains on, a third that does not move
    more = {"instruct": range(100), "cpt": range(140), "ties": range(130), "base": range(50)}
    for label, right in more.items():
        found[label]["facts"] = scorecard(tmp_path / label / "f", "facts", "general", answers(ITEMS, right))
        found[label]["riddles"] = scorecard(tmp_path / label / "r", "riddles", "general", answers(ITEMS, range(90)))
    ledger = build_ledger(run_of(found, {**TASKS, "facts": "general", "riddles": "general"}))
    totals = {row["stage"]: row for row in ledger["totals"] if row["side"] == "general"}
    cpt, merge = totals["cpt"], totals["ties"]
    assert cpt["tasks"] == 3
    assert cpt["gained"]["value"] == pytest.approx(0.2)
    assert cpt["lost"]["value"] == pytest.approx(-0.2)
    assert (cpt["unclear"]["value"], cpt["unclear"]["measures"]) == (0.0, 1)
    parts = sum(cpt[name]["value"] for name in ("gained", "lost", "unclear"))
    assert cpt["net"]["value"] == pytest.approx(parts)
    assert cpt["net"]["low"] < 0 < cpt["net"]["high"]
    assert merge["recovered"]["value"] == pytest.approx(24 / ITEMS)
    assert merge["given_back"]["value"] == pytest.approx(-10 / ITEMS)
    assert merge["share_recovered"]["value"] == pytest.approx(24 / 40)
    assert merge["share_recovered"]["low"] < 0.6 < merge["share_recovered"]["high"]
    assert merge["share_kept"]["value"] == pytest.approx(30 / 40)
    assert merge["net"]["value"] == pytest.approx((164 - 180 + 30) / ITEMS)


def test_the_total_of_one_task_is_its_difference(ledger: dict[str, Any]) -> None:
    total = next(row for row in ledger["totals"] if row["side"] == "general" and row["stage"] == "cpt")
    found = difference(ledger, "quiz", "cpt")
    for name in ("value", "stderr", "low", "high"):
        assert total["net"][name] == pytest.approx(found[name], rel=1e-9)
    share = next(s for s in ledger["shares"] if s["task"] == "quiz")
    merge = next(row for row in ledger["totals"] if row["side"] == "general" and row["stage"] == "ties")
    for name in ("value", "low", "high"):
        assert merge["share_recovered"][name] == pytest.approx(share[name], rel=1e-9)


def test_a_lower_bits_per_byte_is_a_gain_in_the_totals(ledger: dict[str, Any]) -> None:
    total = next(row for row in ledger["totals"] if row["side"] == "domain" and row["stage"] == "cpt")
    assert total["gained"]["value"] == pytest.approx(2.0, abs=0.05)


def test_a_merge_that_answers_as_instruct_does_has_no_exact_share(tmp_path: Path) -> None:
    ledger = build_ledger(run_of(cards(tmp_path, BITS, {**RIGHT, "ties": RIGHT["instruct"]}), TASKS))
    share = next(s for s in ledger["shares"] if s["task"] == "quiz")
    assert (share["value"], share["differing_items"]) == (1.0, 0)
    assert share["low"] < 0.95
    assert share["high"] > 1.05


# controls


CONTROLS = {"control.self_merge": 3.0, "control.domain_prompt": 2.8}


def with_controls(folder: Path, levels: Mapping[str, float], ties: float = 1.4) -> dict[str, Any]:
    right = {**RIGHT, **dict.fromkeys(levels, RIGHT["instruct"])}
    return build_ledger(run_of(cards(folder, {**BITS, "ties": ties, **levels}, right), TASKS))


def test_merges_are_set_against_every_control(tmp_path: Path) -> None:
    ledger = with_controls(tmp_path, CONTROLS)
    rows = {(row["control"], row["task"]): row for row in ledger["controls"]}
    assert set(rows) == {(label, task) for label in CONTROLS for task in TASKS}
    assert rows["control.domain_prompt", "bits_per_byte.domain"]["value"] == pytest.approx(-1.4, abs=0.03)
    assert rows["control.domain_prompt", "quiz"]["verdict"] == "worse"
    assert difference(ledger, "quiz", "control.self_merge")["value"] == 0


def test_the_verdict_tells_the_gain_over_the_best_control_and_never_chooses_one(tmp_path: Path) -> None:
    # the control wins every share there is, and is no merge of this run
    verdict = build_verdict(with_controls(tmp_path, {"control.self_merge": 3.0, "control.domain_prompt": 2.8}))
    assert verdict["chosen_merge"] == "ties"
    assert [m["label"] for m in verdict["merges"]] == ["ties"]
    assert verdict["control"]["label"] == "control.domain_prompt"
    told = " ".join(verdict["sentences"])
    assert "The gain of ties over the best control, control.domain_prompt, is −1.39" in told
    assert "on quiz (acc) it is worse" in told
    assert verdict["effect"] == "partly"


def test_a_gain_that_a_control_reaches_too_is_not_claimed(tmp_path: Path) -> None:
    verdict = build_verdict(with_controls(tmp_path, {"control.domain_prompt": 1.4}))
    assert verdict["effect"] == "not shown"
    assert "cannot be told from the control control.domain_prompt" in verdict["headline"]
    assert "is not distinguishable from 0 on domain bits per byte" in " ".join(verdict["sentences"])


def test_without_controls_nothing_is_said_of_them(ledger: dict[str, Any]) -> None:
    verdict = build_verdict(ledger)
    assert ledger["controls"] == []
    assert verdict["control"] is None
    assert "control" not in " ".join(verdict["sentences"])


# clean and dirty items


def test_clean_items_are_scored_apart(tmp_path: Path) -> None:
    # all the items that CPT gains are in the training text; those it lost are not
    dirty = [i >= 180 for i in range(ITEMS)]
    ledger = build_ledger(run_of(cards(tmp_path, BITS, RIGHT, dirty), TASKS))
    entry = next(m for m in ledger["measures"] if m["task"] == "quiz")
    assert entry["dirty_items"] == 20
    assert (entry["clean"]["n"], entry["dirty"]["n"]) == (180, 20)
    clean = next(s for s in entry["clean"]["scores"] if s["model"] == "cpt")
    assert clean["value"] == pytest.approx(130 / 180)
    assert (clean["difference"]["gained"], clean["difference"]["lost"]) == (0, 50)
    assert clean["difference"]["p"] <= clean["difference"]["p_holm"]
    told = next(s for s in build_verdict(ledger)["sentences"] if "occur in the training text" in s)
    assert told.startswith("20 of 200 items of quiz (acc) occur in the training text; on the others CPT is worse")


@pytest.mark.parametrize("dirty", [None, [False] * ITEMS, [None] * ITEMS])
def test_without_a_dirty_item_there_is_one_row(tmp_path: Path, dirty: Sequence[bool | None] | None) -> None:
    ledger = build_ledger(run_of(cards(tmp_path, BITS, RIGHT, dirty), TASKS))
    entry = next(m for m in ledger["measures"] if m["task"] == "quiz")
    assert entry["dirty_items"] == (None if dirty is None else 0)
    assert entry["clean"] is entry["dirty"] is None


def test_a_difference_that_cannot_be_told_says_how_many_items_would_show_a_point(tmp_path: Path) -> None:
    right = {**RIGHT, "cpt": [*range(2, 181)], "ties": range(180)}
    same = dict.fromkeys(BITS, 3.0)
    ledger = build_ledger(run_of(cards(tmp_path, same, right), {"quiz": "general"}))
    told = " ".join(build_verdict(ledger)["sentences"])
    assert "No general loss can be shown" in told
    assert "such items would show 1 point, 200 were scored" in told
