"""What of a publisher's files is still to come, and bringing it to the landing folder, each file whole or not at all.

Three ways, chosen by the record: `hub` (`hub.py`), `url` (`url.py`), and by hand, where nothing is fetched. A file that
the user placed is used as it is. Whatever keeps a file from arriving is a `Lock`, never a failed build, but for a full
disk. Deciding asks nobody over the network; what the files hold belongs to the steps that read them.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, NamedTuple

from medmax_pipeline.errors import DiskFull, FetchError, StoreError
from medmax_pipeline.files import decimal_size, disk_errors, inside, remove_tree, sync_folder
from medmax_pipeline.ingest.landing import pattern, scan
from medmax_pipeline.ingest.pins import COMMIT, read_pin
from medmax_pipeline.manifest import Lock
from medmax_pipeline.sources.record import ExpectedFile, Publisher
from medmax_pipeline.steps import Fetch, Pending, PendingFile

STAGING: Final = ".fetch"
"""Below the landing folder: files on their way; whole and checked ones are moved out of it."""
LOCK_FILE: Final = ".fetch.lock"
URL: Final = "url"
"""Stands for the publisher's addresses where a pin names a repository."""
Log = Callable[[str], None]


class Held(NamedTuple):
    """What a landing folder holds of a record's files."""

    names: tuple[str, ...]
    bytes: int
    missing: tuple[ExpectedFile, ...]
    """Expected files of which nothing is there, optional ones too; of a group all, where none of it is there."""

    @property
    def required(self) -> tuple[ExpectedFile, ...]:
        """Those whose absence locks."""
        return tuple(item for item in self.missing if not item.optional)


class Wanted(NamedTuple):
    """What one fetch is after."""

    items: tuple[ExpectedFile, ...]
    """Expected files of which nothing is there yet."""
    begun: Mapping[str, int | None]
    """Names that an earlier fetch began, and their sizes."""


def held(record: Publisher, landing: Path) -> Held:
    """Look at a landing folder; names are compared, nothing is read.

    Raises:
        ArchiveError: an expected file is a link that leads out of the folder.
    """
    folder = landing / record.folder
    found = scan(folder, record.files).expected if folder.is_dir() else ()
    names = tuple(file.name for file in found)
    there = [item for item in record.files if any(map(pattern(item.path).fullmatch, names))]
    groups = {item.group for item in there if item.group}
    missing = tuple(item for item in record.files if item not in there and item.group not in groups)
    return Held(names, sum(file.bytes for file in found), missing)


def way(record: Publisher, item: ExpectedFile) -> Literal["hub", "url", "hand"]:
    """How one file comes."""
    if item.by_hand:
        return "hand"
    return "url" if item.url else "hub" if record.access.kind == "hub" else "hand"


def token_is_here() -> bool:
    """Whether the hub's client would find a token, in the environment or in its own file. It is not read."""
    if os.environ.get("HF_TOKEN") or os.environ.get("HUGGING_FACE_HUB_TOKEN"):
        return True
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "huggingface"
    return Path(os.environ.get("HF_TOKEN_PATH") or Path(home) / "token").expanduser().is_file()


def by_hand(record: Publisher, here: Held) -> tuple[ExpectedFile, ...]:
    """Required files that are absent and that no fetch brings; of a group, only where no member comes by itself."""
    served = {item.group for item in record.files if item.group and way(record, item) != "hand"}
    return tuple(item for item in here.required if way(record, item) == "hand" and item.group not in served)


def in_words(items: Sequence[ExpectedFile]) -> str:
    """Expected files in words, a group as alternatives: `a (rows); either b (packed, 2.9 GB) or c (loose)`."""
    told: dict[str, list[str]] = {}
    for item in items:
        size = f", {decimal_size(item.bytes)}" if item.bytes is not None else ""
        told.setdefault(item.group or item.path, []).append(f"{item.path} ({item.note}{size})")
    return "; ".join(f"either {' or '.join(words)}" if len(words) > 1 else words[0] for words in told.values())


def _wanted(record: Publisher, landing: Path, here: Held, kind: Literal["hub", "url"]) -> Wanted:
    """What is still to come by one way."""
    folder, origin = landing / record.folder, URL if kind == "url" else record.access.repo
    pin = read_pin(folder, origin)
    mine = [item for item in record.files if way(record, item) == kind]
    patterns = [pattern(item.path) for item in mine]
    begun = {
        name: size
        for name, size in sorted(pin.wanted.items())
        if any(item.fullmatch(name) for item in patterns) and not (folder / name).exists()
    }
    coming = {item.path for item in mine if any(map(pattern(item.path).fullmatch, begun))}
    groups = {item.group for item in mine if item.group and item.path in coming}
    items = tuple(
        item
        for item in here.missing
        if item in mine and item.path not in {*pin.absent, *coming} and item.group not in groups
    )
    if not begun and all(item.optional for item in items):
        return Wanted((), {})  # whoever has the data needs no network
    return Wanted(items, begun)


def pending(record: Publisher, landing: Path, pin: str = "") -> Pending | None:
    """What would be fetched now, or None; asks nobody over the network.

    Args:
        record: the source or weights.
        landing: root of the landing folders.
        pin: the commit that the build's file pins, or empty.
    """
    if all(way(record, item) == "hand" for item in record.files):
        return None
    here = held(record, landing)
    by_hub, by_url = _wanted(record, landing, here, "hub"), _wanted(record, landing, here, "url")
    files = [*_listed(record, by_hub), *_listed(record, by_url)]
    if not files:
        return None
    origins = []
    if any(by_hub):
        origins.append(_hub_words(record, landing, pin))
    if any(by_url):
        origins += sorted({item.url.split("/")[2] for item in record.files if item.url})
    return Pending(
        files=tuple(files),
        origin=" and ".join(origins),
        lock=_closed(record, landing, pin) if any(by_hub) else None,
        missing=in_words(by_hand(record, here)),
    )


