"""Distances of pictures, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from medmax_pipeline.eval.picture_metrics import code_histogram, histogram_cosine


def test_histogram_counts_every_code_of_the_book() -> None:
    assert code_histogram(np.array([0, 2, 2]), 4).tolist() == [1, 0, 2, 0]


def test_cosine_forgets_where_codes_stand_and_sees_how_often_they_occur() -> None:
    one = code_histogram(np.array([0, 0, 1]), 3)
    assert histogram_cosine(one, code_histogram(np.array([1, 0, 0]), 3)) == pytest.approx(1.0)
    assert histogram_cosine(one, code_histogram(np.array([2, 2, 2]), 3)) == 0.0
    assert histogram_cosine(one, code_histogram(np.array([1, 1, 1]), 3)) == pytest.approx(1 / 5**0.5)
