"""Packs back from memory-mapped tars, by number: the trainer's view of shards.

Map-style, so the whole state of a loader is one integer: how many packs were taken, whatever the number of ranks or
workers (rank r of W at step s takes position s * W + r). The order of each epoch is a seeded permutation that depends
on no library's generator. Collating and padding belong to `training/`.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq

from medmax_pipeline.errors import StoreError
from medmax_pipeline.files import read_json
from medmax_pipeline.shards.layout import BOUNDS_MEMBER, INDEX, TOKENS_MEMBER, VOCABULARY, member_name
from medmax_pipeline.shards.remote import RemoteFolder, is_address

TAR_BLOCK = 512
Spans = tuple[tuple[int, int], ...]


class Pack(NamedTuple):
    """One training step's sequences, unpadded."""

    ids: npt.NDArray[np.uint16]
    """(T,) token ids; read only."""
    cu_seqlens: npt.NDArray[np.int32]
    """(sequences + 1,) where each sequence begins, and T."""
    spans: tuple[Spans, ...]
    """For each sequence its trained positions (start, end), counted from the pack's first id."""
    sample_ids: tuple[str, ...]


class Block(NamedTuple):
    """Whole packs as they lie in a tar."""

    ids: npt.NDArray[np.uint16]
    """(T,) at most 65,536 ids; read only."""
    bounds: npt.NDArray[np.int32]
    """(sequences + 1,) where each sequence begins, and T."""


class _Member(NamedTuple):
    start: int
    size: int


class PackReader:
    """All packs of a folder of shards."""

    def __init__(self, folder: Path | RemoteFolder) -> None:
        """Read the index; tars are mapped, and before that fetched, when a pack of theirs is first asked for.

        Raises:
            StoreError: the index is missing, or its rows are not in the order of their packs.
        """
        self.folder = folder
        index = self._path(INDEX)
        if not index.is_file():
            raise StoreError(f"{folder}: has no {INDEX}. Expected a published folder of shards.")
        table = pq.read_table(index, columns=["sample_id", "shard", "block", "pack", "offset", "length", "spans"])
        self._sample_ids = table["sample_id"]
        self._shards = table["shard"]
        self._blocks, packs, self._offsets, self._lengths = (
            table[name].to_numpy().astype(np.int64) for name in ("block", "pack", "offset", "length")
        )
        steps = np.diff(packs, prepend=-1)
        if ((steps != 0) & (steps != 1)).any():
            raise StoreError(f"{folder}: packs of {INDEX} do not follow each other. Make the shards again.")
        self._rows = np.append(np.flatnonzero(steps), len(packs))
        spans = table["spans"].combine_chunks()
        self._span_offsets = spans.offsets.to_numpy().astype(np.int64)
        values = spans.values
        self._span_starts, self._span_ends = (values.field(name).to_numpy() for name in ("start", "end"))
        self._tars: dict[str, tuple[npt.NDArray[np.uint8], dict[str, _Member]]] = {}

    def __len__(self) -> int:
        """Number of packs."""
        return len(self._rows) - 1

    @property
    def sequences(self) -> int:
        """Number of sequences in all packs."""
        return len(self._lengths)

    @property
    def tokens(self) -> int:
        """Number of ids in all packs."""
        return int(self._lengths.sum())

    @property
    def vocabulary(self) -> dict[str, Any]:
        """What `vocabulary.json` says; compare with `layout.check_vocabulary`."""
        record: dict[str, Any] = read_json(self._path(VOCABULARY))
        return record

    def pack(self, number: int) -> Pack:
        """Pack `number`, 0 to len - 1.

        Raises:
            IndexError: there is no such pack.
            StoreError: the tar does not hold what the index says.
        """
        if not 0 <= number < len(self):
            raise IndexError(f"pack {number} of {len(self)}")
        first, end = int(self._rows[number]), int(self._rows[number + 1])
        offset = int(self._offsets[first])
        bounds = np.append(self._offsets[first:end], self._offsets[end - 1] + self._lengths[end - 1])
        tokens, written = self._block(self._shards[first].as_py(), int(self._blocks[first]))
        place = int(np.searchsorted(written, offset))
        if not np.array_equal(written[place : place + len(bounds)], bounds):
            raise StoreError(f"{self.folder}: pack {number} lies elsewhere than the index says. Make the shards again.")
        cu_seqlens = (bounds - offset).astype(np.int32)
        spans = tuple(
            self._spans(row, int(start)) for row, start in zip(range(first, end), cu_seqlens[:-1], strict=True)
        )
        names = tuple(self._sample_ids[first:end].to_pylist())
        return Pack(tokens[offset : int(bounds[-1])], cu_seqlens, spans, names)

    def order(self, epoch: int, seed: int) -> npt.NDArray[np.int64]:
        """The packs of one epoch: a permutation of 0 to len - 1 that depends on epoch, seed and len only."""
        return permutation(len(self), seed, epoch)

    def position(self, taken: int, seed: int) -> int:
        """Number of the pack that comes after `taken` packs, epoch after epoch.

        Raises:
            StoreError: there are no packs.
        """
        if not len(self):
            raise StoreError(f"{self.folder}: holds no pack; nothing can be trained on it.")
        epoch, within = divmod(taken, len(self))
        return int(self._epoch(epoch, seed)[within])

    def stream(
        self, taken: int, seed: int, rank: int = 0, ranks: int = 1, worker: int = 0, workers: int = 1
    ) -> Iterator[Pack]:
        """Endless packs for one of several ranks, beginning after `taken` packs of all ranks together.

        Where a rank reads with several workers, each has every `workers`-th of the rank's packs: taking from them in
        turn, as PyTorch's loader does, gives what one worker would have given.
        """
        position = taken + rank + worker * ranks
        while True:
            yield self.pack(self.position(position, seed))
            position += ranks * workers

    def _epoch(self, epoch: int, seed: int) -> npt.NDArray[np.int64]:
        """`order`, remembered for the epoch asked for last."""
        known = getattr(self, "_known_order", None)
        if known is None or known[0] != (epoch, seed):
            known = ((epoch, seed), self.order(epoch, seed))
            self._known_order = known
        order: npt.NDArray[np.int64] = known[1]
        return order

    def blocks(self) -> Iterator[Block]:
        """Every block in the order written: ids as they lie in the mapped tar, and where sequences begin.

        The fastest way through all ids, for what needs no single sample: counting, checking, an engine of variable
        length that takes whole blocks.

        Raises:
            StoreError: a tar is missing, cut, or holds other members.
        """
        for shard in pc.unique(self._shards).to_pylist():
            raw, members = map_tar(self._path(shard))
            whole = raw.view("<u2")
            for name, (start, size) in members.items():
                number, _, member = name.partition(".")
                if member == TOKENS_MEMBER:
                    bounds = members.get(f"{number}.{BOUNDS_MEMBER}")
                    if bounds is None:
                        raise StoreError(f"{self.folder}: {shard} has no bounds of block {number}. Make it again.")
                    yield Block(
                        whole[start // 2 : (start + size) // 2],
                        raw[bounds.start : bounds.start + bounds.size].view("<i4"),
                    )

    def fetch(self) -> None:
        """Bring every tar to this machine at once, instead of each when it is first asked for."""
        if isinstance(self.folder, RemoteFolder):
            self.folder.fetch(pc.unique(self._shards).to_pylist())

    def _path(self, name: str) -> Path:
        return self.folder.path(name) if isinstance(self.folder, RemoteFolder) else self.folder / name

    def _spans(self, row: int, start: int) -> Spans:
        first, end = self._span_offsets[row], self._span_offsets[row + 1]
        pairs = zip(self._span_starts[first:end].tolist(), self._span_ends[first:end].tolist(), strict=True)
        return tuple((start + begin, start + stop) for begin, stop in pairs)

    def _block(self, shard: str, block: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int32]]:
        if shard not in self._tars:
            self._tars[shard] = map_tar(self._path(shard))
        raw, members = self._tars[shard]
        try:
            found = [members[member_name(block, member)] for member in (TOKENS_MEMBER, BOUNDS_MEMBER)]
        except KeyError as error:
            raise StoreError(f"{self.folder}: {shard} has no member {error}. Make the shards again.") from None
        tokens, bounds = (raw[member.start : member.start + member.size] for member in found)
        return tokens.view("<u2"), bounds.view("<i4")


