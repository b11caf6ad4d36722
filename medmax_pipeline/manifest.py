"""What an artifact is made of: the record that is written last into every published folder.

A manifest is plain JSON, readable without this package. Deciding what runs belongs to `ledger.py`, walking from one
manifest to the next to `lineage.py`.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import Json, digest_of, read_json, sha256_bytes, sha256_file
from medmax_pipeline.records import Counts

MANIFEST = "manifest.json"
LOG_FOLDER = "log/"
"""Files below it are published but take no part in the digest: timings, curves, what differs from run to run."""

Status = Literal["ok", "locked"]
PACKAGES = ("numpy", "pillow", "polars", "pyarrow", "safetensors", "tokenizers", "torch", "transformers")
"""Packages whose version can change what a step writes."""


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file inside the published folder."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class External:
    """A file outside the store that the artifact refers to: raw bytes as their publisher ships them."""

    path: str
    """Relative to the landing root, or `package:path` for a file of an installed package; with `*`: all files that
    match, one entry where they are many."""
    sha256: str
    """Of the file's bytes; of many files that of `digest_lines`."""
    bytes: int
    licence: str = ""


@dataclass(frozen=True, slots=True)
class InputEntry:
    """One input as it was when the step ran; `part` is empty where the whole artifact was read."""

    key: str
    part: str
    fingerprint: str
    digest: str


@dataclass(frozen=True, slots=True)
class Lock:
    """Why a step cannot run here, and what would let it."""

    reason: str
    cure: str


@dataclass(frozen=True)
class Manifest:
    """The whole record of one published artifact. Fields as in design section 5."""

    key: str
    fingerprint: str
    digest: str
    status: Status
    code_version: str
    params: Mapping[str, Json]
    counter: int
    inputs: tuple[InputEntry, ...]
    files: tuple[FileEntry, ...]
    external: tuple[External, ...] = ()
    parts: Mapping[str, str] = field(default_factory=dict)
    """Digest of each part that downstream steps may depend on alone."""
    counts: Counts = field(default_factory=Counts)
    licences: tuple[str, ...] = ()
    credentialed: bool = False
    revision: str = ""
    lock: Lock | None = None
    summary: Mapping[str, Json] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    wall_s: float = 0.0

    @property
    def locked(self) -> bool:
        """Whether the artifact is an empty one, published with its reason."""
        return self.status == "locked"

    def digest_for(self, part: str) -> str:
        """Digest of a part, or of the whole when `part` is empty.

        A locked artifact, and a part that this artifact does not hold, have the digest of the whole.
        """
        return self.parts.get(part, self.digest) if part else self.digest

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON values."""
        return asdict(self)


def manifest_from_json(value: Mapping[str, Any]) -> Manifest:
    """A manifest from the JSON that `Manifest.to_json` gave."""
    fields = dict(value)
    fields["inputs"] = tuple(InputEntry(**entry) for entry in value["inputs"])
    fields["files"] = tuple(FileEntry(**entry) for entry in value["files"])
    fields["external"] = tuple(External(**entry) for entry in value["external"])
    fields["counts"] = Counts(**value["counts"])
    fields["licences"] = tuple(value["licences"])
    fields["lock"] = Lock(**value["lock"]) if value["lock"] else None
    return Manifest(**fields)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a published folder.

    Raises:
        StoreError: it is missing, torn or of another shape.
    """
    path = folder / MANIFEST
    value = read_json(path)
    try:
        return manifest_from_json(value)
    except (KeyError, TypeError) as error:
        raise StoreError(
            f"{path}: not a manifest of this version ({error!r}). Remove the folder and rebuild."
        ) from error


def list_files(folder: Path) -> tuple[FileEntry, ...]:
    """Every file below `folder` but the manifest, sorted by path, with size and digest.

    Raises:
        StoreError: a link or another thing that is not a plain file lies there.
    """
    entries = []
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise StoreError(f"{path}: is not a plain file; steps publish plain files only.")
        if path.is_file() and relative != MANIFEST:
            entries.append(FileEntry(relative, sha256_file(path), path.stat().st_size))
    return tuple(sorted(entries, key=lambda entry: entry.path))


def digest_lines(files: Iterable[tuple[str, str]]) -> str:
    """One sha256 for many files: over lines of `<sha256>  <name>`, sorted by name.

    Args:
        files: name and sha256 of each, names relative to their landing folder.
    """
    return sha256_bytes("".join(f"{sha256}  {name}\n" for name, sha256 in sorted(files)).encode())


def content_digest(files: Iterable[FileEntry], external: Iterable[External], lock: Lock | None) -> str:
    """What came out: over the data files, the referenced files and, for a locked artifact, its reason."""
    return digest_of(
        {
            "files": [[entry.path, entry.sha256] for entry in files if not entry.path.startswith(LOG_FOLDER)],
            "external": [[entry.path, entry.sha256] for entry in external],
            "lock": lock.reason if lock else None,
        }
    )


def package_versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a step's bytes, without importing them."""
    versions = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions
