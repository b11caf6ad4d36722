"""Every way of scaling gives the pixels of Pillow 10 to 12, at any size, whatever Pillow is installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medmax_pipeline.errors import TokenError
from medmax_pipeline.files import sha256_bytes
from medmax_pipeline.tokens import device, resize
from medmax_pipeline.tokens.device import fit_all_on_device, fit_on_device, normalise_on_device
from medmax_pipeline.tokens.geometry import PictureGeometry, Placement, Span, place
from medmax_pipeline.tokens.image import fit, normalise
from medmax_pipeline.tokens.resize import Pixels, band, by_products, cut, one_by_one
from tests.conftest import absent

Way = Callable[[Pixels, int, PictureGeometry], Pixels]

TALL_PIXELS = "d7f5562231ea7264130fe38b34177be146eaa1bf00902c7a9ba379cc8951cf8f"
"""sha256 of `tall_picture` at 32, made by Pillow 12.3 on 2026-11-23; Pillow 13 scales such a picture otherwise."""


def noise(width: int, height: int, channels: int = 3, seed: int = 0) -> Pixels:
    shape = (height, width) if channels == 1 else (height, width, channels)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def edges(width: int, height: int) -> Pixels:
    """Black and white only: sums go furthest beyond 0 and 255."""
    return ((noise(width, height, 1) > 127) * 255).astype(np.uint8)


def tall_picture() -> Pixels:
    x, y = np.meshgrid(np.arange(90), np.arange(400))
    return ((7 * x + 13 * y + x * y) % 256).astype(np.uint8)


def by_pillow(pixels: Pixels, resolution: int, geometry: PictureGeometry = "centre_crop") -> Pixels:
    """The whole picture scaled, then cropped or pasted."""
    image = Image.fromarray(pixels)
    side = min(image.size) if geometry == "centre_crop" else max(image.size)
    size = round(resolution / side * image.width), round(resolution / side * image.height)
    scaled = image.resize(size, Image.Resampling.LANCZOS)
    if geometry == "centre_crop":
        left, top = (size[0] - resolution) // 2, (size[1] - resolution) // 2
        return np.asarray(scaled.crop((left, top, left + resolution, top + resolution)))
    square = Image.new(image.mode, (resolution, resolution), "white")
    square.paste(scaled, ((resolution - size[0]) // 2, (resolution - size[1]) // 2))
    return np.asarray(square)


def in_process(pixels: Pixels, resolution: int, geometry: PictureGeometry) -> Pixels:
    return resize.resize(pixels, place(pixels.shape[1], pixels.shape[0], resolution, geometry), resolution)


def by_float64(pixels: Pixels, resolution: int, geometry: PictureGeometry) -> Pixels:
    return _as_picture(pixels, fit_on_device(pixels, resolution, "cpu", geometry))


def by_float32(pixels: Pixels, resolution: int, geometry: PictureGeometry) -> Pixels:
    return _as_picture(pixels, fit_on_device(pixels, resolution, "cpu", geometry, "float32"))


def _as_picture(pixels: Pixels, found: torch.Tensor) -> Pixels:
    assert found.dtype == torch.uint8
    turned: Pixels = found.permute(1, 2, 0).numpy()
    return turned[:, :, 0] if pixels.ndim == 2 else turned


@pytest.fixture(params=["products", "loops", "device, float64", "device, float32"])
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Way:
    if request.param == "loops" and not resize.COMPILED:
        absent("fast", "numba (extra `fast`) is not installed")
    monkeypatch.setattr(resize, "COMPILED", request.param == "loops")
    return {"device, float64": by_float64, "device, float32": by_float32}.get(request.param, in_process)


@pytest.fixture(autouse=True)
def loops_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where there are compiled loops, the first picture is scaled by them."""
    monkeypatch.setattr(resize, "LOADING_S", 0.0)


SIZES = [(31, 22), (1, 1), (3, 90), (90, 3), (16, 16), (16, 40), (40, 16), (17, 16), (33, 64), (129, 65), (500, 301)]


