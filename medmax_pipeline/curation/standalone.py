"""The search for leaks over anybody's folders: pictures that lie loose, in archives or in tables; no build needed.

What is found by bytes, by pixels and by looking is given as pairs. Samples and their texts are not known here; rules
are those of `copies.py` and `leakage.py`, and archives are read as `ingest/` reads them.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np

from medmax_pipeline.config import Nearness
from medmax_pipeline.curation.copies import Looked, Searched
from medmax_pipeline.curation.nearness import Nearer
from medmax_pipeline.errors import ArchiveError, ConfigError, ImageError
from medmax_pipeline.ingest.archives import kind_of, list_members
from medmax_pipeline.ingest.images import Probe, probe
from medmax_pipeline.ingest.pictures import MAX_PICTURE_BYTES
from medmax_pipeline.ingest.places import Files, Place

SUFFIXES: Final = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".webp", ".gif", ".bmp")
"""Names that say picture; what else lies in a folder or archive is passed over."""


class Refused(NamedTuple):
    """A file that could not be used, and why."""

    file: str
    reason: str


class Side(NamedTuple):
    """The pictures of one folder."""

    names: list[list[str]]
    """Where each distinct picture lies."""
    probes: list[Probe]
    places: dict[str, Place]
    """By image id, the first."""
    refused: list[Refused]


def _places(folder: Path, refused: list[Refused]) -> Iterator[Place]:
    """Every picture below a folder: loose ones, members of archives, values of tables."""
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        try:
            kind = kind_of(folder, name)
            if kind == "loose":
                if path.suffix.lower() in SUFFIXES:
                    yield Place(name, "", "loose", 0, path.stat().st_size, path.stat().st_size, 0)
                continue
            for member in list_members(folder, name, kind):
                if member.fault:
                    refused.append(Refused(member.place.name, member.fault))
                elif kind == "parquet" or member.place.member.lower().endswith(SUFFIXES):
                    yield member.place
        except (ArchiveError, OSError) as error:
            refused.append(Refused(name, str(error)))


def _side(folder: Path, files: Files) -> Side:
    side = Side([], [], {}, [])
    numbers: dict[str, int] = {}
    for place in _places(folder, side.refused):
        try:
            seen = probe(files.read(place, MAX_PICTURE_BYTES))
        except (ImageError, ArchiveError, OSError) as error:
            side.refused.append(Refused(place.name, str(error)))
            continue
        if seen.image_id not in numbers:
            numbers[seen.image_id] = len(side.probes)
            side.names.append([])
            side.probes.append(seen)
            side.places[seen.image_id] = place
        side.names[numbers[seen.image_id]].append(place.name)
    return side


def _looked(side: Side) -> Looked:
    sizes = np.array([(seen.width, seen.height) for seen in side.probes], np.int64).reshape(-1, 2)
    return Looked([seen.image_id for seen in side.probes], sizes[:, 0], sizes[:, 1])


class Answer(NamedTuple):
    """What two folders share."""

    pairs: list[dict[str, Any]]
    """`train`, `eval` (files), `how` (`same_file`, `same_pixels`, `near`), `change`, `measure`, `tone`, `hash_bits`."""
    refused: list[Refused]


def compare(train: Path, evaluated: Path, limits: Nearness | None = None) -> Answer:
    """Every picture of `evaluated` that `train` shows.

    Args:
        train: a folder.
        evaluated: another.
        limits: from which measures on pictures are copies.

    Raises:
        ConfigError: one is no folder, or holds no picture that can be used.
    """
    for folder in (train, evaluated):
        if not folder.is_dir():
            raise ConfigError(f"{folder}: no such folder. Expected two folders of pictures, archives or shards.")
    with Files(train, None) as ours, Files(evaluated, None) as theirs, tempfile.TemporaryDirectory() as work:
        first, second = _side(evaluated, theirs), _side(train, ours)
        for folder, side in ((evaluated, first), (train, second)):
            if not side.probes:
                told = "".join(f" {item.file}: {item.reason}." for item in side.refused[:3])
                raise ConfigError(f"{folder}: no picture that can be used, so nothing can be said.{told}")
        pairs = list(_pairs(first, second, theirs, ours, Path(work), limits or Nearness()))
    return Answer(pairs, [*first.refused, *second.refused])


def _pairs(
    first: Side, second: Side, theirs: Files, ours: Files, work: Path, limits: Nearness
) -> Iterator[dict[str, Any]]:
    def read(image_id: str) -> bytes:
        held, files = (first, theirs) if image_id in first.places else (second, ours)
        return files.read(held.places[image_id], MAX_PICTURE_BYTES)

    same = {seen.pixel_digest: at for at, seen in enumerate(first.probes)}
    twins: dict[tuple[int, int], str] = {}
    for at, seen in enumerate(second.probes):
        for number, sought in enumerate(first.probes) if seen.pixel_digest in same else ():
            if sought.pixel_digest == seen.pixel_digest:
                twins[number, at] = "same_file" if sought.image_id == seen.image_id else "same_pixels"
    for (number, at), how in sorted(twins.items()):
        yield from _told(first.names[number], second.names[at], how, "", 1.0, 0.0, 0)
    order = {image_id: number for number, image_id in enumerate((*first.places, *second.places))}
    nearer = Nearer(read, lambda wanted: sorted(wanted, key=order.__getitem__), work, limits)
    hashes = np.array([int(seen.phash, 16) for seen in second.probes], np.uint64)
    for copy in Searched(_looked(second), hashes, nearer, limits).near(_looked(first)):
        if copy.accused and (copy.first, copy.second) not in twins:
            names = first.names[copy.first], second.names[copy.second]
            yield from _told(*names, "near", copy.change, copy.detail, copy.tone, copy.bits)


def _told(
    evaluated: Sequence[str], train: Sequence[str], how: str, change: str, measure: float, tone: float, bits: int
) -> Iterator[dict[str, Any]]:
    for one in evaluated:
        for other in train:
            yield {
                "train": other,
                "eval": one,
                "how": how,
                "change": change,
                "measure": measure,
                "tone": tone,
                "hash_bits": bits,
            }
