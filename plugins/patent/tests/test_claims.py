"""What the pack lists as published."""

from __future__ import annotations

from domadapt.claims.schema import load_claims
from domadapt_patent import plugin


def test_what_is_published_is_a_valid_claims_file_without_a_score() -> None:
    (pack,) = plugin.adapt_register_domains()
    assert pack.claims is not None
    claims = load_claims(pack.claims).claims
    assert all(claim.id.startswith("patent.") for claim in claims)
    assert {claim.kind for claim in claims} == {"statement"}
