"""Preprocessing a picture against the reference's path, on identical pixels: decode, Lanczos, centre crop, float."""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.measure import Claim
from medmax_pipeline.tokens.image import normalise, preprocess

SIDE_PX = 512


def reference(data: bytes) -> npt.NDArray[np.float32]:
    """What Chameleon's inference does to an opaque picture, restated: (512, 512, 3) float32 in [-1, 1]."""
    picture = Image.open(io.BytesIO(data)).convert("RGB")
    scale = SIDE_PX / min(picture.size)
    size = (round(picture.width * scale), round(picture.height * scale))
    picture = picture.resize(size, Image.Resampling.LANCZOS)
    left, top = (picture.width - SIDE_PX) // 2, (picture.height - SIDE_PX) // 2
    cropped = np.asarray(picture.crop((left, top, left + SIDE_PX, top + SIDE_PX)))
    return (cropped / 255.0 * 2 - 1).astype(np.float32)


def claim() -> Claim:
    """CPU seconds for a grey radiograph of 2500 x 3000 and an 800 x 600 figure."""
    noise = np.random.default_rng(0)
    pictures = [
        Image.fromarray(noise.integers(0, 255, (375, 312), dtype=np.uint8)).resize((2500, 3000)),
        Image.fromarray(noise.integers(0, 255, (75, 100, 3), dtype=np.uint8)).resize((800, 600)),
    ]
    encoded = []
    for picture in pictures:
        buffer = io.BytesIO()
        picture.save(buffer, "JPEG", quality=90)
        encoded.append(buffer.getvalue())
    for data in encoded:
        difference = np.abs(normalise(preprocess(data, SIDE_PX)) - reference(data)).max()
        assert difference < 1e-6, difference
    return Claim(
        "Preprocessing a radiograph and a figure",
        "CPU s",
        {
            "reference path": lambda: [reference(data) for data in encoded],
            "tokens.image": lambda: [normalise(preprocess(data, SIDE_PX)) for data in encoded],
        },
    )
