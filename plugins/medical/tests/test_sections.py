"""medical_sections: items from documents, held-out ones only, and scored by lm-eval like any other task."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import domadapt
from domadapt.artifacts import Checkpoint, Corpus, Split, document_schema
from domadapt.components import EvalRequest, Stage
from domadapt.errors import DataError
from domadapt_medical.benchmarks import BENCHMARKS
from domadapt_medical.benchmarks.sections import PARTS, Sections, items, part_of, passages
from domadapt_medical.pubmed.source import PubmedOptions, PubmedSource
from domadapt_medical.sample.source import SampleOptions, SampleSource

BENCHMARK = next(b for b in BENCHMARKS if b.name == "medical_sections")
LONG = "This is a sentence of more than eight words {}."


@pytest.mark.parametrize(
    ("heading", "part"),
    [
        ("METHODS", "methods"),
        ("2. Patients and Methods", "methods"),
        ("Conclusions/Significance", "conclusions"),
        ("AIMS", "objective"),
        ("Introduction", "background"),
        ("Methodology/Principal Findings", ""),
        ("Methods and findings", ""),
        ("Trial registration", ""),
        ("", ""),
    ],
)
def test_headings_name_parts(heading: str, part: str) -> None:
    assert part_of(heading) == part


def test_labels_and_headings_give_one_paragraph_a_part() -> None:
    text = "\n\n".join(
        [
            "A title",
            f"BACKGROUND: {LONG.format(1)}",
            f"TRIAL REGISTRATION: {LONG.format(2)}",
            f"RESULTS: {LONG.format(3)}",
            "Methods",
            LONG.format(4),
            LONG.format(5),
            "Results",
            LONG.format(6),
            "Discussion",
            "Cost of care",
            LONG.format(7),
            "Conclusions",
            "Short.",
        ]
    )
    assert list(passages(text)) == [
        ("background", LONG.format(1)),
        ("results", LONG.format(3)),
        ("methods", LONG.format(4)),
    ]


def test_items_depend_on_documents_and_not_on_their_order() -> None:
    documents = [(f"d{n}", f"g{n // 2}", f"METHODS: {LONG.format(n)} {LONG.format(n + 100)}") for n in range(20)]
    made = items(documents)
    assert made == items(reversed(documents))
    assert [item["item"] for item in made] != [f"d{n}/methods" for n in range(20)]
    assert {item["cluster"] for item in made} == {f"g{n}" for n in range(10)}
    assert {item["label"] for item in made} == {PARTS.index("methods")}


@settings(max_examples=100, deadline=None)
@given(st.lists(st.one_of(st.text(), st.sampled_from(["Methods", "RESULTS: ", LONG, "AIM: A. B."])), max_size=8))
def test_any_text_gives_items_or_none(blocks: list[str]) -> None:
    for item in items([("d", "g", "\n\n".join(blocks))]):
        assert cast("str", item["sentence"]).strip()


def corpus(folder: Path, **splits: list[dict[str, str]]) -> Corpus:
    """A finished corpus with these documents."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    files = {}
    for split, rows in splits.items():
        file = folder / split / "documents-00000.parquet"
        file.parent.mkdir(parents=True)
        batch = pa.RecordBatch.from_pylist(rows, schema=document_schema())
        pq.write_table(pa.Table.from_batches([batch]), file, write_page_checksum=True)
        files[f"{split}/{file.name}"] = {}
    (folder / "artifact.json").write_text(json.dumps({"files": files, "facts": {}}))
    return Corpus(folder)


def request(held: Corpus, split: Split = "report", num_fewshot: int | None = None) -> EvalRequest:
    return EvalRequest("medical_sections", "domain", BENCHMARK, held, 40, 2048, split, num_fewshot)


def stage(folder: Path) -> Stage:
    return Stage("eval.base.medical_sections", "0" * 16, 1, "medical.sections", lambda *_: {}, folder / "scratch")


def test_the_held_out_documents_are_asked_and_no_others(tmp_path: Path) -> None:
    import pyarrow.parquet as pq

    source = SampleSource(SampleOptions(articles=30))
    rows = [row for batch in source.read(lambda *_: None) for row in batch.to_pylist()]
    held = corpus(tmp_path / "corpus", train=rows[:10], selection=rows[10:20], report=rows[20:])
    model = Checkpoint(Path(domadapt.__file__).parent / "builtin" / "models" / "tiny")
    for split, part in (("report", rows[20:]), ("selection", rows[10:20])):
        out = tmp_path / split
        out.mkdir()
        (row,) = Sections().evaluate(model, request(held, cast("Split", split)), out, stage(tmp_path))
        assert (row.task, row.metric, row.n) == ("medical_sections", "acc", 40)
        assert 0 <= row.low <= row.value <= row.high <= 1
        samples = pq.read_table(out / "samples.parquet").to_pylist()
        assert {s["item"].rpartition("/")[0] for s in samples} <= {r["id"] for r in part}
        assert {s["cluster"] for s in samples} <= {r["group"] for r in part}


def test_documents_without_parts_and_solved_examples_are_refused(tmp_path: Path) -> None:
    row = {"id": "a", "text": "No parts.", "source": "x", "license": "", "group": "a", "meta": "{}"}
    held = corpus(tmp_path / "corpus", report=[row])
    model = Checkpoint(tmp_path)
    with pytest.raises(DataError, match="no held-out document of the domain corpus has a part with a known heading"):
        Sections().evaluate(model, request(held), tmp_path, stage(tmp_path))
    with pytest.raises(DataError, match="medical_sections has no solved examples; set its num_fewshot to 0"):
        Sections().evaluate(model, request(held, num_fewshot=3), tmp_path, stage(tmp_path))


def test_real_abstracts_give_items_of_every_part(real_data: Path) -> None:
    source = PubmedSource(PubmedOptions(path=real_data / "medical" / "medline"))
    rows = [row for batch in source.read(lambda *_: None) for row in batch.to_pylist()]
    made = items((row["id"], row["group"], row["text"]) for row in rows)
    counts = [sum(item["label"] == label for item in made) for label in range(len(PARTS))]
    assert min(counts) > 80
    assert max(counts) < 0.3 * len(made)
    labelled = ("BACKGROUND:", "OBJECTIVE:", "METHODS:", "RESULTS:", "CONCLUSIONS:")
    assert not any(cast("str", item["sentence"]).upper().startswith(labelled) for item in made)
