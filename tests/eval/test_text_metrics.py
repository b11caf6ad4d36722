"""Overlap of words, worked out by hand."""

from __future__ import annotations

import pytest

from medmax_pipeline.eval.text_metrics import MAX_WORDS, rouge_l, token_f1, words


def test_words_are_lower_case_runs_of_letters_and_digits() -> None:
    assert words("T2-weighted MRI, axial.") == ["t2", "weighted", "mri", "axial"]


@pytest.mark.parametrize(
    ("reply", "reference", "f1", "rouge"),
    [
        ("the cat sat", "the cat sat", 1.0, 1.0),
        ("sat cat the", "the cat sat", 1.0, 1 / 3),
        ("a chest ct", "chest ct of the lung", 0.5, 0.5),  # 2 shared of 3 and 5: 4/8
        ("yes yes yes", "yes", 0.5, 0.5),  # one shared, however often it is said
        ("", "a caption", 0.0, 0.0),
        ("...", "", 1.0, 1.0),
    ],
)
def test_overlap(reply: str, reference: str, f1: float, rouge: float) -> None:
    assert token_f1(reply, reference) == pytest.approx(f1)
    assert rouge_l(reply, reference) == pytest.approx(rouge)


def test_a_runaway_reply_is_cut() -> None:
    assert len(words("a " * (MAX_WORDS + 5))) == MAX_WORDS
