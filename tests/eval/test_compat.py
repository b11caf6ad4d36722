"""The reference's rules, item by item on odd replies."""

from __future__ import annotations

import pytest

from medmax_pipeline.eval import compat
from tests.eval.odd_replies import CLOSED, MCQ, ODD, OPEN, Odd

VERDICTS = {True: "right", False: "wrong", None: "-"}


def test_the_table_is_as_long_as_it_claims() -> None:
    assert len(ODD) >= 60
    assert len({odd[:3] + odd[5:] for odd in ODD}) == len(ODD)


@pytest.mark.parametrize("odd", CLOSED, ids=lambda odd: f"{odd.answer}<-{odd.reply}")
def test_closed_by_substring(odd: Odd) -> None:
    assert VERDICTS[compat.rule_closed(odd.answer, odd.reply).correct] == odd.compat


@pytest.mark.parametrize("odd", MCQ, ids=lambda odd: f"{odd.answer}<-{odd.reply}")
def test_choice_by_equality(odd: Odd) -> None:
    assert VERDICTS[compat.rule_choice(odd.answer, odd.reply).correct] == odd.compat


@pytest.mark.parametrize("odd", OPEN, ids=lambda odd: odd.reply)
def test_open_by_the_judges_words(odd: Odd) -> None:
    assert VERDICTS[compat.rule_open(odd.reply).correct] == odd.compat


@pytest.mark.parametrize(
    ("ruling", "reason"),
    [
        (compat.rule_closed("left", "left"), "answer_not_yes_or_no"),
        (compat.rule_closed("yes", "yes and no"), "both_words"),
        (compat.rule_closed("yes", "maybe"), "neither_word"),
        (compat.rule_closed("yes", "no"), "wrong"),
        (compat.rule_open("Correctness: 2"), "judge_unreadable"),
    ],
)
def test_every_verdict_has_a_named_reason(ruling: compat.Ruling, reason: str) -> None:
    assert ruling.reason == reason


def test_the_judge_sees_the_answer_in_lower_case() -> None:
    assert compat.candidate("The Left LUNG") == "the left lung"
