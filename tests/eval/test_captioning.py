"""Captions: two texts an item, overlap with the reference, similarity beside the reference's own."""

from __future__ import annotations

from dataclasses import replace

import pytest

from medmax_pipeline.eval.captioning import answer_captioning, score_captioning
from medmax_pipeline.eval.engine import Engine
from medmax_pipeline.eval.records import ItemRecord
from medmax_pipeline.eval.tasks import task
from tests.eval.conftest import CAPTIONED, World, sample
from tests.eval.scoring_world import cosine, items, no_picture, scorers, similarity, source_picture

TASK = task("image_captioning/pmc_oa")
SILENT = sample(50, source="pmc_oa", kind="captioning", answer="", image="figure0", text="<image>Describe.")
UNKNOWN = sample(51, source="pmc_oa", kind="captioning", answer="a retina", image="never encoded")
SAMPLES = [*CAPTIONED, SILENT, UNKNOWN]


@pytest.fixture(scope="module")
def answered(engine: Engine, world: World) -> list[ItemRecord]:
    return list(answer_captioning(engine, TASK, items(world, SAMPLES)).records)


def test_both_texts_are_the_models_with_and_without_the_penalty(
    engine: Engine, world: World, answered: list[ItemRecord]
) -> None:
    prompts = [
        engine.sequencer.prompt((replace(each.turns[0], text=TASK.prompt(each)),), item.codes or ())
        for each, item in zip(CAPTIONED, items(world, CAPTIONED), strict=True)
    ]
    length = engine.max_positions // 4
    assert [each.generated_text for each in answered[:10]] == engine.replies(prompts, length)
    assert [each.predictions["compat_text"] for each in answered[:10]] == engine.replies(prompts, length, 1.2)
    assert any(each.generated_text != each.predictions["compat_text"] for each in answered[:10])


def test_a_record_does_not_depend_on_its_batch(engine: Engine, world: World, answered: list[ItemRecord]) -> None:
    alone = answer_captioning(engine, TASK, items(world, SAMPLES[3:4])).records
    assert alone == answered[3:4]
    both = scorers(by=similarity())
    assert score_captioning(both, TASK, SAMPLES[3:4], alone)[0] == score_captioning(both, TASK, SAMPLES, answered)[3]


def test_overlap_is_known_without_any_scorer(answered: list[ItemRecord]) -> None:
    for each in answered[:10]:
        assert set(each.metrics) == {"token_f1", "rouge_l", "bleu", "chrf"}
        assert all(value is not None for value in each.metrics.values())
        assert each.unscored == ""


def test_similarity_is_of_the_picture_with_each_of_the_three_texts(answered: list[ItemRecord]) -> None:
    for each in score_captioning(scorers(by=similarity()), TASK, SAMPLES, answered)[:10]:
        picture = source_picture(each.image_ids[0])
        assert each.metrics["clip_score"] == pytest.approx(cosine(picture, each.generated_text), abs=1e-6)
        compat_text = each.predictions["compat_text"]
        assert compat_text is not None
        assert each.metrics["clip_score_compat"] == pytest.approx(cosine(picture, compat_text), abs=1e-6)
        assert each.metrics["clip_score_reference"] == pytest.approx(cosine(picture, each.reference), abs=1e-6)


def test_without_a_reference_the_text_is_scored_by_the_picture_alone(answered: list[ItemRecord]) -> None:
    silent = score_captioning(scorers(by=similarity()), TASK, SAMPLES, answered)[10]
    known = {name for name, value in silent.metrics.items() if value is not None}
    assert known == {"clip_score", "clip_score_compat"}
    assert silent.unscored == "reference_missing"


def test_an_item_that_was_not_asked_is_not_scored(answered: list[ItemRecord]) -> None:
    unknown = score_captioning(scorers(by=similarity()), TASK, SAMPLES, answered)[11]
    assert unknown == answered[11]
    assert unknown.unscored == "image_without_codes"
    assert not [name for name, value in unknown.metrics.items() if value is not None]


def test_a_source_picture_that_cannot_be_read_leaves_similarity_unknown_by_name(answered: list[ItemRecord]) -> None:
    found = score_captioning(scorers(by=similarity(), picture=no_picture), TASK, SAMPLES, answered)[0]
    assert [found.metrics[name] for name in ("clip_score", "clip_score_compat", "clip_score_reference")] == [None] * 3
    assert found.unscored == "source_picture_unread"
    assert found.metrics["token_f1"] == answered[0].metrics["token_f1"]


def test_a_torn_source_picture_is_no_score_either(answered: list[ItemRecord]) -> None:
    torn = scorers(by=similarity(), picture=lambda image_id: source_picture(image_id)[:60])
    assert score_captioning(torn, TASK, SAMPLES, answered)[0].unscored == "source_picture_unread"


def test_without_a_similarity_model_records_stay_as_they_are(answered: list[ItemRecord]) -> None:
    assert score_captioning(scorers(), TASK, SAMPLES, answered) == answered
