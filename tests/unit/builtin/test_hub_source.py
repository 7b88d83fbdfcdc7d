"""The source `hub` against a hub on this machine: which files, which commit, what is kept, what is refused."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from domadapt.builtin.corpora.hub import HubOptions, chosen_files
from domadapt.errors import DataError

COMMIT = "c" * 40
LINES = [json.dumps({"text": f"The {n}th fern.", "url": f"u{n}"}) for n in range(3)]
FILES = {
    "README.md": b"---\nlicense: odc-by\n---\n",
    "data/train-00000.jsonl": "\n".join(LINES[:2]).encode(),
    "data/train-00001.json.gz": gzip.compress(LINES[2].encode(), mtime=0),
    "data/test.jsonl": b'{"text": "Held out."}',
}
READ = """
import json, sys
from domadapt.builtin.corpora.hub import HubSource
rejected = []
source = HubSource(HubSource.Config(**json.loads(sys.argv[1])))
from domadapt.errors import AdaptError
try:
    print(json.dumps({"fingerprint": source.fingerprint(), "rows": [
        row for batch in source.read(lambda *r: rejected.append(r)) for row in batch.to_pylist()],
        "rejected": rejected}))
except AdaptError as error:
    print(json.dumps({"error": str(error), "code": error.exit_code}))
"""


class DataSets:
    """Data sets of a hub. calls: what was asked, in order."""

    def __init__(self) -> None:
        self.files = {"forest/ferns": dict(FILES)}
        self.calls: list[str] = []
        self.address = ""


@pytest.fixture
def served() -> Iterator[DataSets]:
    hub = DataSets()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Quiet."""

        def do_HEAD(self) -> None:
            self.do_GET()

        def do_GET(self) -> None:
            hub.calls.append(f"{self.command} {self.path}")
            parts = self.path.partition("?")[0].strip("/").split("/")
            if parts[:2] == ["api", "datasets"]:
                files = hub.files.get("/".join(parts[2:4]))
                info = {"id": "/".join(parts[2:4]), "sha": COMMIT, "cardData": {"license": "odc-by"}, "tags": []}
                if files is None:
                    self.answer(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})
                elif parts[4:] not in (["revision", "main"], ["revision", COMMIT]):
                    self.answer(404, b'{"error": "no"}', {"X-Error-Code": "RevisionNotFound"})
                else:
                    siblings = [{"rfilename": name} for name in files]
                    self.answer(200, json.dumps({**info, "siblings": siblings}).encode(), {})
                return
            name = "/".join(parts[parts.index(COMMIT) + 1 :])
            data = hub.files["/".join(parts[1:3])][name]
            etag = hashlib.sha256(data).hexdigest()
            self.answer(200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})

        def answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for key, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(key, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield hub
    server.shutdown()
    server.server_close()
    thread.join()


def read(hub: DataSets, home: Path, options: dict[str, Any], **env: str) -> dict[str, Any]:
    """What the source gives in a process of its own, as its user's process would see the hub."""
    settings = {**os.environ, "HF_ENDPOINT": hub.address, "ADAPT_HOME": str(home), "HF_HUB_OFFLINE": "0"}
    settings |= {
        "HF_HUB_DISABLE_XET": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DOWNLOAD_TIMEOUT": "5",
        "HF_HUB_ETAG_TIMEOUT": "5",
    } | env
    told = subprocess.run(
        [sys.executable, "-c", READ, json.dumps(options)], env=settings, capture_output=True, text=True, check=True
    )
    answer: dict[str, Any] = json.loads(told.stdout)
    return answer


def test_files_that_match_are_read_in_the_order_of_their_names_with_the_cards_licence(
    served: DataSets, tmp_path: Path
) -> None:
    options = {"repo": "forest/ferns", "data_files": ["data/train-*.json.gz", "data/train-*.jsonl"], "id_field": "url"}
    told = read(served, tmp_path, options)
    assert [(row["id"], row["text"], row["license"]) for row in told["rows"]] == [
        (f"u{n}", f"The {n}th fern.", "odc-by") for n in range(3)
    ]
    assert not told["rejected"]
    assert not any("test.jsonl" in call or "README" in call for call in served.calls)


def test_a_commit_that_was_read_once_is_read_again_without_asking(served: DataSets, tmp_path: Path) -> None:
    options = {"repo": f"forest/ferns@{COMMIT}", "data_files": "data/train-*"}
    first = read(served, tmp_path, options)
    assert len(first["rows"]) == 3
    served.calls.clear()
    offline = {"HF_HUB_OFFLINE": "1"}
    assert read(served, tmp_path, options, **offline) == first
    assert read(served, tmp_path, {**options, "repo": "forest/ferns"}, **offline)["error"].startswith(
        "data set forest/ferns: not in the local cache and the hub cannot be reached"
    )
    assert served.calls == []


def test_a_branch_is_the_commit_it_stands_at(served: DataSets, tmp_path: Path) -> None:
    branch = read(served, tmp_path, {"repo": "forest/ferns@main", "data_files": "data/train-*"})
    commit = read(served, tmp_path, {"repo": f"forest/ferns@{COMMIT}", "data_files": "data/train-*"})
    assert branch == commit
    other = read(served, tmp_path, {"repo": f"forest/ferns@{COMMIT}", "data_files": "data/*"})
    assert other["fingerprint"] != commit["fingerprint"]


@pytest.mark.parametrize(
    ("repo", "sentence"),
    [
        ("forest/moss", "data set forest/moss: not on the hub, or private"),
        ("forest/ferns@v9", "data set forest/ferns@v9: there is no such revision"),
    ],
)
def test_what_the_hub_does_not_have_is_told(served: DataSets, tmp_path: Path, repo: str, sentence: str) -> None:
    told = read(served, tmp_path, {"repo": repo, "data_files": "*"})
    assert told["error"].startswith(sentence)
    assert told["code"] == 4


def test_a_loading_script_is_refused_with_the_way_out() -> None:
    with pytest.raises(DataError, match=r"loading script \(ferns\.py\), which is never run; .*refs/convert/parquet"):
        chosen_files(["README.md", "ferns.py", ".gitattributes"], ["data/*.parquet"], "data set forest/ferns")


def test_a_pattern_that_names_nothing_is_refused_with_what_there_is() -> None:
    with pytest.raises(DataError, match=r"no file is named 'trian/\*'; there are train/a\.jsonl, train/b\.jsonl"):
        chosen_files(["README.md", "train/a.jsonl", "train/b.jsonl"], ["train/*", "trian/*"], "data set forest/ferns")


@pytest.mark.parametrize("repo", ["ferns", "../../etc", "a/b/c", "https://huggingface.co/a/b", "a/b@"])
def test_what_is_no_name_of_a_data_set_is_refused(repo: str) -> None:
    with pytest.raises(ValueError, match="repo"):
        HubOptions(repo=repo, data_files="*")
