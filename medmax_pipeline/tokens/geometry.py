"""Which part of a picture the network sees: how large it is scaled, which window survives, where it lies.

Two ways, and no pixels here: scaling them is `resize.py` (on a device `device.py`). A picture's place depends on its
size alone.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from medmax_pipeline.errors import ImageError
from medmax_pipeline.ingest.images import MAX_PIXELS

PictureGeometry = Literal["centre_crop", "letterbox"]
"""`centre_crop`, as the published tokenizer was used: the short side fills the square, the ends of the long one are cut
off. `letterbox`: the long side fills it and the rest is white, as behind transparency; nothing is cut off."""
CENTRE_CROP: Final = "centre_crop"
PAD_LEVEL: Final = 255
"""White."""
TOO_NARROW: Final = "image_too_narrow"


class Span(NamedTuple):
    """One axis, in pixels: a side is scaled to `scaled`, of which `first` to `first + length` lie from `at` on."""

    side: int
    scaled: int
    first: int
    length: int
    at: int


class Placement(NamedTuple):
    """Where a picture goes in a square."""

    across: Span
    down: Span


def place(width: int, height: int, resolution: int, geometry: PictureGeometry = CENTRE_CROP) -> Placement:
    """Where a picture of `width` x `height` pixels goes in a square of `resolution`.

    Sizes are rounded as the reference's are (half to even), crops and pads lose the odd pixel to the far side.

    Raises:
        ImageError: `image_too_narrow`, one side is so much longer that scaling makes too much or nothing of it.
    """
    scale = resolution / (min(width, height) if geometry == CENTRE_CROP else max(width, height))
    scaled = round(scale * width), round(scale * height)
    if not 0 < scaled[0] * scaled[1] <= MAX_PIXELS:
        raise ImageError(TOO_NARROW, f"{width} x {height} pixels would become {scaled[0]} x {scaled[1]}")
    return Placement(_span(width, scaled[0], resolution), _span(height, scaled[1], resolution))


def _span(side: int, scaled: int, resolution: int) -> Span:
    length = min(scaled, resolution)
    return Span(side, scaled, (scaled - length) // 2, length, (resolution - length) // 2)
