"""Whether bytes are a picture we can use, and what it holds.

The format is taken from the content, never from the name. Every picture is decoded whole, so that a torn one is found
here and not in training; a bad picture is an `ImageError` with the reason's name and never replaced by another one.
Resizing and normalising for the network belong to `tokens/`.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zlib
from typing import Final, NamedTuple

from medmax_pipeline.errors import ImageError
from medmax_pipeline.files import sha256_bytes

FORMATS: Final = ("BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP")
"""Decoders that outside bytes may reach; the published sets hold png, jpg, tif and bmp."""
MAX_PIXELS: Final = 89_478_485
"""More is refused before decoding. Pillow's own limit, at which it warns; radiographs have some 10 million."""
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
EIGHT_BIT_MODES: Final = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "La", "RGBa", "RGBX")
"""Modes that become RGB without loss of depth."""

IMAGE_EMPTY: Final = "image_empty"
IMAGE_NOT_AN_IMAGE: Final = "image_not_an_image"
IMAGE_TRUNCATED: Final = "image_truncated"
IMAGE_TOO_LARGE: Final = "image_too_large"


class Probe(NamedTuple):
    """What a picture file holds."""

    image_id: str
    """sha256 of the file's bytes."""
    bytes: int
    format: str
    mode: str
    """Pillow's mode as decoded, before any conversion."""
    width: int
    height: int
    pixel_digest: str
    """sha256 over mode, size and pixels after `flat_pixels`."""


class Pixels(NamedTuple):
    """Decoded pixels in one comparable form."""

    mode: str
    width: int
    height: int
    data: bytes


def probe(data: bytes) -> Probe:
    """Decode a picture and describe it.

    Raises:
        ImageError: `image_empty`, `image_not_an_image`, `image_truncated` or `image_too_large`.
    """
    from PIL import Image, ImageFile, UnidentifiedImageError

    if not data:
        raise ImageError(IMAGE_EMPTY, "0 bytes")
    assert not ImageFile.LOAD_TRUNCATED_IMAGES, "somebody told Pillow to fill torn pictures with grey"
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise ImageError(IMAGE_TOO_LARGE, f"{image.width} x {image.height} pixels, limit {MAX_PIXELS}")
            kind, mode = str(image.format), image.mode
            pixels = flat_pixels(image)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise ImageError(IMAGE_TOO_LARGE, str(error)) from error
    except UnidentifiedImageError as error:
        raise ImageError(IMAGE_NOT_AN_IMAGE, f"begins with {data[:16]!r}; allowed are {', '.join(FORMATS)}") from error
    except DECODER_ERRORS as error:
        raise ImageError(IMAGE_TRUNCATED, f"does not decode whole ({error})") from error
    return Probe(
        image_id=sha256_bytes(data),
        bytes=len(data),
        format=kind,
        mode=mode,
        width=pixels.width,
        height=pixels.height,
        pixel_digest=digest_pixels(pixels),
    )


def flat_pixels(image: object) -> Pixels:
    """An open picture's first frame as RGB, transparency blended on white; deeper than 8 bits as it is.

    Args:
        image: a `PIL.Image.Image`.
    """
    from PIL import Image

    assert isinstance(image, Image.Image)
    image.load()
    flat: Image.Image = image
    if image.mode in EIGHT_BIT_MODES:
        if image.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in image.info:
            clear = image.convert("RGBA")
            flat = Image.alpha_composite(Image.new("RGBA", image.size, "white"), clear).convert("RGB")
        else:
            flat = image.convert("RGB")
    return Pixels(flat.mode, flat.width, flat.height, flat.tobytes())


def digest_pixels(pixels: Pixels) -> str:
    """sha256 over mode, size and bytes, 64 hex digits."""
    digest = hashlib.sha256(f"{pixels.mode} {pixels.width} {pixels.height}\n".encode())
    digest.update(pixels.data)
    return digest.hexdigest()


def encode_png(data: bytes) -> bytes:
    """The same pixels as a PNG file: another file, the same picture.

    Raises:
        ImageError: the picture is of a mode that PNG cannot hold without loss here.
    """
    from PIL import Image

    with Image.open(io.BytesIO(data), formats=FORMATS) as image:
        pixels = flat_pixels(image)
    if pixels.mode != "RGB":
        raise ImageError("image_deep", f"mode {pixels.mode} has no lossless RGB form")
    buffer = io.BytesIO()
    Image.frombytes("RGB", (pixels.width, pixels.height), pixels.data).save(buffer, "PNG")
    return buffer.getvalue()
