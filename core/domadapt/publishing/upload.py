"""What an upload consists of, and what speaks against it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domadapt.errors import DataError, UsageError
from domadapt.report.card import RESULTS, build_card
from domadapt.report.card_license import Decision
from domadapt.report.card_text import found_secrets, publishable, publishable_data
from domadapt.report.finished_run import FinishedRun

PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib", ".npy", ".h5", ".msgpack", ".dill")
"""Endings of formats that may carry code, or are none that transformers loads safely."""
_PICKLE_STARTS = (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05", b"PK\x03\x04")
_SECRET_NAMES = re.compile(
    r"\.env(\..*)?|.*\.(pem|key|p12|pfx|jks|keystore|kdbx)|id_(rsa|dsa|ecdsa|ed25519).*|\.(netrc|npmrc|pypirc|htpasswd)"
    r"|\.git-credentials|stored_tokens|token|credentials(\.json)?|secrets?(\.\w+)?",
    re.IGNORECASE,
)
_BINARY = (".safetensors",)
SCAN_BYTES = 1 << 20


@dataclass(frozen=True)
class Upload:
    """Files by their name in the repository."""

    label: str
    files: Mapping[str, Path]
    license: Decision
    sources: Sequence[Path]

    @property
    def num_bytes(self) -> int:
        """Bytes of all files."""
        return sum(file.stat().st_size for file in self.files.values())


def collect(run: FinishedRun, what: Sequence[str], label: str | None, license: str | None, scratch: Path) -> Upload:
    """The files of an upload. scratch: an empty folder for those that are written for it.

    The card is always there: a model without one says nothing of where it comes from. The report is written anew
    without host name and paths. Raises UsageError for a model that the run did not make.
    """
    card = build_card(run, label, license)
    files: dict[str, Path] = {}
    sources = []
    if "merged" in what:
        checkpoint = run.checkpoint(card.label)
        assert checkpoint is not None
        sources.append(checkpoint.path)
        names = [n for n in checkpoint.manifest["files"] if not n.startswith("training/") and n != "README.md"]
        files.update({name: checkpoint.path / name for name in names})
    if "report" in what:
        files.update(_report_files(run, scratch))
    (scratch / "README.md").write_text(card.text, encoding="utf-8", newline="\n")
    files["README.md"] = scratch / "README.md"
    if card.results:
        (scratch / RESULTS).parent.mkdir()
        (scratch / RESULTS).write_text(card.results, encoding="utf-8", newline="\n")
        files[RESULTS] = scratch / RESULTS
    return Upload(card.label, files, card.license, sources)


def _report_files(run: FinishedRun, scratch: Path) -> dict[str, Path]:
    from domadapt.report.build import HTML_NAME, JSON_NAME, write_report

    try:
        write_report(publishable_report(run.data), scratch)
    except KeyError as error:
        raise DataError(
            f"run {run.name}: its report lacks {error}, it is of another version of adapt; "
            "run the same `adapt run` command again, which makes it anew"
        ) from None
    return {name: scratch / name for name in (HTML_NAME, JSON_NAME)}


def publishable_report(data: Mapping[str, Any]) -> dict[str, Any]:
    """report.json without host name, paths of this machine and secrets."""
    found: dict[str, Any] = publishable_data(data)
    run_facts = data["run_facts"]
    host = run_facts.get("host")
    found["run_facts"] = publishable_data({name: value for name, value in run_facts.items() if name != "host"})
    if isinstance(host, str) and len(host) > 3:
        found = json.loads(json.dumps(found, ensure_ascii=False).replace(json.dumps(host)[1:-1], "(host)"))
    return found


def refusals(upload: Upload, *, public: bool) -> list[str]:
    """Why the upload must not happen, one sentence each; empty when nothing speaks against it."""
    reasons = []
    for name, file in sorted(upload.files.items()):
        reasons += [f"{publishable(name)}: {why}" for why in _against(name, file)]
    decision = upload.license
    if public and not decision.may_be_public:
        reasons.append(
            f"licence {decision.name or decision.id}: {decision.reason}; leave --public out, or say with --license ID "
            "under which licence you may publish it"
        )
    return reasons


def _against(name: str, file: Path) -> list[str]:
    base = name.rsplit("/", 1)[-1]
    if _SECRET_NAMES.fullmatch(base):
        return ["a file of this name holds secrets; remove it from the model's folder"]
    if not file.is_file():
        return ["is not there any more; run the same `adapt run` command again"]
    if base.lower().endswith(PICKLES):
        return ["a pickle can run code when it is loaded; only safetensors are uploaded"]
    if base.endswith(_BINARY):
        return []
    with file.open("rb") as opened:
        start = opened.read(SCAN_BYTES)
        if start.startswith(_PICKLE_STARTS):
            return ["it is a pickle or an archive inside; only safetensors are uploaded"]
        kinds = set(found_secrets(start.decode(errors="replace")))
        # pieces overlap, so that a secret across their border is seen
        tail = start[-200:]
        while piece := opened.read(SCAN_BYTES):
            kinds |= set(found_secrets((tail + piece).decode(errors="replace")))
            tail = piece[-200:]
    return [f"it holds {kind}; remove it and make it invalid" for kind in sorted(kinds)]


def require_model(upload: Upload) -> None:
    """Raises UsageError when an upload of a model has no weights."""
    if upload.sources and not any(name.endswith(_BINARY) for name in upload.files):
        raise UsageError(f"push: {upload.label} has no *.safetensors, so nobody could load it")
