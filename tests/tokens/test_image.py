"""Pixels equal a plain restatement of the reference for every mode, and bad bytes have a reason."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import struct
import zlib
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medmax_pipeline.errors import ImageError
from medmax_pipeline.tokens import image as image_module
from medmax_pipeline.tokens.image import Pixels, decode, fit, normalise, opaque, preprocess, to_levels
from tests.conftest import absent
from tests.tokens.small import picture

MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBa", "RGBX", "CMYK", "YCbCr", "HSV")
SIXTEEN = ("I;16", "I;16L", "I;16B", "I")


def noise(mode: str, size: tuple[int, int] = (31, 22), seed: int = 0) -> Image.Image:
    """A picture of random bytes in any mode of 8 bits."""
    bands = len(Image.new(mode, (1, 1)).getbands())
    values = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 4), dtype=np.uint8)
    if mode == "1":
        return Image.fromarray(values[:, :, 0] > 127)
    image = Image.merge(mode, [Image.fromarray(values[:, :, band]) for band in range(bands)]) if mode != "P" else None
    if image is None:
        image = Image.fromarray(values[:, :, 0]).convert("P")
    if mode in ("P", "PA"):
        image.putpalette(np.random.default_rng(seed + 1).integers(0, 256, 768, dtype=np.uint8).tobytes())
    return image


def reference(image: Image.Image, resolution: int) -> npt.NDArray[np.float32]:
    """The reference's path in its own order of operations: float64 to the end, one float32 at last."""
    if image.mode != "RGB":
        rgba = np.array(image.convert("RGBA"))
        if (rgba[:, :, 3] < 255).any():
            alpha = rgba[:, :, 3] / 255.0
            rgb = (1 - alpha[:, :, np.newaxis]) * 255 + alpha[:, :, np.newaxis] * rgba[:, :, :3]
            image = Image.fromarray(rgb.astype("uint8"))
        else:
            image = image.convert("RGB")
    scale = resolution / min(image.size)
    image = image.resize((round(scale * image.size[0]), round(scale * image.size[1])), Image.Resampling.LANCZOS)
    left, top = (image.width - resolution) // 2, (image.height - resolution) // 2
    image = image.crop((left, top, left + resolution, top + resolution))
    return (np.array(image) / 255.0 * 2 - 1).astype(np.float32)


def fitted(image: Image.Image, resolution: int = 16) -> Pixels:
    return fit(opaque(image), resolution)


def assert_as_reference(image: Image.Image, resolution: int = 16) -> None:
    found = fitted(image, resolution)
    assert found.shape == (resolution, resolution, 3)
    assert found.dtype == np.uint8
    assert np.array_equal(normalise(found), reference(image, resolution))


@pytest.mark.parametrize("mode", MODES)
def test_pixels_equal_the_reference_in_every_mode(mode: str) -> None:
    assert_as_reference(noise(mode))


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB"])
def test_transparency_of_a_png_is_treated_as_the_reference_does(mode: str) -> None:
    buffer = io.BytesIO()
    clear = {"1": 1, "L": 128, "P": bytes(range(256)), "RGB": (1, 2, 3)}[mode]
    noise(mode).save(buffer, format="PNG", transparency=clear)
    with Image.open(io.BytesIO(buffer.getvalue())) as image:
        image.load()
        assert "transparency" in image.info
        assert_as_reference(image)


def test_large_pictures_are_blended_in_strips(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = opaque(noise("RGBA"))
    monkeypatch.setattr(image_module, "BLEND_PX", 70)
    assert np.array_equal(opaque(noise("RGBA")), whole)


def test_clear_picture_becomes_white() -> None:
    assert (fitted(Image.new("RGBA", (20, 20), (9, 9, 9, 0))) == 255).all()


@settings(max_examples=40)
@given(st.integers(1, 90), st.integers(1, 90), st.sampled_from([8, 16, 33]))
def test_pixels_equal_the_reference_at_any_size(width: int, height: int, resolution: int) -> None:
    assert_as_reference(noise("RGB", (width, height)), resolution)
    assert_as_reference(noise("L", (width, height)), resolution)


@pytest.mark.parametrize("mode", SIXTEEN)
@pytest.mark.parametrize(("highest", "shift"), [(200, 0), (255, 0), (256, 1), (4095, 4), (65_535, 8)])
def test_sixteen_bits_are_scaled_by_the_bits_in_use(mode: str, highest: int, shift: int) -> None:
    values = np.linspace(0, highest, 16 * 16).round().astype(np.uint16).reshape(16, 16)
    wide = {"I;16": "<u2", "I;16L": "<u2", "I;16B": ">u2", "I": "<i4"}[mode]
    found = fitted(Image.frombytes(mode, (16, 16), values.astype(wide).tobytes()))
    assert np.array_equal(found[:, :, 0], (values >> shift).astype(np.uint8))


def test_sixteen_bit_png_is_read() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((16, 16), 4095, dtype=np.uint16)).save(buffer, format="PNG")
    assert (preprocess(buffer.getvalue(), 16) == 255).all()


