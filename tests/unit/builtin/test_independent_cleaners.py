"""Steps that say they treat each document by itself do: shards may be cleaned apart, in any order, by copies."""

from __future__ import annotations

import copy
import json
import lzma
import pickle
from collections import Counter
from importlib.resources import files

import pyarrow as pa
import pytest

from domadapt.artifacts import document_schema
from domadapt.builtin.cleaning.benchmark_items import Item
from domadapt.builtin.cleaning.decontamination import Decontamination
from domadapt.builtin.plugin import adapt_register_cleaners
from domadapt.components import Cleaner

INDEPENDENT = [cls for cls in adapt_register_cleaners() if cls.independent]


def documents() -> pa.RecordBatch:
    """Thirty texts of the general sample, and some that steps take offence at."""
    sample = lzma.decompress(files("domadapt.builtin.corpora").joinpath("general_sample.jsonl.xz").read_bytes())
    texts = [json.loads(line)["text"] for line in sample.splitlines()[:300:10]]
    texts += ["", "short", "mail a@b.org or 555-123-4567", "Ã©tÃ© &amp; co " * 40, "the\n" * 200, "!" * 300, texts[3]]
    texts += ["le chat est sur la table et il ne veut pas descendre avant la nuit. " * 9]
    texts += [f"{text}\nA line that all of these documents have in common." for text in texts[:12]]
    names = [f"d{number}" for number in range(len(texts))]
    columns = [names, texts, ["test"] * len(texts), [""] * len(texts), names, ["{}"] * len(texts)]
    return pa.RecordBatch.from_arrays([pa.array(column, pa.string()) for column in columns], schema=document_schema())


def ready(cls: type[Cleaner]) -> Cleaner:
    cleaner = cls(cls.Config())
    if isinstance(cleaner, Decontamination):
        words = documents()["text"][2].as_py().lower().split()
        cleaner.add_items([Item("task", "item", [words[10:40]])])
    for survey in range(cleaner.surveys):
        cleaner.survey(documents(), survey)
    return cleaner


def test_most_steps_are_independent_and_those_that_compare_are_not() -> None:
    names = {cls.name for cls in INDEPENDENT}
    assert {"normalize", "min_length", "pii", "decontaminate", "boilerplate.lines", "quality.gopher"} <= names
    assert not names & {"dedup.exact", "dedup.minhash"}
    assert not any(cls.across_corpora for cls in INDEPENDENT)


@pytest.mark.parametrize("cls", INDEPENDENT, ids=lambda cls: cls.name)
def test_documents_one_by_one_in_any_order_by_copies_come_out_as_all_at_once(cls: type[Cleaner]) -> None:
    batch, whole = documents(), ready(cls)
    packed = pickle.dumps(copy.copy(whole))
    kept, dropped = whole.clean(batch)
    parts: dict[int, pa.RecordBatch] = {}
    counted, tally = Counter[str](), Counter[str]()
    home = pickle.loads(packed)
    brought = {}
    for row in reversed(range(batch.num_rows)):
        one: Cleaner = pickle.loads(packed)
        before = dict(one.tally)
        parts[row], gone = one.clean(batch.slice(row, 1))
        counted.update(gone)
        tally.update({what: number - before.get(what, 0) for what, number in one.tally.items()})
        brought[row] = pickle.loads(pickle.dumps(one.notes()))
    assert pa.Table.from_batches([parts[row] for row in sorted(parts)]).equals(pa.Table.from_batches([kept]))
    assert +counted == +Counter(dropped)
    assert +tally == +Counter(whole.tally)
    for row in sorted(brought):
        home.add_notes(brought[row])
    assert home.notes() == whole.notes()
