"""The three readings of a closed answer."""

from __future__ import annotations

import pytest

from medmax_pipeline.eval.closed import compat_correct, compat_prediction, parsed


@pytest.mark.parametrize(
    ("reply", "reference", "correct"),
    [
        ("yes", "yes", True),
        ("no", "no", True),
        ("Yes", "yes", True),
        (" NO.", "no", True),
        ("no", "yes", False),
        ("yes", "no", False),
        ("not", "no", True),  # the rule's weakness, kept: `not` contains `no`
        ("abnormal", "no", True),
        ("none", "yes", False),
        ("yes and no", "yes", False),
        ("yes and no", "no", False),
        ("nobody says yes", "yes", False),
        ("", "no", False),
        ("left", "left", False),  # an answer other than yes or no is always wrong
        ("Yes", "Yes", False),  # so is one that the data spells with a capital
        ("the eyes", "yes", True),
    ],
)
def test_compat_is_the_references_rule(reply: str, reference: str, correct: bool) -> None:
    assert compat_correct(reply, reference) is correct


def test_compat_prediction_of_both_or_neither_word_is_unknown() -> None:
    assert compat_prediction("yes or no") is None
    assert compat_prediction("maybe") is None


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        ("yes", "yes"),
        ("No, it is not.", "no"),
        ("YES!", "yes"),
        ("not seen", None),
        ("there is no effusion", None),
        ("normal", None),
        ("", None),
        ("?!", None),
    ],
)
def test_parsed_reads_the_first_word_whole(reply: str, said: str | None) -> None:
    assert parsed(reply, ("yes", "no")) == said
