"""sec.edgar against a copy of EDGAR on the loopback that fails in all the ways the real one does."""

from __future__ import annotations

import json
import lzma
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domadapt.errors import MissingError, StageError
from domadapt_sec.edgar.checks import problem
from domadapt_sec.edgar.client import EdgarClient, FetchError, NotThereError, Patience, identity
from domadapt_sec.edgar.index import index_entries, submission_entries
from domadapt_sec.edgar.pace import Pace
from domadapt_sec.edgar.shelf import Shelf
from domadapt_sec.edgar.source import EdgarSource

sys.path.insert(0, str(Path(__file__).parent))
from loopback_edgar import FAULTS, LoopbackEdgar, company, send, submission

QUICK = Patience(attempts=8, first_wait=0.01, longest_wait=0.05, lock_out=1.2, seconds=2.0, max_bytes=1 << 20)
SPAN = {"start": "2023-01-01", "end": "2023-03-31"}


@pytest.fixture(autouse=True)
def _home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADAPT_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("SEC_USER_AGENT", "Jane Doe jane@pumps.net")
    monkeypatch.setenv("NO_PROXY", "*")


@pytest.fixture
def brisk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hundreds of requests a second, where the limit is not what is looked at."""
    monkeypatch.setattr("domadapt_sec.edgar.pace.PER_SECOND", 500)
    monkeypatch.setattr(Pace.__init__, "__defaults__", (500,))


def source(url: str, **options: Any) -> EdgarSource:
    made = EdgarSource(EdgarSource.Config.model_validate({"url": url, "data_url": url, **options}))
    made.patience = QUICK
    return made


def read(made: EdgarSource) -> tuple[list[dict[str, str]], list[tuple[str, str]]]:
    rejected: list[tuple[str, str]] = []
    rows = [row for batch in made.read(lambda *why: rejected.append(why)) for row in batch.to_pylist()]
    return rows, rejected


@pytest.mark.usefixtures("brisk")
def test_200_of_200_documents_arrive_through_every_fault_and_none_twice() -> None:
    edgar = LoopbackEdgar(200, seed=1, fault_rate=0.3)
    edgar.block_after = 90
    with edgar.serving() as url:
        rows, rejected = read(source(url, **SPAN))
    assert rejected == []
    assert sorted(row["id"] for row in rows) == sorted(f"{submission(n)[1]}:1" for n in range(200))
    for row in rows:
        number = int(row["id"][14:20])
        assert row["text"].count(f"kind {number}. ") == 1
        assert row["text"].endswith("all over the world.")
    faults = {fault for _, _, fault in edgar.arrivals}
    assert faults == {"", "block page", *FAULTS}
    assert max(edgar.served.values()) == 1


FETCH = """
import sys
from domadapt_sec.edgar.client import Patience
from domadapt_sec.edgar.source import EdgarSource
url, start, end = sys.argv[1:]
made = EdgarSource(EdgarSource.Config.model_validate({"url": url, "data_url": url, "start": start, "end": end}))
made.patience = Patience(attempts=8, first_wait=0.05, longest_wait=0.2, lock_out=1.2, seconds=5.0)
print(sum(batch.num_rows for batch in made.read(print)))
"""


def test_two_processes_together_never_send_more_than_ten_requests_a_second() -> None:
    edgar = LoopbackEdgar(48, seed=2, fault_rate=0.1)
    with edgar.serving() as url:
        processes = [
            subprocess.Popen(
                [sys.executable, "-c", FETCH, url, "2023-03-01", "2023-03-31"], stdout=subprocess.PIPE, text=True
            )
            for _ in range(2)
        ]
        told = [process.communicate(timeout=120)[0].split() for process in processes]
    assert told == [["48"], ["48"]]
    assert edgar.most_in_a_second() <= 10
    # Both want the same filings: each was fetched by one of them.
    assert max(edgar.served.values()) == 1
    seconds = edgar.arrivals[-1][0] - edgar.arrivals[0][0]
    assert seconds < 60


def test_a_killed_fetch_goes_on_where_it_was(tmp_path: Path) -> None:
    edgar = LoopbackEdgar(30)
    with edgar.serving() as url:
        process = subprocess.Popen([sys.executable, "-c", FETCH, url, "2023-03-01", "2023-03-31"])
        limit = time.monotonic() + 60
        while sum(edgar.served.values()) < 8 and time.monotonic() < limit:
            time.sleep(0.02)
        process.kill()
        process.wait()
        kept = list((tmp_path / "home" / "edgar").rglob("*.fetched.json"))
        assert 4 <= len(kept) < 31
        rows, _ = read(source(url, **SPAN))
    assert len(rows) == 30
    # At most the four that were under way came twice.
    assert sum(edgar.served.values()) <= 31 + 4


@pytest.mark.usefixtures("brisk")
def test_offline_gives_the_same_documents_and_asks_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    edgar = LoopbackEdgar(12)
    with edgar.serving() as url:
        online = read(source(url, **SPAN))
        fingerprint = source(url, **SPAN).fingerprint()
    asked = len(edgar.arrivals)
    monkeypatch.delenv("SEC_USER_AGENT")
    offline = source("http://127.0.0.1:9", **SPAN, offline=True)
    assert offline.requirements() == []
    assert read(offline) == online
    assert offline.fingerprint() == fingerprint
    assert len(edgar.arrivals) == asked
    with pytest.raises(MissingError, match=r"2022/QTR4/master\.idx has not been fetched .* run once without"):
        source("http://127.0.0.1:9", start="2022-12-01", end="2022-12-31", offline=True).fingerprint()


@pytest.mark.usefixtures("brisk")
def test_a_file_that_changed_on_disk_is_fetched_again(tmp_path: Path) -> None:
    edgar = LoopbackEdgar(3)
    with edgar.serving() as url:
        first = read(source(url, **SPAN))
        file = next((tmp_path / "home" / "edgar").rglob("0000100000-23-000001.txt"))
        file.write_bytes(file.read_bytes()[:-300])
        assert read(source(url, **SPAN)) == first
    assert edgar.served[f"/Archives/edgar/data/100001/{file.name}"] == 2


@pytest.mark.parametrize("agent", ["", "python-httpx/0.28", "Sample Company Name jane@domain.com", "me@example.com"])
def test_without_a_name_nothing_is_asked(agent: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEC_USER_AGENT", agent)
    edgar = LoopbackEdgar(1)
    with edgar.serving() as url:
        made = source(url, **SPAN)
        assert ["SEC_USER_AGENT" in sentence for sentence in made.requirements()] == [True]
        with pytest.raises(MissingError, match="export SEC_USER_AGENT="):
            read(made)
    assert edgar.arrivals == []
    monkeypatch.setenv("SEC_USER_AGENT", "Jane Doe jane@pumps.net")
    assert identity() == "Jane Doe jane@pumps.net"


def test_a_host_that_cannot_be_reached_is_named_at_once() -> None:
    start = time.monotonic()
    with pytest.raises(MissingError, match=r"127\.0\.0\.1 cannot be reached .*offline: true"):
        source("http://127.0.0.1:9", **SPAN).fingerprint()
    assert time.monotonic() - start < 10


@contextmanager
def client(tmp_path: Path, **patience: Any) -> Iterator[EdgarClient]:
    with closing(EdgarClient(Pace(tmp_path, 500), Patience(**{**vars(QUICK), **patience}))) as made:
        yield made


def special(edgar: LoopbackEdgar, path: str, *answers: Any) -> None:
    """Give these answers in turn, the last one for good."""
    waiting = list(answers)

    def handle(request: BaseHTTPRequestHandler) -> None:
        (waiting.pop(0) if len(waiting) > 1 else waiting[0])(request)

    edgar.special[path] = handle


def test_retry_after_is_obeyed_in_seconds_and_as_a_date(tmp_path: Path) -> None:
    body = submission(0)[2]
    edgar = LoopbackEdgar(0)
    date = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 3))
    for path, wait, least in (("/seconds", "1", 1.0), ("/date", date, 0.5)):
        special(edgar, path, lambda r, w=wait: send(r, 429, b"", {"Retry-After": w}), lambda r: send(r, 200, body))
        with edgar.serving() as url:
            start = time.monotonic()
            with client(tmp_path) as asking:
                assert asking.get(url + path, "submission") == body
        assert time.monotonic() - start >= least


def test_the_page_for_those_who_asked_too_often_stops_all_who_share_the_limit(tmp_path: Path) -> None:
    edgar = LoopbackEdgar(2)
    edgar.block_after = 0
    paths = list(edgar.files)
    with edgar.serving() as url, client(tmp_path) as one, client(tmp_path) as other:
        one.get(url + paths[0], "submission")
        other.get(url + paths[1], "submission")
    times = [time for time, _, _ in edgar.arrivals]
    assert [fault for _, _, fault in edgar.arrivals] == ["block page", "", ""]
    assert times[1] - times[0] >= QUICK.lock_out


@pytest.mark.parametrize(
    ("location", "message"),
    [("http://169.254.1.1/x", "another host"), ("file:///etc/passwd", "another host"), ("/loop", "redirects")],
)
def test_a_redirect_leads_nowhere_else(tmp_path: Path, location: str, message: str) -> None:
    edgar = LoopbackEdgar(0)
    special(edgar, "/loop", lambda r: send(r, 302, b"", {"Location": location}))
    with edgar.serving() as url, client(tmp_path, attempts=2) as asking, pytest.raises(FetchError, match=message):
        asking.get(f"{url}/loop", "submission")


def test_a_gzip_bomb_a_slow_answer_and_an_endless_one_are_given_up(tmp_path: Path) -> None:
    import gzip

    def slowly(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Content-Length", "1000")
        request.end_headers()
        for _ in range(100):
            request.wfile.write(b"x")
            request.wfile.flush()
            time.sleep(0.05)

    edgar, bomb = LoopbackEdgar(0), gzip.compress(b"\0" * (64 << 20))
    special(edgar, "/bomb", lambda r: send(r, 200, bomb, {"Content-Encoding": "gzip"}))
    special(edgar, "/slow", slowly)
    with edgar.serving() as url:
        with client(tmp_path, attempts=2) as asking, pytest.raises(FetchError, match="more than 1048576 bytes"):
            asking.get(f"{url}/bomb", "submission")
        with client(tmp_path, attempts=2, seconds=0.4) as asking, pytest.raises(FetchError, match="too slow"):
            asking.get(f"{url}/slow", "submission")


def test_a_submission_archived_without_its_end_is_taken_when_it_comes_twice_the_same(tmp_path: Path) -> None:
    body = submission(0)[2][:-200]
    edgar = LoopbackEdgar(0)
    special(edgar, "/whole", lambda r: send(r, 200, body))
    special(edgar, "/cut", lambda r: send(r, 200, body, {"Content-Length": "", "Connection": "close"}))
    with edgar.serving() as url, client(tmp_path, attempts=3) as asking:
        assert asking.get(f"{url}/whole", "submission") == body
        with pytest.raises(FetchError, match="cut off"):
            asking.get(f"{url}/cut", "submission")


@pytest.mark.usefixtures("brisk")
def test_what_edgar_does_not_have_is_rejected_and_remembered() -> None:
    edgar = LoopbackEdgar(2)
    gone = next(iter(edgar.files))
    del edgar.files[gone]
    with edgar.serving() as url:
        rows, rejected = read(source(url, **SPAN))
        assert (len(rows), rejected) == (1, [("not on EDGAR", gone.removeprefix("/Archives/edgar/data/")[:-4])])
        asked = len(edgar.arrivals)
        assert read(source(url, **SPAN)) == (rows, rejected)
    assert len(edgar.arrivals) == asked


@pytest.mark.usefixtures("brisk")
def test_a_filing_that_never_comes_stops_the_stage_and_not_the_others() -> None:
    edgar = LoopbackEdgar(6)
    special(edgar, list(edgar.files)[2], lambda r: send(r, 500, b""))
    with edgar.serving() as url, pytest.raises(StageError, match=r"1 of 6 filings could not be fetched.*run again"):
        read(source(url, **SPAN))
    assert len(edgar.served) == 6  # five filings and the index


@pytest.mark.usefixtures("brisk")
def test_a_company_is_listed_by_the_submissions_api_with_its_older_parts() -> None:
    edgar = LoopbackEdgar(80)
    newer, older = submission(0)[1], submission(40)[1]
    part = {"name": "CIK0000100000-submissions-001.json", "filingFrom": "2020-01-01", "filingTo": "2023-02-01"}
    edgar.files["/submissions/CIK0000100000.json"] = company("100000", [("2023-03-01", newer, "10-K")], [part])
    edgar.files[f"/submissions/{part['name']}"] = json.dumps(
        {"filingDate": ["2023-01-15", "2019-01-15"], "accessionNumber": [older, newer], "form": ["10-K", "4"]}
    ).encode()
    with edgar.serving() as url:
        rows, _ = read(source(url, **SPAN, ciks=["100000"]))
        named, _ = read(source(url, accessions=[f"100000/{newer}"]))
    assert [row["id"] for row in rows] == [f"{older}:1", f"{newer}:1"]
    assert [row["id"] for row in named] == [f"{newer}:1"]
    assert json.loads(named[0]["meta"])["cik"] == "100000"


@pytest.mark.usefixtures("brisk")
def test_daily_indexes_are_read_day_by_day_and_a_holiday_has_none() -> None:
    edgar = LoopbackEdgar(4)
    full = edgar.files["/Archives/edgar/full-index/2023/QTR1/master.idx"]
    edgar.files["/Archives/edgar/daily-index/2023/QTR1/master.20230301.idx"] = full.replace(b"2023-03-", b"202303")
    with edgar.serving() as url:
        rows, _ = read(source(url, start="2023-03-01", end="2023-03-05", index="daily"))
    assert len(rows) == 4
    asked = [path for _, path, _ in edgar.arrivals if "daily-index" in path]
    assert len(asked) == 3  # Wednesday to Friday


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "`start` and `end` are needed"),
        ({"start": "2023-02-01", "end": "2023-01-01"}, "is after `end`"),
        ({**SPAN, "ciks": ["AAPL"]}, "'AAPL' is no CIK"),
        ({"accessions": ["0000320193-24-000123"]}, "no CIK/ACCESSION"),
    ],
)
def test_options_that_mean_nothing_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        EdgarSource.Config.model_validate(options)


@pytest.mark.usefixtures("brisk")
def test_an_accession_listed_twice_is_one_filing_and_hostile_lines_are_none() -> None:
    cik, accession, _ = submission(0)
    lines = [
        f"{cik}|A|10-K|2023-03-01|edgar/data/{cik}/{accession}.txt",
        f"999|B|10-K|2023-03-01|edgar/data/999/{accession}.txt",
        f"1|C|10-K|2023-03-01|edgar/data/1/../../../etc/{accession}.txt",
        "1|C|10-K|2023-03-01|/etc/passwd",
        "1|C|10-K|yesterday|edgar/data/1/0000100000-23-000001.txt",
        "1|C|10-K|2023-03-01|edgar/data/1/0000100000-23-000001.txt\0",
        "|||",
    ]
    text = "CIK|Company Name|Form Type|Date Filed|Filename\n-----\n" + "\n".join(lines) + "\n"
    entries, unusable = index_entries(text)
    assert ([entry.cik for entry in entries], unusable) == ([cik, "999"], 5)
    edgar = LoopbackEdgar(1)
    edgar.files["/Archives/edgar/full-index/2023/QTR1/master.idx"] = text.encode()
    edgar.files[f"/Archives/edgar/data/999/{accession}.txt"] = submission(0)[2]
    with edgar.serving() as url:
        rows, _ = read(source(url, **SPAN))
    assert [row["id"] for row in rows] == [f"{accession}:1"]


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "a/../../x", "a//b", "a\0b", "a\\b", "C:x", ".", "x" * 300])
def test_no_name_leads_out_of_the_folder(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a path on EDGAR"):
        Shelf(tmp_path).path(name)


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=300)
    | st.text(st.sampled_from("CIK|-\n 0123edgar/data/.txtForm TypeDate Filed"), max_size=300).map(str.encode)
)
def test_any_bytes_are_no_crash_as_an_index_or_an_answer(data: bytes) -> None:
    entries, unusable = index_entries(data.decode("latin-1"))
    assert unusable >= 0
    assert all(entry.file.startswith("edgar/data/") for entry in entries)
    submission_entries(data, "1")
    assert all(isinstance(problem(kind, data), str) for kind in ("submission", "index", "json"))


def test_not_there_is_told_apart_from_failure(tmp_path: Path) -> None:
    edgar = LoopbackEdgar(0)
    special(edgar, "/404", lambda r: send(r, 404, b""))
    with edgar.serving() as url, client(tmp_path) as asking:
        for path in ("/404", "/unknown"):
            with pytest.raises(NotThereError):
                asking.get(url + path, "submission")


def real(path: str) -> bytes:
    root = os.environ.get("ADAPT_REAL_DATA")
    if not root:
        pytest.skip("ADAPT_REAL_DATA is not set: no real index here")
    return lzma.decompress((Path(root) / "sec" / path).read_bytes())


def test_a_real_daily_index_by_form_and_real_company_lists_are_read() -> None:
    entries, unusable = index_entries(real("index/form.20200318.idx.xz").decode("latin-1"))
    assert unusable == 0
    assert len(entries) > 3000
    assert sum(entry.form == "10-K" for entry in entries) > 50
    # Some were filed long before they were disclosed.
    assert sum(entry.filed == "2020-03-18" for entry in entries) > 0.9 * len(entries)
    assert min(entry.filed for entry in entries) < "2020"
    recent, older = submission_entries(real("api/submissions_CIK0000320193.json.xz"), "320193")
    assert len(recent) >= 1000
    assert [name for name, _, _ in older] == ["CIK0000320193-submissions-001.json"]
    assert len(submission_entries(real("api/submissions_CIK0000320193-submissions-001.json.xz"), "320193")[0]) == 988
    assert problem("index", real("index/master_index_1993_QTR4.html.xz")) == "a web page"


def test_real_submissions_pass_the_check_and_a_truncated_one_does_not() -> None:
    root = os.environ.get("ADAPT_REAL_DATA")
    if not root:
        pytest.skip("ADAPT_REAL_DATA is not set: no real submissions here")
    problems = {
        file.name: problem("submission", lzma.decompress(file.read_bytes()))
        for file in sorted((Path(root) / "sec" / "full_submission").glob("*.xz"))
    }
    # One was cut by whoever saved it, one is a single <DOCUMENT> without its submission.
    assert {name: told for name, told in problems.items() if told} == {
        "0000320193-97-000011.txt.xz": "cut off",
        "0000899681-95-000096.txt.xz": "cut off",
    }
