"""What families of questions with options share."""

from __future__ import annotations

from medmax_pipeline.eval.choosing import surfaces
from medmax_pipeline.eval.tasks import task


def test_behind_a_text_that_goes_on_options_are_its_next_word() -> None:
    closed = task("vqa_rad/closed")
    assert surfaces(closed, closed.options) == ["yes", "no"]
    assert surfaces(closed.in_style("chameleon"), closed.options) == [" yes", " no"]
