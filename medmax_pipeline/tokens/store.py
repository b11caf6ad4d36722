"""The code store: what the image tokenizer gave for each picture, kept under the picture's content hash.

    <folder>/geometry.json                    codes per image
    <folder>/{open,credentialed}-<digest>.part   codes (`parts.py`): the store is what its parts hold, no more
    <folder>/index                            where each picture lies (`index.py`); made from the parts, may be deleted
    <folder>/lock                             held by whoever writes

Any number of processes may read and add at once. A part appears whole; a writer holds the lock, leaves out what is
there already, and now and then merges small parts: the merged part is published first, then the index that names it,
and only then do the small ones go. A process killed between two of these steps leaves pictures twice on disk, never
none, and the next merge takes the second copy away. Readers keep what they have mapped; parts of other processes are
seen after `refresh`. On a file system without locks nothing is merged. Who encodes is `encode.py`.
"""

from __future__ import annotations

import fcntl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medmax_pipeline.errors import DiskFull, StoreError
from medmax_pipeline.files import TEMPORARY, disk_errors, read_json, sha256_file, write_json
from medmax_pipeline.tokens.index import INDEX, Index, by_number, find, read_index, write_index
from medmax_pipeline.tokens.parts import (
    CREDENTIALED,
    ID_BYTES,
    KINDS,
    NAME_DIGITS,
    OPEN,
    PART,
    Codes,
    Part,
    RawIds,
    map_part,
    merge_parts,
    write_part,
)

GEOMETRY = "geometry.json"
LOCK = "lock"
FAN_IN = 16
"""Parts of one size that are merged into one, and parts outside the index that make a new one worth its writing. Ours:
10 million pictures in parts of 2,048 come to some 40 parts, each code written four times."""
MERGED_MOST = 1 << 20
"""Pictures of the largest merged part: 2 GiB of 1,024 codes each, which is the disk that merging needs on top."""
TRIES = 100
"""How often parts may vanish under a reader by merging before it gives up."""


def code_folder(store: Path, tokenizer_digest: str) -> Path:
    """Where the codes of one image tokenizer lie in a store."""
    return store / "codes" / tokenizer_digest


