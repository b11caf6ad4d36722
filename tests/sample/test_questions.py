"""Questions are true and balanced."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from medmax_pipeline.sample.pictures import Picture
from medmax_pipeline.sample.questions import (
    CLOSED_WORDINGS,
    balanceable,
    colour_questions,
    modality_questions,
    open_questions,
    organ_questions,
    other_labels,
)

TOPICS = {text: modality for modality, texts in CLOSED_WORDINGS.items() for text in texts}


@pytest.mark.parametrize("wording", [0, 1])
def test_yes_and_no_balance_within_every_topic(every: list[Picture], wording: int) -> None:
    counts = Counter((question.text, question.answer) for question in modality_questions(every, wording, 1))
    assert counts
    assert all(counts[text, "yes"] == counts[text, "no"] for text, _ in counts)


def test_modality_answers_are_true(every: list[Picture]) -> None:
    for question in modality_questions(every, 0, 1):
        assert question.answer == ("yes" if question.picture.modality == TOPICS[question.text] else "no")


def test_modalities_without_a_topic_are_not_asked_about(every: list[Picture]) -> None:
    assert {question.picture.modality for question in modality_questions(every, 0, 1)} == set(CLOSED_WORDINGS)


def test_no_label_stays_on_its_own_kind() -> None:
    labels = ["a"] * 5 + ["b"] * 3 + ["c"] * 2
    for seed in range(50):
        others = other_labels(labels, random.Random(seed))
        assert sorted(others) == sorted(labels)
        assert all(other != label for other, label in zip(others, labels, strict=True))


def test_a_label_of_more_than_half_cannot_be_shuffled_away() -> None:
    with pytest.raises(ValueError, match="more than half"):
        other_labels(["a", "a", "b"], random.Random(0))


def test_the_surplus_of_a_label_is_left_out(every: list[Picture]) -> None:
    labelled = list(zip(every[:5], "aaaab", strict=True))
    assert [label for _, label in balanceable(labelled)] == ["a", "b"]
    assert balanceable([]) == []


def test_colour_questions_balance_and_follow_the_pixels(every: list[Picture]) -> None:
    questions = colour_questions(every, lambda picture: picture.modality == "histology", 6)
    answers = Counter(question.answer for question in questions)
    assert answers["yes"] == answers["no"] > 10
    assert all((question.answer == "yes") == (question.picture.modality == "histology") for question in questions)


def test_organ_answers_are_true(every: list[Picture]) -> None:
    questions = organ_questions(every, 2, 1)
    assert questions
    assert all((question.answer == "yes") == (question.picture.body_part in question.text) for question in questions)


def test_open_answers_are_what_the_record_says_and_some_are_numbers(every: list[Picture]) -> None:
    questions = open_questions(every, 1)
    for question in questions:
        picture = question.picture
        assert question.answer in (picture.modality, picture.body_part, picture.plane, picture.width)
    assert any(isinstance(question.answer, int) for question in questions)
