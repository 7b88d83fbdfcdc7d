"""The Hugging Face hub's refusals, told as what is missing and what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from domadapt.errors import MissingError


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """Turn whatever the hub's client raises in the block into MissingError.

    what: the kind of repository and its name, as "model org/name@revision".
    """
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    kind = what.partition(" ")[0]
    try:
        yield
    except GatedRepoError as error:
        raise MissingError(
            f"{what}: access is gated; accept its licence on the page of the {kind} and set HF_TOKEN"
        ) from error
    except RepositoryNotFoundError as error:
        raise MissingError(f"{what}: not on the hub, or private; check the name or set HF_TOKEN") from error
    except RevisionNotFoundError as error:
        raise MissingError(f"{what}: there is no such revision; give a branch, a tag or a commit") from error
    except (LocalEntryNotFoundError, OfflineModeIsEnabled) as error:
        raise MissingError(
            f"{what}: not in the local cache and the hub cannot be reached; fetch it where there is a network, "
            "or give a local folder"
        ) from error
    except (EntryNotFoundError, HfHubHTTPError, HFValidationError, OSError) as error:
        raise MissingError(f"{what}: the hub did not give it ({error})") from error
    except Exception as error:
        # its client raises httpx's own errors where there is no network
        if type(error).__module__.partition(".")[0] in ("httpx", "httpcore"):
            raise MissingError(f"{what}: the hub cannot be reached ({error}); give a local folder") from error
        raise
