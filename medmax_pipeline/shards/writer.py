"""Packs as deterministic webdataset tars with an index: the same packs give the same bytes.

USTAR, fixed field set and order, modification time 0, no owner, mode 0644. Every tar appears whole or not at all; a
killed writer is simply run again. Which packs there are decides `tokens/pack.py`.
"""

from __future__ import annotations

import sys
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, groupby, islice
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

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
from medmax_pipeline.tokens.sequence import Ids
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
REPEATING = ("source", "kind", "licence", "shard")
"""Columns of few values. Nothing else gains from a dictionary; packed the file would be 2 % of the tars smaller."""
HELD_BYTES = 2 << 20
"""Of a tar in memory before it is written; more is no faster."""


class Written(NamedTuple):
    """What was written."""

    packs: int
    sequences: int
    tokens: int
    shards: int


class Block(NamedTuple):
    """Whole packs of at most `BLOCK_TOKENS` ids together."""

    number: int
    entries: list[Entry]
    ids: list[Ids]
    bounds: npt.NDArray[np.int32]
    """Where each sequence begins, and the end of the last."""
    first_pack: int
    counts: list[int]
    """Sequences of each pack."""


class _Index:
    """Lines of the index so far: a few thousand as they came, which hold their sequences, the others as columns."""

    def __init__(self) -> None:
        self._waiting: list[tuple[str, Block]] = []
        self._lines = 0
        self._batches: list[pa.RecordBatch] = []

    def add(self, shard: str, block: Block) -> None:
        self._waiting.append((shard, block))
        self._lines += len(block.entries)
        if self._lines >= LINES_AT_ONCE:
            self._columns()

    def table(self) -> pa.Table:
        self._columns()
        return pa.Table.from_batches(self._batches, schema=INDEX_SCHEMA).combine_chunks()

    def _columns(self) -> None:
        shards, blocks = [shard for shard, _ in self._waiting], [block for _, block in self._waiting]
        self._waiting, self._lines = [], 0
        if not blocks:
            return
        entries = list(chain.from_iterable(block.entries for block in blocks))
        lines = [len(block.entries) for block in blocks]
        counts = list(chain.from_iterable(block.counts for block in blocks))
        columns: list[object] = [
            [entry.sample_id for entry in entries],
            [entry.source for entry in entries],
            [entry.kind for entry in entries],
            [entry.licence for entry in entries],
            np.repeat([block.entries[0].credentialed for block in blocks], lines),
            pa.array(shards).take(pa.array(np.repeat(np.arange(len(blocks)), lines))),
            np.repeat([block.number for block in blocks], lines),
            np.repeat(np.arange(blocks[0].first_pack, blocks[0].first_pack + len(counts)), counts),
            np.concatenate([block.bounds[:-1] for block in blocks]),
            np.concatenate([block.bounds[1:] - block.bounds[:-1] for block in blocks]),
            [entry.sequence.spans for entry in entries],
        ]
        arrays = [pa.array(values, kind) for values, kind in zip(columns, INDEX_SCHEMA.types, strict=True)]
        self._batches.append(pa.record_batch(arrays, schema=INDEX_SCHEMA))


def write_shards(folder: Path, packs: Iterable[Pack]) -> Written:
    """Write all tars and `index.parquet` of a folder.

    Args:
        folder: where to; tars of the same name are replaced.
        packs: every open pack before every credentialed one; read once, a block at a time.

    Raises:
        StoreError: a pack is empty, longer than a block, mixes credentialed and open, or comes out of order.
    """
    index = _Index()
    packs_made = tokens = 0
    names = set()
    for name, block in written_blocks(folder, packs):
        index.add(name, block)
        names.add(name)
        tokens += int(block.bounds[-1])
        packs_made = block.first_pack + len(block.counts)
    table = index.table()
    write_table(folder / INDEX, table, repeating=REPEATING)
    return Written(packs_made, table.num_rows, tokens, len(names))


def written_blocks(folder: Path, packs: Iterable[Pack]) -> Iterator[tuple[str, Block]]:
    """Write the tars alone; each block with its tar's name when it is in there. Arguments and errors as above."""
    last = False
    first_pack = 0
    for credentialed, share in groupby(packs, key=_credentialed):
        if last and not credentialed:
            raise StoreError("an open pack comes after a credentialed one; write open packs first.")
        last = credentialed
        blocks = _blocks(share, first_pack)
        while first := next(blocks, None):
            name = shard_name(credentialed, first.number)
            with open_atomic(folder / name) as handle:
                tar = _Tar(handle)
                for block in chain([first], islice(blocks, BLOCKS_PER_SHARD - 1)):
                    tar.add(block)
                    first_pack = block.first_pack + len(block.counts)
                    yield name, block
                tar.close()


