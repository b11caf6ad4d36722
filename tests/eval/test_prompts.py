"""The texts by which questions are put, and what they are held to."""

from __future__ import annotations

from medmax_pipeline.eval import prompts
from tests.eval.conftest import sample

ASKED = sample(0, text="<image>is the lung normal?\n", answer=" Yes")
AFTER = sample(0, text="is the lung normal?<image>")


def test_sft_puts_the_question_as_in_training() -> None:
    assert prompts.sft(ASKED) == ASKED.turns[0].text


def test_chameleon_puts_picture_instruction_and_question_in_the_references_order() -> None:
    tail = "\nQuestion: is the lung normal?\nAnswer:"
    head = "<image>Answer the question based on this image"
    assert prompts.chameleon_closed(ASKED) == f"{head} and respond 'yes' or 'no'.{tail}"
    assert prompts.chameleon_choice(ASKED) == f"{head} and respond 'A', 'B', 'C', or 'D'.{tail}"
    assert prompts.chameleon_open(ASKED) == f"{head}.{tail}"


def test_chameleon_puts_the_picture_first_wherever_it_stood() -> None:
    assert prompts.chameleon_open(AFTER) == prompts.chameleon_open(ASKED)


def test_a_judge_reads_the_question_without_a_picture() -> None:
    assert prompts.question(ASKED) == prompts.question(AFTER) == "is the lung normal?"


def test_references_have_the_case_of_the_published_data() -> None:
    assert prompts.lower_answer(ASKED) == "yes"
    assert prompts.upper_answer(sample(0, answer="b ")) == "B"
    assert prompts.answer(ASKED) == " Yes"
