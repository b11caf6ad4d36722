"""What replies are read as, strictly."""

from __future__ import annotations

import time

import pytest

from medmax_pipeline.eval.reading import LETTERS, MAX_CHARS, Reading, read_choice, read_yes_no
from tests.eval.odd_replies import CLOSED, LUNG, MCQ, Odd


@pytest.mark.parametrize("odd", CLOSED, ids=lambda odd: f"{odd.answer}<-{odd.reply}")
def test_yes_or_no_out_of_odd_replies(odd: Odd) -> None:
    said = read_yes_no(odd.reply).said
    if odd.strict == "wrong":
        assert said != odd.answer
    elif odd.strict == "right":
        assert said == odd.answer.strip().lower()


@pytest.mark.parametrize("odd", MCQ, ids=lambda odd: f"{odd.answer}<-{odd.reply}")
def test_letters_out_of_odd_replies(odd: Odd) -> None:
    said = read_choice(odd.reply, odd.options).said
    if odd.strict == "wrong":
        assert said != odd.answer
    elif odd.strict == "right":
        assert said == odd.answer.upper()


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty_reply"),
        ("...", "empty_reply"),
        ("yes and no", "ambiguous"),
        ("the answer is yes; the answer is no", "ambiguous"),
        ("It isn't absent", "ambiguous"),
        ("not sure", "unreadable"),
        ("normal", "unreadable"),
    ],
)
def test_what_is_neither_yes_nor_no_says_why(reply: str, reason: str) -> None:
    assert read_yes_no(reply) == Reading(None, reason)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ("", "empty_reply"),
        ("A or B", "ambiguous"),
        ("The answer is A. The answer is B.", "ambiguous"),
        ("B: Liver", "ambiguous"),
        ("liver, spleen", "ambiguous"),
        ("F", "letter_out_of_range"),
        ("The answer is (F).", "letter_out_of_range"),
        ("z", "letter_out_of_range"),
        ("not the lung", "unreadable"),
        ("a picture", "unreadable"),
    ],
)
def test_what_chooses_nothing_says_why(reply: str, reason: str) -> None:
    assert read_choice(reply, LUNG) == Reading(None, reason)


@pytest.mark.parametrize("letter", LETTERS)
def test_every_letter_is_read_bare_and_stated(letter: str) -> None:
    options = tuple(f"thing{place}" for place in range(len(LETTERS)))
    assert read_choice(letter.lower(), options).said == letter
    assert read_choice(f"The answer is {letter}.", options).said == letter


def test_an_option_named_twice_is_ambiguous() -> None:
    assert read_choice("lung", ("Lung", "lung.", "Liver")).reason == "ambiguous"


def test_an_option_that_is_another_ones_letter_is_ambiguous() -> None:
    assert read_choice("A", ("B", "A")).reason == "ambiguous"


def test_an_answer_beyond_the_part_that_is_read_is_none() -> None:
    assert read_yes_no(" maybe" * MAX_CHARS + " yes").said is None


@pytest.mark.parametrize("piece", ["A or ", "answer is ", "no ", "((((", "answer ", "A, ", "lung "])
def test_a_hostile_reply_is_read_at_once(piece: str) -> None:
    begun = time.perf_counter()
    read_choice(piece * 100_000, LUNG)
    read_yes_no(piece * 100_000)
    assert time.perf_counter() - begun < 1.0