def open_packs(where: str, cache: Path) -> PackReader:
    """The packs of a folder of this machine, or of an address whose files are kept in `cache`."""
    return PackReader(RemoteFolder(where, cache) if is_address(where) else Path(where))


def map_tar(path: Path) -> tuple[npt.NDArray[np.uint8], dict[str, _Member]]:
    """A tar mapped into memory, and where its members lie; found by walking its headers.

    Raises:
        StoreError: it is missing, or is no whole tar of plain files.
    """
    if not path.is_file() or path.stat().st_size < TAR_BLOCK:
        raise StoreError(f"{path}: no such tar. Make the shards again.")
    with path.open("rb") as handle:
        mapped = mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ)
    raw = np.frombuffer(mapped, dtype=np.uint8)  # a plain array: slices of a np.memmap cost some microseconds each
    members: dict[str, _Member] = {}
    at = 0
    while at + TAR_BLOCK <= len(raw):
        header = mapped[at : at + TAR_BLOCK]
        if not header[0] and not header.strip(b"\0"):
            return raw, members
        name = header[:100].rstrip(b"\0").decode("ascii", "replace")
        digits = header[124:136].rstrip(b"\0 ")
        if header[257:263] != b"ustar\0" or header[156:157] != b"0" or not digits.isdigit():
            raise StoreError(f"{path}: no plain USTAR header at byte {at}. Expected a tar of ours.")
        member = _Member(at + TAR_BLOCK, int(digits, 8))
        if member.start + member.size > len(raw):
            raise StoreError(f"{path}: {name} runs past the end; the tar was cut. Make the shards again.")
        members[name] = member
        at = member.start + -(-member.size // TAR_BLOCK) * TAR_BLOCK
    raise StoreError(f"{path}: has no end mark; the tar was cut. Make the shards again.")


def permutation(count: int, seed: int, epoch: int) -> npt.NDArray[np.int64]:
    """0 to count - 1 in the order of SplitMix64 hashes of (seed, epoch, number): the same with every numpy."""
    base = _mix(_mix(np.array([seed % 2**64], dtype=np.uint64)) + np.array([epoch], dtype=np.uint64))
    return np.argsort(_mix(base + np.arange(count).astype(np.uint64)), kind="stable")


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea, Flood 2014): a bijection of 64-bit numbers without visible structure."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))
