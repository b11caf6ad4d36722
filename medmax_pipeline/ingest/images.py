"""Whether bytes are a picture we can use, and what it holds.

The format is taken from the content, never from the name. Every picture is decoded whole, so that a torn one is found
here and not in training; a bad picture is an `ImageError` with the reason's name and never replaced by another one.

What is looked at are the stored pixels of the first frame, as the reference sees them: an EXIF turn is not applied, nor
is a colour profile; further frames (animations, TIFF pages) are noted and not decoded. Resizing and normalising for the
network belong to `tokens/`, the perceptual hash's definition to `phash.py`.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from threading import Lock
from typing import TYPE_CHECKING, Final, NamedTuple

from medmax_pipeline.errors import ImageError
from medmax_pipeline.files import sha256_bytes

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from PIL import Image

FORMATS: Final = ("JPEG", "PNG", "TIFF", "WEBP", "GIF", "BMP")
"""Decoders that outside bytes may reach; the published sets hold png, jpg, tif and bmp."""
MAX_PIXELS: Final = 89_478_485
"""More is refused before decoding. Pillow's own limit, at which it warns; radiographs have some 10 million."""
LARGE_PX: Final = 16 << 20
"""Larger pictures are decoded one at a time, whatever the number of threads: the largest take up to 1.4 GB."""
STRIP_PX: Final = 1 << 16
"""Pixels digested at a time: they stay in the processor's cache, which is four times as fast as the whole picture."""
DECODER_ERRORS: Final = (
    OSError,
    SyntaxError,
    ValueError,
    EOFError,
    LookupError,
    TypeError,
    AttributeError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
)
"""What Pillow's decoders raise on broken content."""
CLEAR_MODES: Final = ("LA", "PA", "RGBA", "La", "RGBa")
"""Modes with transparency; others may carry one colour of it in their metadata."""
DEEP_MODES: Final = ("I", "I;16", "I;16L", "I;16B", "I;16N", "F")
"""Modes deeper than 8 bits a channel, grey all of them. They stay as they are: no rule here flattens them."""

_LARGE: Final = Lock()

IMAGE_EMPTY: Final = "image_empty"
IMAGE_NOT_AN_IMAGE: Final = "image_not_an_image"
IMAGE_TRUNCATED: Final = "image_truncated"
IMAGE_TOO_LARGE: Final = "image_too_large"


class Probe(NamedTuple):
    """What a picture file holds."""

    image_id: str
    """sha256 of the file's bytes, 64 hex digits."""
    bytes: int
    format: str
    """Pillow's name of it; `MPO` is a JPEG with further pictures behind the first."""
    mode: str
    """Pillow's mode as decoded, before any conversion."""
    width: int
    height: int
    many: bool
    """Whether the file holds further frames or pages, of which nothing is used."""
    pixel_digest: str
    """sha256 over mode, size and pixels of the flattened picture (`flatten`; grey ones as RGB), 64 hex digits."""
    phash: str
    """`phash.perceptual_hash` of the flattened picture, 16 hex digits."""


def probe(data: bytes) -> Probe:
    """Decode a picture and describe it.

    Raises:
        ImageError: `image_empty`, `image_not_an_image`, `image_truncated` or `image_too_large`.
    """
    from medmax_pipeline.ingest.phash import perceptual_hash

    with _opened(data) as image, _LARGE if image.width * image.height > LARGE_PX else nullcontext():
        kind, mode = str(image.format), image.mode
        flat = flatten(image)
        return Probe(
            image_id=sha256_bytes(data),
            bytes=len(data),
            format=kind,
            mode=mode,
            width=flat.width,
            height=flat.height,
            many=bool(getattr(image, "is_animated", False)),
            pixel_digest=digest_pixels(flat),
            phash=f"{perceptual_hash(flat):016x}",
        )


@contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """An image file of bounded size, every fault of its decoder under a name of ours."""
    from PIL import Image, ImageFile, UnidentifiedImageError

    if not data:
        raise ImageError(IMAGE_EMPTY, "0 bytes")
    assert not ImageFile.LOAD_TRUNCATED_IMAGES, "somebody told Pillow to fill torn pictures with grey"
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(IMAGE_TOO_LARGE, f"{image.width} x {image.height} pixels, limit {MAX_PIXELS}")
            yield image
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(IMAGE_TOO_LARGE, str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageError(IMAGE_NOT_AN_IMAGE, f"begins with {data[:16]!r}; allowed are {', '.join(FORMATS)}") from error
    except DECODER_ERRORS as error:
        raise ImageError(IMAGE_TRUNCATED, f"does not decode whole ({error})") from error


def flatten(image: Image.Image) -> Image.Image:
    """An open picture's first frame as `L` or `RGB`, transparency blended on white; deep modes as they are."""
    from PIL import Image

    image.load()
    if image.mode in DEEP_MODES:
        return image
    if image.mode in CLEAR_MODES or "transparency" in image.info:
        clear = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", image.size, "white"), clear).convert("RGB")
    if image.mode in ("L", "RGB"):
        return image
    return image.convert("L" if image.mode == "1" else "RGB")


def opened_flat(data: bytes) -> Image.Image:
    """A picture as `flatten` gives it.

    Raises:
        ImageError: as `probe`.
    """
    with _opened(data) as image:
        return flatten(image).copy()


def grey_copy(data: bytes, side: int) -> npt.NDArray[np.uint8]:
    """A small grey copy of a picture, (side, side) uint8, its two sides scaled each to `side`.

    For looking alike, not for pixels: a JPEG is decoded no finer than needed.

    Raises:
        ImageError: as `probe`.
    """
    from medmax_pipeline.ingest.phash import grey_cells

    with _opened(data) as image:
        image.draft(None, (2 * side, 2 * side))
        return grey_cells(flatten(image), side).astype("uint8")


def digest_pixels(flat: Image.Image) -> str:
    """sha256 over mode, size and pixels of a flattened picture, 64 hex digits; a grey one is digested as RGB."""
    mode = "RGB" if flat.mode == "L" else flat.mode
    digest = hashlib.sha256(f"{mode} {flat.width} {flat.height}\n".encode())
    rows = max(1, STRIP_PX // flat.width)
    for top in range(0, flat.height, rows):
        strip = flat.crop((0, top, flat.width, min(top + rows, flat.height)))
        digest.update((strip.convert("RGB") if flat.mode == "L" else strip).tobytes())
    return digest.hexdigest()


def encode_png(data: bytes) -> bytes:
    """The same pixels as a PNG file: another file, the same picture.

    Raises:
        ImageError: the picture is of a mode that PNG cannot hold without loss here, or as `probe`.
    """
    with _opened(data) as image:
        flat = flatten(image)
        if flat.mode in DEEP_MODES:
            raise ImageError("image_deep", f"mode {flat.mode} has no lossless RGB form")
        buffer = io.BytesIO()
        flat.convert("RGB").save(buffer, "PNG")
    return buffer.getvalue()
