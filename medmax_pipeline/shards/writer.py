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
from typing import IO, NamedTuple

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
    SPAN_TYPE,
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
LINES_AT_ONCE = 8192
"""Lines of the index that wait to become columns; a column's line takes a tenth of the memory."""
COPIED_AT_ONCE = 1 << 20


class Written(NamedTuple):
    """What was written."""

    packs: int
    sequences: int
    tokens: int
    shards: int


class _Line(NamedTuple):
    """A sequence's line of the index."""

    entry: Entry
    shard: str
    block: int
    pack: int
    offset: int


class _Index:
    """Lines of the index so far: a few thousand as they came, which hold their sequences, the others as columns."""

    def __init__(self) -> None:
        self.packs = 0
        self._lines: list[_Line] = []
        self._batches: list[pa.RecordBatch] = []

    def add(self, line: _Line) -> None:
        self._lines.append(line)
        self.packs = line.pack + 1
        if len(self._lines) == LINES_AT_ONCE:
            self._columns()

    def table(self) -> pa.Table:
        self._columns()
        return pa.Table.from_batches(self._batches, schema=INDEX_SCHEMA).combine_chunks()

    def _columns(self) -> None:
        lines, self._lines = self._lines, []
        columns = [[getattr(line.entry, name) for line in lines] for name in INDEX_SCHEMA.names[:5]]
        columns += [[line[place] for line in lines] for place in range(1, 5)]
        columns.append([len(line.entry.sequence.ids) for line in lines])
        arrays = [pa.array(values, kind) for values, kind in zip(columns, INDEX_SCHEMA.types, strict=False)]
        self._batches.append(pa.record_batch([*arrays, _spans(lines)], schema=INDEX_SCHEMA))


def _spans(lines: list[_Line]) -> pa.Array:
    """The trained positions of each line."""
    edges = [span for line in lines for span in line.entry.sequence.spans]
    ends = np.cumsum([0, *(len(line.entry.sequence.spans) for line in lines)])
    values = [pa.array([edge[place] for edge in edges], pa.int32()) for place in range(2)]
    pairs = pa.StructArray.from_arrays(values, fields=list(SPAN_TYPE))
    return pa.ListArray.from_arrays(pa.array(ends, pa.int32()), pairs, type=INDEX_SCHEMA.field("spans").type)


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
    index = _Index()
    shards = tokens = 0
    last = False
    for credentialed, share in groupby(_checked(packs), key=lambda pack: pack[0].credentialed):
        if last and not credentialed:
            raise StoreError("an open pack comes after a credentialed one; write open packs first.")
        last = credentialed
        blocks = _blocks(share, credentialed, index)
        while chunk := list(islice(blocks, BLOCKS_PER_SHARD)):
            with open_atomic(folder / shard_name(credentialed, chunk[0].number)) as handle:
                _write_tar(handle, chunk)
            shards += 1
            tokens += sum(len(block.tokens) for block in chunk)
    table = index.table()
    write_table(folder / INDEX, table)
    return Written(index.packs, table.num_rows, tokens, shards)


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


def _blocks(packs: Iterable[Pack], credentialed: bool, index: _Index) -> Iterator[_Block]:
    """Whole packs as blocks of at most `BLOCK_TOKENS` ids; adds an index line for each sequence."""
    number = 0
    parts: list[npt.NDArray[np.uint16]] = []
    bounds = [0]
    for place, pack in enumerate(packs, index.packs):
        if bounds[-1] + sum(len(entry.sequence.ids) for entry in pack) > BLOCK_TOKENS:
            yield _block(number, parts, bounds)
            number, parts, bounds = number + 1, [], [0]
        for entry in pack:
            index.add(_Line(entry, shard_name(credentialed, number), number, place, bounds[-1]))
            parts.append(entry.sequence.ids)
            bounds.append(bounds[-1] + len(entry.sequence.ids))
    yield _block(number, parts, bounds)


def _block(number: int, parts: list[npt.NDArray[np.uint16]], bounds: list[int]) -> _Block:
    return _Block(number, np.concatenate(parts), np.array(bounds, dtype=np.int32))


def _write_tar(handle: IO[bytes], blocks: Iterable[_Block]) -> None:
    with tarfile.TarFile(fileobj=handle, mode="w", format=tarfile.USTAR_FORMAT, copybufsize=COPIED_AT_ONCE) as tar:
        for block in blocks:
            _add(tar, member_name(block.number, BOUNDS_MEMBER), block.bounds.astype("<i4", copy=False).tobytes())
            _add(tar, member_name(block.number, TOKENS_MEMBER), block.tokens.astype("<u2", copy=False).tobytes())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # owner, group and their names stay 0 and empty
    info.size, info.mtime, info.mode = len(data), 0, 0o644
    tar.addfile(info, io.BytesIO(data))
