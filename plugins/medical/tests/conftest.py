"""A small article with every trap in it, and the real articles when they are there."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def article() -> str:
    """The small article."""
    return (Path(__file__).parent / "traps.nxml").read_text("utf-8")


@pytest.fixture
def rejections() -> tuple[list[tuple[str, str]], Callable[[str, str], None]]:
    """A list and the `reject` that fills it."""
    seen: list[tuple[str, str]] = []
    return seen, lambda reason, where: seen.append((reason, where))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real files."""
    root = os.environ.get("ADAPT_REAL_DATA")
    if not root:
        pytest.skip("ADAPT_REAL_DATA is not set: no real files to read")
    return Path(root)


@pytest.fixture(scope="session")
def real_articles(real_data: Path) -> list[Path]:
    """Folders of real JATS files."""
    return [real_data / "medical" / "plos_jats", real_data / "medical" / "pmc_nxml"]
