"""Drawn charts: the same each time, different from each other, and as their captions say."""

from __future__ import annotations

import pytest

from medmax_pipeline.sample.charts import HELD_OUT, KINDS, PLANTED, TRAINED, chart, chart_caption, draw_chart, kind_of


def test_the_same_number_gives_the_same_pixels_and_another_one_others() -> None:
    assert draw_chart(3).tobytes() == draw_chart(3).tobytes()
    assert len({draw_chart(number).tobytes() for number in range(16)}) == 16


def test_captions_name_the_kind_of_chart() -> None:
    words = {"bars": "Bar chart", "lines": "Line graph", "scatter": "Scatter plot", "survival": "Kaplan-Meier"}
    for number in range(8):
        assert chart_caption(number).startswith(words[kind_of(number)])
    assert words.keys() == KINDS.keys()


@pytest.mark.parametrize("number", range(4))
def test_a_chart_is_mostly_paper(number: int) -> None:
    histogram = draw_chart(number).convert("L").histogram()
    assert sum(histogram[230:]) > 0.6 * sum(histogram)


def test_charts_are_drawn_and_for_training() -> None:
    picture = chart(TRAINED)
    assert (picture.flag, picture.split, picture.source) == ("synthetic", "train", None)
    assert picture.image().size == (picture.width, picture.height)


def test_charts_that_are_learnt_measured_and_planted_are_others() -> None:
    assert TRAINED < HELD_OUT < PLANTED
