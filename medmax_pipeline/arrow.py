"""Records as Arrow tables: their schemas, and the way there and back. What the words mean is `records.py`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa

from medmax_pipeline.records import Left, Origin, Sample, Turn

TURN_TYPE = pa.struct([("role", pa.string()), ("text", pa.string())])
ORIGIN_TYPE = pa.struct([("file", pa.string()), ("digest", pa.string()), ("row", pa.int64())])
SAMPLE_SCHEMA = pa.schema(
    [
        ("sample_id", pa.string()),
        ("source", pa.string()),
        ("split", pa.string()),
        ("kind", pa.string()),
        ("turns", pa.list_(TURN_TYPE)),
        ("images", pa.list_(pa.string())),
        ("options", pa.list_(pa.string())),
        ("answer", pa.string()),
        ("answer_type", pa.string()),
        ("modality", pa.string()),
        ("context", pa.string()),
        ("licence", pa.string()),
        ("credentialed", pa.bool_()),
        ("origin", ORIGIN_TYPE),
        ("extra", pa.string()),
    ]
)
LEFT_SCHEMA = pa.schema(
    [
        ("unit", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("file", pa.string()),
        ("row", pa.int64()),
    ]
)
PLACE_FIELDS = (
    ("file", pa.string()),
    ("member", pa.string()),
    ("kind", pa.string()),
    ("offset", pa.int64()),
    ("packed", pa.int64()),
    ("bytes", pa.int64()),
    ("crc", pa.int64()),
)
"""Columns of an `ingest.places.Place`."""
IMAGE_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("source", pa.string()),
        ("folder", pa.string()),
        *PLACE_FIELDS,
        ("format", pa.string()),
        ("mode", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("many", pa.bool_()),
        ("pixel_digest", pa.string()),
        ("phash", pa.string()),
    ]
)
"""One line a distinct picture of a source. Where its bytes lie: the landing folder and `ingest.places.Place`. What they
hold: `ingest.images.Probe`; pictures of equal `pixel_digest` have equal pixels in different files, those of near
`phash` look alike."""


def samples_to_table(samples: Iterable[Sample]) -> pa.Table:
    """Samples as an Arrow table of `SAMPLE_SCHEMA`, in the given order."""
    rows = [
        {
            **{name: getattr(sample, name) for name in SAMPLE_SCHEMA.names},
            "turns": [{"role": turn.role, "text": turn.text} for turn in sample.turns],
            "images": list(sample.images),
            "options": list(sample.options),
            "origin": {"file": sample.origin.file, "digest": sample.origin.digest, "row": sample.origin.row},
        }
        for sample in samples
    ]
    return pa.Table.from_pylist(rows, schema=SAMPLE_SCHEMA)


def sample_from_row(row: Mapping[str, Any]) -> Sample:
    """One row of a `SAMPLE_SCHEMA` table as a `Sample`."""
    values = dict(row)
    values["turns"] = tuple(Turn(turn["role"], turn["text"]) for turn in row["turns"])
    values["images"] = tuple(row["images"])
    values["options"] = tuple(row["options"])
    values["origin"] = Origin(**row["origin"])
    return Sample(**values)


def read_samples(path: Path) -> Iterator[Sample]:
    """Stream the samples of one Parquet file, a batch at a time."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=4096):
            for row in batch.to_pylist():
                yield sample_from_row(row)


def left_to_table(left: Iterable[Left]) -> pa.Table:
    """Drops or quarantined units as an Arrow table of `LEFT_SCHEMA`."""
    rows = [{name: getattr(item, name) for name in LEFT_SCHEMA.names} for item in left]
    return pa.Table.from_pylist(rows, schema=LEFT_SCHEMA)


def count_left(path: Path) -> dict[str, int]:
    """How many units a table of `LEFT_SCHEMA` holds of each reason, sorted by reason."""
    import pyarrow.parquet as pq

    counted: Counter[str] = Counter()
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(columns=["reason"]):
            counted.update(batch.column(0).to_pylist())
    return dict(sorted(counted.items()))
