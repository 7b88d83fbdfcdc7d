"""HUPD and BIGPATENT: records out of files as they are published."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domadapt.errors import MissingError
from domadapt_patent.datasets import records
from domadapt_patent.datasets.bigpatent import BigpatentSource
from domadapt_patent.datasets.hupd import HupdSource

APPLICATION: dict[str, Any] = {
    "application_number": "98000001", "publication_number": "US20990000001A1-20130502", "title": "Lamp",
    "decision": "ACCEPTED", "date_produced": "20130418", "date_published": "20130502", "main_cpc_label": "F21S804",
    "cpc_labels": ["F21S804", "F21V2304"], "main_ipcr_label": "F21S804", "ipcr_labels": [], "patent_number": "9900001",
    "filing_date": "20120103", "patent_issue_date": "20150106", "abandon_date": None, "uspc_class": "362",
    "uspc_subclass": "404000", "inventor_list": [
        {"inventor_name_last": "Corlund", "inventor_name_first": "Fenna", "inventor_city": "X"}, "not a person",
    ], "abstract": "A lamp is described.", "claims": "1. A lamp, comprising a foot. 2. The lamp of claim 1, red.",
    "background": "Old lamps.", "summary": "New lamps.", "full_description": "BACKGROUND\nOld lamps.\n\nNew lamps.",
}  # fmt: skip
GRANT = {
    "publication_number": "US-9900001-B2", "application_number": "US-98000001-A", "abstract": "a lamp .",
    "description": "old lamps .\nnew lamps .",
}  # fmt: skip


def line(record: object) -> bytes:
    return json.dumps(record).encode() + b"\n"


def tar(members: dict[str, bytes], mode: Any = "w:gz") -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode=mode) as archive:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return held.getvalue()


@pytest.fixture
def gather() -> Callable[..., tuple[list[dict[str, Any]], list[str]]]:
    """Reads a path with a source: its rows and the reasons of its rejections."""

    def reading(source: type[HupdSource | BigpatentSource], path: Path, **options: Any) -> Any:
        rejected: list[str] = []
        rows: list[dict[str, Any]] = []
        for batch in source(source.Config(path=path, **options)).read(lambda reason, where: rejected.append(reason)):
            batch.validate(full=True)
            rows += batch.to_pylist()
        return rows, rejected

    return reading


def test_an_application_of_hupd_is_read_in_full(tmp_path: Path, gather: Callable) -> None:
    (tmp_path / "98000001.json").write_text(json.dumps(APPLICATION, indent=2))
    ((row,), rejected) = gather(HupdSource, tmp_path)
    assert rejected == []
    assert (row["id"], row["group"], row["license"]) == ("US20990000001A1", "Corlund, Fenna", "CC-BY-SA-4.0")
    assert row["text"] == (
        "Lamp\n\nABSTRACT\n\nA lamp is described.\n\nBACKGROUND\n\nOld lamps.\n\nNew lamps.\n\nWhat is claimed is:\n\n"
        "1. A lamp, comprising a foot.\n\n2. The lamp of claim 1, red."
    )
    meta = json.loads(row["meta"])
    assert (meta["decision"], meta["uspc"], meta["cpc"]) == ("ACCEPTED", ["362/404"], ["F21S804", "F21V2304"])
    assert (meta["dependencies"], meta["date"], meta["filed"]) == ({"2": [1]}, "20130502", "20120103")


def test_years_of_hupd_are_read_out_of_their_archives_and_out_of_an_archive_of_archives(
    tmp_path: Path, gather: Callable
) -> None:
    members = {f"2016/{n}.json": line(APPLICATION | {"publication_number": f"US2099000000{n}A1"}) for n in range(3)}
    (tmp_path / "2016.tar.gz").write_bytes(year := tar(members | {"2016/readme.md": b"x"}))
    rows, rejected = gather(HupdSource, tmp_path / "2016.tar.gz")
    assert ([row["id"][-4:] for row in rows], rejected) == (["00A1", "01A1", "02A1"], [])
    (tmp_path / "all-years.tar").write_bytes(tar({"data/2016.tar.gz": year}, "w"))
    assert gather(HupdSource, tmp_path / "all-years.tar") == (rows, [])


def test_hupd_without_a_full_description_has_background_and_summary(tmp_path: Path, gather: Callable) -> None:
    (tmp_path / "a.jsonl").write_bytes(line(APPLICATION | {"full_description": None, "claims": 7}))
    ((row,), _) = gather(HupdSource, tmp_path, parts=["description", "claims"])
    assert row["text"] == "Old lamps.\n\nNew lamps."


def test_decisions_choose_applications(tmp_path: Path, gather: Callable) -> None:
    other = APPLICATION | {"decision": "REJECTED", "publication_number": "US20990000002A1"}
    (tmp_path / "a.jsonl").write_bytes(line(APPLICATION) + line(other) + b"\n{broken}\n[1]\n" + line({}))
    rows, rejected = gather(HupdSource, tmp_path, decisions=["REJECTED"])
    assert [row["id"] for row in rows] == ["US20990000002A1"]
    assert rejected == ["another decision", "damaged JSON", "damaged JSON", "another decision"]


def test_bigpatent_is_read_with_the_section_its_folder_names(tmp_path: Path, gather: Callable) -> None:
    for section in "ag":
        (tmp_path / "train" / section).mkdir(parents=True)
        record = GRANT | {"publication_number": f"US-990000{ord(section) % 10}-B2"}
        (tmp_path / "train" / section / "data_0.gz").write_bytes(gzip.compress(line(record)))
    rows, rejected = gather(BigpatentSource, tmp_path)
    assert [json.loads(row["meta"])["section"] for row in rows] == ["A", "G"]
    assert rows[0]["text"] == "ABSTRACT\n\na lamp .\n\nold lamps .\n\nnew lamps ."
    assert {row["group"] for row in rows} == {"US-98000001-A"}
    chosen, rejected = gather(BigpatentSource, tmp_path, sections=["g"], parts=["abstract"])
    assert ([row["text"] for row in chosen], rejected) == (["ABSTRACT\n\na lamp ."], ["another section"])


def test_bigpatent_is_read_out_of_the_published_archive_and_out_of_a_zip(tmp_path: Path, gather: Callable) -> None:
    packed = gzip.compress(line(GRANT))
    (tmp_path / "bigPatentData.tar.gz").write_bytes(tar({"x/train.tar.gz": tar({"train/b/data_0.gz": packed})}))
    rows, rejected = gather(BigpatentSource, tmp_path / "bigPatentData.tar.gz")
    assert ([json.loads(row["meta"])["section"] for row in rows], rejected) == (["B"], [])
    with zipfile.ZipFile(tmp_path / "train.zip", "w") as archive:
        archive.writestr("train/y/data_0.gz", packed)
        archive.writestr("train/licence.txt", b"x")
    rows, _ = gather(BigpatentSource, tmp_path / "train.zip")
    assert json.loads(rows[0]["meta"])["section"] == "Y"


def test_a_cut_archive_keeps_what_could_be_read(tmp_path: Path, gather: Callable) -> None:
    members = {f"{n}.json": line(APPLICATION | {"publication_number": f"US209900000{n:02d}A1"}) for n in range(40)}
    data = tar(members, "w")
    (tmp_path / "cut.tar").write_bytes(data[: len(data) // 2 + 200])
    rows, rejected = gather(HupdSource, tmp_path)
    assert 10 < len(rows) < 40
    assert rejected in (["damaged archive"], ["damaged JSON", "damaged archive"])


def test_a_record_beyond_the_limit_is_counted_and_the_next_one_read(tmp_path: Path, gather: Callable) -> None:
    long = line(APPLICATION | {"title": "x" * (records.LONGEST_RECORD + 1)})
    (tmp_path / "a.jsonl").write_bytes(long + line(APPLICATION))
    rows, rejected = gather(HupdSource, tmp_path)
    assert (len(rows), rejected) == (1, ["too long"])


def test_the_way_to_the_files_is_named_when_they_are_missing(tmp_path: Path) -> None:
    for source, place in ((HupdSource, "huggingface.co/datasets/HUPD"), (BigpatentSource, "bigpatent")):
        with pytest.raises(MissingError, match=f"gone is not there.*{place}"):
            source(source.Config(path=tmp_path / "gone")).files()
        with pytest.raises(MissingError, match="no file under"):
            source(source.Config(path=tmp_path)).files()


_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=30)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=4,
)
_records = st.one_of(
    st.dictionaries(st.sampled_from([*APPLICATION, *GRANT]), _values, max_size=8).map(line), st.binary(max_size=80)
)


@given(st.lists(_records, max_size=6).map(b"".join), st.sampled_from([HupdSource, BigpatentSource]))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_any_record_is_kept_or_dropped_with_a_reason(
    tmp_path: Path, gather: Callable, data: bytes, source: type[HupdSource | BigpatentSource]
) -> None:
    (tmp_path / "a.jsonl").write_bytes(data)
    rows, rejected = gather(source, tmp_path / "a.jsonl")
    assert set(rejected) <= {
        "not a patent document", "damaged JSON", "no document number", "no text", "repeated", "damaged archive",
    }  # fmt: skip
    assert len(rows) + len(rejected) <= max(1, data.count(b"\n") + 1)
    assert rows or rejected
