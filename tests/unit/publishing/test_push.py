"""`adapt push`: what it shows, what it refuses, and a real upload to a hub on this machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from domadapt.errors import UsageError
from domadapt.publishing.hub import check_repo_name
from domadapt.publishing.upload import Upload, collect, publishable_report, refusals
from domadapt.report.card_license import decide
from domadapt.report.finished_run import open_run

from .finished_runs import DOMAIN, make_run
from .loopback_hub import TOKEN, Hub, loopback_hub

Push = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def hub() -> Iterator[Hub]:
    with loopback_hub() as served:
        yield served


@pytest.fixture
def push(tmp_path: Path, hub: Hub) -> Push:
    """The command in a process of its own: the client reads where the hub is when it is imported."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith(("HF_", "TRANSFORMERS_", "ADAPT_"))},
            "ADAPT_RUNS": str(tmp_path / "runs"),
            "HF_HOME": str(tmp_path / "hf"),
            "HF_ENDPOINT": hub.address,
            "HF_HUB_DISABLE_XET": "1",
            "HF_TOKEN": TOKEN,
            "COLUMNS": "200",
            **variables,
        }
        command = [sys.executable, "-m", "domadapt", "push", *arguments]
        return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120, check=False)

    return run


def one_file(tmp_path: Path, name: str, data: bytes) -> Upload:
    (tmp_path / "file").write_bytes(data)
    return Upload("ties", {name: tmp_path / "file"}, decide([], "mit"), [])


def test_without_yes_it_shows_everything_and_asks_nobody(tmp_path: Path, hub: Hub, push: Push) -> None:
    make_run(tmp_path / "runs")
    done = push("demo", "me/demo", HF_TOKEN="")
    assert done.returncode == 0, done.stderr
    for name in ("model.safetensors", "config.json", "README.md", "report.html", "report.json"):
        assert f" GB  {name}\n" in done.stdout
    assert "to       me/demo, private\n" in done.stdout
    assert "licence  apache-2.0: the strictest of the inputs is permissive" in done.stdout
    assert done.stdout.endswith("nothing was uploaded; add --yes to upload\n")
    assert hub.calls == []


def test_with_yes_the_repository_holds_the_model_its_card_and_the_report(tmp_path: Path, hub: Hub, push: Push) -> None:
    folder = make_run(tmp_path / "runs")
    done = push("demo", "me/demo", "--yes")
    assert done.returncode == 0, done.stderr
    assert done.stdout.endswith(f"{hub.address}/me/demo\n")
    repo = hub.repos["me/demo"]
    assert repo["private"] is True
    assert repo["message"] == "adapt: ties of run demo"
    assert set(repo["files"]) == {"model.safetensors", "config.json", "README.md", "report.html", "report.json"}
    assert repo["files"]["model.safetensors"] == (folder / "stages/merge.ties/model.safetensors").read_bytes()
    assert repo["files"]["README.md"].startswith(b"---\n")
    for data in repo["files"].values():
        assert b"secret-host-17" not in data
    assert TOKEN not in done.stdout + done.stderr


def test_again_does_not_upload_the_weights_again(tmp_path: Path, hub: Hub, push: Push) -> None:
    make_run(tmp_path / "runs")
    hub.fail_commits = 1
    failed = push("demo", "me/demo", "--yes")
    assert failed.returncode == 1
    assert "the same command continues the upload" in failed.stderr
    assert "Traceback" not in failed.stderr
    done = push("demo", "me/demo", "--yes")
    assert done.returncode == 0, done.stderr
    assert sum(call.startswith("PUT ") for call in hub.calls) == 1
    assert "model.safetensors" in hub.repos["me/demo"]["files"]


def test_only_the_report_and_the_card_when_only_the_report_is_asked_for(tmp_path: Path, hub: Hub, push: Push) -> None:
    make_run(tmp_path / "runs")
    assert push("demo", "me/demo", "--what", "report", "--yes").returncode == 0
    assert set(hub.repos["me/demo"]["files"]) == {"README.md", "report.html", "report.json"}


def test_public_only_when_asked_for(tmp_path: Path, hub: Hub, push: Push) -> None:
    make_run(tmp_path / "runs")
    assert push("demo", "me/demo", "--public", "--yes").returncode == 0
    assert not hub.repos["me/demo"]["private"]
    done = push("demo", "me/demo", "--yes")
    assert done.returncode == 2
    assert "me/demo is there already and is public; add --public if you mean that" in done.stderr


def test_a_missing_token_ends_with_4_and_one_sentence(tmp_path: Path, hub: Hub, push: Push) -> None:
    make_run(tmp_path / "runs")
    done = push("demo", "me/demo", "--yes", HF_TOKEN="")
    assert done.returncode == 4
    assert done.stderr.splitlines()[-1] == "push: no token for the hub; `hf auth login` stores one, or set HF_TOKEN"
    assert hub.calls == []


