"""Looking at pairs: copies are told from slices, frames, tiles and other patients, on real pictures."""

from __future__ import annotations

import io
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageEnhance

from medmax_pipeline.config import Nearness
from medmax_pipeline.curation.nearness import PLAIN, Judged, Nearer
from medmax_pipeline.curation.views import view_hashes, views
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.ingest.images import grey_copy, probe
from tests.curation.real import frames, png, real


def judge(folder: Path, pairs: Sequence[tuple[Image.Image, Image.Image]]) -> Judged:
    files = {sha256_bytes(data): data for pair in pairs for data in map(png, pair)}
    nearer = Nearer(files.__getitem__, sorted, folder, Nearness())
    first, second = ([sha256_bytes(png(pair[side])) for pair in pairs] for side in (0, 1))
    short = [min(*a.size, *b.size) for a, b in pairs]
    return nearer.judge(first, second, np.tile(PLAIN, (len(pairs), 1, 1)), [False] * len(pairs), short)


def pressed(image: Image.Image) -> Image.Image:
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=40)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


NAMES = ("chest", "tibia", "abdomen_ct", "head_ct", "shoulder_mr", "pelvis_us", "adult_echo", "skin", "colon", "retina")


@pytest.mark.parametrize("name", NAMES)
def test_a_copy_rescaled_pressed_or_toned_is_a_copy(name: str, tmp_path: Path) -> None:
    image = real(name)[0].image()
    smaller = image.resize((image.width * 3 // 5, image.height * 3 // 5), Image.Resampling.LANCZOS)
    darker = ImageEnhance.Brightness(image).enhance(0.7)
    assert judge(tmp_path, [(image, pressed(image)), (image, smaller), (image, darker)]).copy.all()


def test_frames_of_a_cine_a_tenth_of_a_second_apart_are_neighbours(tmp_path: Path) -> None:
    shown = frames("heart_us", list(range(0, 60, 4)))
    judged = judge(tmp_path, list(pairwise(shown)))
    assert not judged.copy.any()
    assert judged.alike.mean() > 0.5


def test_slices_of_a_volume_are_neighbours(tmp_path: Path) -> None:
    shown = frames("head_mr", list(range(10)))
    judged = judge(tmp_path, list(pairwise(shown)))
    assert not judged.copy.any()


def test_tiles_of_a_slide_are_other_pictures(tmp_path: Path) -> None:
    tiles = [each.image() for each in real("skin")[8:24]]
    assert not judge(tmp_path, list(pairwise(tiles))).copy.any()


def test_other_patients_are_other_pictures(tmp_path: Path) -> None:
    shown = [real(name)[0].image().convert("L").resize((256, 256)) for name in NAMES]
    pairs = [(one, other) for at, one in enumerate(shown) for other in shown[:at]]
    assert judge(tmp_path, pairs).detail.max() < 0.5


def test_blank_pictures_are_nobodys_copy(tmp_path: Path) -> None:
    blank = Image.new("L", (200, 200), 255)
    almost = blank.copy()
    almost.putpixel((3, 3), 250)
    assert not judge(tmp_path, [(blank, almost)]).copy.any()


def test_the_first_view_has_the_hash_of_the_picture_itself() -> None:
    chosen = [png(real(name)[0].image()) for name in NAMES]
    greys = np.stack([grey_copy(data, 96) for data in chosen])
    seen = [probe(data) for data in chosen]
    hashes = view_hashes(greys, np.array([each.width / each.height for each in seen]))
    assert hashes.shape == (len(chosen), len(views()))
    assert views()[0].change == "as it is"
    apart = np.bitwise_count(hashes[:, 0] ^ np.array([int(each.phash, 16) for each in seen], np.uint64))
    assert apart.max() <= 6
