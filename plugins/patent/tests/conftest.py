"""Small red-book documents and a reader that collects what it is given."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from domadapt_patent.redbook.source import RedbookSource

DECLARATION = '<?xml version="1.0" encoding="UTF-8"?>\n'
DOCTYPE = '<!DOCTYPE us-patent-grant SYSTEM "us-patent-grant-v45-2014-04-03.dtd" [ ]>\n'


def _grant(
    number: str = "99000001",
    *,
    description: str = "<p>A lamp 1 has a switch 2.</p>",
    claims: str = '<claim id="CLM-00001" num="00001"><claim-text>1. A lamp.</claim-text></claim>',
    front: str = "",
    head: str = DECLARATION + DOCTYPE,
) -> bytes:
    return (
        f'{head}<us-patent-grant lang="EN" country="XX">\n<us-bibliographic-data-grant>\n<publication-reference>'
        f"<document-id><country>XX</country><doc-number>{number}</doc-number><kind>B2</kind><date>20240102</date>"
        '</document-id></publication-reference>\n<application-reference appl-type="utility"><document-id>'
        "<country>XX</country><doc-number>98000001</doc-number><date>20220103</date></document-id>"
        f"</application-reference>\n<invention-title>Lamp</invention-title>{front}</us-bibliographic-data-grant>\n"
        f'<abstract id="abstract"><p>A lamp is described.</p></abstract>\n<description>{description}</description>\n'
        f"<us-claim-statement>What is claimed is:</us-claim-statement>\n<claims>{claims}</claims>\n</us-patent-grant>\n"
    ).encode()


@pytest.fixture
def grant() -> Callable[..., bytes]:
    """Makes a grant: number, and XML of its description, claims, more front matter, what precedes the root."""
    return _grant


@dataclass
class Reading:
    """What a source gave."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    rejected: list[str] = field(default_factory=list)
    places: list[str] = field(default_factory=list)

    @property
    def texts(self) -> list[str]:
        return [row["text"] for row in self.rows]


@pytest.fixture
def read() -> Callable[..., Reading]:
    """Reads paths with `patent.redbook` and collects rows and rejections."""

    def reading(*paths: Path, **options: Any) -> Reading:
        result = Reading()

        def reject(reason: str, where: str) -> None:
            result.rejected.append(reason)
            result.places.append(where)

        source = RedbookSource(RedbookSource.Config(path=list(paths), **options))
        for batch in source.read(reject):
            batch.validate(full=True)
            result.rows += batch.to_pylist()
        return result

    return reading
