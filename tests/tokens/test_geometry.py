"""Where a picture goes in its square: both geometries, at the odd pixel and at the ends."""

from __future__ import annotations

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from medmax_pipeline.errors import ImageError
from medmax_pipeline.tokens.geometry import Span, place


def test_the_short_side_fills_the_square_and_the_long_one_is_cut_in_the_middle() -> None:
    assert place(800, 600, 512) == (Span(800, 683, 85, 512, 0), Span(600, 512, 0, 512, 0))


def test_letterbox_fills_with_the_long_side_and_centres_the_short_one() -> None:
    assert place(800, 600, 512, "letterbox") == (Span(800, 512, 0, 512, 0), Span(600, 384, 0, 384, 64))


def test_the_odd_pixel_of_a_letterbox_is_on_the_far_side() -> None:
    down = place(100, 51, 100, "letterbox").down
    assert (down.at, 100 - down.at - down.length) == (24, 25)


def test_a_square_picture_goes_the_same_way_in_both() -> None:
    assert place(300, 300, 512) == place(300, 300, 512, "letterbox")


@pytest.mark.parametrize(("width", "height"), [(1, 30_000), (30_000, 1)])
def test_a_line_becomes_too_much_when_cropped_and_nothing_in_a_letterbox(width: int, height: int) -> None:
    with pytest.raises(ImageError, match="image_too_narrow"):
        place(width, height, 64)
    with pytest.raises(ImageError, match="image_too_narrow"):
        place(width, height, 64, "letterbox")


@given(st.integers(1, 5000), st.integers(1, 5000), st.sampled_from([8, 33, 512]))
def test_a_window_lies_within_the_scaled_picture_and_the_square(width: int, height: int, resolution: int) -> None:
    assume(max(width, height) / min(width, height) * resolution**2 < 5e7)
    for span in place(width, height, resolution):
        assert span.length == resolution
        assert 0 <= span.first <= span.scaled - span.length
        assert span.at == 0
