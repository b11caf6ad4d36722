"""Files from a Hugging Face repository, by its own client: one commit, every byte checked against the hub's word.

The client resumes cut connections, finds the token and speaks to gated repositories; it honours HF_ENDPOINT, HF_TOKEN
and HF_HUB_OFFLINE. What it gives up is tried again here, a bounded number of times. A file gets its name in the
landing folder only when its digest is the hub's. Which files are wanted belongs to `fetch.py`.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from medmax_pipeline.errors import FetchError
from medmax_pipeline.files import CHUNK_BYTES, decimal_size, inside, sha256_file
from medmax_pipeline.ingest.fetch import STAGING, Log, Wanted, check_space, place
from medmax_pipeline.ingest.hub_answers import no_file, patiently
from medmax_pipeline.ingest.landing import is_pointer, pattern
from medmax_pipeline.ingest.pins import COMMIT, read_pin, today, write_pin
from medmax_pipeline.sources.record import ExpectedFile, Publisher

if TYPE_CHECKING:
    from huggingface_hub import RepoFile

PATHS_AT_ONCE: Final = 500
NAMES_SHOWN: Final = 8


def bring(
    record: Publisher,
    landing: Path,
    wanted: Wanted,
    commit: str,
    log: Log,
    wait: Callable[[float], None] = lambda seconds: time.sleep(seconds),
) -> None:
    """Fetch what is wanted of one repository into its landing folder.

    Args:
        record: the source or weights.
        landing: root of the landing folders.
        wanted: what is still to come.
        commit: the pinned commit; empty: that of the record's branch, now, which is then written down.
        log: gets a line a file.
        wait: sleeps some seconds.

    Raises:
        FetchError: something did not arrive; files that did are in place.
        DiskFull: through the caller's `disk_errors`.
    """
    from huggingface_hub import HfApi

    access, folder = record.access, landing / record.folder
    api: Any = HfApi(endpoint=_endpoint())
    about = patiently(
        lambda: api.repo_info(access.repo, repo_type=access.repo_type, revision=commit or access.revision or "main"),
        record,
        "",
        wait,
    )
    commit = commit or str(about.sha)
    if not COMMIT.fullmatch(commit):
        raise FetchError(
            f"{access.repo}: the hub named {commit!r} as its commit.", "Expected 40 hex digits; try again."
        )
    published = [entry.rfilename for entry in about.siblings or ()]
    names, absent = _choose(record, wanted, published, commit)
    known = _facts(api, record, commit, names, wait)
    _begin(record, folder, commit, known, absent)
    check_space(folder, [entry.size for entry in known.values()])
    _clear_halves(folder / STAGING)
    for number, (name, entry) in enumerate(known.items(), 1):
        log(f"{record.key}: fetching {name}, {decimal_size(entry.size)} ({number} of {len(known)})")
        _fetch_one(record, folder, commit, entry, wait)


def _endpoint() -> str | None:
    """HF_ENDPOINT as it is now; the client reads it at import only. None: the public hub."""
    return os.environ.get("HF_ENDPOINT") or None


def _choose(
    record: Publisher, wanted: Wanted, published: Sequence[str], commit: str
) -> tuple[list[str], tuple[str, ...]]:
    """Names to fetch, and expected paths that the commit has not."""
    names = set(wanted.begun)
    absent: list[ExpectedFile] = []
    done: set[str] = set()
    for item in wanted.items:
        if item.group and item.group in done:
            continue
        matching = [name for name in published if pattern(item.path).fullmatch(name)]
        if matching:
            done.add(item.group)
            names.update(matching)
        else:
            absent.append(item)
    lacking = [item for item in absent if not item.optional and item.group not in done - {""}]
    if lacking:
        shown = ", ".join(sorted(published)[:NAMES_SHOWN]) or "nothing"
        raise FetchError(
            f"{record.access.repo} at {commit} has no {', '.join(repr(item.path) for item in lacking)}.",
            f"It holds {shown}. Pin a commit that has the file in the build's [pins]; see {record.access.page}.",
        )
    return sorted(names), tuple(item.path for item in absent)


def _facts(
    api: Any, record: Publisher, commit: str, names: Sequence[str], wait: Callable[[float], None]
) -> Mapping[str, RepoFile]:
    """Size and digest of each file, by the hub's own word."""
    from huggingface_hub import RepoFile

    access, found = record.access, {}
    for start in range(0, len(names), PATHS_AT_ONCE):
        some = list(names[start : start + PATHS_AT_ONCE])

        def ask(some: list[str] = some) -> list[Any]:
            return list(api.get_paths_info(access.repo, some, revision=commit, repo_type=access.repo_type))

        found.update({entry.path: entry for entry in patiently(ask, record, "", wait) if isinstance(entry, RepoFile)})
    lost = sorted(set(names) - set(found))
    if lost:
        raise no_file(record, lost[0], commit)
    return {name: found[name] for name in names}


def _begin(
    record: Publisher, folder: Path, commit: str, known: Mapping[str, RepoFile], absent: tuple[str, ...]
) -> None:
    """Write down the commit and all names before the first byte."""
    pin = read_pin(folder, record.access.repo)
    write_pin(
        folder,
        record.access.repo,
        replace(
            pin,
            revision="" if record.access.revision == commit else record.access.revision,
            commit=commit,
            read=pin.read or today(),
            wanted={**pin.wanted, **{name: entry.size for name, entry in known.items()}},
            absent=tuple(sorted({*pin.absent, *absent})),
        ),
    )


def _clear_halves(staging: Path) -> None:
    """Remove what a killed client left: it begins each file under a name of its own and cannot take that up again."""
    for half in staging.glob(".cache/huggingface/download/**/*.incomplete"):
        half.unlink()


def _fetch_one(record: Publisher, folder: Path, commit: str, entry: RepoFile, wait: Callable[[float], None]) -> None:
    from huggingface_hub import hf_hub_download

    staging = folder / STAGING
    staged = inside(staging, entry.path)
    access = record.access

    def download() -> str:
        return str(
            hf_hub_download(
                access.repo,
                entry.path,
                repo_type=access.repo_type,
                revision=commit,
                local_dir=staging,
                endpoint=_endpoint(),
            )
        )

    patiently(download, record, entry.path, wait)
    try:
        _check(record, staged, entry)
    except FetchError:
        staged.unlink(missing_ok=True)
        for note in staging.glob(f".cache/huggingface/download/{entry.path}.metadata"):
            note.unlink()
        raise
    place(staged, folder, entry.path)


def _check(record: Publisher, path: Path, entry: RepoFile) -> None:
    """Compare bytes with the hub's word: sha256 of a large file, git's blob digest of a small one."""
    again = "Removed. The next build fetches it again; if it stays so, the hub or a cache between serves other bytes."
    size = path.stat().st_size
    if is_pointer(path, size):
        raise FetchError(f"{record.access.repo}: {entry.path} came as a Git LFS pointer and not as data.", again)
    wanted = entry.lfs.sha256 if entry.lfs is not None else entry.blob_id
    found = sha256_file(path) if entry.lfs is not None else git_blob_sha1(path)
    if size != entry.size or found != wanted:
        raise FetchError(
            f"{record.access.repo}: {entry.path} came with digest {found} and {size} bytes; the hub says {wanted} and "
            f"{entry.size} bytes.",
            again,
        )


def git_blob_sha1(path: Path) -> str:
    """The name that git gives a file's content: sha1 over `blob <size>`, a zero byte and the bytes."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as handle:
        while piece := handle.read(CHUNK_BYTES):
            digest.update(piece)
    return digest.hexdigest()
