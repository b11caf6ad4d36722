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


_SAID = attrgetter(*INDEX_SCHEMA.names[:5])
_SPANS = attrgetter("sequence.spans")
_IDS = attrgetter("sequence.ids")


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
        said = [list(values) for values in zip(*map(_SAID, entries), strict=True)]
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
                for block in chain([first], islice(blocks, BLOCKS_PER_SHARD - 1)):
                    _write_block(handle, block)
                    index.add(name, block)
                    tokens += sum(block.lengths)
                _end_tar(handle)
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


def _write_block(handle: IO[bytes], block: _Block) -> None:
    """A block's two members: bounds, then ids."""
    tokens = np.concatenate(list(map(_IDS, block.entries))).astype("<u2", copy=False)
    for member, data in ((BOUNDS_MEMBER, block.bounds.astype("<i4", copy=False)), (TOKENS_MEMBER, tokens)):
        info = tarfile.TarInfo(member_name(block.number, member))  # owner, group and their names stay 0 and empty
        info.size, info.mtime, info.mode = data.nbytes, 0, 0o644
        handle.write(info.tobuf(tarfile.USTAR_FORMAT))
        handle.write(data.data)
        handle.write(bytes(-data.nbytes % tarfile.BLOCKSIZE))


def _end_tar(handle: IO[bytes]) -> None:
    """The end mark, filled to a whole record as POSIX has it."""
    handle.write(bytes(2 * tarfile.BLOCKSIZE))
    handle.write(bytes(-handle.tell() % tarfile.RECORDSIZE))
