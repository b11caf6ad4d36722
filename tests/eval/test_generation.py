"""Drawn captions beside the caption and beside its own picture."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from medmax_pipeline.eval.engine import Engine
from medmax_pipeline.eval.generation import answer_generation, caption, score_generation
from medmax_pipeline.eval.records import Answered
from medmax_pipeline.eval.tasks import task
from tests.eval.conftest import CAPTIONED, World, sample
from tests.eval.scoring_world import cosine, items, no_picture, scorers, similarity, source_picture

TASK = task("image_generation/pmc_oa")
SAMPLES = [*CAPTIONED[:4], sample(51, source="pmc_oa", kind="captioning", answer="a", image="never encoded")]


@pytest.fixture(scope="module")
def answered(engine: Engine, world: World) -> Answered:
    return answer_generation(engine, TASK, items(world, SAMPLES))


def test_similarity_is_of_the_caption_with_the_drawn_and_with_its_own_picture(answered: Answered) -> None:
    found = score_generation(scorers(by=similarity(), drawn=answered.pictures), TASK, SAMPLES, answered.records)
    for each in found[:4]:
        drawn = answered.pictures[each.generated_image]
        assert each.metrics["clip_score"] == pytest.approx(cosine(drawn, each.reference), abs=1e-6)
        own = source_picture(each.image_ids[0])
        assert each.metrics["clip_score_reference"] == pytest.approx(cosine(own, each.reference), abs=1e-6)
        assert each.unscored == ""


def test_an_item_that_was_not_drawn_is_not_scored(answered: Answered) -> None:
    found = score_generation(scorers(by=similarity(), drawn=answered.pictures), TASK, SAMPLES, answered.records)
    assert found[4] == answered.records[4]
    assert found[4].unscored == "image_without_codes"


def test_a_source_picture_that_cannot_be_read_costs_the_drawn_one_nothing(answered: Answered) -> None:
    blind = scorers(by=similarity(), drawn=answered.pictures, picture=no_picture)
    found = score_generation(blind, TASK, SAMPLES, answered.records)[0]
    assert found.metrics["clip_score"] is not None
    assert found.metrics["clip_score_reference"] is None
    assert found.unscored == "source_picture_unread"


def test_without_a_similarity_model_records_stay_as_they_are(answered: Answered) -> None:
    assert score_generation(scorers(), TASK, SAMPLES, answered.records) == list(answered.records)


def test_a_drawn_picture_is_whole(answered: Answered) -> None:
    for each in answered.records[:4]:
        assert np.asarray(Image.open(io.BytesIO(answered.pictures[each.generated_image]))).shape == (16, 16, 3)


@pytest.mark.parametrize("kind", ["captioning", "report_generation"])
def test_what_describes_a_picture_is_drawn_from_its_reply(kind: str) -> None:
    assert caption(sample(1, kind=kind, text="<image>Describe.", answer="a retina")) == "a retina"  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["generation", "radiograph_generation"])
def test_what_asks_for_a_picture_is_drawn_from_its_prompt(kind: str) -> None:
    assert caption(sample(1, kind=kind, text="a retina", answer="")) == "a retina"  # type: ignore[arg-type]
