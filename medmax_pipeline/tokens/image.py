"""A picture file's bytes as the pixels that the image tokenizer takes, and its output as a picture.

Equals the reference's inference path (`ImageTokenizer` of Chameleon): first frame, no EXIF turn, transparency blended
on white, Lanczos so that the short side is `resolution`, centre crop, x / 127.5 - 1 in float32. Long sides are cut off.
Grey pictures stay one channel until after the resize, which gives the same pixels in half the time
(Pillow before 13: later ones resize tall pictures differently). Encoding is `encode.py`; bytes are
untrusted here too, and the same are accepted as at ingest. Pillow and numpy only.

One thing is ours: 16-bit greys (`I;16…`, and `I` within 0 to 65,535), which Pillow would clip to white. They are
scaled by the bits in use, 8 to 16, so that a 12-bit radiograph uses the whole range. Wider integers and floats have no
agreed range and are refused.
"""

from __future__ import annotations

import io

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from medmax_pipeline.errors import ImageError
from medmax_pipeline.ingest.images import (
    DECODER_ERRORS,
    FORMATS,
    IMAGE_NOT_AN_IMAGE,
    IMAGE_TOO_LARGE,
    IMAGE_TRUNCATED,
    MAX_PIXELS,
)

TOO_NARROW, MODE_UNSUPPORTED = "image_too_narrow", "image_mode_unsupported"

Pixels = npt.NDArray[np.uint8]
TABLE = (np.arange(256, dtype=np.float64) / 127.5 - 1.0).astype(np.float32)
"""Value of each level, 0 to 255, in [-1, 1]; the same float32 as the reference's float64 arithmetic gives."""


def preprocess(data: bytes, resolution: int) -> Pixels:
    """The pixels of an image file.

    Args:
        data: the file's bytes; untrusted.
        resolution: height and width wanted, in pixels.

    Returns:
        (resolution, resolution, 3) uint8 RGB, 0 to 255.

    Raises:
        ImageError: unreadable, truncated, too large, too narrow to be scaled, or of a mode without an agreed range.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(IMAGE_TOO_LARGE, f"{image.width} x {image.height} pixels, at most {MAX_PIXELS:,}")
            image.load()
            return fit(image, resolution)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(IMAGE_TOO_LARGE, str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageError(IMAGE_NOT_AN_IMAGE, f"{len(data):,} bytes are none of {', '.join(FORMATS)}") from error
    except OSError as error:
        reason = IMAGE_TRUNCATED if "truncated" in str(error) else IMAGE_NOT_AN_IMAGE
        raise ImageError(reason, str(error)) from error
    except DECODER_ERRORS as error:
        raise ImageError(IMAGE_NOT_AN_IMAGE, repr(error)) from error


def fit(image: Image.Image, resolution: int) -> Pixels:
    """A loaded picture as (resolution, resolution, 3) uint8 RGB; raises `ImageError` as `preprocess`."""
    flat = opaque(image)
    scale = resolution / min(flat.size)
    size = (round(scale * flat.width), round(scale * flat.height))
    if size[0] * size[1] > MAX_PIXELS:
        raise ImageError(TOO_NARROW, f"{flat.width} x {flat.height} pixels would become {size[0]} x {size[1]}")
    resized = flat.resize(size, Image.Resampling.LANCZOS)
    left, top = (size[0] - resolution) // 2, (size[1] - resolution) // 2
    pixels = np.asarray(resized.crop((left, top, left + resolution, top + resolution)))
    if pixels.ndim == 2:
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    return np.ascontiguousarray(pixels)


def opaque(image: Image.Image) -> Image.Image:
    """A picture of any mode as RGB or, where that is the same, as L: transparency blended on white.

    Raises:
        ImageError: integers wider than 16 bits, floats, or a colour space Pillow cannot turn into RGB.
    """
    if image.mode == "RGB":  # as the reference: a transparent colour of an RGB file is not looked at
        return image
    if image.mode.startswith("I"):
        return _sixteen_bits(image)
    if image.mode == "F":
        raise ImageError(MODE_UNSUPPORTED, "mode F: floats have no agreed range")
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return image.convert("L")
    try:
        rgba = np.asarray(image.convert("RGBA"))
        if not (rgba[:, :, 3] < 255).any():
            return image.convert("RGB")
    except ValueError as error:
        raise ImageError(MODE_UNSUPPORTED, f"mode {image.mode}: {error}") from error
    alpha = rgba[:, :, 3:] / 255.0
    blended = (1 - alpha) * 255 + alpha * rgba[:, :, :3]
    return Image.fromarray(blended.astype(np.uint8))


def _sixteen_bits(image: Image.Image) -> Image.Image:
    """16-bit greys by the bits in use: the highest bit that any pixel sets becomes the highest of eight."""
    values = np.asarray(image).astype(np.int64)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ImageError(
            MODE_UNSUPPORTED, f"mode {image.mode}: values {values.min()} to {values.max()}, 16 bits expected"
        )
    shift = max(int(values.max()).bit_length() - 8, 0)
    return Image.fromarray((values >> shift).astype(np.uint8))


def normalise(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Levels 0 to 255 as float32 in [-1, 1], same shape."""
    return TABLE[pixels]


def to_levels(values: npt.NDArray[np.float32]) -> Pixels:
    """A decoder's output in [-1, 1] as levels 0 to 255, same shape: clamped, then truncated as the reference does."""
    return ((np.clip(values, -1.0, 1.0) + 1.0) / 2.0 * 255.0).astype(np.uint8)
