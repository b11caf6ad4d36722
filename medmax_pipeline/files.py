"""The only door to writing: a file appears whole under its name, or not at all.

Bytes go to a temporary name in the same folder, are flushed and fsynced, and are renamed; the folder is fsynced
after. A full disk becomes `DiskFull` and leaves no temporary file behind. Digests are sha256 in hex.
What a file means belongs to the room that writes it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from pathlib import Path, PurePosixPath
from threading import Lock
from typing import IO, TYPE_CHECKING, Any

from medmax_pipeline.errors import ArchiveError, DiskFull, StoreError

if TYPE_CHECKING:
    import pyarrow as pa

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
"""Anything `json.dumps` can write."""

CHUNK_BYTES = 1 << 20
DIGESTS = "digests.sqlite"
"""Name of a store's cache of digests."""
HASHING_THREADS = 4
"""Files hashed at once; hashing releases the interpreter."""
DIGESTS_A_BATCH = 4096
"""Files looked up at once in the cache of digests."""
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""No space, no quota, or a file may not be so large."""
TEMPORARY = ".tmp-"
"""What every temporary name contains; nothing published does."""


@contextmanager
def disk_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's word for a full or read-only disk into ours.

    Raises:
        DiskFull: what is in `FULL`.
        StoreError: the folder may not be written.
    """
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            raise DiskFull(
                f"{path}: no space left while writing ({os.strerror(error.errno)}). Nothing published was touched. "
                "Free some space (`medmax plan` shows what is to come) and run again."
            ) from error
        if error.errno in (errno.EROFS, errno.EACCES, errno.EPERM):
            raise StoreError(f"{path}: may not be written ({error.strerror}). Check owner and mount.") from error
        raise


