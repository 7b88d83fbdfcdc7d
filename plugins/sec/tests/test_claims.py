"""What the pack lists as published."""

from __future__ import annotations

from domadapt.claims.schema import DirectionClaim, load_claims
from domadapt_sec import plugin


def test_the_published_numbers_are_a_valid_claims_file() -> None:
    (pack,) = plugin.adapt_register_domains()
    assert pack.claims is not None
    claims = load_claims(pack.claims).claims
    assert all(claim.id.startswith("sec.") for claim in claims)
    assert {claim.paper.arxiv for claim in claims if claim.paper.url is None} == {"2406.14971"}


def test_every_direction_of_the_paper_can_be_shown_in_miniature_and_none_be_reproduced() -> None:
    (pack,) = plugin.adapt_register_domains()
    assert pack.claims is not None
    directions = [c for c in load_claims(pack.claims).claims if isinstance(c, DirectionClaim)]
    assert len(directions) == 4
    for claim in directions:
        assert claim.miniature
        assert claim.setting.data  # neither their filings nor their CPT checkpoint are public
