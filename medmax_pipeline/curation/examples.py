"""A few dropped samples of each reason, to look at: their words, and their pictures as small copies.

The first of each reason in the order of the samples. Credentialed samples are never among them: neither their words
nor their pictures leave the tables. Which samples go is the decisions' matter.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from medmax_pipeline.errors import ImageError
from medmax_pipeline.records import IMAGE, Drop, Sample

if TYPE_CHECKING:
    from PIL.Image import Image

    from medmax_pipeline.ingest.reader import ImageReader

TABLE: Final = "examples.parquet"
SHEET: Final = "dropped.png"
SHOWN: Final = 3
"""Ours: examples of a reason."""
TEXT_SHOWN: Final = 240
"""Ours: characters of an example."""
SIDE_PX: Final = 96
"""Longer side of a small copy."""
SCHEMA: Final = pa.schema(
    [(name, pa.string()) for name in ("reason", "sample_id", "kind", "text", "detail", "image_id")]
)


class Example(NamedTuple):
    """A dropped sample as a page shows it; `image_id` is that of its first picture, or empty."""

    reason: str
    sample_id: str
    kind: str
    text: str
    detail: str
    image_id: str


class Examples:
    """Takes drops as they come and keeps the first open ones of each reason."""

    def __init__(self) -> None:
        self._kept: dict[str, list[Example]] = {}

    def add(self, sample: Sample, drop: Drop) -> None:
        """Look at one drop."""
        kept = self._kept.setdefault(drop.reason, [])
        if len(kept) < SHOWN and not sample.credentialed:
            image = sample.images[0] if sample.images else ""
            kept.append(
                Example(drop.reason, sample.sample_id, sample.kind, words_of(sample), shortened(drop.detail), image)
            )

    def all(self) -> list[Example]:
        """Every example, by reason."""
        return [example for _, kept in sorted(self._kept.items()) for example in kept]


def words_of(sample: Sample) -> str:
    """What a sample says, on one line and at most `TEXT_SHOWN` characters."""
    return shortened(" / ".join(turn.text.replace(IMAGE, " ") for turn in sample.turns))


def shortened(text: str) -> str:
    """A text on one line and at most `TEXT_SHOWN` characters."""
    line = " ".join(text.split())
    return line if len(line) <= TEXT_SHOWN else line[: TEXT_SHOWN - 1] + "…"


def to_table(examples: Iterable[Example]) -> pa.Table:
    """Examples as a table of `SCHEMA`."""
    return pa.Table.from_pylist([example._asdict() for example in examples], schema=SCHEMA)


def read_examples(folder: Path) -> list[Example]:
    """The examples that a curated artifact published."""
    rows: list[dict[str, Any]] = pq.read_table(folder / TABLE).to_pylist()
    return [Example(**row) for row in rows]


def small_copy(reader: ImageReader, image_id: str) -> Image | None:
    """A picture at most `SIDE_PX` a side; None where its file is not here any more or cannot be opened."""
    from PIL import Image

    try:
        with Image.open(io.BytesIO(reader.read(image_id))) as opened:
            opened.draft("RGB", (SIDE_PX * 2, SIDE_PX * 2))
            opened.thumbnail((SIDE_PX, SIDE_PX))
            return opened.convert("RGB")
    except (ImageError, OSError, ValueError, Image.DecompressionBombError):
        return None


def sheet(reader: ImageReader, examples: Sequence[Example]) -> bytes | None:
    """The small copies side by side, a row a reason in the order of the table, as PNG; None where there is none."""
    from PIL import Image

    rows: dict[str, list[Image.Image]] = {}
    for example in examples:
        copy = small_copy(reader, example.image_id) if example.image_id else None
        if copy is not None:
            rows.setdefault(example.reason, []).append(copy)
    if not rows:
        return None
    drawn = Image.new("RGB", (SHOWN * SIDE_PX, len(rows) * SIDE_PX), "white")
    for at, copies in enumerate(rows.values()):
        for place, copy in enumerate(copies):
            drawn.paste(copy, (place * SIDE_PX, at * SIDE_PX))
    buffer = io.BytesIO()
    drawn.quantize(128).save(buffer, "PNG", optimize=True)  # a page of the web UI should stay small
    return buffer.getvalue()
