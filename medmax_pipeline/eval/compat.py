"""The reference implementation's rules for question answering, as pure functions of stored texts.

Restated from medmax `evaluation/vqa.py` and `evaluation/eval_utils.py`, weaknesses included, so that a table made with
them can be compared with the published one. What a reply really says is `reading.py`; decoding (one greedy token, or
60, under a repetition penalty of 1.2 over prompt and reply) is the families'.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from medmax_pipeline.eval.judge_prompts import UNREADABLE, read_correct_compat

YES_NO: Final = ("yes", "no")
REPETITION_PENALTY: Final = 1.2
"""The reference's: left on even where it decodes greedily, and over the prompt's ids too."""
OPEN_TOKENS: Final = 60
"""Text tokens that it lets an open answer have."""

RIGHT: Final = "right"
WRONG: Final = "wrong"
BOTH_WORDS: Final = "both_words"
NEITHER_WORD: Final = "neither_word"
ANSWER_NOT_YES_NO: Final = "answer_not_yes_or_no"


class Ruling(NamedTuple):
    """A verdict by some rule."""

    correct: bool | None
    """None: unscored, and in no mean."""
    reason: str


def closed_prediction(reply: str) -> str | None:
    """What the substring test takes a reply for: `yes`, `no`, or None for both or neither.

    Kept as published: `not`, `nothing` and `abnormal` all contain `no`, `eyes` contains `yes`.
    """
    found = [option for option in YES_NO if option in reply.lower()]
    return found[0] if len(found) == 1 else None


def rule_closed(answer: str, reply: str) -> Ruling:
    """A closed question: the lower-cased reply contains the answer and not the other word.

    The answer is taken as it stands: `Yes` or ` yes` is never right, nor is any other word.
    """
    if answer not in YES_NO:
        return Ruling(False, ANSWER_NOT_YES_NO)
    said = closed_prediction(reply)
    if said is None:
        return Ruling(False, BOTH_WORDS if "yes" in reply.lower() else NEITHER_WORD)
    return Ruling(said == answer, RIGHT if said == answer else WRONG)


def choice_prediction(reply: str) -> str:
    """A reply to a multiple-choice question as it is compared: in upper case, without blanks around."""
    return reply.upper().strip()


def rule_choice(answer: str, reply: str) -> Ruling:
    """A multiple-choice question: the upper-cased, stripped reply equals the answer as it stands.

    `(B)`, `B.` and an option's text are wrong by it.
    """
    right = choice_prediction(reply) == answer
    return Ruling(right, RIGHT if right else WRONG)


def candidate(reply: str) -> str:
    """An open answer as the judge is shown it."""
    return reply.lower()


def rule_open(judge_reply: str) -> Ruling:
    """An open question by its judge's reply: the first of two substrings that is there, whatever stands around it.

    `Correctness: 10` counts as 1. A reply with neither (`Correctness:1`, `correctness: 1`) leaves the item out of the
    mean: unscored.
    """
    said = read_correct_compat(judge_reply)
    if said is None:
        return Ruling(None, UNREADABLE)
    return Ruling(said == 1.0, RIGHT if said == 1.0 else WRONG)
