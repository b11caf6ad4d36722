"""Packs as deterministic webdataset tars with an index: the same packs give the same bytes.

USTAR, fixed field set and order, modification time 0, no owner, mode 0644. Every tar appears whole or not at all; a
killed writer is simply run again. Which packs there are decides `tokens/pack.py`.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import open_atomic, write_table
from medmax_pipeline.shards import BLOCK_TOKENS
from medmax_pipeline.shards.layout import (
    BLOCKS_PER_SHARD,
    BOUNDS_MEMBER,
    INDEX,
    INDEX_SCHEMA,
    TOKENS_MEMBER,
    member_name,
    shard_name,
)
from medmax_pipeline.tokens.sequence import Sequence as TokenSequence


@dataclass(frozen=True, slots=True)
class Entry:
    """One sequence and what the index says of it."""

    sample_id: str
    source: str
    kind: str
    licence: str
    credentialed: bool
    sequence: TokenSequence


Pack = Sequence[Entry]


class Written(NamedTuple):
    """What was written."""

    packs: int
    sequences: int
    tokens: int
    shards: int


class _Block(NamedTuple):
    number: int
    tokens: npt.NDArray[np.uint16]
    bounds: npt.NDArray[np.int32]


def write_shards(folder: Path, packs: Iterable[Pack]) -> Written:
    """Write all tars and `index.parquet` of a folder.

    Args:
        folder: where to; tars of the same name are replaced.
        packs: every open pack before every credentialed one; read once, a block at a time.

    Raises:
        StoreError: a pack is empty, longer than a block, mixes credentialed and open, or comes out of order.
    """
    rows: list[dict[str, Any]] = []
    shards = tokens = 0
    last = False
    for credentialed, share in groupby(_checked(packs), key=lambda pack: pack[0].credentialed):
        if last and not credentialed:
            raise StoreError("an open pack comes after a credentialed one; write open packs first.")
        last = credentialed
        blocks = _blocks(share, credentialed, rows)
        while chunk := list(islice(blocks, BLOCKS_PER_SHARD)):
            with open_atomic(folder / shard_name(credentialed, chunk[0].number)) as handle:
                _write_tar(handle, chunk)
            shards += 1
            tokens += sum(len(block.tokens) for block in chunk)
    write_table(folder / INDEX, pa.Table.from_pylist(rows, schema=INDEX_SCHEMA))
    return Written(rows[-1]["pack"] + 1 if rows else 0, len(rows), tokens, shards)


def _checked(packs: Iterable[Pack]) -> Iterator[Pack]:
    for pack in packs:
        length = sum(len(entry.sequence.ids) for entry in pack)
        if not pack or not 0 < length <= BLOCK_TOKENS:
            raise StoreError(
                f"a pack of {length:,} ids; expected 1 to {BLOCK_TOKENS:,}, as packing.token_budget allows."
            )
        if len({entry.credentialed for entry in pack}) > 1:
            raise StoreError(f"the pack of {pack[0].sample_id} mixes credentialed and open sequences. Pack them apart.")
        yield pack


def _blocks(packs: Iterable[Pack], credentialed: bool, rows: list[dict[str, Any]]) -> Iterator[_Block]:
    """Whole packs as blocks of at most `BLOCK_TOKENS` ids; adds an index row for each sequence."""
    number = 0
    parts: list[npt.NDArray[np.uint16]] = []
    bounds = [0]
    next_pack = rows[-1]["pack"] + 1 if rows else 0
    for index, pack in enumerate(packs, next_pack):
        if bounds[-1] + sum(len(entry.sequence.ids) for entry in pack) > BLOCK_TOKENS:
            yield _block(number, parts, bounds)
            number, parts, bounds = number + 1, [], [0]
        for entry in pack:
            rows.append(_row(entry, shard_name(credentialed, number), number, index, bounds[-1]))
            parts.append(entry.sequence.ids)
            bounds.append(bounds[-1] + len(entry.sequence.ids))
    yield _block(number, parts, bounds)


def _block(number: int, parts: list[npt.NDArray[np.uint16]], bounds: list[int]) -> _Block:
    return _Block(number, np.concatenate(parts), np.array(bounds, dtype=np.int32))


def _row(entry: Entry, shard: str, block: int, pack: int, offset: int) -> dict[str, Any]:
    return {
        "sample_id": entry.sample_id,
        "source": entry.source,
        "kind": entry.kind,
        "licence": entry.licence,
        "credentialed": entry.credentialed,
        "shard": shard,
        "block": block,
        "pack": pack,
        "offset": offset,
        "length": len(entry.sequence.ids),
        "spans": [{"start": span.start, "end": span.end} for span in entry.sequence.spans],
    }


def _write_tar(handle: IO[bytes], blocks: Iterable[_Block]) -> None:
    with tarfile.open(fileobj=handle, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for block in blocks:
            _add(tar, member_name(block.number, BOUNDS_MEMBER), block.bounds.astype("<i4").tobytes())
            _add(tar, member_name(block.number, TOKENS_MEMBER), block.tokens.astype("<u2").tobytes())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # owner, group and their names stay 0 and empty
    info.size, info.mtime, info.mode = len(data), 0, 0o644
    tar.addfile(info, io.BytesIO(data))
