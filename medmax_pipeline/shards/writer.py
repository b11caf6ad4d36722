"""Packs as deterministic webdataset tars with an index: the same packs give the same bytes.

USTAR, fixed field set and order, modification time 0, no owner, mode 0644. Every tar appears whole or not at all; a
killed writer is simply run again. Which packs there are decides `tokens/pack.py`.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, chain, groupby, islice
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
"""Columns of few values; the others gain nothing from a dictionary, and to try costs a fifth of the writing."""
ROOM_BYTES = 2 << 20
"""Of a tar in memory; more is no faster. Room for the longest block: 65,536 ids, each a sequence of its own."""


class Written(NamedTuple):
    """What was written."""

    packs: int
    sequences: int
    tokens: int
    shards: int


class _Block(NamedTuple):
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
            [entry.credentialed for entry in entries],
            pa.array(shards).take(pa.array(np.repeat(np.arange(len(blocks)), lines))),
            np.repeat([block.number for block in blocks], lines),
            np.repeat(np.arange(blocks[0].first_pack, blocks[0].first_pack + len(counts)), counts),
            np.concatenate([block.bounds[:-1] for block in blocks]),
            np.concatenate([block.bounds[1:] - block.bounds[:-1] for block in blocks]),
        ]
        arrays = [pa.array(values, kind) for values, kind in zip(columns, INDEX_SCHEMA.types, strict=False)]
        self._batches.append(pa.record_batch([*arrays, _spans(entries)], schema=INDEX_SCHEMA))


def _spans(entries: list[Entry]) -> pa.Array:
    """The trained positions of each sequence."""
    spans = [entry.sequence.spans for entry in entries]
    ends = np.zeros(len(spans) + 1, dtype=np.int32)
    np.cumsum(np.fromiter(map(len, spans), np.int32, len(spans)), out=ends[1:])
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
    shards = made = tokens = 0
    last = False
    for credentialed, share in groupby(packs, key=_credentialed):
        if last and not credentialed:
            raise StoreError("an open pack comes after a credentialed one; write open packs first.")
        last = credentialed
        blocks = _blocks(share, made)
        while first := next(blocks, None):
            name = shard_name(credentialed, first.number)
            with open_atomic(folder / name) as handle:
                tar = _Tar(handle)
                for block in chain([first], islice(blocks, BLOCKS_PER_SHARD - 1)):
                    tar.add(block)
                    index.add(name, block)
                    tokens += int(block.bounds[-1])
                    made = block.first_pack + len(block.counts)
                tar.close()
            shards += 1
    table = index.table()
    write_table(folder / INDEX, table, repeating=REPEATING)
    return Written(made, table.num_rows, tokens, shards)


def _credentialed(pack: Pack) -> bool:
    """Whether a pack is, for it is or is not as a whole."""
    found = {entry.credentialed for entry in pack}
    if len(found) > 1:
        raise StoreError(f"the pack of {pack[0].sample_id} mixes credentialed and open sequences. Pack them apart.")
    return True in found


def _blocks(packs: Iterable[Pack], first_pack: int) -> Iterator[_Block]:
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
            yield _Block(number, entries, ids, _bounds(lengths), first_pack, counts)
            number, first_pack, filled = number + 1, first_pack + len(counts), 0
            entries, ids, lengths, counts = [], [], [], []
        entries += pack
        ids += own
        lengths += sizes
        counts.append(len(own))
        filled += taken
    yield _Block(number, entries, ids, _bounds(lengths), first_pack, counts)


def _bounds(lengths: Sequence[int]) -> npt.NDArray[np.int32]:
    """Where each begins, and the end of the last."""
    return np.fromiter(accumulate(lengths, initial=0), np.int32, len(lengths) + 1)


class _Tar:
    """A tar put together in memory some blocks at a time: fewer and larger writes cost half of many small ones."""

    def __init__(self, handle: IO[bytes]) -> None:
        self._handle = handle
        self._room = np.empty(ROOM_BYTES, dtype=np.uint8)
        self._at = 0

    def add(self, block: _Block) -> None:
        """A block's two members: bounds, then ids."""
        bounds, length = block.bounds.astype("<i4", copy=False), int(block.bounds[-1])
        members = 2 * length + bounds.nbytes + 4 * tarfile.BLOCKSIZE
        if self._at + members > len(self._room):
            self._flush()
        self._member(member_name(block.number, BOUNDS_MEMBER), bounds.nbytes)[:] = bounds.view(np.uint8)
        ids = self._member(member_name(block.number, TOKENS_MEMBER), 2 * length).view("<u2")
        np.concatenate(block.ids, out=ids)

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
