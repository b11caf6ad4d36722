"""Samples with several images."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medmax_pipeline.curation.single_image import decide
from medmax_pipeline.sources.pubmedvision_alignment import SEVERAL_IMAGES
from tests.curation.published import sample


def test_two_images_are_one_too_many_even_where_they_are_the_same() -> None:
    drop = decide(replace(sample("a", "p"), images=("p", "p")))
    assert drop is not None
    assert drop.detail == "2 images"


def test_an_adapter_that_drops_such_rows_uses_the_same_reason() -> None:
    drop = decide(replace(sample("a", "p"), images=("p", "q")))
    assert drop is not None
    assert drop.reason == SEVERAL_IMAGES


@pytest.mark.parametrize("images", [(), ("p",)])
def test_one_image_or_none_stays(images: tuple[str, ...]) -> None:
    assert decide(replace(sample("a", "p"), images=images)) is None
