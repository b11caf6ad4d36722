"""Packs as deterministic webdataset tars with an index: the same packs give the same bytes.

USTAR, fixed field set and order, modification time 0, no owner, mode 0644. Every tar appears whole or not at all; a
killed writer is simply run again. Which packs there are decides `tokens/pack.py`.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby, islice
from operator import attrgetter
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


ROOM_BYTES = 2 << 20
"""Of a tar in memory; more is no faster. Room for the longest block: 65,536 ids, each a sequence of its own."""


class Written(NamedTuple):
    """What was written."""

    packs: int
    sequences: int
    tokens: int
    shards: int


class _Block(NamedTuple):
    """Whole packs of at most `BLOCK_TOKENS` ids together; `packs` says of each sequence which pack it is of."""

    number: int
    entries: list[Entry]
    lengths: list[int]
    packs: list[int]

    @property
    def bounds(self) -> npt.NDArray[np.int32]:
        """Where each sequence begins, and the end of the last."""
        return np.cumsum([0, *self.lengths], dtype=np.int32)


_SPANS = attrgetter("sequence.spans")


class _Index:
    """Lines of the index so far: a few thousand as they came, which hold their sequences, the others as columns."""

    def __init__(self) -> None:
        self.packs = 0
        self._waiting: list[tuple[str, _Block]] = []
        self._lines = 0
        self._batches: list[pa.RecordBatch] = []

    def add(self, shard: str, block: _Block) -> None:
        self._waiting.append((shard, block))
        self._lines += len(block.entries)
        if self._lines >= LINES_AT_ONCE:
            self._columns()

    def table(self) -> pa.Table:
        self._columns()
        return pa.Table.from_batches(self._batches, schema=INDEX_SCHEMA).combine_chunks()

    def _columns(self) -> None:
        waiting, self._waiting, self._lines = self._waiting, [], 0
        if not waiting:
            return
        entries = [entry for _, block in waiting for entry in block.entries]
        counts = [len(block.entries) for _, block in waiting]
        said: list[object] = [[getattr(entry, name) for entry in entries] for name in INDEX_SCHEMA.names[:5]]
        placed: list[object] = [
            [shard for (shard, block), count in zip(waiting, counts, strict=True) for _ in range(count)],
            np.repeat([block.number for _, block in waiting], counts),
            list(chain.from_iterable(block.packs for _, block in waiting)),
            np.concatenate([block.bounds[:-1] for _, block in waiting]),
            list(chain.from_iterable(block.lengths for _, block in waiting)),
        ]
        arrays = [pa.array(values, kind) for values, kind in zip([*said, *placed], INDEX_SCHEMA.types, strict=False)]
        self._batches.append(pa.record_batch([*arrays, _spans(entries)], schema=INDEX_SCHEMA))


def _spans(entries: list[Entry]) -> pa.Array:
    """The trained positions of each sequence."""
    spans = list(map(_SPANS, entries))
    ends = np.cumsum([0, *map(len, spans)], dtype=np.int32)
    edges = np.fromiter(chain.from_iterable(chain.from_iterable(spans)), np.int32, 2 * int(ends[-1]))
    pairs = pa.StructArray.from_arrays([pa.array(edges[place::2]) for place in range(2)], fields=list(SPAN_TYPE))
    return pa.ListArray.from_arrays(pa.array(ends), pairs, type=INDEX_SCHEMA.field("spans").type)


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
    for credentialed, share in groupby(_checked(packs), key=lambda checked: checked[0][0].credentialed):
        if last and not credentialed:
            raise StoreError("an open pack comes after a credentialed one; write open packs first.")
        last = credentialed
        blocks = _blocks(share, index)
        while first := next(blocks, None):
            name = shard_name(credentialed, first.number)
            with open_atomic(folder / name) as handle:
                tar = _Tar(handle)
                for block in chain([first], islice(blocks, BLOCKS_PER_SHARD - 1)):
                    tar.add(block)
                    index.add(name, block)
                    tokens += sum(block.lengths)
                tar.close()
            shards += 1
    table = index.table()
    write_table(folder / INDEX, table)
    return Written(index.packs, table.num_rows, tokens, shards)


def _checked(packs: Iterable[Pack]) -> Iterator[tuple[Pack, list[int]]]:
    """Packs with the lengths of their sequences."""
    for pack in packs:
        lengths = [len(entry.sequence.ids) for entry in pack]
        if not 0 < sum(lengths) <= BLOCK_TOKENS:
            raise StoreError(
                f"a pack of {sum(lengths):,} ids; expected 1 to {BLOCK_TOKENS:,}, as packing.token_budget allows."
            )
        if len({entry.credentialed for entry in pack}) > 1:
            raise StoreError(f"the pack of {pack[0].sample_id} mixes credentialed and open sequences. Pack them apart.")
        yield pack, lengths


def _blocks(packs: Iterable[tuple[Pack, list[int]]], index: _Index) -> Iterator[_Block]:
    """Whole packs as blocks of at most `BLOCK_TOKENS` ids."""
    block, filled = _Block(0, [], [], []), 0
    for pack, lengths in packs:
        taken = sum(lengths)
        if filled + taken > BLOCK_TOKENS:
            yield block
            block, filled = _Block(block.number + 1, [], [], []), 0
        block.entries.extend(pack)
        block.lengths.extend(lengths)
        block.packs.extend([index.packs] * len(pack))
        index.packs += 1
        filled += taken
    yield block


class _Tar:
    """A tar put together in memory some blocks at a time: fewer and larger writes cost half of many small ones."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self._room = np.empty(ROOM_BYTES, dtype=np.uint8)
        self._at = 0

    def add(self, block: _Block) -> None:
        """A block's two members: bounds, then ids."""
        bounds, length = block.bounds.astype("<i4", copy=False), sum(block.lengths)
        members = 2 * length + bounds.nbytes + 4 * tarfile.BLOCKSIZE
        if self._at + members > len(self._room):
            self._flush()
        self._member(member_name(block.number, BOUNDS_MEMBER), bounds.nbytes)[:] = bounds.view(np.uint8)
        ids = self._member(member_name(block.number, TOKENS_MEMBER), 2 * length).view("<u2")
        np.concatenate([entry.sequence.ids for entry in block.entries], out=ids)

    def close(self) -> None:
        """The end mark, filled to a whole record as POSIX has it."""
        self._flush()
        self._handle.write(bytes(2 * tarfile.BLOCKSIZE))
        self._handle.write(bytes(-self._handle.tell() % tarfile.RECORDSIZE))

    def _member(self, name: str, size: int) -> npt.NDArray[np.uint8]:
        """Where the data of a member go; its header and the zeros behind it are written."""
        start = self._at + tarfile.BLOCKSIZE
        self._room[self._at : start] = np.frombuffer(ustar_header(name, size), dtype=np.uint8)
        self._at = start + -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
        self._room[start + size : self._at] = 0
        return self._room[start : start + size]

    def _flush(self) -> None:
        self._handle.write(self._room[: self._at].data)
        self._at = 0


_HEADER = b"\0" * 100 + b"0000644\0" + b"0000000\0" * 2 + b"%011o\0" + b"00000000000\0" + b"%s0"
_HEADER += b"\0" * 100 + b"ustar\x0000" + b"\0" * 247


def ustar_header(name: str, size: int) -> bytes:
    """512 bytes: a plain file of mode 0644, modification time 0, no owner's name (POSIX 1003.1-1988, ustar).

    Equal to what `tarfile` writes, in a tenth of its time.
    """
    named = name.encode("ascii")
    blank = bytearray(_HEADER % (size, b" " * 8))
    blank[: len(named)] = named
    blank[148:156] = b"%06o\0 " % sum(blank)
    return bytes(blank)
