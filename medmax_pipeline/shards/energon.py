"""What Megatron-Energon wants beside webdataset tars, so that its loader reads an export as it is.

    <tar>.idx                 where each sample begins in the tar, and where the last one ends: little-endian uint64
    .nv-meta/.info.json       samples of each tar
    .nv-meta/split.yaml       which tars are for training: all
    .nv-meta/dataset.yaml     how samples are read: as they are, the members' bytes by name ("crude")

Layout as Energon 7 documents it; its `index.sqlite` is left out, which joining of data sets alone wants.
"""

from __future__ import annotations

import tarfile
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
import yaml

from medmax_pipeline.files import write_bytes, write_json, write_text

META = ".nv-meta"
READ_AS = {"__module__": "megatron.energon", "__class__": "CrudeWebdataset"}


def write_energon(folder: Path) -> None:
    """Write index and metadata of every tar of a folder.

    Raises:
        StoreError: the folder may not be written.
        DiskFull: no space left.
    """
    tars = sorted(folder.glob("*.tar"))
    counts = {}
    for tar in tars:
        places = sample_places(tar)
        write_bytes(tar.with_name(f"{tar.name}.idx"), np.array(places, dtype="<u8").tobytes())
        counts[tar.name] = len(places) - 1
    write_json(folder / META / ".info.json", {"shard_counts": counts})
    split = {"split_parts": {"train": [tar.name for tar in tars], "val": [], "test": []}, "exclude": []}
    write_text(folder / META / "split.yaml", yaml.safe_dump(split, sort_keys=False))
    write_text(folder / META / "dataset.yaml", yaml.safe_dump(READ_AS, sort_keys=False))


def sample_places(tar: Path) -> Sequence[int]:
    """Where each webdataset sample of a tar begins, and where the last one's end mark does, in bytes.

    A sample is the members in a row whose names agree up to the first point.
    """
    with tarfile.open(tar, "r:") as opened:
        begins = [next(iter(members)).offset for _, members in groupby(opened, lambda one: one.name.partition(".")[0])]
        return [*begins, opened.offset]