class CodeStore:
    """Codes of one image tokenizer. Parts of other processes are seen after `refresh`."""

    def __init__(self, folder: Path, codes_per_image: int) -> None:
        """Open, and create where absent, the store of one tokenizer.

        Args:
            folder: from `code_folder`.
            codes_per_image: N.

        Raises:
            StoreError: the folder holds codes of another geometry, or a part is not whole.
        """
        self.folder = folder
        self.codes_per_image = codes_per_image
        geometry = folder / GEOMETRY
        if not geometry.exists():
            write_json(geometry, {"codes_per_image": codes_per_image})
        found = read_json(geometry).get("codes_per_image")
        if found != codes_per_image:
            raise StoreError(
                f"{folder}: holds {found} codes an image, expected {codes_per_image}. Another tokenizer's."
            )
        self._parts: dict[str, Part] = {}
        self._index: Index | None = None
        self.refresh()

    def refresh(self) -> None:
        """Map what was published since, and let go of what was merged away.

        Raises:
            StoreError: a part is not whole, or parts vanish faster than they can be mapped.
        """
        for _ in range(TRIES):
            found = {}
            try:
                for path in sorted(self.folder.glob(f"*{PART}")):
                    found[path.name] = self._parts.get(path.name) or map_part(path, self.codes_per_image)
            except FileNotFoundError:  # merged since it was listed; what it held lies in a part that is there now
                continue
            self._parts, self._index = found, read_index(self.folder / INDEX)
            return
        raise StoreError(f"{self.folder}: parts vanish while they are read, {TRIES} times over. What removes them?")

    def add(self, image_ids: Sequence[str], codes: npt.NDArray[np.integer], *, credentialed: bool) -> None:
        """Publish one part of those pictures that have no codes yet; where all have some there is nothing to do.

        Args:
            image_ids: 64 hex digits each, no two alike.
            codes: (n, N) in 0 to 65,535.
            credentialed: whether the pictures are.

        Raises:
            StoreError: shapes or ids do not fit.
        """
        if codes.shape != (len(image_ids), self.codes_per_image):
            raise StoreError(f"codes are {codes.shape}, expected {(len(image_ids), self.codes_per_image)}.")
        if codes.size and not 0 <= int(codes.min()) <= int(codes.max()) <= 0xFFFF:
            raise StoreError(f"codes run from {codes.min()} to {codes.max()}, expected 16 bits.")
        if not image_ids:
            return
        ids = _raw_ids(image_ids)
        if len(np.unique(ids)) != len(ids):
            raise StoreError("an image id occurs twice in one part.")
        with self._writing() as alone:
            self.refresh()
            _, absent = self._look_up(ids, want_codes=False)
            if absent.any():
                write_part(self.folder, CREDENTIALED if credentialed else OPEN, ids[absent], codes[absent])
                self.refresh()
            if alone and len(self._outside()) >= FAN_IN:
                self._tidy()

    def tidy(self) -> None:
        """Merge small parts and bring the index up to date, so that a look-up is one search. Changes no answer."""
        with self._writing() as alone:
            self.refresh()
            if alone and self._outside():
                self._tidy()

    def missing(self, image_ids: Sequence[str]) -> list[str]:
        """Which of these pictures have no codes yet, in the order given."""
        if not image_ids:
            return []
        _, absent = self._look_up(_raw_ids(image_ids), want_codes=False)
        return [image_ids[index] for index in np.flatnonzero(absent).tolist()]

    def get_many(self, image_ids: Sequence[str]) -> Codes:
        """Codes of pictures in the order given: (n, N) uint16, a copy.

        Raises:
            StoreError: a picture has none.
        """
        codes, absent = self._look_up(_raw_ids(image_ids), want_codes=True)
        if absent.any():
            first = image_ids[int(np.flatnonzero(absent)[0])]
            raise StoreError(
                f"{int(absent.sum())} of {len(image_ids)} pictures have no codes, the first is {first}. "
                "Materialise image_codes."
            )
        return codes

    def verify(self) -> list[str]:
        """Names of files whose bytes are not those they were published with."""
        parts = sorted(self.folder.glob(f"*{PART}"))
        wrong = [path.name for path in parts if sha256_file(path)[:NAME_DIGITS] != path.stem.rpartition("-")[2]]
        index = self.folder / INDEX
        return wrong + ([INDEX] if index.exists() and read_index(index, check=True) is None else [])

    def _look_up(self, wanted: RawIds, *, want_codes: bool) -> tuple[Codes, npt.NDArray[np.bool_]]:
        codes = np.zeros((len(wanted) if want_codes else 0, self.codes_per_image), dtype=np.uint16)
        absent = np.ones(len(wanted), dtype=np.bool_)
        if self._index is not None:
            named = [self._parts.get(name) for name in self._index.parts]
            found = find(self._index, named, wanted)
            absent = found.numbers < 0
            for number, group in by_number(found.numbers) if want_codes else ():
                part = named[number] if number >= 0 else None
                if part is not None:
                    codes[group] = part.codes[found.rows[group]]
        for part in self._outside():
            asked = np.flatnonzero(absent)
            if not len(asked):
                break
            rows = np.minimum(np.searchsorted(part.ids, wanted[asked]), len(part.ids) - 1)
            hit = part.ids[rows] == wanted[asked]
            absent[asked[hit]] = False
            if want_codes:
                codes[asked[hit]] = part.codes[rows[hit]]
        return codes, absent

    def _outside(self) -> list[Part]:
        """Parts that the index does not cover, by name."""
        inside = frozenset(self._index.parts if self._index else ())
        return [self._parts[name] for name in sorted(self._parts) if name not in inside]

    @contextmanager
    def _writing(self) -> Iterator[bool]:
        """Hold the lock; whether there is one, or the file system has none."""
        with disk_errors(self.folder), (self.folder / LOCK).open("ab") as handle:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                alone = True
            except OSError:  # a network file system without locks: parts are whole all the same
                alone = False
            yield alone

    def _tidy(self) -> None:
        """Merge, publish the index, take away what was merged; with the lock held."""
        for published in (f"*{PART}", INDEX):  # what killed writers left
            for leftover in self.folder.glob(f".{published}{TEMPORARY}*"):
                leftover.unlink(missing_ok=True)
        self._remove(part for part in self._outside() if self._covered(part))
        try:
            merged = [part for kind in KINDS for part in self._merge(kind)]
            gone = {part.path.name for part in merged}
            self.refresh()
            kept = [part for name, part in self._parts.items() if name not in gone]
            kept.sort(key=lambda part: (-len(part.ids), part.path.name))
            doubles = write_index(self.folder / INDEX, kept)
        except DiskFull:  # what was published stays; whoever adds next is told
            return
        self._remove((*merged, *doubles))

    def _covered(self, part: Part) -> bool:
        """Whether parts that the index names hold all of this one too: a killed merge left it."""
        if self._index is None:
            return False
        named = [self._parts.get(name) for name in self._index.parts]
        return bool((find(self._index, named, part.ids).numbers >= 0).all())

    def _remove(self, parts: Iterable[Part]) -> None:
        for part in list(parts):
            part.path.unlink(missing_ok=True)
        self.refresh()

    def _merge(self, kind: str) -> list[Part]:
        """Merge parts of a kind that are of a size, smallest first; those whose pictures lie in another one now."""
        merged: list[Part] = []
        levels: dict[int, list[Part]] = {}
        for name in sorted(self._parts):
            part = self._parts[name]
            if part.kind == kind:
                levels.setdefault(_level(len(part.ids)), []).append(part)
        for level in range(_level(MERGED_MOST)):
            for group in _groups(tuple(levels.get(level, ()))):
                path = merge_parts(self.folder, group)
                made = map_part(path, self.codes_per_image)
                levels.setdefault(_level(len(made.ids)), []).append(made)
                merged += [part for part in group if part.path != path]
        return merged


def _level(pictures: int) -> int:
    """How often a part of one picture would have to be merged to reach this size."""
    level = 0
    while pictures >= FAN_IN:
        pictures //= FAN_IN
        level += 1
    return level


def _groups(parts: Sequence[Part]) -> Iterator[list[Part]]:
    """Parts of one level, as many together as `MERGED_MOST` allows; fewer than `FAN_IN` stay as they are."""
    group: list[Part] = []
    pictures = 0
    for part in parts:
        if pictures + len(part.ids) > MERGED_MOST:
            if len(group) >= FAN_IN:
                yield group
            group, pictures = [], 0
        group.append(part)
        pictures += len(part.ids)
    if len(group) >= FAN_IN:
        yield group


def _raw_ids(image_ids: Sequence[str]) -> RawIds:
    """Ids of 64 hex digits as raw bytes; every id has the same length, so trailing zero bytes do no harm."""
    try:
        raw = bytes.fromhex("".join(image_ids))
    except ValueError as error:
        raise StoreError(f"an image id is not hex: {error}.") from error
    if len(raw) != ID_BYTES * len(image_ids) or not set(map(len, image_ids)) <= {2 * ID_BYTES}:
        raise StoreError(f"image ids must have {2 * ID_BYTES} hex digits each.")
    return np.frombuffer(raw, dtype=f"S{ID_BYTES}")
