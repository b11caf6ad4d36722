"""Pictures, good and bad, in all the modes the sources hold."""

from __future__ import annotations

import io
import zlib
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medmax_pipeline.errors import ImageError
from medmax_pipeline.ingest import images
from medmax_pipeline.ingest.images import encode_png, probe
from tests.ingest.landings import picture, png_again


def reason(data: bytes) -> str:
    with pytest.raises(ImageError) as caught:
        probe(data)
    return caught.value.reason


def saved(image: Image.Image, form: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"])
def test_the_format_is_told_by_the_content(form: str) -> None:
    found = probe(picture(1, form))
    assert (found.format, found.width, found.height) == (form, 16, 12)


def test_a_torn_jpeg_is_found_out() -> None:
    data = picture(1, "JPEG", (64, 64))
    assert reason(data[: len(data) * 2 // 3]) == "image_truncated"


def test_a_torn_png_is_found_out() -> None:
    data = picture(1, "PNG", (64, 64))
    assert reason(data[: len(data) // 2]) == "image_truncated"


@pytest.mark.filterwarnings("ignore")  # Pillow's notes on odd metadata
@settings(deadline=None, max_examples=60)
@given(
    form=st.sampled_from(["JPEG", "PNG", "GIF", "BMP", "TIFF", "WEBP"]),
    changes=st.lists(st.tuples(st.integers(0, 400), st.integers(0, 255)), min_size=1, max_size=6),
    keep=st.integers(0, 2000),
)
def test_whatever_the_bytes_a_picture_is_described_or_refused_by_name(
    form: str, changes: list[tuple[int, int]], keep: int
) -> None:
    data = bytearray(picture(1, form))
    for at, value in changes:
        data[at % len(data)] = value
    with suppress(ImageError):  # any other exception fails the test
        assert probe(bytes(data[:keep])).width > 0


@pytest.mark.parametrize("data", [b"<html><body>404 Not Found</body></html>", b"version https://git-lfs\n", bytes(100)])
def test_what_is_no_picture_is_told_apart(data: bytes) -> None:
    assert reason(data) == "image_not_an_image"


def test_nothing_is_told_apart() -> None:
    assert reason(b"") == "image_empty"


def test_a_format_outside_the_list_reaches_no_decoder() -> None:
    assert reason(picture(1, "PPM")) == "image_not_an_image"


def test_a_picture_with_too_many_pixels_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_PIXELS", 16 * 12 - 1)
    assert reason(picture(1)) == "image_too_large"


def test_a_header_that_claims_a_giant_picture_is_refused() -> None:
    data = bytearray(picture(1))
    at = data.index(b"IHDR")
    data[at + 4 : at + 12] = (60_000).to_bytes(4, "big") * 2
    data[at + 17 : at + 21] = zlib.crc32(bytes(data[at : at + 17])).to_bytes(4, "big")
    assert reason(bytes(data)) == "image_too_large"


def test_equal_pixels_in_other_bytes_share_the_pixel_digest_only() -> None:
    first, second = probe(picture(1)), probe(png_again(picture(1)))
    assert first.image_id != second.image_id
    assert first.pixel_digest == second.pixel_digest


def test_one_changed_pixel_changes_the_pixel_digest() -> None:
    with Image.open(io.BytesIO(picture(1))) as image:
        image.putpixel((3, 3), (1, 2, 3))
        changed = saved(image)
    assert probe(changed).pixel_digest != probe(picture(1)).pixel_digest


@pytest.mark.parametrize("size", [(12, 16), (24, 8)])
def test_the_same_bytes_in_another_shape_are_another_picture(size: tuple[int, int]) -> None:
    assert probe(picture(1, size=size)).pixel_digest != probe(picture(1)).pixel_digest


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_of_the_sources_is_kept_by_name(mode: str) -> None:
    form = "TIFF" if mode == "CMYK" else "PNG"
    assert probe(saved(Image.new(mode, (4, 4)), form)).mode == mode


def test_transparency_is_blended_on_white() -> None:
    clear = saved(Image.new("RGBA", (4, 4), (10, 20, 30, 0)))
    white = saved(Image.new("RGB", (4, 4), "white"))
    assert probe(clear).pixel_digest == probe(white).pixel_digest


def test_a_palette_and_its_colours_are_the_same_picture() -> None:
    with Image.open(io.BytesIO(picture(1))) as image:
        palette = image.quantize(8)
    assert probe(saved(palette)).pixel_digest == probe(saved(palette.convert("RGB"))).pixel_digest


def test_deep_pictures_are_not_flattened_before_they_are_compared() -> None:
    bright, brighter = (saved(Image.new("I;16", (4, 4), value)) for value in (30_000, 60_000))
    assert probe(bright).pixel_digest != probe(brighter).pixel_digest


def test_a_jpeg_written_again_as_png_is_the_same_picture() -> None:
    data = picture(1, "JPEG")
    again = encode_png(data)
    assert again != data
    assert probe(again).pixel_digest == probe(data).pixel_digest


def test_a_deep_picture_is_not_written_again_with_loss() -> None:
    with pytest.raises(ImageError, match="image_deep"):
        encode_png(saved(Image.new("I;16", (4, 4))))
