"""A hub on this machine: the endpoints that huggingface_hub calls to create a repository and commit files to it."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOKEN = "hf_" + "T" * 34


@dataclass
class Hub:
    """What the hub was told and holds. refuse: status with which every call is answered instead."""

    repos: dict[str, dict[str, Any]] = field(default_factory=dict)
    calls: list[str] = field(default_factory=list)
    refuse: int | None = None
    fail_commits: int = 0
    lfs: dict[str, bytes] = field(default_factory=dict)
    address: str = ""


@contextmanager
def loopback_hub() -> Iterator[Hub]:
    """Serve one until the block ends."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    hub.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_: Any) -> None:
            """Quiet."""

        def answer(self, value: Any, status: int = 200) -> None:
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") == "chunked":
                found = b""
                while size := int(self.rfile.readline(), 16):
                    found += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return found
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def refused(self) -> bool:
            if hub.refuse is not None:
                self.answer({"error": "refused by the test"}, hub.refuse)
            elif self.path.startswith("/api") and self.headers.get("Authorization") != f"Bearer {TOKEN}":
                self.answer({"error": "no token"}, 401)
            else:
                return False
            return True

        def do_GET(self) -> None:
            hub.calls.append(f"GET {self.path}")
            if self.refused():
                return
            name = re.match(r"/api/models/([^/?]+/[^/?]+)", self.path)
            repo = hub.repos.get(name[1]) if name else None
            if repo is None:
                self.answer({"error": "Repository not found"}, 404)
            elif "/tree/" in self.path:
                self.answer([])
            else:
                assert name is not None
                self.answer({"id": name[1], "private": repo["private"], "siblings": [], "sha": "0" * 40, "tags": []})

        def do_PUT(self) -> None:
            hub.calls.append(f"PUT {self.path}")
            hub.lfs[self.path.rsplit("/", 1)[-1]] = self.body()
            self.answer({})

        def do_POST(self) -> None:
            path = self.path.partition("?")[0]
            hub.calls.append(f"POST {path}")
            body = self.body()
            if self.refused():
                return
            if path == "/api/repos/create":
                asked = json.loads(body)
                name = f"{asked['organization']}/{asked['name']}"
                if name in hub.repos:
                    self.answer({"error": "You already created this model repo", "url": f"{hub.address}/{name}"}, 409)
                    return
                hub.repos[name] = {"private": asked.get("visibility") == "private", "files": {}}
                self.answer({"url": f"{hub.address}/{name}"})
            elif path == "/api/validate-yaml":
                self.answer({"errors": [], "warnings": []})
            elif "/preupload/" in path:
                files = json.loads(body)["files"]
                self.answer({"files": [_mode(file["path"]) for file in files]})
            elif path.endswith("/info/lfs/objects/batch"):
                objects = json.loads(body)["objects"]
                self.answer({"transfer": "basic", "objects": [_upload(o, hub) for o in objects]})
            elif "/commit/" in path:
                if hub.fail_commits:
                    hub.fail_commits -= 1
                    self.answer({"error": "try later"}, 400)
                    return
                self.commit(path, body)
            else:
                self.answer({"error": f"unknown {path}"}, 404)

        def commit(self, path: str, body: bytes) -> None:
            name = "/".join(path.split("/")[3:5])
            repo = hub.repos[name]
            for line in body.splitlines():
                entry = json.loads(line)
                value = entry["value"]
                if entry["key"] == "header":
                    repo["message"] = value["summary"]
                elif entry["key"] == "file":
                    repo["files"][value["path"]] = base64.b64decode(value["content"])
                elif entry["key"] == "lfsFile":
                    data = hub.lfs[value["oid"]]
                    assert hashlib.sha256(data).hexdigest() == value["oid"]
                    repo["files"][value["path"]] = data
            oid = hashlib.sha1(body).hexdigest()
            self.answer({"commitOid": oid, "commitUrl": f"{hub.address}/{name}/commit/{oid}", "hookOutput": ""})

    return Handler


def _mode(path: str) -> dict[str, Any]:
    large = path.endswith(".safetensors")
    return {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": None}


def _upload(entry: dict[str, Any], hub: Hub) -> dict[str, Any]:
    if entry["oid"] in hub.lfs:  # there already: nothing to upload
        return {"oid": entry["oid"], "size": entry["size"]}
    href = f"{hub.address}/lfs/{entry['oid']}"
    return {"oid": entry["oid"], "size": entry["size"], "actions": {"upload": {"href": href, "header": {}}}}
