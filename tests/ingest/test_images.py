"""Pictures, good and bad, in all the modes the sources hold."""

from __future__ import annotations

import io
import zlib
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import combinations

import imagehash
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageCms

from medmax_pipeline.errors import ImageError
from medmax_pipeline.ingest import images
from medmax_pipeline.ingest.images import Probe, encode_png, flatten, probe
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


def test_large_pictures_wait_for_each_other_and_small_ones_do_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "LARGE_PX", 16 * 12)
    with ThreadPoolExecutor(2) as pool:
        with images._LARGE:
            large = pool.submit(probe, picture(1, size=(16, 13)))
            assert pool.submit(probe, picture(1)).result(10).height == 12
            assert not large.done()
        assert large.result(10).height == 13


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


def drawn(mode: str) -> Image.Image:
    """A slope from dark to light with a block in it, in that mode."""
    grey = Image.linear_gradient("L").resize((48, 40))
    colour = Image.merge(
        "RGB", (grey, grey.transpose(Image.Transpose.ROTATE_180), grey.point(lambda level: level // 2))
    )
    colour.paste((250, 20, 20), (30, 4, 44, 18))
    if mode in ("I;16", "I;16B"):
        deep = np.asarray(colour.convert("L"), dtype=np.uint16) * 257
        return Image.frombytes(mode, colour.size, deep.astype(">u2" if mode == "I;16B" else "<u2").tobytes())
    if mode == "PA":
        return colour.convert("P").convert("PA")
    if mode == "LAB":
        made = ImageCms.profileToProfile(
            colour, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
        assert made is not None
        return made
    return colour.convert(mode)


CARRIED = [
    ("1", "PNG"),
    ("L", "JPEG"),
    ("LA", "PNG"),
    ("P", "GIF"),
    ("PA", "TIFF"),
    ("RGB", "WEBP"),
    ("RGBA", "PNG"),
    ("CMYK", "TIFF"),
    ("CMYK", "JPEG"),
    ("LAB", "TIFF"),
    ("I", "TIFF"),
    ("I;16", "PNG"),
    ("I;16", "TIFF"),
    ("I;16B", "TIFF"),
    ("F", "TIFF"),
]
"""Every mode that Pillow gives for a file of a format we read. HSV has none, and YCbCr is read as RGB."""


@pytest.mark.parametrize(("mode", "form"), CARRIED)
def test_every_mode_is_described_under_its_name_and_looks_as_drawn(mode: str, form: str) -> None:
    found = probe(saved(drawn(mode), form))
    assert (found.mode, found.format, found.width, found.height) == (mode, form, 48, 40)
    plain = probe(saved(drawn("L" if mode in ("I", "I;16", "I;16B", "F", "1") else "RGB")))
    assert bits_apart(found, plain) <= (20 if mode == "1" else 12)


@pytest.mark.parametrize("mode", ["YCbCr", "RGBX"])
def test_modes_that_files_carry_and_the_decoder_converts_are_read_as_rgb(mode: str) -> None:
    found = probe(saved(drawn(mode), "TIFF", compression="tiff_lzw"))
    assert found.mode == "RGB"
    assert bits_apart(found, probe(saved(drawn("RGB")))) <= 2


@pytest.mark.parametrize("mode", ["HSV", "YCbCr", "RGBX"])
def test_a_mode_that_no_file_gives_is_flattened_all_the_same(mode: str) -> None:
    assert flatten(drawn(mode)).mode == "RGB"


def test_the_inks_of_a_jpeg_are_told_from_light() -> None:
    red = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    with Image.open(io.BytesIO(saved(red, "JPEG", quality=100))) as image:
        shown = flatten(image).getpixel((8, 8))
    assert isinstance(shown, tuple)
    assert shown[0] > 240
    assert max(shown[1:]) < 15


@pytest.mark.parametrize("form", ["GIF", "PNG", "TIFF", "WEBP", "MPO"])
def test_the_first_frame_of_many_is_used_and_noted(form: str) -> None:
    first, second = drawn("RGB"), Image.new("RGB", (48, 40), "green")
    lossless = {"lossless": True} if form == "WEBP" else {}
    many = probe(saved(first, form, save_all=True, append_images=[second], **lossless))
    alone = probe(saved(first, "JPEG" if form == "MPO" else form, **lossless))
    assert (many.many, alone.many) == (True, False)
    assert many.pixel_digest == alone.pixel_digest


def test_a_turn_noted_in_the_metadata_is_not_applied() -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    turned, plain = (probe(saved(drawn("RGB"), "JPEG", exif=noted)) for noted in (exif, Image.Exif()))
    assert (turned.width, turned.height) == (48, 40)
    assert turned.pixel_digest == plain.pixel_digest


@pytest.mark.parametrize("transparency", [7, bytes([255] * 20 + [0] * 236)])
def test_a_palette_with_clear_colours_shows_white_there(transparency: int | bytes) -> None:
    palette = drawn("RGB").quantize(256)
    palette.putpixel((0, 0), 7)
    palette.putpixel((1, 0), 30)
    clear = saved(palette, transparency=transparency)
    with Image.open(io.BytesIO(clear)) as image:
        assert image.mode == "P"
        assert flatten(image).getpixel((0 if transparency == 7 else 1, 0)) == (255, 255, 255)


def test_a_grey_picture_with_one_clear_level_shows_white_there() -> None:
    with Image.open(io.BytesIO(saved(Image.new("L", (4, 4), 9), transparency=9))) as image:
        assert flatten(image).getpixel((0, 0)) == (255, 255, 255)


def bits_apart(first: Probe, second: Probe) -> int:
    return (int(first.phash, 16) ^ int(second.phash, 16)).bit_count()


def photograph(seed: int = 0) -> Image.Image:
    """A smooth scene with texture, 600 x 450."""
    noise = np.random.default_rng(seed)
    coarse = Image.fromarray(noise.integers(0, 255, (9, 12, 3), dtype=np.uint8)).resize((600, 450), 3)
    fine = Image.fromarray(noise.integers(0, 255, (450, 600, 3), dtype=np.uint8))
    return Image.blend(coarse, fine, 0.2)


@pytest.mark.parametrize("side", [1200, 300, 150])
def test_a_picture_scaled_and_pressed_keeps_nearly_all_bits_of_its_hash(side: int) -> None:
    small = photograph().resize((side, side * 3 // 4))
    assert bits_apart(probe(saved(photograph())), probe(saved(small, "JPEG", quality=40))) <= 6


def test_other_pictures_have_other_hashes() -> None:
    found = [probe(saved(photograph(seed))) for seed in range(6)]
    assert min(bits_apart(a, b) for a, b in combinations(found, 2)) >= 16


def test_the_hash_is_what_it_was_on_any_machine() -> None:
    assert probe(saved(drawn("RGB"))).phash == "cbcb90b4b4b4b4b4"
    assert probe(saved(drawn("I;16"))).phash == "cbcb90b4b4b4b4b4"


@pytest.mark.parametrize("size", [(1, 1), (5, 3), (31, 900)])
def test_one_colour_has_the_bit_of_the_constant_alone_whatever_the_size(size: tuple[int, int]) -> None:
    assert probe(saved(Image.new("RGB", size, (9, 80, 200)))).phash == "8" + "0" * 15
    assert probe(saved(Image.new("RGB", size))).phash == "0" * 16


@pytest.mark.parametrize("seed", range(40))
def test_the_hash_is_the_librarys_on_the_same_cells(seed: int) -> None:
    cells = photograph(seed).convert("L").resize((32, 32), Image.Resampling.BOX)
    assert probe(saved(cells)).phash == str(imagehash.phash(cells))


def test_grey_pixels_hash_alike_whether_kept_as_grey_or_as_colour() -> None:
    grey = drawn("L")
    assert probe(saved(grey)).phash == probe(saved(grey.convert("RGB"))).phash


def test_values_that_are_no_number_do_not_spoil_a_hash() -> None:
    values = np.asarray(drawn("F")).copy()
    plain = probe(saved(Image.fromarray(values), "TIFF"))
    values[0, 0] = np.nan
    values[0, 1] = np.inf
    odd = probe(saved(Image.fromarray(values), "TIFF"))
    assert odd.pixel_digest != plain.pixel_digest
    assert bits_apart(odd, plain) <= 4
    assert probe(saved(Image.fromarray(np.full((8, 8), np.nan, np.float32)), "TIFF")).phash == "0" * 16


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
