"""What a landing folder remembers of how its files came: `.pin.json`, written by the first fetch.

A branch is read once: its commit is written here, and later fetches take that. Names that were begun are here too, so
that half of twenty archives is never taken for all of them. Files placed by hand leave no trace here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import read_json, write_json

PIN: Final = ".pin.json"
COMMIT: Final = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True, slots=True)
class Pin:
    """How far the files of one hub repository, or of one publisher's addresses, have come."""

    revision: str = ""
    """The branch that was asked for; empty where a commit was."""
    commit: str = ""
    """40 hex digits; empty for files that come by URL."""
    read: str = ""
    """Day of the first fetch, YYYY-MM-DD."""
    wanted: Mapping[str, int | None] = field(default_factory=dict)
    """Names and sizes of all files that belong to what was begun, whether or not they have arrived."""
    absent: tuple[str, ...] = ()
    """Expected paths that the commit does not have."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """sha256 of the files that came by URL."""


def read_pin(folder: Path, origin: str) -> Pin:
    """The pin of a repository, or of the addresses (`origin` "url"), in a landing folder; an empty one where none is.

    Raises:
        StoreError: the file is not one of ours.
    """
    path = folder / PIN
    if not path.exists():
        return Pin()
    try:
        known = read_json(path).get(origin, {})
        pin = Pin(**{**known, "absent": tuple(known.get("absent", ()))})
    except (AttributeError, TypeError) as error:
        raise StoreError(
            f"{path}: not a pin of this version ({error}). Remove it; the next fetch writes it."
        ) from error
    if pin.commit and not COMMIT.fullmatch(pin.commit):
        raise StoreError(f"{path}: commit is {pin.commit!r}, expected 40 hex digits. Remove it and fetch again.")
    return pin


def write_pin(folder: Path, origin: str, pin: Pin) -> None:
    """Write the pin of one origin beside those of others."""
    path = folder / PIN
    known = read_json(path) if path.exists() else {}
    write_json(path, {**known, origin: asdict(pin)})


def today() -> str:
    """The day, in UTC, as pins name it."""
    return datetime.now(UTC).date().isoformat()