@pytest.mark.parametrize("geometry", ["centre_crop", "letterbox"])
@pytest.mark.parametrize("size", SIZES)
def test_every_way_gives_pillows_pixels(way: Way, size: tuple[int, int], geometry: PictureGeometry) -> None:
    for pixels in (noise(*size), noise(*size, channels=1), edges(*size)):
        assert np.array_equal(way(pixels, 16, geometry), by_pillow(pixels, 16, geometry))


@pytest.mark.parametrize("size", [(800, 600), (1000, 1000), (312, 375), (600, 511), (512, 700), (513, 512)])
def test_every_way_gives_pillows_pixels_at_the_published_resolution(way: Way, size: tuple[int, int]) -> None:
    pixels = noise(*size, channels=1 if size[0] % 2 else 3)
    assert np.array_equal(way(pixels, 512, "centre_crop"), by_pillow(pixels, 512))


@settings(max_examples=60)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([5, 8, 33, 64]), st.booleans(), st.data())
def test_every_way_gives_pillows_pixels_at_any_size(
    width: int, height: int, resolution: int, grey: bool, data: st.DataObject
) -> None:
    pixels = noise(width, height, 1 if grey else 3, data.draw(st.integers(0, 9)))
    geometry: PictureGeometry = "letterbox" if data.draw(st.booleans()) else "centre_crop"
    placement = place(width, height, resolution, "centre_crop")
    expected = by_pillow(pixels, resolution)
    assert np.array_equal(by_products(pixels, placement), expected)
    assert np.array_equal(resize.scaled(pixels, placement), expected)
    if round(resolution * min(width, height) / max(width, height)):
        expected = by_pillow(pixels, resolution, geometry)
        assert np.array_equal(by_float64(pixels, resolution, geometry), expected)
        assert np.array_equal(by_float32(pixels, resolution, geometry), expected)


@pytest.mark.parametrize("size", [(18, 1859), (20, 2000), (9, 1000)])
def test_pictures_a_hundred_times_as_high_as_wide_are_scaled_down_first(way: Way, size: tuple[int, int]) -> None:
    pixels = noise(*size)
    assert np.array_equal(way(pixels, 8, "centre_crop"), by_pillow(pixels, 8))


def test_tall_pictures_keep_their_pixels_whatever_pillow_is_installed(way: Way) -> None:
    assert sha256_bytes(way(tall_picture(), 32, "centre_crop").tobytes()) == TALL_PIXELS


def test_the_installed_pillow_is_one_these_tests_may_compare_with() -> None:
    assert sha256_bytes(by_pillow(tall_picture(), 32).tobytes()) == TALL_PIXELS, (
        "this Pillow scales tall pictures otherwise than 10 to 12 did. Codes are safe, since none of our ways uses it: "
        "hold this file's `by_pillow` against a Pillow below 13."
    )


@settings(max_examples=60)
@given(st.integers(1, 4000), st.integers(1, 700))
def test_weights_are_pillows_in_its_own_order_of_operations(side: int, scaled: int) -> None:
    found = band(Span(side, scaled, 0, scaled, 0))
    scale = side / scaled
    for sample in range(0, len(found.start), 7):
        centre, start = (sample + 0.5) * scale, int(found.start[sample]) + found.low
        last = min(int(centre + 3 * max(scale, 1) + 0.5), side)
        expected = one_by_one(centre, start, last - start, scale)
        assert found.weights[sample].tolist() == expected + [0] * (found.weights.shape[1] - len(expected))


def test_weights_on_a_rounding_edge_are_computed_in_pillows_order(monkeypatch: pytest.MonkeyPatch) -> None:
    span = Span(700, 300, 20, 200, 0)
    quick = band(span)
    band.cache_clear()
    monkeypatch.setattr(resize, "UNSURE", 1.0)
    slow = band(span)
    band.cache_clear()
    assert np.array_equal(quick.weights, slow.weights)
    assert np.array_equal(quick.start, slow.start)


