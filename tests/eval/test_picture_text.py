"""The space of a similarity model: each picture and text once and alone."""

from __future__ import annotations

import pytest

from medmax_pipeline.eval.picture_text import cosine, space_of
from tests.eval.conftest import image_id
from tests.eval.scoring_world import no_picture, scorers, similarity, source_picture


def test_a_picture_is_read_once_however_often_it_is_compared() -> None:
    read = []

    def picture(name: str) -> bytes:
        read.append(name)
        return source_picture(name)

    space = space_of(scorers(by=similarity(), picture=picture))
    assert space is not None
    for text in ("a retina", "a bar chart"):
        assert space.source_beside(image_id("one"), space.text(text)) is not None
    assert read == [image_id("one")]


def test_source_and_drawn_pictures_of_one_name_are_kept_apart() -> None:
    name = image_id("one")
    space = space_of(scorers(by=similarity(), drawn={name: source_picture(image_id("other"))}))
    assert space is not None
    assert cosine(space.source(name), space.drawn(name)) < 0.999
    assert cosine(space.source(name), space.source(name)) == pytest.approx(1)


def test_a_source_picture_that_is_not_here_has_no_cosine() -> None:
    space = space_of(scorers(by=similarity(), picture=no_picture))
    assert space is not None
    assert space.source_beside(image_id("one"), space.text("a retina")) is None


def test_a_locked_similarity_model_has_no_space() -> None:
    assert space_of(scorers()) is None
