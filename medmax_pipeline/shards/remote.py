"""A published folder of shards in an object store, read through a cache on this machine's disk.

Files are named by the digests that the folder's `manifest.json` gives, so a cache may serve many folders, many
processes and many versions at once, and what is in it is never stale. A file is fetched whole when it is first asked
for, hashed while it arrives, and appears in the cache complete or not at all. Which stores can be read is fsspec's
matter (`s3://…` needs the extra `s3`); keys come from the environment, as each store's client reads them.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import decimal_size, open_atomic, write_bytes
from medmax_pipeline.manifest import MANIFEST, Manifest, read_manifest

T = TypeVar("T")
MAX_MANIFEST_BYTES = 256 << 20
"""Ours: some 400 bytes a file, so half a million files."""
CHUNK_BYTES = 8 << 20
TRIES = 4
"""Times a file is asked for before its store counts as unreachable; the wait doubles from `WAIT_S`."""
WAIT_S = 0.5


def is_address(text: str) -> bool:
    """Whether it names a store (`s3://bucket/folder`) and not a folder of this machine."""
    return "://" in text


def local_file(where: str, name: str, cache: Path) -> Path:
    """A file of a folder of this machine as it lies there, or of an address as the cache has it."""
    return RemoteFolder(where, cache).path(name) if is_address(where) else Path(where) / name


class RemoteFolder:
    """A published folder behind an address."""

    def __init__(self, address: str, cache: Path, limit_bytes: int | None = None, wait_s: float = WAIT_S) -> None:
        """Read the folder's manifest.

        Args:
            address: `scheme://…`, without a key or a password in it.
            cache: folder of this machine that keeps what was fetched.
            limit_bytes: what the cache may hold; files used longest ago go first. None: everything.
            wait_s: seconds before a store that did not answer is asked again; doubles.

        Raises:
            StoreError: the store is unknown or out of reach, or holds no manifest of a published artifact there.
        """
        if urlsplit(address).password:
            raise StoreError(f"{urlsplit(address).scheme}://…: an address with a password; give keys by environment.")
        self.address = address.rstrip("/")
        self._cache = cache
        self._limit = limit_bytes
        self._wait_s = wait_s
        self._files = _file_system(self.address)
        self._digests = {file.path: (file.sha256, file.bytes) for file in self._manifest().files}

    def __str__(self) -> str:
        return self.address

    @property
    def names(self) -> Mapping[str, int]:
        """Bytes of each file, by its name in the folder."""
        return {name: size for name, (_, size) in self._digests.items()}

    def path(self, name: str) -> Path:
        """The file on this machine, fetched if it is not there yet.

        Raises:
            StoreError: the folder has no such file, or it did not arrive with the bytes its manifest names.
        """
        if name not in self._digests:
            raise StoreError(f"{self.address}: its manifest names no {name}. Expected a published folder of shards.")
        digest, size = self._digests[name]
        held = self._cache / digest[:2] / digest
        if held.is_file() and held.stat().st_size == size:
            held.touch()
            return held
        self._make_room(size, held)
        self._fetch(name, held, digest, size)
        return held

    def fetch(self, names: Iterable[str], at_once: int = 4) -> None:
        """Fetch files ahead of use, some at the same time.

        Raises:
            StoreError: as `path`; what arrived before stays.
        """
        with ThreadPoolExecutor(at_once) as pool:
            for _ in pool.map(self.path, names):
                pass

    def _manifest(self) -> Manifest:
        held = self._cache / "manifests" / hashlib.sha256(self.address.encode()).hexdigest()
        write_bytes(held / MANIFEST, self._tried(MANIFEST, self._manifest_bytes))
        return read_manifest(held)

    def _manifest_bytes(self) -> bytes:
        with self._files.open(f"{self.address}/{MANIFEST}", "rb") as handle:
            data: bytes = handle.read(MAX_MANIFEST_BYTES + 1)
        if len(data) > MAX_MANIFEST_BYTES:
            raise StoreError(f"{self.address}/{MANIFEST}: over {decimal_size(MAX_MANIFEST_BYTES)}; no manifest is.")
        return data

    def _fetch(self, name: str, held: Path, digest: str, size: int) -> None:
        def copy() -> None:
            hashed, taken = hashlib.sha256(), 0
            with (
                open_atomic(held) as out,
                self._files.open(f"{self.address}/{name}", "rb") as handle,
            ):
                while data := handle.read(CHUNK_BYTES):
                    taken += len(data)
                    if taken > size:
                        break
                    hashed.update(data)
                    out.write(data)
                if taken != size or hashed.hexdigest() != digest:
                    raise StoreError(
                        f"{self.address}/{name}: has other bytes than its manifest names ({taken:,} read, {size:,} "
                        "expected). Publish the folder again."
                    )

        self._tried(name, copy)

    def _tried(self, name: str, work: Callable[[], T]) -> T:
        """What `work` gives, asked for again where the store does not answer."""
        for attempt in range(TRIES):
            try:
                return work()
            except PermissionError as error:
                raise StoreError(f"{self.address}/{name}: may not be read ({error}). Check the keys.") from error
            except StoreError:
                raise
            except (OSError, TimeoutError) as error:
                # fsspec's http says that a file is missing where nobody answered; the cause tells them apart
                if isinstance(error, FileNotFoundError) and not isinstance(error.__cause__, OSError):
                    raise StoreError(
                        f"{self.address}/{name}: no such file there. Expected a published folder."
                    ) from error
                if attempt + 1 == TRIES:
                    raise StoreError(
                        f"{self.address}/{name}: the store does not answer ({error}); asked {TRIES} times."
                    ) from error
                time.sleep(self._wait_s * 2**attempt)
        raise AssertionError("the last attempt returns or raises")

    def _make_room(self, size: int, wanted: Path) -> None:
        """Remove what was used longest ago. Files that are mapped stay readable to those who mapped them."""
        if self._limit is None:
            return
        if size > self._limit:
            raise StoreError(
                f"{wanted.name[:12]}: {decimal_size(size)} do not fit into a cache of {decimal_size(self._limit)}."
            )
        held = []
        for path in self._cache.glob("??/*"):
            try:
                known = path.stat()
            except FileNotFoundError:  # another process made room in the same moment
                continue
            held.append((known.st_mtime_ns, known.st_size, path))
        total = sum(each[1] for each in held)
        for _, taken, path in sorted(held):
            if total + size <= self._limit:
                return
            path.unlink(missing_ok=True)
            total -= taken


def _file_system(address: str) -> Any:
    import fsspec

    scheme = address.partition("://")[0]
    try:
        return fsspec.filesystem(scheme)
    except (ImportError, ValueError) as error:
        raise StoreError(
            f"{address}: {scheme}:// cannot be read here ({error}). For s3 install the extra `s3`; for others the "
            "package that fsspec names."
        ) from error
