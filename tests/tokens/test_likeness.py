"""PSNR and SSIM, worked out by hand and held against another implementation."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from medmax_pipeline.tokens.likeness import PSNR_CAP_DB, psnr_db, ssim
from tests.conftest import absent


def noise(seed: int, height: int = 24, width: int = 31) -> npt.NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_psnr_of_pictures_one_level_apart() -> None:
    black = np.zeros((4, 4, 3), dtype=np.uint8)
    assert psnr_db(black, black + 1) == pytest.approx(20 * np.log10(255))


def test_psnr_of_black_against_white_is_zero_and_of_equals_is_capped() -> None:
    black = np.zeros((2, 2, 3), dtype=np.uint8)
    assert psnr_db(black, black + 255) == 0.0
    assert psnr_db(black, black) == PSNR_CAP_DB


def test_psnr_does_not_wrap_around_zero() -> None:
    assert psnr_db(np.full((2, 2, 3), 1, np.uint8), np.full((2, 2, 3), 2, np.uint8)) == pytest.approx(48.13, abs=0.01)


def test_ssim_of_equal_pictures_is_one() -> None:
    assert ssim(noise(1), noise(1)) == pytest.approx(1.0)


def test_ssim_of_flat_pictures_is_the_luminance_term_alone() -> None:
    black, white = np.zeros((11, 11, 3), np.uint8), np.full((11, 11, 3), 255, np.uint8)
    c1 = (0.01 * 255) ** 2
    assert ssim(black, white) == pytest.approx(c1 / (255**2 + c1))


def test_ssim_does_not_care_which_picture_comes_first_and_falls_with_noise() -> None:
    near = np.clip(noise(1).astype(int) + np.random.default_rng(2).integers(-9, 10, noise(1).shape), 0, 255)
    assert ssim(noise(1), noise(3)) == pytest.approx(ssim(noise(3), noise(1)))
    assert ssim(noise(1), near.astype(np.uint8)) > 0.9 > ssim(noise(1), noise(3))


@pytest.mark.parametrize("size", [(11, 11), (24, 31), (64, 64)])
def test_ssim_is_that_of_another_implementation(size: tuple[int, int]) -> None:
    try:
        from skimage.metrics import structural_similarity
    except ImportError:
        absent("corpus", "scikit-image is of the extra `sample`")
    one, other = noise(5, *size), (noise(6, *size) // 2 + noise(5, *size) // 2).astype(np.uint8)
    expected = structural_similarity(
        one, other, channel_axis=2, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert ssim(one, other) == pytest.approx(expected, abs=1e-9)


def test_a_picture_smaller_than_the_window_has_no_ssim() -> None:
    with pytest.raises(AssertionError, match="no window"):
        ssim(noise(1, 10, 30), noise(2, 10, 30))
