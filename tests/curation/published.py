"""Published samples made by hand, for tests of decisions that need no landing folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from medmax_pipeline.arrow import IMAGE_SCHEMA, samples_to_table
from medmax_pipeline.files import digest_of, write_table
from medmax_pipeline.records import Kind, Origin, Sample, Split, Turn


def sample(
    name: str,
    image: str,
    *,
    split: Split = "train",
    source: str = "one",
    said: str = "A knee.",
    kind: Kind = "captioning",
    credentialed: bool = False,
) -> Sample:
    """A sample of one picture whose id is made of `name`."""
    return Sample(
        sample_id=digest_of(name)[:32],
        source=source,
        split=split,
        kind=kind,
        turns=(Turn("user", "<image>Describe."), Turn("assistant", said)),
        images=(image,),
        options=(),
        answer=said,
        answer_type="",
        modality="",
        context=said,
        licence="Closed" if credentialed else "Open",
        credentialed=credentialed,
        origin=Origin("rows.json", "0" * 64, 0),
        extra="{}",
    )


def publish(
    folder: Path,
    samples: Sequence[Sample],
    pixels: dict[str, str] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Path:
    """A folder as `<source>/samples` publishes it; pixel digests are the image ids where `pixels` names none.

    Pictures in `files` (bytes by image id) can be read, as `<source>/<image id>.png` of the landing folder.
    """
    write_table(folder / "samples.parquet", samples_to_table(samples))
    images = sorted({image for item in samples for image in item.images})
    rows = [
        {
            "image_id": image,
            "source": samples[0].source,
            "folder": samples[0].source,
            "file": f"{image}.png",
            "member": "",
            "kind": "loose",
            "offset": 0,
            "packed": 0,
            "crc": 0,
            "bytes": len((files or {}).get(image, b"x")),
            "format": "PNG",
            "mode": "RGB",
            "width": 1,
            "height": 1,
            "pixel_digest": (pixels or {}).get(image, image),
        }
        for image in images
    ]
    write_table(folder / "images.parquet", pa.Table.from_pylist(rows, schema=IMAGE_SCHEMA))
    return folder
