"""Visual chat: what the model is asked, what the judge reads, and what becomes of its verdicts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from medmax_pipeline.eval.chat import DESCRIPTION_PROMPT, answer_chat, compat_prompt, question_type, score_chat
from medmax_pipeline.eval.engine import Engine
from medmax_pipeline.eval.judge_prompts import pair_parts
from medmax_pipeline.eval.records import ItemRecord
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.models.endpoint import Message
from medmax_pipeline.records import Sample
from tests.eval.conftest import CAPTIONS, World, sample
from tests.eval.scoring_world import items, judge_by, scorers

TASK = task("visual_chat")


def chat(number: int, text: str, kind: str, **more: object) -> Sample:
    """A question about one of the figures."""
    made = sample(number, source="llava_med_chat", kind="visual_chat", text=text, answer=CAPTIONS[number % 4])
    changed = {"images": sample(0, image=f"picture{number % 3}").images, "answer_type": kind, "context": "Fig: a CT."}
    return replace(made, **(changed | more))  # type: ignore[arg-type]


TALK = chat(1, "What is it?<image>", "conversation", modality="mri")
TOLD = chat(2, "Tell me of it.<image>", "detailed_description", modality="ct_scan")
PUBLISHED = chat(3, "<image>Tell me of it.", "visual_chat/detailed_description")
LONG = chat(4, "<image>" + "why " * 200, "conversation")
SECRET = chat(5, "<image>What is it?", "conversation", credentialed=True)
SAMPLES = [TALK, TOLD, PUBLISHED, LONG, SECRET]


@pytest.fixture(scope="module")
def answered(engine: Engine, world: World) -> list[ItemRecord]:
    return list(answer_chat(engine, TASK, items(world, SAMPLES)).records)


def test_the_question_type_is_told_with_or_without_the_task() -> None:
    assert [question_type(each) for each in (TALK, TOLD, PUBLISHED)] == ["conversation", *["detailed_description"] * 2]


def test_compat_asks_one_fixed_request_for_descriptions_and_keeps_the_pictures_side() -> None:
    asked = [compat_prompt(each) for each in (TALK, TOLD, PUBLISHED)]
    assert asked == ["What is it?<image>", f"{DESCRIPTION_PROMPT}<image>", f"<image>{DESCRIPTION_PROMPT}"]


def test_each_item_has_the_plain_answer_and_the_penalised_one_to_its_own_prompt(
    engine: Engine, world: World, answered: list[ItemRecord]
) -> None:
    codes = items(world, [TOLD])[0].codes
    assert codes is not None
    length = engine.max_positions // 4
    plain = engine.sequencer.prompt((TOLD.turns[0],), codes)
    fixed = engine.sequencer.prompt((replace(TOLD.turns[0], text=compat_prompt(TOLD)),), codes)
    assert [answered[1].generated_text] == engine.replies([plain], length)
    assert [answered[1].predictions["compat_text"]] == engine.replies([fixed], length, 1.2)


def test_records_carry_type_and_modality_for_their_own_means(answered: list[ItemRecord]) -> None:
    assert [(each.question_type, each.group) for each in answered[:2]] == [
        ("conversation", "mri"),
        ("detailed_description", "ct_scan"),
    ]


def test_a_question_that_does_not_fit_is_unasked_in_both_forms(answered: list[ItemRecord]) -> None:
    assert answered[3].unscored == "prompt_too_long"
    assert (answered[3].predictions, answered[3].metrics) == ({}, {"token_f1": None})


def test_strict_judges_the_models_own_question_without_marks_in_both_orders(
    tmp_path: Path, answered: list[ItemRecord]
) -> None:
    judge = judge_by(tmp_path)
    score_chat(scorers(judge=judge), TASK, SAMPLES, answered)
    strict = next(pairs for both, pairs in judge.asked if both)
    assert [each.question for each in strict] == ["What is it?", "Tell me of it.", "Tell me of it.", "What is it?"]
    assert [each.candidate for each in strict] == [answered[n].generated_text for n in (0, 1, 2, 4)]
    assert {each.context for each in strict} == {"Fig: a CT."}


def test_compat_judges_the_datas_question_with_its_mark_in_one_order(
    tmp_path: Path, answered: list[ItemRecord]
) -> None:
    judge = judge_by(tmp_path)
    score_chat(scorers(judge=judge), TASK, SAMPLES, answered)
    compat = next(pairs for both, pairs in judge.asked if not both)
    assert [each.question for each in compat][:2] == ["What is it?<image>", "Tell me of it.<image>"]
    assert [each.candidate for each in compat] == [answered[n].predictions["compat_text"] for n in (0, 1, 2, 4)]


def second_is_better(messages: Sequence[Message]) -> str:
    """A judge that prefers whoever stands second."""
    return "4 8\nThe second says more."


def test_a_judge_that_prefers_a_place_is_found_out_by_both_orders(tmp_path: Path, answered: list[ItemRecord]) -> None:
    found = score_chat(scorers(judge=judge_by(tmp_path, second_is_better)), TASK, SAMPLES, answered)[0]
    assert found.metrics["relative_score"] == pytest.approx((200 + 50) / 2)
    assert found.metrics["relative_score_compat"] == 200
    assert len(found.verdicts) == 3


def unreadable(messages: Sequence[Message]) -> str:
    """A judge that gives no scores."""
    return "Both are fine answers."


def test_replies_that_cannot_be_read_are_unscored_and_shown(tmp_path: Path, answered: list[ItemRecord]) -> None:
    found = score_chat(scorers(judge=judge_by(tmp_path, unreadable)), TASK, SAMPLES, answered)[0]
    assert (found.metrics["relative_score"], found.metrics["relative_score_compat"]) == (None, None)
    assert found.unscored == "judge_unreadable judge_compat_unread"
    assert set(found.verdicts) == {"Both are fine answers."}


def only_one_order(messages: Sequence[Message]) -> str:
    """A judge that can be read where the reference stands first."""
    parts = pair_parts(messages[1].text)
    return "5 4" if parts is not None and parts.first in CAPTIONS else "Hm."


def test_one_unread_order_leaves_strict_unscored_and_compat_known(tmp_path: Path, answered: list[ItemRecord]) -> None:
    found = score_chat(scorers(judge=judge_by(tmp_path, only_one_order)), TASK, SAMPLES, answered)[0]
    assert (found.metrics["relative_score"], found.metrics["relative_score_compat"]) == (None, 80.0)
    assert found.unscored == "judge_unreadable"


def test_credentialed_text_reaches_only_a_judge_that_may_see_it(tmp_path: Path, answered: list[ItemRecord]) -> None:
    gated = score_chat(scorers(judge=judge_by(tmp_path)), TASK, SAMPLES, answered)[4]
    assert gated.metrics["relative_score"] is None
    assert gated.unscored == "judge_credentialed_not_admitted"
    assert gated.verdicts == ()
    seen = score_chat(scorers(judge=judge_by(tmp_path, may_see_credentialed=True)), TASK, SAMPLES, answered)[4]
    assert seen.metrics["relative_score"] is not None


def test_an_item_that_was_not_asked_is_not_judged_and_order_is_kept(tmp_path: Path, answered: list[ItemRecord]) -> None:
    found = score_chat(scorers(judge=judge_by(tmp_path)), TASK, SAMPLES, answered)
    assert [each.item_id for each in found] == [each.sample_id for each in SAMPLES]
    assert found[3] == answered[3]


def test_without_a_judge_records_stay_as_they_are(answered: list[ItemRecord]) -> None:
    assert score_chat(scorers(), TASK, SAMPLES, answered) == answered