def _listed(record: Publisher, wanted: Wanted) -> Iterator[PendingFile]:
    groups: set[str] = set()
    for item in wanted.items:
        if item.group and item.group in groups:
            continue
        groups.add(item.group)
        yield PendingFile(f"{record.folder}/{item.path}", item.bytes)
    for name, size in wanted.begun.items():
        yield PendingFile(f"{record.folder}/{name}", size)


def commit_of(record: Publisher, landing: Path, pin: str) -> str:
    """The commit that a fetch takes: the build's pin, the record's, or the folder's; empty before the first fetch."""
    recorded = record.access.revision if COMMIT.fullmatch(record.access.revision) else ""
    return pin or recorded or read_pin(landing / record.folder, record.access.repo).commit


def _hub_words(record: Publisher, landing: Path, pin: str) -> str:
    commit = commit_of(record, landing, pin)
    if commit:
        return f"{record.access.repo} at {commit[:12]}"
    return f"{record.access.repo} at {record.access.revision or 'main'} (its commit is pinned by the first fetch)"


def pin_conflict(record: Publisher, landing: Path, pin: str = "") -> Lock | None:
    """The lock of a folder whose fetched files are of another commit than the pinned one."""
    fetched, pinned = fetched_commit(record, landing), commit_of(record, landing, pin)
    if not fetched or fetched == pinned:
        return None
    return Lock(
        f"{record.folder}/ holds files of {record.access.repo} at {fetched}, but {pinned} is pinned.",
        f'Pin "{fetched}" in the build\'s [pins], fetch into another MEDMAX_LANDING, or remove the fetched files.',
    )


def _closed(record: Publisher, landing: Path, pin: str) -> Lock | None:
    """What speaks against asking the hub at all."""
    conflict = pin_conflict(record, landing, pin)
    if conflict is None and record.access.gated and not token_is_here():
        return no_token(record)
    return conflict


def no_token(record: Publisher) -> Lock:
    """The lock of a gated repository where no token is."""
    return Lock(
        f"{record.access.repo} is gated, and there is no hub token here.",
        f"Accept its terms at {record.access.page} and set HF_TOKEN (or run `hf auth login`).",
    )


def bring(record: Publisher, landing: Path, pin: str, log: Log) -> Lock | None:
    """Fetch what is pending; one process at a time for each landing folder.

    Returns:
        why it did not arrive, or None.

    Raises:
        DiskFull: no space was left while writing.
    """
    first = pending(record, landing, pin)
    if first is None or first.lock is not None:
        return first.lock if first is not None else None
    folder = landing / record.folder
    try:
        with disk_errors(folder), _alone(folder, log):
            if pending(record, landing, pin) is not None:
                _bring(record, landing, pin, log)
            remove_tree(folder / STAGING)
    except FetchError as error:
        log(f"{record.key}: {error}")
        return Lock(error.reason, error.cure)
    except DiskFull:
        raise
    except StoreError as error:
        return Lock(f"{record.folder}/ cannot be written below the landing root, so nothing is fetched.", str(error))
    return None


def _bring(record: Publisher, landing: Path, pin: str, log: Log) -> None:
    from medmax_pipeline.ingest import hub, url

    by_url = _wanted(record, landing, held(record, landing), "url")
    if any(by_url):
        url.bring(record, landing, by_url, log)
    by_hub = _wanted(record, landing, held(record, landing), "hub")
    if any(by_hub):
        hub.bring(record, landing, by_hub, commit_of(record, landing, pin), log)


@contextmanager
def _alone(folder: Path, log: Log) -> Iterator[None]:
    """Hold a landing folder; a second build waits, and finds the files there."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / LOCK_FILE).open("a+") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            log(f"{folder.name}: another build is fetching these files; waiting for it")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def check_space(folder: Path, sizes: Sequence[int | None]) -> None:
    """Refuse to begin what cannot end.

    Raises:
        FetchError: the known sizes are above what is free.
    """
    needed = sum(size for size in sizes if size is not None)
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise FetchError(
            f"{decimal_size(needed)} would be fetched into {folder.name}/, and there is no room for it.",
            f"{decimal_size(free)} are free there. Free some space, or set MEDMAX_LANDING to a larger disk.",
        )


def place(staged: Path, folder: Path, name: str) -> None:
    """Move a whole and checked file to its name, synced."""
    target = inside(folder, name)
    target.parent.mkdir(parents=True, exist_ok=True)
    with staged.open("rb") as handle:
        os.fsync(handle.fileno())
    staged.replace(target)
    sync_folder(target.parent)


def fetched_commit(record: Publisher, landing: Path) -> str:
    """The commit that the folder's fetched files are of; empty where all were placed by hand."""
    folder = landing / record.folder
    pin = read_pin(folder, record.access.repo)
    mine = [pattern(item.path) for item in record.files]
    came = any(item.fullmatch(name) for name in pin.wanted for item in mine)
    return pin.commit if came else ""


def fetch_of(record: Publisher, pin: str = "") -> Fetch | None:
    """The record's `Step.fetch`; None where all comes by hand."""
    if all(way(record, item) == "hand" for item in record.files):
        return None
    return Fetch(
        pending=lambda landing: pending(record, landing, pin),
        bring=lambda landing, log: bring(record, landing, pin, log),
    )
