"""The sorted index over the parts of a code store: which part and row holds a picture, found by one binary search.

    index    8 bytes of magic, 8 of the header's length, the header (JSON: names of the parts, number of pictures,
             digest of what follows), n first eight bytes of image ids as sorted uint64, n places as uint64
             (part << 32 | row); all numbers little-endian

It is made from the parts alone and may be deleted at any time; it is replaced whole, so who has it mapped keeps what
they opened. What it says is a hint: ids are compared with those in the part. 16 bytes a picture, mapped, not read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medmax_pipeline.files import canonical, open_atomic
from medmax_pipeline.tokens.parts import ID_BYTES, Part, RawIds

INDEX = "index"
MAGIC = b"mmcodes1"
MAX_HEADER_BYTES = 64 << 20
"""Ours: a million names of parts take less."""
ROW_BITS = 32
ROWS = np.uint64((1 << ROW_BITS) - 1)

Numbers = npt.NDArray[np.uint64]


class Index(NamedTuple):
    """A mapped index."""

    parts: tuple[str, ...]
    """Names of the parts that it covers; places number them."""
    heads: Numbers
    """First eight bytes of each id, as a big-endian number; sorted."""
    places: Numbers


class Found(NamedTuple):
    """Where pictures lie."""

    numbers: npt.NDArray[np.int64]
    """Of the part, in the order of `Index.parts`; -1: in none."""
    rows: npt.NDArray[np.int64]


def heads_of(ids: RawIds) -> Numbers:
    """The first eight bytes of each id as a number, whose order is that of the ids."""
    if not len(ids):
        return np.zeros(0, dtype=np.uint64)
    raw = np.ascontiguousarray(ids).view(np.uint8).reshape(-1, ID_BYTES)
    return np.ascontiguousarray(raw[:, :8]).view(">u8").ravel().astype(np.uint64)


def write_index(path: Path, parts: Sequence[Part]) -> list[Part]:
    """Publish the index over these parts; those of them that hold no picture which an earlier one lacks.

    What the index names are all others.
    """
    heads = np.concatenate([heads_of(part.ids) for part in parts])
    places = np.concatenate(
        [np.arange(len(part.ids), dtype=np.uint64) + np.uint64(n << ROW_BITS) for n, part in enumerate(parts)]
    )
    order = np.argsort(heads, kind="stable")
    heads, places = heads[order], places[order]
    kept = ~_doubles(heads, places, parts)
    heads, places = heads[kept], places[kept]
    held = np.zeros(len(parts), dtype=np.bool_)
    held[(places >> np.uint64(ROW_BITS)).astype(np.int64)] = True
    numbers = (np.cumsum(held) - 1).astype(np.uint64)
    places = (numbers[(places >> np.uint64(ROW_BITS)).astype(np.int64)] << np.uint64(ROW_BITS)) | (places & ROWS)
    body = (heads.astype("<u8").data, places.astype("<u8").data)
    digest = hashlib.sha256(body[0])
    digest.update(body[1])
    names = [part.path.name for number, part in enumerate(parts) if held[number]]
    header = canonical({"parts": names, "pictures": len(heads), "sha256": digest.hexdigest()})
    header += b" " * (-len(header) % 8)
    with open_atomic(path) as handle:
        handle.write(MAGIC + len(header).to_bytes(8, "little") + header)
        handle.write(body[0])
        handle.write(body[1])
    return [part for number, part in enumerate(parts) if not held[number]]


def read_index(path: Path, *, check: bool = False) -> Index | None:
    """Map an index; None where there is none, or where it is not whole. `check`: also hold it against its digest."""
    try:
        raw = np.asarray(np.memmap(path, dtype=np.uint8, mode="r"))
    except (FileNotFoundError, ValueError):  # numpy maps no empty file
        return None
    begin = len(MAGIC) + 8
    length = int.from_bytes(raw[len(MAGIC) : begin].tobytes(), "little")
    if raw[: len(MAGIC)].tobytes() != MAGIC or length > min(MAX_HEADER_BYTES, len(raw) - begin):
        return None
    try:
        header = json.loads(raw[begin : begin + length].tobytes())
        names, count, digest = tuple(map(str, header["parts"])), int(header["pictures"]), header["sha256"]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    body = raw[begin + length :]
    if count < 0 or len(body) != 16 * count or (check and hashlib.sha256(body.data).hexdigest() != digest):
        return None
    numbers = body.view("<u8")
    return Index(names, numbers[:count], numbers[count:])


def find(index: Index, parts: Sequence[Part | None], wanted: RawIds) -> Found:
    """Where pictures lie.

    Args:
        index: from `read_index`.
        parts: the parts that it names, in its order; None: gone.
        wanted: (n,) ids.
    """
    numbers, rows = np.full(len(wanted), -1, dtype=np.int64), np.zeros(len(wanted), dtype=np.int64)
    heads = heads_of(wanted)
    asked = np.argsort(heads)  # neighbours lie on one page
    at = np.searchsorted(index.heads, heads[asked])
    while len(asked):
        here = at < len(index.heads)
        here[here] = index.heads[at[here]] == heads[asked[here]]
        asked, at = asked[here], at[here]
        places = index.places[at]
        number, row = (places >> np.uint64(ROW_BITS)).astype(np.int64), (places & ROWS).astype(np.int64)
        same = np.zeros(len(asked), dtype=np.bool_)
        for one, group in by_number(number):
            part = parts[one] if one < len(parts) else None
            if part is not None:
                group = group[row[group] < len(part.ids)]
                same[group] = part.ids[row[group]] == wanted[asked[group]]
        numbers[asked[same]], rows[asked[same]] = number[same], row[same]
        asked, at = asked[~same], at[~same] + 1
    return Found(numbers, rows)


def by_number(numbers: npt.NDArray[np.int64]) -> list[tuple[int, npt.NDArray[np.int64]]]:
    """Places in an array by the value that stands there, each value once."""
    order = np.argsort(numbers, kind="stable")
    values, starts = np.unique(numbers[order], return_index=True)
    return list(zip(values.tolist(), np.split(order, starts[1:]), strict=True)) if len(values) else []


def _doubles(heads: Numbers, places: Numbers, parts: Sequence[Part]) -> npt.NDArray[np.bool_]:
    """Which entries name a picture that the entry before them names too."""
    doubled = np.zeros(len(heads), dtype=np.bool_)
    alike = np.flatnonzero(heads[1:] == heads[:-1]) + 1
    if len(alike):
        doubled[alike] = _ids_at(places[alike], parts) == _ids_at(places[alike - 1], parts)
    return doubled


def _ids_at(places: Numbers, parts: Sequence[Part]) -> RawIds:
    ids = np.empty(len(places), dtype=f"S{ID_BYTES}")
    rows = (places & ROWS).astype(np.int64)
    for number, group in by_number((places >> np.uint64(ROW_BITS)).astype(np.int64)):
        ids[group] = parts[number].ids[rows[group]]
    return ids
