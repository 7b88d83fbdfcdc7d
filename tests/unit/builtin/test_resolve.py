"""Model references: a folder, a sentence with the way out, or None for others to try."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from domadapt.artifacts import Checkpoint
from domadapt.builtin.models import resolve
from domadapt.builtin.models.resolve import resolve_model
from domadapt.errors import MissingError


def test_a_local_folder_is_itself_however_it_is_written(
    tiny_model: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tiny_model.path.parent)
    monkeypatch.setenv("HOME", str(tiny_model.path.parent))
    name = tiny_model.path.name
    for ref in (str(tiny_model.path), f"./{name}", name, f"~/{name}", f"../{tiny_model.path.parent.name}/{name}"):
        assert resolve_model(ref, tmp_path) == tiny_model.path.resolve()


def test_a_folder_that_looks_like_a_hub_id_is_a_folder(
    tmp_path: Path, tiny_model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "org").mkdir()
    (tmp_path / "org" / "name").symlink_to(tiny_model.path)
    monkeypatch.chdir(tmp_path)
    assert resolve_model("org/name", tmp_path) == tiny_model.path.resolve()


@pytest.mark.parametrize("ref", ["./nowhere", "/nowhere/at/all", "~/nowhere-at-all"])
def test_a_path_without_a_model_is_missing(ref: str, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=r"no Hugging Face folder \(config\.json\) there"):
        resolve_model(ref, tmp_path)


def test_a_folder_with_pickled_weights_only_is_refused_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text("{}")
    (tmp_path / "m" / "pytorch_model.bin").write_bytes(b"cos\nsystem\n(S'touch canary'\ntR.")
    with pytest.raises(MissingError, match=r"no \*\.safetensors there; convert the weights first"):
        resolve_model(str(tmp_path / "m"), tmp_path)


@pytest.mark.parametrize("config", ["{", "[]", ""])
def test_a_damaged_config_is_told_before_anything_runs(config: str, tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "config.json").write_text(config)
    (tmp_path / "m" / "model.safetensors").touch()
    with pytest.raises(MissingError, match=r"m: its config\.json .*; fetch the model again"):
        resolve_model(str(tmp_path / "m"), tmp_path)


def test_a_builtin_model_is_found_by_name(
    tmp_path: Path, tiny_model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "FOLDER", tiny_model.path.parent)
    assert resolve_model(f"builtin:{tiny_model.path.name}", tmp_path) == tiny_model.path


def test_an_unknown_builtin_name_lists_the_known_ones(
    tmp_path: Path, tiny_model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolve, "FOLDER", tiny_model.path.parent)
    for name in ("tny", "", "../tiny/.."):
        with pytest.raises(MissingError, match=f"there is none of this name; known: {tiny_model.path.name}$"):
            resolve_model(f"builtin:{name}", tmp_path)


@pytest.mark.parametrize("ref", ["llama", "a/b/c", "org/", "a/b c", "https://host/x", "s3://a/b", "hub:x"])
def test_what_is_of_no_known_kind_is_left_to_others(ref: str, tmp_path: Path) -> None:
    assert resolve_model(ref, tmp_path) is None


def test_a_hub_id_without_network_says_so_and_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(MissingError, match=r"model org/name@main: not in the local cache .* or give a local folder"):
        resolve_model("hub:org/name@main", tmp_path)


@pytest.mark.parametrize("ref", ["org/na--me", "org/name..", "o--rg/name"])
def test_a_name_that_no_hub_would_take_is_one_sentence_too(ref: str, tmp_path: Path) -> None:
    with pytest.raises(MissingError, match=f"model {ref}: "):
        resolve_model(ref, tmp_path)


def refusal(name: str) -> Exception:
    import httpx
    from huggingface_hub import errors

    response = httpx.Response(403, request=httpx.Request("GET", "https://hub.example"))
    made: Exception = getattr(errors, name)("refused", response=response)
    return made


@pytest.mark.parametrize(
    ("error", "said"),
    [
        ("GatedRepoError", "access is gated; accept its licence"),
        ("RepositoryNotFoundError", "not on the hub, or private; check the name"),
        ("RevisionNotFoundError", "there is no such revision; give a branch, a tag or a commit"),
        ("HfHubHTTPError", r"the hub did not give it \("),
    ],
)
def test_what_the_hub_refuses_is_told_by_its_reason(
    error: str, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: Any, **named: Any) -> str:
        raise refusal(error)

    monkeypatch.setattr("huggingface_hub.snapshot_download", refuse)
    with pytest.raises(MissingError, match=f"model org/name: {said}"):
        resolve_model("org/name", tmp_path)


def test_only_safetensors_and_what_belongs_to_them_is_fetched_at_the_given_revision(
    tmp_path: Path, tiny_model: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def fetch(name: str, **named: Any) -> str:
        asked.update(name=name, **named)
        return str(tiny_model.path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetch)
    assert resolve_model("org/name@abc123", tmp_path) == tiny_model.path.resolve()
    assert (asked["name"], asked["revision"]) == ("org/name", "abc123")
    assert not any(pattern in asked["allow_patterns"] for pattern in ("*", "*.bin", "*.pt", "*.py", "*.pkl"))
    assert asked["cache_dir"] == tmp_path / "hub"


def test_a_hub_model_with_pickled_weights_only_is_refused_like_a_local_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    monkeypatch.setattr("huggingface_hub.snapshot_download", lambda *a, **n: str(tmp_path))
    with pytest.raises(MissingError, match=r"no \*\.safetensors there"):
        resolve_model("org/name", tmp_path)
