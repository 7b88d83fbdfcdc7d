"""The articles of the sample corpus, one after another; the benchmark draws its own from another seed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, replace

from domadapt_medical.sample.designs import DESIGNS
from domadapt_medical.sample.manuscript import Manuscript, Paragraph, Section
from domadapt_medical.sample.setting import draw_setting, specialties
from domadapt_medical.sample.typeset import jats

REPRINT_SHARE = 0.02
"""Share of articles that are corrected reprints of an earlier one: real collections have such near duplicates."""


@dataclass(frozen=True)
class Study:
    """A manuscript with what the file needs beside it. reprint_of: number of the article it corrects."""

    number: int
    year: int
    manuscript: Manuscript
    reprint_of: int | None = None


def draw_studies(num_articles: int, seed: str) -> Iterator[Study]:
    """Studies of all specialties in turn. The first n are the same whatever `num_articles` is."""
    fields, weights = list(specialties()), [share for share, _ in DESIGNS.values()]
    original: Study | None = None
    for number in range(num_articles):
        # one generator an article: changing one design leaves the others as they are
        rng = random.Random(f"{seed}/{number}")
        if original is not None and rng.random() < REPRINT_SHARE:
            yield Study(number, original.year, _reprint(original.manuscript, rng), original.number)
            continue
        setting = draw_setting(rng, fields[number % len(fields)])
        (_, compose), *_ = rng.choices(list(DESIGNS.values()), weights)
        study = Study(number, (setting.start + setting.months) // 12 + 1, compose(rng, setting))
        if original is None or rng.random() < 0.2:
            original = study
        yield study


def articles(num_articles: int, seed: str) -> Iterator[tuple[str, bytes]]:
    """The same as JATS files: (name, bytes)."""
    for study in draw_studies(num_articles, seed):
        rng = random.Random(f"{seed}/{study.number}/typeset")
        yield (
            f"fictional.{study.number:06d}.xml",
            jats(study.manuscript, study.number, study.year, rng, study.reprint_of),
        )


def _reprint(manuscript: Manuscript, rng: random.Random) -> Manuscript:
    body = list(manuscript.body)
    notice = Paragraph(
        "notice", (f"This version corrects {rng.choice(['a reference', 'the name of an author', 'a table heading'])}.",)
    )
    body[-1] = Section(body[-1].title, (*body[-1].blocks, notice))
    return replace(manuscript, title=f"{manuscript.title} [corrected version]", body=tuple(body))
