"""Pictures that an earlier version of the same samples has opened already, so that they need not be opened again.

Taken over is what was good, where the file that holds it still has the same bytes and the picture lies at the same
place in it, and where the same code with the same Pillow looked at it. Anything else, all bad pictures among it, is
opened again: the result is the same with and without an earlier version.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pyarrow.parquet as pq

from medmax_pipeline.ingest.described import Described
from medmax_pipeline.ingest.images import Probe
from medmax_pipeline.ingest.index import Index
from medmax_pipeline.ingest.intake import IMAGES
from medmax_pipeline.ingest.parts import whole_of
from medmax_pipeline.ingest.places import Place
from medmax_pipeline.ingest.raw import FILES
from medmax_pipeline.manifest import Manifest, package_versions
from medmax_pipeline.records import ImageRef
from medmax_pipeline.steps import Artifact

BATCH: Final = 4096
DECODER: Final = "pillow"


class RawFile(NamedTuple):
    """A file of the landing folder, as raw found it."""

    bytes: int
    sha256: str


def files_of(raw: Path) -> dict[str, RawFile]:
    """The files of the landing folder by their path, as raw found them.

    Args:
        raw: published folder of the raw artifact.
    """
    with pq.ParquetFile(raw / FILES) as table:
        return {
            row["path"]: RawFile(row["bytes"], row["sha256"])
            for batch in table.iter_batches(columns=["path", "bytes", "sha256"])
            for row in batch.to_pylist()
        }


def carry_over(previous: Artifact, code_version: str, store: Path, raw: Artifact, to: Described, index: Index) -> int:
    """Take over what an earlier version of the samples knows; how many pictures that were.

    Args:
        previous: the earlier samples.
        code_version: that of the step now.
        store: root of all artifacts, where the raw files' list that `previous` stands on is looked for.
        raw: the raw artifact now.
        to: takes what is known.
        index: the index of `raw`.
    """
    before = _files_behind(previous.manifest, raw.manifest.key, store)
    if previous.locked or previous.manifest.code_version != code_version or before is None:
        return 0
    if previous.manifest.versions.get(DECODER) != package_versions().get(DECODER):
        return 0
    now = containers(files_of(raw.folder))
    same = {file for file, digest in containers(before).items() if now.get(file) == digest}
    wanted = np.zeros(len(index), np.bool_)
    wanted[to.missing()] = True
    taken = 0
    for rows in _batches(previous.folder / IMAGES):
        known = [(number, probe) for number, probe in _still_there(rows, same, index) if wanted[number]]
        to.put(known)
        taken += len(known)
    return taken


def containers(files: Mapping[str, RawFile]) -> dict[str, str]:
    """What to compare of each file: its sha256, or those of all pieces of the archive that it is a piece of."""
    pieces: dict[str, str] = {}
    for file in sorted(filter(whole_of, files)):
        pieces[whole_of(file)] = pieces.get(whole_of(file), "") + files[file].sha256
    return {file: pieces[whole_of(file)] if whole_of(file) else found.sha256 for file, found in files.items()}


def _files_behind(samples: Manifest, key: str, store: Path) -> dict[str, RawFile] | None:
    """Files of the raw artifact that these samples stand on; None where it has none, or was removed."""
    for entry in samples.inputs:
        folder = store / key / entry.fingerprint
        if entry.key == key and (folder / FILES).exists():
            return files_of(folder)
    return None


def _batches(path: Path) -> Iterator[list[dict[str, Any]]]:
    with pq.ParquetFile(path) as table:
        for batch in table.iter_batches(batch_size=BATCH):
            yield batch.to_pylist()


def _still_there(rows: list[dict[str, Any]], same: set[str], index: Index) -> Iterator[tuple[int, Probe]]:
    for row in rows:
        if row["file"] not in same:
            continue
        number = index.find(ImageRef(row["file"], row["member"]))
        place = Place(**{name: row[name] for name in Place._fields})
        if isinstance(number, int) and index.place(number) == place:
            yield number, Probe(**{name: row[name] for name in Probe._fields})
