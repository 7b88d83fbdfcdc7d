"""What the tests of the laws share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from domadapt.laws import heldout


@pytest.fixture(scope="module")
def few_starts() -> Iterator[None]:
    """Fewer starts of the fits without what is held out: planted laws are found from any."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(heldout, "STARTS", 2)
        yield
