"""The examples that the page shows: drawn pictures, written captions, closed answers, always with what was asked.

Items of credentialed sources are left out, pictures and text alike, and counted. Small copies only: a page is no place
to keep pictures. Everything is chosen by item id, never by how well a model did.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medmax_pipeline.errors import ImageError
from medmax_pipeline.eval.records import IMAGES, ITEMS, ItemRecord, read_records
from medmax_pipeline.eval.steps import BASE
from medmax_pipeline.ingest.reader import ImageReader
from medmax_pipeline.steps import Run
from medmax_pipeline.tokens.image import preprocess

SHOWN = 8
"""Items of a task at most."""
SIDE_PX = 96
"""Side of a picture's copy on the page."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One item as the page shows it; a picture is a data URI, empty where there is none."""

    item_id: str
    prompt: str
    reference: str
    original: str
    reconstruction: str
    base: ItemRecord | None
    tuned: ItemRecord
    base_picture: str
    tuned_picture: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Gallery:
    """The examples of one recipe on one task, and how many items may not be shown."""

    recipe: str
    task: str
    examples: tuple[Example, ...]
    hidden: int
    """Items of credentialed sources."""
    of: int
    """All items."""


def galleries(run: Run, recipes: Sequence[str], sources: Sequence[str], tasks: Sequence[str]) -> list[Gallery]:
    """Examples of every recipe on every task that was evaluated."""
    images = [run.inputs[f"{key}/samples"] for key in sources]
    with ImageReader(run.landing, [each.folder / "images.parquet" for each in images if not each.locked]) as reader:
        found = [_gallery(run, reader, recipe, key) for recipe in recipes for key in tasks]
    return [each for each in found if each is not None]


def _gallery(run: Run, reader: ImageReader, recipe: str, key: str) -> Gallery | None:
    tuned = run.inputs[f"eval/{recipe}/{key}"]
    if tuned.locked:
        return None
    base = run.inputs.get(f"eval/{BASE}/{key}")
    before = {} if base is None or base.locked else {each.item_id: each for each in read_records(base.folder / ITEMS)}
    records = read_records(tuned.folder / ITEMS)
    may = [record for record in records if not record.credentialed]
    examples = []
    for record in may[:SHOWN]:
        other = before.get(record.item_id)
        examples.append(
            Example(
                item_id=record.item_id,
                prompt=record.prompt,
                reference=record.reference,
                original=_original(reader, record),
                reconstruction=_kept(tuned.folder, record.reference_image),
                base=other,
                tuned=record,
                base_picture=_kept(base.folder, other.generated_image) if base is not None and other else "",
                tuned_picture=_kept(tuned.folder, record.generated_image),
            )
        )
    return Gallery(recipe=recipe, task=key, examples=tuple(examples), hidden=len(records) - len(may), of=len(records))


def _original(reader: ImageReader, record: ItemRecord) -> str:
    """The item's first picture, cropped as the tokenizer sees it; empty where its file is not here any more."""
    from PIL import Image

    if not record.image_ids:
        return ""
    try:
        return data_uri(Image.fromarray(preprocess(reader.read(record.image_ids[0]), SIDE_PX)))
    except ImageError:
        return ""


def _kept(folder: Path, name: str) -> str:
    from PIL import Image

    if not name:
        return ""
    with Image.open(folder / IMAGES / f"{name}.png") as picture:
        return data_uri(picture)


def data_uri(picture: object) -> str:
    """A picture as a small PNG inside the page: at most 96 px a side."""
    from PIL import Image

    assert isinstance(picture, Image.Image)
    small = picture.convert("RGB")
    if max(small.size) > SIDE_PX:
        small = small.resize((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    buffer = io.BytesIO()
    small.save(buffer, format="PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
