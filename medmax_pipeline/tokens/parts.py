"""Parts of the code store: files of sorted image ids and their codes, named by the digest of their bytes.

    {open,credentialed}-<digest>.part    n ids of 32 raw bytes, sorted, then n x N codes as little-endian uint16

A part is published whole and never changed. Writing one, mapping one and merging several into one are here; which
parts there are, and looking pictures up in them, is `store.py`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import open_atomic, sha256_bytes, write_bytes

ID_BYTES = 32
PART = ".part"
NAME_DIGITS = 32
OPEN, CREDENTIALED = "open", "credentialed"
KINDS = (OPEN, CREDENTIALED)
"""Codes of credentialed pictures, which decode to the picture, never share a file with open ones."""
MERGED_AT_ONCE = 4096
"""Pictures whose codes are in memory while parts are merged: 8 MiB of 1,024 codes each."""

Codes = npt.NDArray[np.uint16]
RawIds = npt.NDArray[np.bytes_]


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """One mapped part; the mapping outlives the file's name."""

    path: Path
    ids: RawIds
    """(n,) of 32 bytes, sorted."""
    codes: Codes
    """(n, N)."""

    @property
    def kind(self) -> str:
        """`open` or `credentialed`."""
        return self.path.name.partition("-")[0]


def map_part(path: Path, codes_per_image: int) -> Part:
    """Map one part.

    Raises:
        StoreError: it is not whole.
        FileNotFoundError: it was merged into another one meanwhile.
    """
    size = path.stat().st_size
    count, rest = divmod(size, ID_BYTES + 2 * codes_per_image)
    if rest or not count:
        raise StoreError(
            f"{path}: {size} bytes are no whole pictures. Remove the file; its pictures are encoded again."
        )
    raw = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    ids = raw[: count * ID_BYTES].view(f"S{ID_BYTES}")
    return Part(path, ids, raw[count * ID_BYTES :].view("<u2").reshape(count, codes_per_image))


def write_part(folder: Path, kind: str, ids: RawIds, codes: npt.NDArray[np.integer]) -> Path:
    """Publish one part.

    Args:
        folder: the store's.
        kind: `open` or `credentialed`.
        ids: (n,) raw, in any order, no two alike.
        codes: (n, N) in 0 to 65,535.
    """
    order = np.argsort(ids, kind="stable")
    data = ids[order].tobytes() + codes[order].astype("<u2").tobytes()
    path = folder / part_name(kind, sha256_bytes(data))
    write_bytes(path, data)
    return path


def merge_parts(folder: Path, parts: Sequence[Part]) -> Path:
    """Publish one part with every picture of several of one kind, each picture once; the several stay."""
    digest = hashlib.sha256()
    for piece in _merged(parts):
        digest.update(piece)
    path = folder / part_name(parts[0].kind, digest.hexdigest())
    with open_atomic(path) as handle:
        for piece in _merged(parts):
            handle.write(piece)
    return path


def part_name(kind: str, digest: str) -> str:
    """The file name of a part whose bytes have this sha256."""
    return f"{kind}-{digest[:NAME_DIGITS]}{PART}"


def _merged(parts: Sequence[Part]) -> Iterator[bytes]:
    """The bytes of the merged part, a piece at a time."""
    ids = np.concatenate([part.ids for part in parts])
    order = np.argsort(ids, kind="stable")
    first = np.ones(len(order), dtype=np.bool_)
    first[1:] = ids[order][1:] != ids[order][:-1]
    order = order[first]
    yield ids[order].tobytes()
    ends = np.cumsum([len(part.ids) for part in parts])
    for start in range(0, len(order), MERGED_AT_ONCE):
        places = order[start : start + MERGED_AT_ONCE]
        numbers = np.searchsorted(ends, places, side="right")
        codes = np.empty((len(places), parts[0].codes.shape[1]), dtype="<u2")
        for number in np.unique(numbers).tolist():
            here = numbers == number
            codes[here] = parts[number].codes[places[here] - (ends[number] - len(parts[number].ids))]
        yield codes.tobytes()
