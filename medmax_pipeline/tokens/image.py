"""A picture file's bytes as the pixels that the image tokenizer takes, and its output as a picture.

Equals the reference's inference path (`ImageTokenizer` of Chameleon): first frame, no EXIF turn, transparency blended
on white, Lanczos so that the short side is `resolution`, centre crop, x / 127.5 - 1 in float32. Long sides are cut off
(`geometry.py` has the other way). Grey pictures stay one channel until they have their size, which gives the same
pixels. Scaling is `resize.py`, on a device `device.py`; encoding `encode.py`. Bytes are untrusted here too, and the
same are accepted as at ingest.

One thing is ours: 16-bit greys (`I;16…`, and `I` within 0 to 65,535), which Pillow would clip to white. They are
scaled by the bits in use, 8 to 16, so that a 12-bit radiograph uses the whole range. Wider integers and floats have no
agreed range and are refused.
"""

from __future__ import annotations

import importlib.util
import io
from typing import Final

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
from medmax_pipeline.tokens.geometry import CENTRE_CROP, PictureGeometry, place
from medmax_pipeline.tokens.resize import Pixels as Pixels
from medmax_pipeline.tokens.resize import resize

MODE_UNSUPPORTED: Final = "image_mode_unsupported"
BLEND_PX: Final = 1 << 20
"""Pixels blended at once; large pictures go in strips."""
JPEG_START: Final = b"\xff\xd8\xff"
SIMPLEJPEG: Final = importlib.util.find_spec("simplejpeg") is not None
"""Whether plain JPEGs can take the faster decoder of the extra `fast`: the same library below, with less copying."""
TABLE: Final = (np.arange(256, dtype=np.float64) / 127.5 - 1.0).astype(np.float32)
"""Value of each level, 0 to 255, in [-1, 1]; the same float32 as the reference's float64 arithmetic gives."""


def preprocess(data: bytes, resolution: int, geometry: PictureGeometry = CENTRE_CROP) -> Pixels:
    """The pixels of an image file.

    Args:
        data: the file's bytes; untrusted.
        resolution: height and width wanted, in pixels.
        geometry: what becomes of pictures that are not square.

    Returns:
        (resolution, resolution, 3) uint8 RGB, 0 to 255.

    Raises:
        ImageError: unreadable, truncated, too large, too narrow to be scaled, or of a mode without an agreed range.
    """
    return fit(decode(data), resolution, geometry)


def decode(data: bytes) -> Pixels:
    """The whole picture of an image file, at its own size.

    Args:
        data: the file's bytes; untrusted.

    Returns:
        (H, W) grey or (H, W, 3) RGB uint8, transparency blended on white. May be read-only.

    Raises:
        ImageError: as `preprocess`, except for what its size decides.
    """
    if SIMPLEJPEG and data.startswith(JPEG_START):
        pixels = _plain_jpeg(data)
        if pixels is not None:
            return pixels
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(IMAGE_TOO_LARGE, f"{image.width} x {image.height} pixels, at most {MAX_PIXELS:,}")
            image.load()
            return opaque(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(IMAGE_TOO_LARGE, str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageError(IMAGE_NOT_AN_IMAGE, f"{len(data):,} bytes are none of {', '.join(FORMATS)}") from error
    except OSError as error:
        reason = IMAGE_TRUNCATED if "truncated" in str(error) else IMAGE_NOT_AN_IMAGE
        raise ImageError(reason, str(error)) from error
    except DECODER_ERRORS as error:
        raise ImageError(IMAGE_NOT_AN_IMAGE, repr(error)) from error


def _plain_jpeg(data: bytes) -> Pixels | None:
    """A faultless grey or YCbCr JPEG of bounded size; None for all else, of which Pillow says what it is."""
    import simplejpeg

    try:
        height, width, space, _ = simplejpeg.decode_jpeg_header(data)
        if space not in ("Gray", "YCbCr") or width * height > MAX_PIXELS:
            return None
        grey = space == "Gray"
        pixels: Pixels = simplejpeg.decode_jpeg(data, colorspace="GRAY" if grey else "RGB", strict=True)
    except DECODER_ERRORS:
        return None
    return pixels[:, :, 0] if grey else pixels


def opaque(image: Image.Image) -> Pixels:
    """A loaded picture of any mode as (H, W, 3) RGB or, where that is the same, (H, W) grey, transparency on white.

    Raises:
        ImageError: integers wider than 16 bits, floats, or a colour space Pillow cannot turn into RGB.
    """
    if image.mode == "RGB":  # as the reference: a transparent colour of an RGB file is not looked at
        return np.asarray(image)
    if image.mode.startswith("I"):
        return _sixteen_bits(image)
    if image.mode == "F":
        raise ImageError(MODE_UNSUPPORTED, "mode F: floats have no agreed range")
    if image.mode in ("1", "L") and "transparency" not in image.info:
        return np.asarray(image.convert("L"))
    try:
        rgba = np.asarray(image.convert("RGBA"))
        if (rgba[:, :, 3] < 255).any():
            return _blended(rgba)
        return np.asarray(image.convert("RGB"))
    except ValueError as error:
        raise ImageError(MODE_UNSUPPORTED, f"mode {image.mode}: {error}") from error


def _blended(rgba: Pixels) -> Pixels:
    """(H, W, 4) on white, in the reference's float64 arithmetic."""
    levels = np.empty((*rgba.shape[:2], 3), np.uint8)
    rows = max(1, BLEND_PX // rgba.shape[1])
    for top in range(0, len(rgba), rows):
        strip = rgba[top : top + rows]
        alpha = strip[:, :, 3:] / 255.0
        levels[top : top + rows] = (1 - alpha) * 255 + alpha * strip[:, :, :3]
    return levels


def _sixteen_bits(image: Image.Image) -> Pixels:
    """16-bit greys by the bits in use: the highest bit that any pixel sets becomes the highest of eight."""
    values = np.asarray(image)
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 0xFFFF:
        raise ImageError(MODE_UNSUPPORTED, f"mode {image.mode}: values {low} to {high}, 16 bits expected")
    return (values >> max(high.bit_length() - 8, 0)).astype(np.uint8)


def fit(pixels: Pixels, resolution: int, geometry: PictureGeometry = CENTRE_CROP) -> Pixels:
    """A decoded picture as (resolution, resolution, 3) uint8 RGB.

    Args:
        pixels: (H, W) or (H, W, 3), as `decode` gives them.
        resolution: height and width wanted.
        geometry: what becomes of pictures that are not square.

    Raises:
        ImageError: `image_too_narrow`.
    """
    square = resize(pixels, place(pixels.shape[1], pixels.shape[0], resolution, geometry), resolution)
    if square.ndim == 2:
        levels = np.empty((*square.shape, 3), np.uint8)
        levels[...] = square[:, :, None]
        return levels
    return square


def normalise(pixels: Pixels) -> npt.NDArray[np.float32]:
    """Levels 0 to 255 as float32 in [-1, 1], same shape."""
    return TABLE.take(pixels)


def to_levels(values: npt.NDArray[np.float32]) -> Pixels:
    """A decoder's output in [-1, 1] as levels 0 to 255, same shape: clamped, then truncated as the reference does."""
    return ((np.clip(values, -1.0, 1.0) + 1.0) / 2.0 * 255.0).astype(np.uint8)
