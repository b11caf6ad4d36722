"""Open questions: what needs no judge, and what only a judge says."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from medmax_pipeline.eval.compat import candidate
from medmax_pipeline.eval.engine import Engine
from medmax_pipeline.eval.items import Item, as_items
from medmax_pipeline.eval.judge import Judge
from medmax_pipeline.eval.judge_prompts import correct_parts
from medmax_pipeline.eval.open import answer_open, exact_match, overlap_of, score_open, token_recall
from medmax_pipeline.eval.records import ItemRecord
from medmax_pipeline.eval.scorers import Scorers
from medmax_pipeline.eval.tasks import task
from medmax_pipeline.manifest import Lock
from medmax_pipeline.models.endpoint import Message
from medmax_pipeline.records import Sample
from medmax_pipeline.tokens.store import CodeStore
from tests.eval.conftest import CODES, World, sample
from tests.eval.scoring_world import judge_by

TASK = task("vqa_rad/open")
SAMPLES = [
    sample(n, kind="vqa_open", text=f"<image>which organ is {n}?", answer=answer, image=f"picture{n}")
    for n, answer in enumerate(("the left lung", "liver", "+"))
]
ABSENT = Lock("absent", "get it")


@pytest.fixture(scope="module")
def items(world: World) -> list[Item]:
    return as_items(SAMPLES, "tiny", CodeStore(world.codes, CODES), 0)


@pytest.fixture(scope="module")
def answers(engine: Engine, items: list[Item]) -> list[ItemRecord]:
    return list(answer_open(engine, TASK, items).records)


def unused(name: str) -> bytes:
    raise AssertionError(f"nobody asks for {name}")


def scored(judge: Judge | Lock, samples: Sequence[Sample], records: Sequence[ItemRecord]) -> list[ItemRecord]:
    return score_open(Scorers(judge, ABSENT, unused, unused), TASK, samples, records)


@pytest.mark.parametrize(
    ("reply", "reference", "exact", "recall"),
    [
        ("The left lung.", "the left lung", 1.0, 1.0),
        ("lung, left: the", "the left lung", 0.0, 1.0),
        ("left", "the left lung", 0.0, 1 / 3),
        ("lung lung lung", "lung", 0.0, 1.0),
        ("lung", "lung lung", 0.0, 0.5),
        ("", "lung", 0.0, 0.0),
        (" + ", "+", 1.0, 1.0),
        ("-", "+", 0.0, 0.0),
        ("plus", "+", 0.0, 0.0),
        ("LINKS \u00dcBER", "links \u00fcber", 1.0, 1.0),
    ],
)
def test_overlap_needs_no_judge(reply: str, reference: str, exact: float, recall: float) -> None:
    assert exact_match(reply, reference) == exact
    assert token_recall(reply, reference) == pytest.approx(recall)


def test_a_record_has_both_decodings_and_the_figures_that_need_no_judge(
    answers: list[ItemRecord], engine: Engine, items: list[Item]
) -> None:
    for record in answers:
        assert record.metrics == overlap_of(record.generated_text, record.reference)
        assert set(record.predictions) == {"compat_text"}
        assert (record.correct_strict, record.correct_compat, record.unscored) == (None, None, "")
    alone = [answer_open(engine, TASK, [item]).records[0] for item in items]
    assert [record.generated_text for record in alone] == [record.generated_text for record in answers]


def test_the_judge_sees_the_plain_reply_and_for_compat_the_penalised_one_in_lower_case(
    answers: list[ItemRecord], tmp_path: Path
) -> None:
    seen = []

    def rule(messages: Sequence[Message]) -> str:
        seen.append(correct_parts(messages[-1].text))
        return "Correctness: 1"

    answers = [replace(answers[0], generated_text="Left Lung", predictions={"compat_text": candidate("LUNG lung")})]
    (record,) = scored(judge_by(tmp_path, rule), SAMPLES[:1], answers)
    asked = {(parts.question, parts.reference, parts.candidate) for parts in seen if parts}
    question, reference = "which organ is 0?", "the left lung"
    assert asked == {(question, reference, "Left Lung"), (question, reference, "lung lung")}
    assert (record.correct_strict, record.correct_compat) == (True, True)
    assert record.verdicts == ("Correctness: 1", "Correctness: 1")
    assert record.metrics["judge_correct"] == record.metrics["judge_correct_compat"] == 1.0


@pytest.mark.parametrize(
    ("reply", "strict", "compat", "reasons"),
    [
        ("Correctness: 0", 0.0, 0.0, ""),
        ("Correctness: 1\nCorrectness: 0", None, 1.0, "judge_two_verdicts"),
        ("no verdict", None, None, "judge_unreadable judge_unreadable_compat"),
        ("correctness: 1", 1.0, None, "judge_unreadable_compat"),
    ],
)
def test_a_reply_that_cannot_be_read_leaves_the_item_unscored_by_name(
    answers: list[ItemRecord], tmp_path: Path, reply: str, strict: float | None, compat: float | None, reasons: str
) -> None:
    for record in scored(judge_by(tmp_path, lambda messages: reply), SAMPLES, answers):
        assert (record.metrics["judge_correct"], record.metrics["judge_correct_compat"]) == (strict, compat)
        assert (record.correct_strict, record.correct_compat) == (
            None if strict is None else bool(strict),
            None if compat is None else bool(compat),
        )
        assert record.unscored == reasons
        assert reply in record.verdicts


def test_each_verdict_goes_to_its_own_item(answers: list[ItemRecord], tmp_path: Path) -> None:
    judge = judge_by(tmp_path, lambda messages: f"Correctness: {int('organ is 1' in messages[-1].text)}")
    found = scored(judge, SAMPLES, answers)
    assert [record.metrics["judge_correct"] for record in found] == [0.0, 1.0, 0.0]
    assert [record.item_id for record in found] == [record.item_id for record in answers]
    (alone,) = scored(judge, SAMPLES[1:2], answers[1:2])
    assert alone == found[1]


def test_without_a_judge_the_records_stay_as_they_are(answers: list[ItemRecord]) -> None:
    assert scored(ABSENT, SAMPLES, answers) == answers


def test_an_item_that_was_not_asked_is_not_judged(engine: Engine, items: list[Item], tmp_path: Path) -> None:
    (unasked,) = answer_open(engine, TASK, [replace(items[0], codes=None)]).records
    judge = judge_by(tmp_path, lambda messages: "Correctness: 1")
    (record,) = scored(judge, SAMPLES[:1], [unasked])
    assert (record.metrics["judge_correct"], record.unscored, record.verdicts) == (None, "image_without_codes", ())


def test_a_credentialed_item_goes_to_no_judge_that_may_not_see_it(answers: list[ItemRecord], tmp_path: Path) -> None:
    hidden = [replace(answers[0], credentialed=True), answers[1]]
    kept, judged = scored(judge_by(tmp_path, lambda messages: "Correctness: 1"), SAMPLES[:2], hidden)
    assert (kept.metrics["judge_correct"], kept.verdicts) == (None, ())
    assert "credentialed" in kept.unscored
    assert judged.metrics["judge_correct"] == 1.0