def test_loops_are_loaded_by_who_has_scaled_for_as_long_as_loading_takes() -> None:
    told = (
        "import sys, numpy\nfrom medmax_pipeline.tokens import resize\n"
        "from medmax_pipeline.tokens.geometry import place\n"
        "def scale(): resize.scaled(numpy.zeros((30, 20), 'u1'), place(20, 30, 8)); return 'numba' in sys.modules\n"
        "print(scale(), scale()); resize.LOADING_S = 0.0; print(scale())"
    )
    if not resize.COMPILED:
        absent("fast", "numba (extra `fast`) is not installed")
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False", "True"]


def test_only_the_rows_and_columns_of_the_window_are_looked_at() -> None:
    placement = place(90, 20, 16)
    assert cut(noise(90, 20), placement).shape[1] < 40
    changed = noise(90, 20)
    changed[:, :20] = 0
    assert np.array_equal(resize.resize(changed, placement, 16), resize.resize(noise(90, 20), placement, 16))


def test_pictures_of_many_shapes_come_back_in_order() -> None:
    pictures = [noise(40, 30), noise(30, 40, 1), noise(40, 30, seed=1), noise(30, 40, 1, seed=2), noise(16, 16)]
    found = fit_all_on_device(pictures, 16, "cpu")
    assert found.shape == (5, 3, 16, 16)
    for pixels, levels in zip(pictures, found, strict=True):
        assert np.array_equal(levels.permute(1, 2, 0).numpy(), fit(pixels, 16))


@pytest.mark.parametrize("products", ["float64", "float32"])
def test_large_pictures_go_to_the_device_in_strips(products: device.Products, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "VALUES", 1000)
    found = fit_on_device(noise(200, 300), 32, "cpu", products=products)
    assert np.array_equal(found.permute(1, 2, 0).numpy(), by_pillow(noise(200, 300), 32))


def test_halves_that_would_not_be_exact_are_not_used() -> None:
    span = Span(4000, 16, 0, 16, 0)
    assert not device._halves_are_exact(span)
    assert device._halves_are_exact(Span(4000, 512, 0, 512, 0))
    pixels = np.full((4000, 4000), 255, np.uint8)
    pixels[::3, ::5] = 0
    assert np.array_equal(by_float32(pixels, 16, "centre_crop"), by_pillow(pixels, 16))


def test_float32_products_of_less_precision_are_refused() -> None:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        with pytest.raises(TokenError, match="'medium' precision"):
            by_float32(noise(40, 30), 16, "centre_crop")
        assert np.array_equal(by_float64(noise(40, 30), 16, "centre_crop"), by_pillow(noise(40, 30), 16))
    finally:
        torch.set_float32_matmul_precision(before)


def test_every_level_is_normalised_as_in_process() -> None:
    levels = np.arange(256, dtype=np.uint8).reshape(16, 16)
    found: npt.NDArray[np.float32] = normalise_on_device(torch.from_numpy(levels)).numpy()
    assert np.array_equal(found, normalise(levels))


@pytest.mark.gpu
@pytest.mark.parametrize("products", ["float64", "float32"])
def test_an_accelerator_gives_the_same_pixels(products: device.Products) -> None:
    for size in [*SIZES, (800, 600), (2500, 3000), (18, 1859)]:
        for channels in (1, 3):
            pixels = noise(*size, channels=channels)
            found = fit_on_device(pixels, 64, "cuda", products=products)
            assert np.array_equal(found.permute(1, 2, 0).cpu().numpy(), fit(pixels, 64))


def test_a_placement_of_the_same_size_copies_pixels() -> None:
    placement = Placement(Span(16, 16, 0, 16, 0), Span(40, 40, 12, 16, 0))
    assert np.array_equal(resize.resize(noise(16, 40), placement, 16), noise(16, 40)[12:28])
