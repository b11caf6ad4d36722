"""Proof with every build that the search for leaks finds what it should, and accuses nobody else.

*Planted copies*: evaluation pictures changed in each way that a training set may have changed them, searched for as if
they were training pictures; each kind has a floor of recall. *Decoys*, after the target-decoy searches of proteomics
(J. Elias and S. Gygi, 2007): evaluation pictures bent out of shape, which keep look and texture and exist nowhere, are
searched for among the real training pictures; whatever they accuse is accused wrongly. What is done with real copies
belongs to `leakage.py`.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable, Iterator, Mapping
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageEnhance, ImageOps

from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ingest.images import opened_flat

PLANTED_A_SOURCE: Final = 2
"""Ours: evaluation pictures of each source that are planted, the first by image id."""
DECOYS: Final = 32
"""Ours: evaluation pictures that are bent, spread evenly over all."""
ACCUSED_MOST: Final = 0.001
"""Share of unrelated training pictures that may be accused."""
LEAST_SIDE_PX: Final = 96
"""Smaller pictures are not planted: half of one shows nothing."""
BEND: Final = 0.06
"""Share of the side by which a decoy is bent at most: as much as two patients differ, and no affine map undoes it."""


class Kind(NamedTuple):
    """One way in which a copy is changed."""

    floor: float
    """Least recall. Ours: what real pictures of eight modalities gave (docs/curation.md), less a margin."""
    change: Callable[[Image.Image, random.Random], bytes]


def _png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _jpeg(image: Image.Image, chance: random.Random) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=40)
    return buffer.getvalue()


def _crop(image: Image.Image, chance: random.Random) -> bytes:
    width, height = (round(side * chance.uniform(0.85, 0.95)) for side in image.size)
    left, top = (round((side - kept) * chance.random()) for side, kept in zip(image.size, (width, height), strict=True))
    return _png(image.crop((left, top, left + width, top + height)))


def _scaled(times: float) -> Callable[[Image.Image, random.Random], bytes]:
    def change(image: Image.Image, chance: random.Random) -> bytes:
        size = (max(1, round(image.width * times)), max(1, round(image.height * times)))
        return _png(image.resize(size, Image.Resampling.LANCZOS))

    return change


def _brightness(image: Image.Image, chance: random.Random) -> bytes:
    return _png(ImageEnhance.Brightness(image).enhance(chance.uniform(0.75, 1.2)))


def _contrast(image: Image.Image, chance: random.Random) -> bytes:
    return _png(ImageEnhance.Contrast(image).enhance(chance.uniform(0.75, 1.3)))


def _colour(image: Image.Image, chance: random.Random) -> bytes:
    """Grey where there was colour, a tint where there was none."""
    if image.mode == "RGB" and np.ptp(np.asarray(image), axis=2).max() > 0:
        return _png(image.convert("L"))
    tint = chance.choice([("black", "#ffe0b0"), ("#101020", "#e0f0ff")])
    return _png(ImageOps.colorize(image.convert("L"), *tint))


def _turn(image: Image.Image, chance: random.Random) -> bytes:
    return _png(image.rotate(chance.uniform(1, 3) * chance.choice([-1, 1]), Image.Resampling.BICUBIC))


def _border(image: Image.Image, chance: random.Random) -> bytes:
    width = max(1, round(min(image.size) * chance.uniform(0.02, 0.08)))
    return _png(ImageOps.expand(image, width, chance.choice(["black", "white"])))


KINDS: Final[Mapping[str, Kind]] = {
    "same pixels": Kind(1.0, lambda image, chance: _png(image)),
    "crop": Kind(0.75, _crop),
    "half the size": Kind(0.7, _scaled(0.5)),
    "twice the size": Kind(0.9, _scaled(2.0)),
    "JPEG quality 40": Kind(0.9, _jpeg),
    "brightness": Kind(0.8, _brightness),
    "contrast": Kind(0.9, _contrast),
    "grey or colour": Kind(0.9, _colour),
    "rotation": Kind(0.7, _turn),
    "border": Kind(0.7, _border),
    "flip": Kind(0.9, lambda image, chance: _png(ImageOps.mirror(image))),
}
"""Crop: 5 to 15 % off either side, anywhere. Brightness: 0.75 to 1.2 times; contrast: 0.75 to 1.3. Rotation: 1 to 3
degrees, black corners. Border: 2 to 8 % of the shorter side, black or white."""


class PlantedCopy(NamedTuple):
    """A changed picture's file and what it is a copy of."""

    kind: str
    image_id: str
    data: bytes


def copies(image_id: str, data: bytes) -> Iterator[PlantedCopy]:
    """One copy of each kind, the same every time; none of pictures above 8 bits or too small.

    Raises:
        ImageError: `data` is no picture.
    """
    image = opened_flat(data)
    if image.mode not in ("L", "RGB") or min(image.size) < LEAST_SIDE_PX:
        return
    for name, kind in KINDS.items():
        yield PlantedCopy(name, image_id, kind.change(image, random.Random(f"{image_id} {name}")))


def decoy(image_id: str, data: bytes) -> bytes | None:
    """The picture bent by smooth waves, as PNG; None where it is above 8 bits.

    Raises:
        ImageError: `data` is no picture.
    """
    image = opened_flat(data)
    if image.mode not in ("L", "RGB"):
        return None
    image.thumbnail((512, 512))
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    chance = np.random.default_rng(int(sha256_bytes(image_id.encode())[:16], 16))
    down, across = np.mgrid[0:height, 0:width].astype(np.float32)
    moved = [
        _wave(down / height, across / width, chance, BEND * side) + line
        for side, line in ((height, down), (width, across))
    ]
    rows, columns = (
        np.clip(np.rint(line), 0, side - 1).astype(np.int64) for line, side in zip(moved, (height, width), strict=True)
    )
    return _png(Image.fromarray(pixels[rows, columns]))


def _wave(
    down: npt.NDArray[np.float32], across: npt.NDArray[np.float32], chance: np.random.Generator, most: float
) -> npt.NDArray[np.float64]:
    """A smooth displacement of about one period, at most `most` pixels."""
    total: npt.NDArray[np.float64] = np.zeros(down.shape)
    for _ in range(3):
        waves, phase = chance.uniform(0.8, 1.6, 2) * chance.choice([-1, 1], 2), chance.uniform(0, 2 * np.pi)
        total += np.sin(2 * np.pi * (waves[0] * down + waves[1] * across) + phase)
    found: npt.NDArray[np.float64] = total * (most / max(float(np.abs(total).max()), 1e-9))
    return found


def faults(found: Mapping[str, tuple[int, int]], accused: float) -> list[str]:
    """What is wrong with a search.

    Args:
        found: of each kind, how many copies were found, and how many planted.
        accused: share of unrelated training pictures that were accused.
    """
    told = []
    for name, (hits, planted) in found.items():
        floor = KINDS[name].floor
        if planted and hits / planted < floor:
            told.append(f"recall of planted copies, {name}: {hits} of {planted}, expected {floor:.0%} and more")
    if accused > ACCUSED_MOST:
        told.append(f"{accused:.2%} of unrelated training pictures are accused, expected at most {ACCUSED_MOST:.1%}")
    return told