@pytest.mark.parametrize(
    "image",
    [
        Image.new("F", (16, 16)),
        Image.new("I", (16, 16), 65_536),
        Image.new("I", (16, 16), -1),
        Image.new("La", (16, 16)),
    ],
)
def test_modes_without_an_agreed_range_are_refused(image: Image.Image) -> None:
    with pytest.raises(ImageError, match="image_mode_unsupported"):
        opaque(image)


def test_every_level_is_the_references_float() -> None:
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(normalise(levels), (levels / 255.0 * 2 - 1).astype(np.float32))


def test_levels_come_back_within_truncation() -> None:
    levels = np.arange(256, dtype=np.uint8)
    back = to_levels(normalise(levels)).astype(int)
    assert set((levels - back).tolist()) <= {0, 1}
    assert to_levels(np.array([-3.0, 3.0], dtype=np.float32)).tolist() == [0, 255]


def test_first_frame_of_an_animation_is_taken() -> None:
    frames = [Image.new("L", (16, 16), 10), Image.new("L", (16, 16), 200)]
    buffer = io.BytesIO()
    frames[0].save(buffer, format="GIF", save_all=True, append_images=frames[1:])
    assert (preprocess(buffer.getvalue(), 16) == 10).all()


def test_orientation_in_the_file_is_not_obeyed() -> None:
    image = Image.new("RGB", (16, 32))
    image.paste((255, 255, 255), (0, 0, 16, 16))
    exif = Image.Exif()
    exif[0x0112] = 3
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", exif=exif)
    assert preprocess(buffer.getvalue(), 16)[0].mean() > preprocess(buffer.getvalue(), 16)[-1].mean()


@pytest.mark.parametrize("data", [b"", b"no picture", b"\x89PNG\r\n\x1a\n", b"%PDF-1.4", b"\xff\xd8\xff"])
def test_bytes_that_are_no_picture_are_unreadable(data: bytes) -> None:
    with pytest.raises(ImageError, match="image_not_an_image"):
        preprocess(data, 16)


def test_cut_picture_is_refused_at_every_length() -> None:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(picture(1))).save(buffer, format="JPEG")
    data = buffer.getvalue()
    for length in range(0, len(data) - 2, 37):
        with pytest.raises(ImageError, match=r"image_not_an_image|image_truncated"):
            preprocess(data[:length], 16)


def chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("side", [10_000, 40_000])
def test_bomb_is_refused_before_its_pixels_are_made(side: int, recwarn: pytest.WarningsRecorder) -> None:
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0))
    with pytest.raises(ImageError, match="image_too_large"):
        preprocess(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b""), 16)


def test_line_of_pixels_is_too_narrow_to_be_scaled() -> None:
    with pytest.raises(ImageError, match="image_too_narrow"):
        fitted(Image.new("L", (1, 30_000)), 64)


@settings(max_examples=150)
@given(st.data())
def test_damaged_bytes_give_pixels_or_a_reason(data: st.DataObject) -> None:
    whole = bytearray(picture(2))
    for place in data.draw(st.lists(st.integers(0, len(whole) - 1), min_size=1, max_size=4)):
        whole[place] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ImageError):
        assert preprocess(bytes(whole), 16).shape == (16, 16, 3)


def jpeg(image: Image.Image, **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="JPEG", **options)
    return buffer.getvalue()


