"""What the pack lists as published."""

from __future__ import annotations

import math

from domadapt.claims.schema import Claim, ValueClaim, load_claims
from domadapt_medical import plugin


def claims() -> list[Claim]:
    (pack,) = plugin.adapt_register_domains()
    assert pack.claims is not None
    return list(load_claims(pack.claims).claims)


def values(prefix: str) -> dict[str, ValueClaim]:
    found = (c for c in claims() if isinstance(c, ValueClaim) and c.id.startswith(prefix))
    return {claim.id.removeprefix(prefix): claim for claim in found}


def test_the_published_numbers_are_a_valid_claims_file() -> None:
    assert all(claim.id.startswith("medical.") for claim in claims())


def test_the_mergekit_table_is_whole_and_second_hand() -> None:
    table = values("medical.mergekit.")
    assert len(table) == 6 * 6
    assert {claim.paper.read for claim in table.values()} == {"secondary"}
    assert (table["slerp.usmle"].value, table["dare-ties.mmlu"].value) == (39.20, 41.17)


def test_its_values_are_whole_numbers_of_items_up_to_the_last_printed_digit() -> None:
    for name, claim in values("medical.mergekit.").items():
        assert claim.n is not None
        right = claim.value / 100 * claim.n
        # 35.90 is printed for 457 of 1273 = 35.899: the last digit may be cut or rounded
        assert abs(right - round(right)) / claim.n * 100 <= 0.051, name


def test_slerp_leads_its_better_parent_on_every_task_and_beyond_two_errors_on_two_alone() -> None:
    table = values("medical.mergekit.")
    clear = []
    for task in ("usmle", "medmcqa", "pubmedqa", "arc-c", "hellaswag", "mmlu"):
        parent = max((table[f"{p}.{task}"] for p in ("chat", "meditron")), key=lambda c: c.value)
        merge = table[f"slerp.{task}"]
        assert merge.value > parent.value
        shares = [c.value / 100 for c in (merge, parent)]
        error = math.sqrt(sum(p * (1 - p) / (merge.n or 1) for p in shares))
        if (shares[0] - shares[1]) / error > 2:
            clear.append(task)
    assert clear == ["hellaswag", "mmlu"]
