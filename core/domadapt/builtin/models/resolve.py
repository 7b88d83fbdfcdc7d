"""Where models come from: `builtin:NAME`, a local folder, or the Hugging Face hub (`org/name@revision`)."""

from __future__ import annotations

import json
import re
from pathlib import Path

from domadapt.errors import MissingError

FOLDER = Path(__file__).parent
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")

WEIGHTS = ("*.safetensors", "*.json", "*.jinja", "*.model", "merges.txt", "vocab.txt")
"""What is fetched from the hub: safetensors only, a pickle would be code."""


def resolve_model(ref: str, cache: Path) -> Path | None:
    """The local Hugging Face folder of a reference, or None when it is of no kind known here.

    Raises MissingError when it is, and is not there.
    """
    if ref.startswith("builtin:"):
        return _builtin(ref.removeprefix("builtin:"))
    if ref.startswith(("/", "./", "../", "~")) or Path(ref).is_dir():
        return _local(Path(ref).expanduser())
    name, _, revision = ref.removeprefix("hub:").partition("@")
    return _hub(name, revision or None, cache) if _HUB_ID.fullmatch(name) else None


def _builtin(name: str) -> Path:
    folder = FOLDER / name
    if not (folder / "config.json").is_file():
        known = ", ".join(sorted(p.parent.name for p in FOLDER.glob("*/config.json")))
        raise MissingError(f"model builtin:{name}: there is none of this name; known: {known}")
    return folder


def _local(folder: Path) -> Path:
    if not (folder / "config.json").is_file():
        raise MissingError(f"model {folder}: no Hugging Face folder (config.json) there")
    try:
        config = json.loads((folder / "config.json").read_bytes())
    except (OSError, ValueError) as error:
        raise MissingError(
            f"model {folder}: its config.json cannot be read ({error}); fetch the model again"
        ) from error
    if not isinstance(config, dict):
        raise MissingError(f"model {folder}: its config.json is no JSON object; fetch the model again")
    if not any(folder.glob("*.safetensors")):
        raise MissingError(
            f"model {folder}: no *.safetensors there; convert the weights first (pickle files are not read)"
        )
    return folder.resolve()


def _hub(name: str, revision: str | None, cache: Path) -> Path:
    from huggingface_hub import snapshot_download

    from domadapt.builtin.hub import refusals

    ref = f"{name}@{revision}" if revision else name
    with refusals(f"model {ref}"):
        folder = snapshot_download(name, revision=revision, allow_patterns=list(WEIGHTS), cache_dir=cache / "hub")
    return _local(Path(folder))
