"""The source `patent.hupd`: applications of the Harvard USPTO Patent Dataset (2004 to 2018), JSON as published.

Its hub repository loads by a script, which current `datasets` refuses; its archives (`2016.tar.gz`, one JSON an
application) are read here as they are. HUPD is CC-BY-SA-4.0: share-alike.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from domadapt.components import NO_EFFECT, Options
from domadapt_patent.datasets.records import paragraphs, record, records, text
from domadapt_patent.redbook import symbols
from domadapt_patent.redbook.claims import numbered, separated
from domadapt_patent.redbook.patent import PARTS, Facts, NotAPatentError, Part, Patent
from domadapt_patent.redbook.source import PatentSource

Decision = Literal["ACCEPTED", "REJECTED", "PENDING", "CONT-ACCEPTED", "CONT-REJECTED", "CONT-PENDING"]
_NUMBER = re.compile(r"(?:US)?-?(\d{7,11})-?([A-Z]\d?)?(?:-\d{8})?")


class HupdSource(PatentSource):
    """Applications of HUPD with the office's decision.

    Rejects: "not a patent document", "damaged JSON", "no document number", "another decision", "no text", "repeated",
    "too long", "damaged archive". Groups as in `patent.redbook`: the first-named inventor.
    """

    name = "patent.hupd"
    license = "CC-BY-SA-4.0"
    suffixes = (".json", ".jsonl", ".ndjson")
    origin = "the files of https://huggingface.co/datasets/HUPD/hupd (data/YEAR.tar.gz), or use patent.sample"

    class Config(Options):
        """Options of `patent.hupd`."""

        path: Path | Annotated[list[Path], Field(min_length=1)] = Field(json_schema_extra=NO_EFFECT)
        """File, folder or list of these: `.tar.gz`, `.zip`, `.json` or JSON lines. It does not count in the key."""

        parts: tuple[Part, ...] = Field(PARTS, min_length=1)
        """Parts of an application to keep, printed in the usual order. Default: all."""

        decisions: tuple[Decision, ...] | None = Field(None, min_length=1)
        """Keep applications with these decisions alone. Default: all."""

    def documents(self, file: Path) -> Iterator[tuple[str, bytes | None]]:
        """The records of a file or an archive."""
        return records(file, lambda member: member.endswith(self.suffixes))

    def parse(self, document: bytes, where: str) -> Patent:
        """Read a record. Raises NotAPatentError: see the class."""
        found = record(document)
        decision = text(found, "decision")
        if self.config.decisions is not None and decision not in self.config.decisions:
            raise NotAPatentError("another decision")
        number = text(found, "publication_number") or text(found, "application_number")
        if not number:
            raise NotAPatentError("no document number")
        published = _NUMBER.fullmatch(number)  # "US20130296823A1-20131107"
        uspc = symbols.uspc(text(found, "uspc_class").rjust(3) + text(found, "uspc_subclass").rjust(3))
        facts = Facts(
            "hupd",
            "application",
            number=published[1] if published else number,
            country="US",
            kind=(published[2] or "") if published else "",
            date=text(found, "date_published"),
            filed=text(found, "filing_date"),
            type="utility",
            application=text(found, "application_number"),
            title=text(found, "title"),
            inventors=_inventors(found.get("inventor_list")),
            cpc=_symbols(text(found, "main_cpc_label"), found.get("cpc_labels")),
            ipc=_symbols(text(found, "main_ipcr_label"), found.get("ipcr_labels")),
            uspc=(uspc,) if uspc else (),
        )
        granted = text(found, "patent_number")
        further = {"decision": decision, "patent": "" if granted == "None" else granted}
        body = text(found, "full_description") or "\n".join(text(found, name) for name in ("background", "summary"))
        return facts.patent(
            abstract=paragraphs(text(found, "abstract")),
            description=paragraphs(body),
            claims=numbered(separated(" ".join(text(found, "claims").split()))),
            **further,
        )


def _inventors(listed: object) -> tuple[str, ...]:
    people = [person for person in listed if isinstance(person, dict)] if isinstance(listed, list) else []
    names = (
        ", ".join(filter(None, (text(person, "inventor_name_last"), text(person, "inventor_name_first"))))
        for person in people
    )
    return tuple(filter(None, names))


def _symbols(main: str, others: object) -> tuple[str, ...]:
    """As printed, without blank and stroke: "A61M51723" does not say whether the group is 5 or 51."""
    found = [main, *(other for other in others if isinstance(other, str))] if isinstance(others, list) else [main]
    return tuple(dict.fromkeys(filter(None, found)))