@pytest.mark.parametrize(("status", "code"), [(401, 4), (403, 4), (400, 1)])
def test_what_the_hub_refuses_is_told_in_one_line(tmp_path: Path, hub: Hub, push: Push, status: int, code: int) -> None:
    make_run(tmp_path / "runs")
    hub.refuse = status
    done = push("demo", "me/demo", "--yes")
    assert done.returncode == code
    assert str(status) in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr


def test_offline_is_said(tmp_path: Path, hub: Hub, push: Push) -> None:
    make_run(tmp_path / "runs")
    done = push("demo", "me/demo", "--yes", HF_HUB_OFFLINE="1")
    assert done.returncode == 4
    assert "HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids it" in done.stderr
    assert hub.calls == []


def test_a_damaged_model_is_not_uploaded(tmp_path: Path, hub: Hub, push: Push) -> None:
    folder = make_run(tmp_path / "runs")
    file = folder / "stages/merge.ties/model.safetensors"
    file.write_bytes(file.read_bytes()[::-1])
    done = push("demo", "me/demo", "--yes")
    assert done.returncode == 1
    assert "damaged" in done.stderr
    assert hub.calls == []


def test_an_unknown_licence_is_no_reason_for_a_private_repository_but_for_a_public_one(
    tmp_path: Path, hub: Hub, push: Push
) -> None:
    unknown = [(text, source, "", tokens) for text, source, _, tokens in DOMAIN]
    make_run(tmp_path / "runs", domain=unknown)
    assert push("demo", "me/demo", "--yes").returncode == 0
    hub.repos.clear()
    done = push("demo", "me/demo", "--public", "--yes")
    assert done.returncode == 2
    assert "licence unknown: no known licence for text of filings, text of notes" in done.stderr
    assert hub.repos == {}
    assert push("demo", "me/demo", "--public", "--license", "cc-by-4.0", "--yes").returncode == 0
    assert b"license: cc-by-4.0" in hub.repos["me/demo"]["files"]["README.md"]


@pytest.mark.parametrize(
    ("name", "data", "why"),
    [
        (".env", b"X=1", "holds secrets"),
        ("sub/id_rsa", b"x", "holds secrets"),
        ("pytorch_model.bin", b"x", "a pickle can run code"),
        ("optimizer.pt", b"x", "a pickle can run code"),
        ("notes.txt", b"\x80\x04\x95x", "a pickle or an archive inside"),
        ("config.json", json.dumps({"token": "hf_" + "b" * 34}).encode(), "holds a Hugging Face token"),
        ("config.json", b" " * ((1 << 20) - 10) + b"hf_" + b"b" * 34, "holds a Hugging Face token"),
        ("key.txt", b"-----BEGIN OPENSSH PRIVATE KEY-----", "holds a private key"),
        ("remote.txt", b"https://me:pass@git.example/x", "holds a password in an address"),
    ],
)
def test_secrets_and_pickles_are_refused(tmp_path: Path, name: str, data: bytes, why: str) -> None:
    (reason,) = refusals(one_file(tmp_path, name, data), public=False)
    assert reason.startswith(f"{name}: ")
    assert why in reason
    assert "bbbb" not in reason


@pytest.mark.parametrize("name", ["tokenizer.json", "special_tokens_map.json", "tokenizer.model", "README.md"])
def test_the_files_of_a_model_are_not_refused(tmp_path: Path, name: str) -> None:
    data = json.dumps({"added_tokens": ["<s>"], "bos_token": "<s>"}).encode()
    assert refusals(one_file(tmp_path, name, data), public=True) == []


def test_only_files_of_the_manifest_are_collected(tmp_path: Path) -> None:
    folder = make_run(tmp_path)
    (folder / "stages/merge.ties/.env").write_text("SECRET=1")
    (tmp_path / "scratch").mkdir()
    files = collect(open_run(folder), ["merged"], None, None, tmp_path / "scratch").files
    assert set(files) == {"model.safetensors", "config.json", "README.md"}


def test_a_published_report_names_neither_the_host_nor_folders(tmp_path: Path) -> None:
    data = dict(open_run(make_run(tmp_path)).data)
    data["recipe"] = {"corpus.domain.0.options.path": "/home/alice/filings"}
    data["run_facts"] = {**data["run_facts"], "gpu": "one of secret-host-17"}
    text = json.dumps(publishable_report(data))
    assert "alice" not in text
    assert "secret-host-17" not in text
    assert "LOCAL/filings" in text


@pytest.mark.parametrize("repo", ["me", "a/b/c", "me/-x", "me/x.git", "me/../x", "me/x y", "https://hub/me"])
def test_what_is_no_repository_is_refused(repo: str) -> None:
    check_repo_name("me/Model-1.0_x")
    with pytest.raises(UsageError, match="is no repository; wanted OWNER/NAME"):
        check_repo_name(repo)