def _credentialed(pack: Pack) -> bool:
    """Whether a pack is, for it is or is not as a whole."""
    first = bool(pack) and pack[0].credentialed
    for entry in pack:
        if entry.credentialed != first:
            raise StoreError(f"the pack of {entry.sample_id} mixes credentialed and open sequences. Pack them apart.")
    return first


def _blocks(packs: Iterable[Pack], first_pack: int) -> Iterator[Block]:
    """Whole packs as blocks of at most `BLOCK_TOKENS` ids."""
    number = filled = 0
    entries: list[Entry] = []
    ids: list[Ids] = []
    lengths: list[int] = []
    counts: list[int] = []
    for pack in packs:
        own = [entry.sequence.ids for entry in pack]
        sizes = [*map(len, own)]
        taken = sum(sizes)
        if not 0 < taken <= BLOCK_TOKENS:
            raise StoreError(
                f"a pack of {taken:,} ids; expected 1 to {BLOCK_TOKENS:,}, as packing.token_budget allows."
            )
        if filled + taken > BLOCK_TOKENS:
            yield Block(number, entries, ids, _bounds(lengths), first_pack, counts)
            number, first_pack, filled = number + 1, first_pack + len(counts), 0
            entries, ids, lengths, counts = [], [], [], []
        entries += pack
        ids += own
        lengths += sizes
        counts.append(len(own))
        filled += taken
    yield Block(number, entries, ids, _bounds(lengths), first_pack, counts)


def _bounds(lengths: Sequence[int]) -> npt.NDArray[np.int32]:
    """Where each begins, and the end of the last."""
    return np.fromiter(accumulate(lengths, initial=0), np.int32, len(lengths) + 1)


class _Tar:
    """A tar put together in memory some blocks at a time: fewer and larger writes cost half of many small ones."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self._pieces: list[bytes | npt.NDArray[Any]] = []
        self._held = 0

    def add(self, block: Block) -> None:
        """A block's two members: bounds, then ids."""
        bounds, length = block.bounds.astype("<i4", copy=False), int(block.bounds[-1])
        self._member(member_name(block.number, BOUNDS_MEMBER), bounds.nbytes, [bounds])
        ids = block.ids if sys.byteorder == "little" else [one.astype("<u2") for one in block.ids]
        self._member(member_name(block.number, TOKENS_MEMBER), 2 * length, ids)
        if self._held >= HELD_BYTES:
            self._flush()

    def close(self) -> None:
        """The end mark, filled to a whole record as POSIX has it."""
        self._flush()
        self._handle.write(bytes(2 * tarfile.BLOCKSIZE))
        self._handle.write(bytes(-self._handle.tell() % tarfile.RECORDSIZE))

    def _member(self, name: str, size: int, data: Iterable[npt.NDArray[Any]]) -> None:
        """A header, the data, and zeros up to a whole block."""
        zeros = bytes(-size % tarfile.BLOCKSIZE)
        self._pieces.append(ustar_header(name, size))
        self._pieces += data
        self._pieces.append(zeros)
        self._held += tarfile.BLOCKSIZE + size + len(zeros)

    def _flush(self) -> None:
        """Join, which copies in half the time that numpy takes for pieces of 2 KB, and write."""
        whole = b"".join(cast("list[bytes]", self._pieces))  # an array is a buffer, and joins like one
        if len(whole) != self._held:
            raise StoreError(f"{len(whole):,} bytes of a tar where {self._held:,} are announced; ids must be uint16.")
        self._handle.write(whole)
        self._pieces, self._held = [], 0


_BEFORE = b"0000644\0" + b"0000000\0" * 2
_BEHIND = b"0" + b"\0" * 100 + b"ustar\x0000" + b"\0" * 247
_ALWAYS = sum(_BEFORE) + sum(_BEHIND) + sum(b"\0" + b"00000000000\0" + b" " * 8)
"""What a checksum has from everything but name and size; its own place counts as blanks."""


def ustar_header(name: str, size: int) -> bytes:
    """512 bytes: a plain file of mode 0644, modification time 0, no owner's name (POSIX 1003.1-1988, ustar).

    Equal to what `tarfile` writes, in a small part of its time.
    """
    named, length = name.encode("ascii"), b"%011o" % size
    checksum = b"%06o\0 " % (_ALWAYS + sum(named) + sum(length))
    return b"%b%b%b\x0000000000000\0%b%b" % (named.ljust(100, b"\0"), _BEFORE, length, checksum, _BEHIND)
