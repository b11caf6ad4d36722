"""Samples as webdataset tars that need nothing of ours: pictures as they were published, turns, codes, metadata.

    samples-{000000}.tar
        {sample_id}.turns.json     [{"role", "text"}]; <image> in a text marks the place of the next picture
        {sample_id}.meta.json      source, kind, licence, sample_id, options, answer, modality, pictures' ids
        {sample_id}.image0.jpg     the first picture, byte for byte; its ending is its real format
        {sample_id}.codes.npy      (pictures, codes per image) uint16; only where there are pictures
    index.parquet                  one line a sample

The same samples give the same bytes. Which samples may be written decides `export.py`.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from medmax_pipeline.arrow import read_samples
from medmax_pipeline.errors import ImageError, StoreError
from medmax_pipeline.files import canonical, open_atomic, write_table
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.records import Sample
from medmax_pipeline.shards.layout import INDEX
from medmax_pipeline.tokens.store import CodeStore

TAR_BYTES = 256 << 20
"""A tar that has reached this size is closed: webdataset's own advice is some hundred MB."""
SAMPLES_AT_ONCE = 512
"""Samples whose codes are looked up together."""
PORTABLE_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("source", pa.string()),
        ("kind", pa.string()),
        ("licence", pa.string()),
        ("shard", pa.string()),
        ("pictures", pa.int32()),
    ]
)
_BEGINNINGS = {
    b"\xff\xd8\xff": "jpg",
    b"\x89PNG\r\n\x1a\n": "png",
    b"II*\0": "tiff",
    b"MM\0*": "tiff",
    b"GIF8": "gif",
    b"BM": "bmp",
}
_Members = list[tuple[str, bytes]]


def write_portable(
    out: Path, wanted: set[str], curated: Iterable[Path], store: CodeStore, reader: ImageReader, tar_bytes: int
) -> None:
    """Write tars and index.

    Args:
        out: where to.
        wanted: ids of the samples to write.
        curated: `samples.parquet` of each source; samples keep this order.
        store: holds the codes of their pictures.
        reader: finds their pictures.
        tar_bytes: a tar that has reached this size is closed.

    Raises:
        StoreError: a sample is in none of the tables, or a picture has no codes.
        ImageError: a picture cannot be read or has an unknown format.
    """
    chosen = (sample for path in curated for sample in read_samples(path) if sample.sample_id in wanted)
    rows = []
    ready = _ready(chosen, store, reader)
    pending = next(ready, None)
    shard = 0
    while pending is not None:
        name = f"samples-{shard:06d}.tar"
        with ExitStack() as stack:
            handle = stack.enter_context(open_atomic(out / name))
            tar = stack.enter_context(tarfile.open(fileobj=handle, mode="w", format=tarfile.USTAR_FORMAT))
            while pending is not None and tar.offset < tar_bytes:
                sample, members = pending
                for member, data in members:
                    _add(tar, f"{sample.sample_id}.{member}", data)
                rows.append(_row(sample, name))
                pending = next(ready, None)
        shard += 1
    if len(rows) != len(wanted):
        raise StoreError(
            f"{len(wanted) - len(rows)} samples of the index are in no curated table. Make the shards again."
        )
    write_table(out / INDEX, pa.Table.from_pylist(rows, schema=PORTABLE_SCHEMA))


def extension(data: bytes) -> str:
    """The ending that a picture's own bytes ask for.

    Raises:
        ImageError: they begin like none of the formats that ingest admits.
    """
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    for beginning, ending in _BEGINNINGS.items():
        if data.startswith(beginning):
            return ending
    raise ImageError("image_not_an_image", f"begins with {data[:16]!r}; expected a format that ingest admits")


def _ready(samples: Iterable[Sample], store: CodeStore, reader: ImageReader) -> Iterator[tuple[Sample, _Members]]:
    """Samples with their members, in the order given."""
    remaining = iter(samples)
    while batch := list(islice(remaining, SAMPLES_AT_ONCE)):
        codes = store.get_many([image_id for sample in batch for image_id in sample.images])
        at = 0
        for sample in batch:
            mine = codes[at : (at := at + len(sample.images))]
            yield sample, _members(sample, mine, [reader.read(image_id) for image_id in sample.images])


def _members(sample: Sample, codes: npt.NDArray[np.uint16], pictures: Sequence[bytes]) -> _Members:
    meta = {
        "sample_id": sample.sample_id,
        "source": sample.source,
        "kind": sample.kind,
        "licence": sample.licence,
        "options": list(sample.options),
        "answer": sample.answer,
        "modality": sample.modality,
        "images": list(sample.images),
    }
    members = [
        ("turns.json", canonical([{"role": turn.role, "text": turn.text} for turn in sample.turns])),
        ("meta.json", canonical(meta)),
    ]
    members += [(f"image{number}.{extension(data)}", data) for number, data in enumerate(pictures)]
    if pictures:
        buffer = io.BytesIO()
        np.save(buffer, codes.astype("<u2"), allow_pickle=False)
        members.append(("codes.npy", buffer.getvalue()))
    return members


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    info = tarfile.TarInfo(name)  # owner, group and their names stay 0 and empty
    info.size, info.mtime, info.mode = len(data), 0, 0o644
    tar.addfile(info, io.BytesIO(data))


def _row(sample: Sample, shard: str) -> dict[str, str | int]:
    texts = {name: getattr(sample, name) for name in ("sample_id", "source", "kind", "licence")}
    return texts | {"shard": shard, "pictures": len(sample.images)}
