"""The hub itself: create the repository, upload, and say what went wrong in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from domadapt.errors import AdaptError, MissingError, StageError, UsageError
from domadapt.publishing.upload import Upload, require_model

_REPO = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9](?:[\w.-]{0,94}\w)?", re.ASCII)


def check_repo_name(repo: str) -> None:
    """Raises UsageError for what cannot be a repository's name."""
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo or repo.endswith(".git"):
        raise UsageError(f"push: {repo!r} is no repository; wanted OWNER/NAME of letters, digits, '-', '_' and '.'")


def upload(plan: Upload, repo: str, *, public: bool, message: str) -> str:
    """Upload and return the repository's address. A private repository is created when there is none.

    Every file of the model is compared with its sha256 before. Raises MissingError without a token, a network or the
    right to write, UsageError when the repository is public and `public` is not asked for.
    """
    from huggingface_hub import HfApi, get_token

    from domadapt.pipeline.store import verify

    require_model(plan)
    token = get_token()
    if token is None:
        raise MissingError("push: no token for the hub; `hf auth login` stores one, or set HF_TOKEN")
    for source in plan.sources:
        verify(source)
    api = HfApi(token=token, library_name="domadapt")
    with TemporaryDirectory(prefix="adapt-push-") as folder, _told(repo):
        _link_files(plan, Path(folder))
        created = api.create_repo(repo, private=not public, exist_ok=True)
        if not public and not api.repo_info(created.repo_id).private:
            raise UsageError(f"push: {created.repo_id} is there already and is public; add --public if you mean that")
        api.upload_folder(repo_id=created.repo_id, folder_path=folder, commit_message=message)
        return str(created)


def _link_files(plan: Upload, folder: Path) -> None:
    for name, file in plan.files.items():
        link = folder / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(file.resolve())


@contextmanager
def _told(repo: str) -> Iterator[None]:
    """Turn what the hub's client raises into one sentence with the way out. The token is in none of them."""
    import httpx
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    again = "the same command continues the upload"
    try:
        yield
    except OfflineModeIsEnabled:
        raise MissingError("push: HF_HUB_OFFLINE (or TRANSFORMERS_OFFLINE) forbids it; unset it to upload") from None
    except HfHubHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403):
            raise MissingError(
                f"push: the hub refused the token for {repo} ({status}); it needs the right to write there"
            ) from None
        said = str(error.server_message or error).strip().splitlines()
        raise StageError(f"push: the hub answered {status} for {repo} ({said[0] if said else ''}); {again}") from None
    except (httpx.HTTPError, ConnectionError, TimeoutError) as error:
        raise MissingError(f"push: the hub was not reached ({type(error).__name__}); {again}") from None
    except ValueError as error:
        if isinstance(error, AdaptError):
            raise
        raise StageError(f"push: the hub's client refused ({' '.join(str(error).split())[:300]})") from None