def real_jpegs() -> list[bytes]:
    """Photographs and slides that come with the packages of the sample."""
    matplotlib, skimage = (importlib.util.find_spec(name) for name in ("matplotlib", "skimage"))
    assert matplotlib is not None
    assert skimage is not None
    folders = [Path(str(spec.origin)).parent for spec in (matplotlib, skimage)]
    paths = [folders[0] / "mpl-data" / "sample_data", folders[1] / "data"]
    found = [path.read_bytes() for folder in paths for path in sorted(folder.glob("*.jpg"))]
    assert len(found) >= 3
    return found


def drawn_jpegs() -> dict[str, bytes]:
    colour = Image.open(io.BytesIO(picture(3))).convert("RGB").resize((83, 61))
    made = {f"{kind}, subsampling {sub}": jpeg(colour, subsampling=sub, quality=q) for kind, sub, q in SUBSAMPLINGS}
    return made | {
        "grey": jpeg(colour.convert("L")),
        "grey, progressive": jpeg(colour.convert("L"), progressive=True),
        "progressive": jpeg(colour, progressive=True),
        "optimised": jpeg(colour, optimize=True),
        "restarts": jpeg(colour, restart_marker_rows=1),
        "one pixel": jpeg(colour.resize((1, 1))),
    }


SUBSAMPLINGS = [("low", 0, 20), ("low", 1, 20), ("low", 2, 20), ("high", 0, 95), ("high", 1, 95), ("high", 2, 95)]


@pytest.fixture(scope="module")
def simplejpeg() -> None:
    """What only the extra `fast` brings."""
    if not image_module.SIMPLEJPEG:
        absent("fast", "simplejpeg (extra `fast`) is not installed")


@pytest.mark.usefixtures("simplejpeg")
def test_faster_decoder_gives_pillows_pixels() -> None:
    for data in [*real_jpegs(), *drawn_jpegs().values()]:
        found = image_module._plain_jpeg(data)
        assert found is not None
        assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.usefixtures("simplejpeg")
@settings(max_examples=30)
@given(st.integers(1, 70), st.integers(1, 70), st.integers(1, 100), st.integers(0, 2), st.booleans())
def test_faster_decoder_gives_pillows_pixels_at_any_size(
    width: int, height: int, quality: int, subsampling: int, progressive: bool
) -> None:
    data = jpeg(noise("RGB", (width, height)), quality=quality, subsampling=subsampling, progressive=progressive)
    found = image_module._plain_jpeg(data)
    assert found is not None
    assert np.array_equal(found, np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.usefixtures("simplejpeg")
def test_jpegs_that_are_not_plain_are_left_to_pillow() -> None:
    whole = jpeg(noise("RGB", (64, 64)))
    others = [
        jpeg(noise("CMYK")),
        jpeg(noise("RGB"), keep_rgb=True),
        whole[: len(whole) // 2],
        b"\xff\xd8\xff",
        whole[:3],
    ]
    for data in others:
        assert image_module._plain_jpeg(data) is None


@pytest.mark.parametrize("faster", [False, True])
def test_every_kind_of_jpeg_is_decoded_as_pillow_does(faster: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image_module, "SIMPLEJPEG", faster and image_module.SIMPLEJPEG)
    for data in [*drawn_jpegs().values(), jpeg(noise("CMYK")), jpeg(noise("RGB"), keep_rgb=True)]:
        image = Image.open(io.BytesIO(data))
        expected = np.asarray(image if image.mode == "L" else image.convert("RGB"))
        assert np.array_equal(decode(data), expected)


@pytest.mark.parametrize("mode", ["1", "L"])
def test_grey_pictures_are_decoded_to_one_channel(mode: str) -> None:
    buffer = io.BytesIO()
    noise(mode).save(buffer, format="PNG")
    assert decode(buffer.getvalue()).shape == (22, 31)


def test_letterbox_keeps_the_whole_picture_on_white() -> None:
    buffer = io.BytesIO()
    noise("RGB", (64, 31)).save(buffer, format="PNG")
    scaled = np.asarray(noise("RGB", (64, 31)).resize((32, 16), Image.Resampling.LANCZOS))
    found = preprocess(buffer.getvalue(), 32, "letterbox")
    assert np.array_equal(found[8:24], scaled)
    assert (found[:8] == 255).all()
    assert (found[24:] == 255).all()
