"""Encoding pictures that have codes once more, to see whether the store says the same: for `medmax verify`.

The encoding process leaves `check.json` in the job's results; which pictures are taken, and what to say of those that
differ, is `verification.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq

from medmax_pipeline.files import write_json
from medmax_pipeline.tokens.decoding import Decoders, Wish
from medmax_pipeline.tokens.encode import CPU_BATCH, encode_batch
from medmax_pipeline.tokens.job import Failures, Job, Reader
from medmax_pipeline.tokens.run import devices_of, load, open_store

CHECK = "check.json"


class Check(NamedTuple):
    """What came of encoding pictures again."""

    device: str
    """`cpu` or `cuda`."""
    compared: int
    """Pictures."""
    unlike: dict[str, int]
    """Codes that differ, by image id."""
    unread: Failures
    """Pictures whose pixels were not to be had, with reasons."""


def recheck(job: Job, reader: Reader, log: Callable[[str], None]) -> Check:
    """Encode the job's pictures, all of which the store holds, and compare; written as `check.json` too."""
    store = open_store(job)
    device = devices_of(job)[0]
    vqgan = load(job, device)
    image_ids = pq.read_table(job.pictures)["image_id"].to_pylist()
    size = job.batch or CPU_BATCH
    unread: Failures = {}
    unlike: dict[str, int] = {}
    found: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = {}
    with Decoders(vqgan.resolution, 1, size, geometry=vqgan.geometry) as decoders:
        for image_id, pixels, failure in decoders.decode((Wish(one, one) for one in image_ids), reader):
            assert image_id is not None
            if failure is not None:
                unread[image_id] = [*failure]
            elif pixels is not None:
                found[image_id] = pixels
    for start in range(0, len(found), size):
        batch = list(found)[start : start + size]
        differing = (encode_batch(vqgan, [found[one] for one in batch], size) != store.get_many(batch)).sum(axis=1)
        unlike |= {one: int(count) for one, count in zip(batch, differing, strict=True) if count}
    check = Check(device.partition(":")[0], len(found), unlike, unread)
    write_json(Path(job.results) / CHECK, check._asdict())
    log(f"{check.compared} pictures encoded again on {device}, {len(unlike)} with other codes, {len(unread)} not read")
    return check
