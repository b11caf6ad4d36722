"""Other views of a training picture: cut closer, mirrored, with other gain. So that few files teach what is common.

In training, held-out pictures have no variants; a benchmark of its own may show another view of one. What is true of a
picture stays true of its variants, but for its side, which nothing asks about.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache, partial
from typing import Final

from PIL import Image, ImageEnhance, ImageOps

from medmax_pipeline.sample.pictures import Picture

CLOSEST: Final = 0.6
"""Least share of the sides that a variant keeps. Ours: structures stay recognisable."""
GAIN: Final = (0.6, 1.5)
CONTRAST: Final = (0.7, 1.4)


def variants(picture: Picture, count: int) -> Iterator[Picture]:
    """`count` variants of a picture, each the same every time."""
    for number in range(count):
        yield view(picture, f"v{number}")


def view(picture: Picture, name: str) -> Picture:
    """One variant, the same every time for the same name."""
    name = f"{picture.name}_{name}"
    return replace(
        picture,
        name=name,
        flag="synthetic" if picture.flag == "synthetic" else "derived",
        render=partial(render, picture, name),
        facts=(*picture.facts, "Another view of the same file: cut, mirrored or with other gain."),
    )


@lru_cache(maxsize=2)
def _whole(picture: Picture) -> Image.Image:
    """The picture itself, kept while its variants are drawn one after the other; nobody changes it."""
    return picture.image()


def render(picture: Picture, name: str) -> Image.Image:
    """The variant of that name."""
    chance = random.Random(name)
    image = _whole(picture)
    share = chance.uniform(CLOSEST, 1.0)
    width, height = max(1, round(image.width * share)), max(1, round(image.height * share))
    left, top = chance.randint(0, image.width - width), chance.randint(0, image.height - height)
    image = image.crop((left, top, left + width, top + height))
    if chance.random() < 0.5:
        image = ImageOps.mirror(image)
    image = ImageEnhance.Brightness(image).enhance(chance.uniform(*GAIN))
    return ImageEnhance.Contrast(image).enhance(chance.uniform(*CONTRAST))
