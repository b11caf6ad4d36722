"""Distances of pictures, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medmax_pipeline.eval.picture_metrics import PSNR_CAP_DB, code_histogram, cosine, psnr_db


def test_histogram_counts_every_code_of_the_book() -> None:
    assert code_histogram(np.array([0, 2, 2]), 4).tolist() == [1, 0, 2, 0]


def test_cosine_forgets_where_codes_stand_and_sees_how_often_they_occur() -> None:
    one = code_histogram(np.array([0, 0, 1]), 3)
    assert cosine(one, code_histogram(np.array([1, 0, 0]), 3)) == pytest.approx(1.0)
    assert cosine(one, code_histogram(np.array([2, 2, 2]), 3)) == 0.0
    assert cosine(one, code_histogram(np.array([1, 1, 1]), 3)) == pytest.approx(1 / 5**0.5)


def test_psnr_of_pictures_one_level_apart() -> None:
    black = np.zeros((4, 4, 3), dtype=np.uint8)
    assert psnr_db(black, black + 1) == pytest.approx(20 * np.log10(255))


def test_psnr_of_black_against_white_is_zero_and_of_equals_is_capped() -> None:
    black = np.zeros((2, 2, 3), dtype=np.uint8)
    assert psnr_db(black, black + 255) == 0.0
    assert psnr_db(black, black) == PSNR_CAP_DB
