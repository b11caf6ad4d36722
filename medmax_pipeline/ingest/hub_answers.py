"""What the hub's client raises, in our words: asked again where that helps, else a `FetchError` with reason and cure.

The reason is the same each time for the same cause, so that a locked artifact stays one artifact. It never quotes the
client, whose messages may hold signed addresses. Fetching itself is `hub.py`.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

from medmax_pipeline.errors import FetchError
from medmax_pipeline.ingest.fetch import no_token, token_is_here
from medmax_pipeline.sources.record import Publisher

ATTEMPTS: Final = 4
"""Ours, each after the client's own."""
LONGEST_WAIT_S: Final = 60.0
"""A longer Retry-After ends the attempt: the next build tries again."""
RETRIED: Final = frozenset({408, 429, 500, 502, 503, 504})
DISK: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})
"""The disk's word and not the network's: it fails the build."""
T = TypeVar("T")


def patiently(ask: Callable[[], T], record: Publisher, name: str, wait: Callable[[float], None]) -> T:
    """The answer, after a bounded number of waits where the hub is busy, failing or out of reach.

    Args:
        ask: calls the client.
        record: whose files are asked for.
        name: the file, or empty where the repository is asked.
        wait: sleeps some seconds.

    Raises:
        FetchError: with the same reason for the same cause.
    """
    import httpx2
    from huggingface_hub.errors import FileMetadataError, HfHubHTTPError, LocalEntryNotFoundError, XetDownloadError

    for attempt in range(ATTEMPTS):
        try:
            return ask()
        except (httpx2.HTTPError, LocalEntryNotFoundError, FileMetadataError, OSError, XetDownloadError) as raised:
            cause = next((item for item in _chain(raised) if isinstance(item, HfHubHTTPError)), raised)
            if isinstance(raised, OSError) and raised.errno in DISK:
                raise
            pause = _pause(cause, attempt)
            if pause is None or attempt == ATTEMPTS - 1:
                raise _told(cause, record, name) from None  # the client's text may hold signed addresses
            wait(pause)
    raise AssertionError("unreachable: the last attempt returns or raises")


def _chain(error: BaseException) -> Iterator[BaseException]:
    at: BaseException | None = error
    while at is not None:
        yield at
        at = at.__cause__ or at.__context__


def _pause(error: BaseException, attempt: int) -> float | None:
    """Seconds before asking again; None where asking again is no use."""
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    if any(isinstance(item, OfflineModeIsEnabled) for item in _chain(error)):
        return None
    if not isinstance(error, HfHubHTTPError):
        return float(2**attempt)
    if error.response.status_code not in RETRIED:
        return None
    told = error.response.headers.get("Retry-After", "")
    pause = float(told) if told.isdigit() else float(2**attempt)
    return pause if pause <= LONGEST_WAIT_S else None


def _told(error: BaseException, record: Publisher, name: str) -> FetchError:
    """The client's error in our words: what is missing (token, terms, revision, file, network), and the cure."""
    from huggingface_hub.errors import (
        DisabledRepoError,
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    access = record.access
    if isinstance(error, GatedRepoError):
        if not token_is_here():
            lock = no_token(record)
            return FetchError(lock.reason, lock.cure)
        return FetchError(
            f"{access.repo} is gated, and the hub token here was not granted access.",
            f"Accept its terms at {access.page} with the token's account; some owners approve each request.",
        )
    if isinstance(error, RevisionNotFoundError):
        return FetchError(
            f"{access.repo} no longer has the revision that is asked for.",
            f"See {access.page} for one that it has and write it into the build's [pins].",
        )
    if isinstance(error, RepositoryNotFoundError | DisabledRepoError):
        if token_is_here():
            return FetchError(
                f"{access.repo} is not on the hub: moved, gone, or closed to this token.", f"See {access.page}."
            )
        return FetchError(
            f"{access.repo} is not shown without a hub token: gated, private, moved or gone.",
            "Set HF_TOKEN (or run `hf auth login`).",
        )
    if isinstance(error, EntryNotFoundError) and not isinstance(error, LocalEntryNotFoundError):
        return no_file(record, name, "the pinned commit")
    if any(isinstance(item, OfflineModeIsEnabled) for item in _chain(error)):
        return FetchError(f"{access.repo}: HF_HUB_OFFLINE is set.", "Unset it to fetch.")
    if isinstance(error, HfHubHTTPError):
        return _refused(error.response.status_code, record)
    return FetchError(f"{access.repo}: the hub cannot be reached.", "The next build tries again.")


def _refused(status: int, record: Publisher) -> FetchError:
    if status in (401, 403):
        what = "refused the token" if token_is_here() else "wants a token"
        return FetchError(
            f"{record.access.repo}: the hub {what} ({status}).",
            "Set a valid HF_TOKEN, read access is enough.",
        )
    what = "asks for fewer requests" if status == 429 else "is failing" if status >= 500 else "refused the request"
    return FetchError(f"{record.access.repo}: the hub {what} ({status}).", "The next build tries again.")


def no_file(record: Publisher, name: str, commit: str) -> FetchError:
    """The error of a file that the hub does not have."""
    return FetchError(
        f"{record.access.repo} has no file {name!r} at {commit}.",
        f"Pin a commit that has it in the build's [pins]; see {record.access.page}.",
    )
