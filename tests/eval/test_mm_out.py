"""Replies of text and picture: how they are kept, and how either half is scored."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from medmax_pipeline.eval.engine import Engine
from medmax_pipeline.eval.mm_out import answer_mm_out, chameleon_prompt, score_mm_out
from medmax_pipeline.eval.records import Answered, ItemRecord
from medmax_pipeline.eval.tasks import task
from tests.eval.conftest import CAPTIONS, World, sample
from tests.eval.scoring_world import cosine, items, judge_by, no_picture, scorers, similarity, source_picture

TASK = task("mm_out/pmc_oa")
ASKED = [
    sample(n, source="medmax_eval_data", kind="interleaved", text=f"What is a {n}?", answer=CAPTIONS[n % 4])
    for n in range(12)
]
LONG = sample(12, source="medmax_eval_data", kind="interleaved", text="why " * 200, answer="so")
SAMPLES = [*ASKED, LONG]


@pytest.fixture(scope="module")
def drawing(world: World) -> Engine:
    """The tiny model with a loud begin of pictures: some replies hold one, some do not."""
    engine = Engine.load(world.model, world.text, world.vqgan)
    with torch.no_grad():
        engine.model.lm_head.weight[engine.vocabulary.boi] *= 2.0
    return engine


@pytest.fixture(scope="module")
def answered(drawing: Engine, world: World) -> Answered:
    return answer_mm_out(drawing, TASK, items(world, SAMPLES))


@pytest.fixture(scope="module")
def scored(answered: Answered) -> list[ItemRecord]:
    """With similarity, without a judge."""
    return score_mm_out(scorers(by=similarity(), drawn=answered.pictures), TASK, SAMPLES, answered.records)


def test_some_replies_hold_a_picture_and_some_do_not(answered: Answered) -> None:
    asked = answered.records[:12]
    assert {each.metrics["drawn"] for each in asked} == {0.0, 1.0}
    assert {each.metrics["drawn_compat"] for each in asked} == {0.0, 1.0}


def test_a_reply_is_kept_with_a_mark_where_its_one_picture_is(answered: Answered) -> None:
    for each in answered.records[:12]:
        assert each.generated_text.count("<image>") == each.metrics["drawn"] == bool(each.generated_image)
        compat_text = each.predictions["compat_text"]
        assert compat_text is not None
        assert compat_text.count("<image>") == each.metrics["drawn_compat"] == bool(each.compat_image)


def test_every_picture_is_whole_and_belongs_to_a_record(answered: Answered) -> None:
    assert set(answered.pictures) == {name for each in answered.records for name in each.pictures}
    for data in answered.pictures.values():
        assert np.asarray(Image.open(io.BytesIO(data))).shape == (16, 16, 3)


def test_replies_are_the_engines_with_and_without_the_penalty(drawing: Engine, answered: Answered) -> None:
    prompts = [drawing.sequencer.prompt((each.turns[0],), ()) for each in ASKED]
    seeds = [each.seed or 0 for each in answered.records[:12]]
    how = replace(TASK.decoding, max_new_tokens=drawing.max_positions // 4)
    for texts, penalty in (
        ([each.generated_text for each in answered.records[:12]], 1.0),
        ([each.predictions["compat_text"] for each in answered.records[:12]], 1.2),
    ):
        replies = drawing.interleaved(prompts, seeds, how, penalty)
        assert texts == ["".join(p if isinstance(p, str) else "<image>" for p in each.parts) for each in replies]


def test_a_reply_does_not_depend_on_its_batch(drawing: Engine, world: World, answered: Answered) -> None:
    place = next(n for n, each in enumerate(answered.records) if each.generated_image)
    alone = answer_mm_out(drawing, TASK, items(world, SAMPLES[place : place + 1]))
    assert list(alone.records) == list(answered.records[place : place + 1])


def test_strict_counts_a_reply_without_a_picture_as_zero_and_compat_leaves_it_out(scored: list[ItemRecord]) -> None:
    bare = [each for each in scored[:12] if not each.generated_image]
    assert {each.metrics["image_similarity"] for each in bare} == {0.0}
    left = [each for each in scored[:12] if not each.compat_image]
    assert {each.metrics["image_similarity_compat"] for each in left} == {None}
    assert {each.unscored for each in left} == {"no_picture_drawn"}


def test_a_picture_is_compared_with_the_sources_own(answered: Answered, scored: list[ItemRecord]) -> None:
    for each in scored[:12]:
        own = source_picture(each.image_ids[0])
        for name, drawn in (("", each.generated_image), ("_compat", each.compat_image)):
            if drawn:
                expected = cosine(own, answered.pictures[drawn])
                assert each.metrics[f"image_similarity{name}"] == pytest.approx(expected, abs=1e-6)


def test_a_reference_picture_that_cannot_be_read_leaves_similarity_unknown(answered: Answered) -> None:
    blind = scorers(by=similarity(), drawn=answered.pictures, picture=no_picture)
    found = score_mm_out(blind, TASK, SAMPLES, answered.records)[0]
    assert (found.metrics["image_similarity"], found.metrics["image_similarity_compat"]) == (None, None)
    assert found.unscored == "source_picture_unread"


def test_the_judge_reads_text_without_marks(tmp_path: Path, answered: Answered) -> None:
    judge = judge_by(tmp_path)
    found = score_mm_out(scorers(judge=judge), TASK, SAMPLES, answered.records)
    assert [both for both, _ in judge.asked] == [True, False]
    for _, pairs in judge.asked:
        assert [each.question for each in pairs] == [each.turns[0].text for each in ASKED]
        assert not [each for each in pairs if "<image>" in each.candidate]
    assert all(each.metrics["relative_score"] is not None for each in found[:12])
    assert all("image_similarity" not in each.metrics for each in found)


def test_an_item_that_was_not_asked_is_not_scored(tmp_path: Path, answered: Answered) -> None:
    both = scorers(judge=judge_by(tmp_path), by=similarity(), drawn=answered.pictures)
    found = score_mm_out(both, TASK, SAMPLES, answered.records)
    assert [each.item_id for each in found] == [each.sample_id for each in SAMPLES]
    assert found[12] == answered.records[12]
    assert found[12].unscored == "prompt_too_long"


def test_the_reference_picture_is_not_shown_and_needs_no_codes(drawing: Engine, world: World) -> None:
    bare = replace(ASKED[0], images=sample(0, image="never encoded").images)
    with_codes, without = (answer_mm_out(drawing, TASK, items(world, [each])).records[0] for each in (ASKED[0], bare))
    assert without.unscored == ""
    assert without.generated_text == with_codes.generated_text


def test_untuned_models_are_asked_for_a_picture() -> None:
    assert chameleon_prompt(ASKED[0]) == "What is a 0? Answer the question with one picture."
