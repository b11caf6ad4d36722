"""The rules that stand in for a judge: shared words and nothing more."""

from __future__ import annotations

import pytest

from medmax_pipeline.eval.judge_prompts import (
    CorrectParts,
    PairParts,
    correct_messages,
    pair_messages,
    read_correct,
    read_scores,
)
from medmax_pipeline.models.endpoint import Message
from medmax_pipeline.sample.replies import sample_judge


@pytest.mark.parametrize(
    ("reference", "candidate", "verdict"),
    [
        ("left lung", "It is the LEFT one.", 1.0),
        ("left lower lobe", "left", 0.0),
        ("left lung", "", 0.0),
        ("pneumothorax", "no pneumothorax", 1.0),  # words are all it knows
    ],
)
def test_half_of_the_references_words_are_enough(reference: str, candidate: str, verdict: float) -> None:
    said = sample_judge(correct_messages(CorrectParts("Which?", reference, candidate)))
    assert read_correct(said) == verdict


def test_scores_of_a_pair_follow_what_of_context_and_question_is_said() -> None:
    asked = pair_messages(PairParts("chest x ray", "what is seen", "chest x ray what is seen", "a cat"))
    assert read_scores(sample_judge(asked)) == (10.0, 1.0)


def test_what_it_has_no_rule_for_gets_no_verdict() -> None:
    said = sample_judge((Message("user", "Is this right?"),))
    assert read_correct(said) == read_scores(said) == "judge_unreadable"