def sync_folder(folder: Path) -> None:
    """Make renames inside `folder` survive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def open_atomic(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for writing bytes; it appears when the block ends without an error, else not at all."""
    temporary = path.with_name(f".{path.name}{TEMPORARY}{os.getpid()}")
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as handle:
                yield handle
                handle.flush()
                os.fsync(handle.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
        sync_folder(path.parent)


def sweep_temporaries(path: Path) -> None:
    """Remove what killed writers of `path` left beside it: temporary files of processes that this machine has not.

    A writer on another machine that is at `path` in the same moment fails, and succeeds when it is run again.
    """
    for left in path.parent.glob(f".{path.name}{TEMPORARY}*"):
        process = left.name.rpartition(TEMPORARY)[2]
        if not process.isdecimal():
            continue
        try:
            os.kill(int(process), 0)
        except ProcessLookupError:
            left.unlink(missing_ok=True)
        except PermissionError:  # somebody else's, and alive
            continue


def write_bytes(path: Path, data: bytes) -> None:
    """Write `data` as the whole of `path`."""
    with open_atomic(path) as handle:
        handle.write(data)


def append_bytes(path: Path, data: bytes) -> None:
    """Add `data` at the end of `path`, whole or not at all; several processes that do so wait for each other."""
    with disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            write_bytes(path, (path.read_bytes() if path.exists() else b"") + data)
        finally:
            os.close(folder)


def write_text(path: Path, text: str) -> None:
    """Write `text` (UTF-8) as the whole of `path`."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented, key-sorted JSON."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False) + "\n")


def write_table(path: Path, table: pa.Table, *, repeating: Sequence[str] | None = None) -> None:
    """Write an Arrow table as Parquet; the same table gives the same bytes with the same pyarrow.

    Args:
        path: where to.
        table: what.
        repeating: columns of few values, named where the writing's own time counts: they alone get a dictionary, no
            column gets statistics, and nothing is packed: three times the size in half the time. None: zstd, all of it.
    """
    import pyarrow.parquet as pq

    options: dict[str, Any] = {"compression": "zstd", "use_dictionary": True, "write_statistics": True}
    if repeating is not None:
        options = {"compression": "none", "use_dictionary": list(repeating), "write_statistics": False}
    with open_atomic(path) as handle:
        pq.write_table(table, handle, store_schema=True, **options)


def read_json(path: Path) -> Any:
    """Read one JSON document; a broken one is a `StoreError` that names the file."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise StoreError(f"{path}: not readable as JSON ({error}).") from error


def canonical(value: Any) -> bytes:
    """The one JSON spelling of `value`: sorted keys, no spaces, ASCII. Digests are taken over it."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False).encode()


def digest_of(value: Any) -> str:
    """sha256 (64 hex digits) of the canonical JSON of `value`."""
    return hashlib.sha256(canonical(value)).hexdigest()


def sha256_bytes(data: bytes) -> str:
    """sha256 of `data`, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """sha256 of a file's bytes, 64 hex digits, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def inside(root: Path, relative: str) -> Path:
    """`root / relative`, refused when it would leave `root`.

    Raises:
        ArchiveError: the path is absolute, climbs with `..`, holds a NUL, or leads out through a link.
    """
    pure = PurePosixPath(relative)
    if pure.is_absolute() or ".." in pure.parts or "\0" in relative or relative in ("", "."):
        raise ArchiveError(f"{relative!r}: expected a path inside {root.name}/, found one that leaves it. Refused.")
    path = root / pure
    if not path.resolve().is_relative_to(root.resolve()):
        raise ArchiveError(f"{relative!r}: leads out of {root.name}/ through a link. Refused.")
    return path


def publish_folder(source: Path, target: Path) -> None:
    """Move a finished folder to its published name, every file fsynced first.

    Raises:
        StoreError: something is published there already; published folders never change.
    """
    if target.exists():
        raise StoreError(f"{target}: is published already and never changes.")
    with disk_errors(target):
        for path in sorted(source.rglob("*")):
            if path.is_file():
                with path.open("rb") as handle:
                    os.fsync(handle.fileno())
            else:
                sync_folder(path)
        sync_folder(source)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)
        sync_folder(target.parent)


def take_folder(source: Path, target: Path) -> None:
    """Move a finished folder to where an empty one may be, at once and whole; both lie in one file system."""
    with disk_errors(target):
        source.rename(target)
        sync_folder(target.parent)


def remove_tree(path: Path) -> None:
    """Remove a folder of ours and all in it; nothing there is fine."""
    if path.exists():
        shutil.rmtree(path)


class LogFile:
    """A file that grows as lines come and is read meanwhile; the one kind that does not appear whole."""

    def __init__(self, path: Path) -> None:
        """Open (and create where absent) the log; what is in it stays."""
        self._path = path
        with disk_errors(path):
            self._handle = path.open("ab", buffering=0)

    def append(self, data: bytes) -> None:
        """Add `data`; readers see it at once, a power cut may lose it.

        Raises:
            DiskFull: part of it, or nothing, was added.
        """
        with disk_errors(self._path):
            while data:
                data = data[self._handle.write(data) :]

    def close(self) -> None:
        """Nothing more comes."""
        self._handle.close()


class DigestCache:
    """sha256 of big files that others own, remembered by size, mtime and inode.

    A file whose size, modification time (ns) and inode are unchanged is not read again. The cache is an SQLite file
    that may be deleted at any time; a torn or foreign one is thrown away. Several processes may use it at once.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._learnt: dict[str, tuple[int, int, int, str]] = {}
        self._folders: dict[Path, str] = {}
        self._lock = Lock()

    def sha256(self, path: Path) -> str:
        """Digest of `path`, from memory where the file has not been touched since."""
        return next(self.sha256_all([path]))

    def sha256_all(self, paths: Sequence[Path]) -> Iterator[str]:
        """Digests of many files, in their order; those not known are read by a few threads."""
        with self._lock, ThreadPoolExecutor(HASHING_THREADS) as pool:
            for start in range(0, len(paths), DIGESTS_A_BATCH):
                some = paths[start : start + DIGESTS_A_BATCH]
                names = [self._name(path) for path in some]
                marks = [(stat.st_size, stat.st_mtime_ns, stat.st_ino) for stat in map(Path.stat, some)]
                known = self._read(names) | {name: self._learnt[name] for name in names if name in self._learnt}
                new = [at for at, name in enumerate(names) if known.get(name, ())[:3] != marks[at]]
                for at, digest in zip(new, pool.map(sha256_file, [some[at] for at in new]), strict=True):
                    known[names[at]] = self._learnt[names[at]] = (*marks[at], digest)
                yield from [known[name][3] for name in names]

    def save(self) -> None:
        """Write back what was learnt."""
        with self._lock, disk_errors(self._path):
            if self._learnt:
                self._path.parent.mkdir(parents=True, exist_ok=True)
                rows = [(name, *known) for name, known in self._learnt.items()]
                try:
                    self._write(rows)
                except sqlite3.DatabaseError as error:
                    if "locked" in str(error):  # another process is at it for long; what was learnt waits
                        return
                    if "full" in str(error):
                        raise OSError(errno.ENOSPC, str(error)) from error
                    self._path.unlink(missing_ok=True)
                    self._write(rows)
                self._learnt = {}

    def _name(self, path: Path) -> str:
        parent = path.parent
        if parent not in self._folders:
            self._folders[parent] = str(parent.resolve())
        return f"{self._folders[parent]}/{path.name}"

    def _read(self, names: Sequence[str]) -> dict[str, tuple[int, int, int, str]]:
        if not self._path.is_file():
            return {}
        found = {}
        query = "SELECT size, mtime, inode, sha256 FROM digests WHERE path = ?"
        try:
            with closing(sqlite3.connect(f"{self._path.resolve().as_uri()}?mode=ro", uri=True)) as database:
                for name in names:
                    row = database.execute(query, (name.encode("utf-8", "surrogateescape"),)).fetchone()
                    if row is not None:
                        found[name] = row
        except sqlite3.DatabaseError:  # a torn cache is no loss
            return {}
        return found

    def _write(self, rows: Sequence[tuple[str, int, int, int, str]]) -> None:
        with closing(sqlite3.connect(self._path, timeout=60)) as database, database:
            database.execute(
                "CREATE TABLE IF NOT EXISTS digests "
                "(path BLOB PRIMARY KEY, size INTEGER, mtime INTEGER, inode INTEGER, sha256 TEXT) WITHOUT ROWID"
            )
            database.executemany(
                "INSERT OR REPLACE INTO digests VALUES (?, ?, ?, ?, ?)",
                ((name.encode("utf-8", "surrogateescape"), *known) for name, *known in rows),
            )


def decimal_size(count: int) -> str:
    """A number of bytes for people, in decimal units as publishers give them: `24.6 GB`, `980 bytes`."""
    size = float(count)
    for unit in ("bytes", "kB", "MB", "GB"):
        if size < 999.95 or unit == "GB":
            break
        size /= 1000
    return f"{count} bytes" if unit == "bytes" else f"{size:.1f} {unit}"


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """One JSON line, newline included, keys in their own order."""
    return json.dumps(value, ensure_ascii=False).encode() + b"\n"
