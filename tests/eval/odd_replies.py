"""Odd replies with the verdict of either mode, worked out by hand: what `compat` must share with the published rules.

`wrong` and `right` are verdicts, `-` is unscored. `strict` is our reading, `compat` the reference's rule.
"""

from __future__ import annotations

from typing import NamedTuple

LUNG = ("Liver", "Lung", "Lung cancer", "Spleen")
GERMS = ("C. difficile", "E. coli", "S. aureus")
TEAR = ("Meniscal tear", "Tear", "Hepatitis B and C", "No abnormality")


class Odd(NamedTuple):
    """One stored reply."""

    question_type: str
    answer: str
    reply: str
    strict: str
    compat: str
    options: tuple[str, ...] = ()


def _closed(answer: str, reply: str, strict: str, compat: str) -> Odd:
    return Odd("closed", answer, reply, strict, compat)


def _mcq(answer: str, reply: str, strict: str, compat: str, options: tuple[str, ...] = LUNG) -> Odd:
    return Odd("mcq", answer, reply, strict, compat, options)


def _open(reply: str, strict: str, compat: str) -> Odd:
    """`reply` is the judge's."""
    return Odd("open", "the left lung", reply, strict, compat)


CLOSED = (
    _closed("yes", "yes", "right", "right"),
    _closed("no", "no", "right", "right"),
    _closed("yes", "Yes.", "right", "right"),
    _closed("no", " NO\n", "right", "right"),
    _closed("yes", "no", "wrong", "wrong"),
    _closed("no", "yes", "wrong", "wrong"),
    _closed("no", "not", "right", "right"),  # `not` contains `no`
    _closed("no", "none", "right", "right"),
    _closed("no", "nothing", "right", "right"),
    _closed("no", "normal", "wrong", "right"),  # the substring is in the middle of a word
    _closed("no", "abnormal", "wrong", "right"),
    _closed("yes", "abnormal", "wrong", "wrong"),
    _closed("no", "know", "wrong", "right"),
    _closed("yes", "eyes", "wrong", "right"),
    _closed("yes", "yesterday", "wrong", "right"),
    _closed("yes", "yes and no", "wrong", "wrong"),
    _closed("no", "yes or no", "wrong", "wrong"),
    _closed("no", "yes/no", "wrong", "wrong"),
    _closed("yes", "yes, the lungs are normal", "right", "wrong"),  # `normal` contains `no`
    _closed("yes", "Yes, there is no effusion.", "right", "wrong"),
    _closed("yes", "yes. no.", "wrong", "wrong"),
    _closed("no", "No, it is not seen.", "right", "right"),
    _closed("no", "There is no effusion.", "right", "right"),
    _closed("no", "There isn\u2019t one.", "right", "wrong"),
    _closed("no", "The lesion is absent.", "right", "wrong"),
    _closed("no", "It is negative for effusion.", "right", "wrong"),
    _closed("no", "It is not absent.", "wrong", "right"),  # two negations
    _closed("no", "I cannot tell.", "wrong", "right"),
    _closed("no", "unknown", "wrong", "right"),
    _closed("no", "It is not clear.", "wrong", "right"),
    _closed("yes", "The answer is yes.", "right", "right"),
    _closed("no", "Answer: No", "right", "right"),
    _closed("yes", "I would say yes", "right", "right"),
    _closed("yes", "I would not say yes", "wrong", "wrong"),
    _closed("yes", "maybe", "wrong", "wrong"),
    _closed("yes", "true", "wrong", "wrong"),
    _closed("yes", "", "wrong", "wrong"),
    _closed("no", "?!", "wrong", "wrong"),
    _closed("left", "left", "-", "wrong"),  # an answer that is no option
    _closed("Yes", "yes", "right", "wrong"),  # the reference compares the answer as it stands
    _closed(" no", "no", "right", "wrong"),
    _closed("yes", "ye", "wrong", "wrong"),
)

MCQ = (
    _mcq("B", "B", "right", "right"),
    _mcq("B", "b", "right", "right"),
    _mcq("B", " B\n", "right", "right"),
    _mcq("B", "(B)", "right", "wrong"),
    _mcq("B", "B.", "right", "wrong"),
    _mcq("B", "B)", "right", "wrong"),
    _mcq("B", "(B", "right", "wrong"),
    _mcq("B", "**B**", "right", "wrong"),
    _mcq("B", "A", "wrong", "wrong"),
    _mcq("B", "The answer is (B).", "right", "wrong"),
    _mcq("B", "The answer is b", "right", "wrong"),
    _mcq("B", "Answer: B", "right", "wrong"),
    _mcq("B", "The correct option is B, lung.", "right", "wrong"),
    _mcq("B", "B: Lung", "right", "wrong"),
    _mcq("B", "b) lung", "right", "wrong"),
    _mcq("B", "B Lung", "right", "wrong"),
    _mcq("B", "Lung", "right", "wrong"),
    _mcq("B", "lung.", "right", "wrong"),
    _mcq("C", "It is a lung cancer.", "right", "wrong"),  # `Lung` is inside the longer option
    _mcq("B", "It is the lung", "right", "wrong"),
    _mcq("B", "not the lung", "wrong", "wrong"),
    _mcq("B", "liver or spleen", "wrong", "wrong"),
    _mcq("B", "A or B", "wrong", "wrong"),
    _mcq("A", "a or b", "wrong", "wrong"),
    _mcq("B", "A, B", "wrong", "wrong"),
    _mcq("B", "(A) and (B)", "wrong", "wrong"),
    _mcq("B", "B: Liver", "wrong", "wrong"),  # the letter of one option, the text of another
    _mcq("B", "I think it is B", "right", "wrong"),
    _mcq("B", "B is correct", "right", "wrong"),
    _mcq("B", "B, because there is no lesion", "right", "wrong"),
    _mcq("B", "B\nExplanation: A is too large.", "right", "wrong"),
    _mcq("A", "A lesion is seen", "wrong", "wrong"),  # an article
    _mcq("A", "A", "right", "right"),
    _mcq("E", "E", "-", "right"),  # beyond the options
    _mcq("B", "E", "wrong", "wrong"),
    _mcq("B", "the kidney", "wrong", "wrong"),
    _mcq("B", "", "wrong", "wrong"),
    _mcq("b", "b", "right", "wrong"),  # the reference puts the reply, not the answer, in upper case
    _mcq("A", "A: Meniscal tear", "right", "wrong", TEAR),
    _mcq("A", "meniscal tear", "right", "wrong", TEAR),
    _mcq("B", "a tear", "right", "wrong", TEAR),
    _mcq("C", "C: Hepatitis B and C", "right", "wrong", TEAR),
    _mcq("C", "Hepatitis B and C", "right", "wrong", TEAR),
    _mcq("D", "No abnormality", "right", "wrong", TEAR),
    _mcq("C", "The answer is C: Hepatitis B and C", "right", "wrong", TEAR),
    _mcq("B", "B: Lung cancer", "wrong", "wrong"),  # begins with B's text, and goes on to be C's
    _mcq("B", "The answer is not B", "wrong", "wrong"),
    _mcq("B", "Not B.", "wrong", "wrong"),
    _mcq("B", "B - lung", "right", "wrong"),
    _mcq("B", "B or the liver", "wrong", "wrong"),
    _mcq("A", "C. difficile", "right", "wrong", GERMS),
    _mcq("C", "C. difficile is seen", "wrong", "wrong", GERMS),  # no choice of C
    _mcq("A", "It is C. difficile", "wrong", "wrong", GERMS),
    _mcq("B", "B", "right", "right", ()),
    _mcq("B", "Lung", "wrong", "wrong", ()),  # options are not known
)

OPEN = (
    _open("Correctness: 1", "right", "right"),
    _open("Correctness: 0", "wrong", "wrong"),
    _open("\nCorrectness: 1\n", "right", "right"),
    _open("The answer matches.\nCorrectness: 1", "right", "right"),
    _open("Correctness: 1\nCorrectness: 0", "-", "right"),  # the first substring wins there
    _open("Correctness: 0\nCorrectness: 1", "-", "right"),
    _open("Correctness: 10", "-", "right"),
    _open("Correctness: 0.5", "-", "wrong"),
    _open("Correctness: 2", "-", "-"),
    _open("Correctness:1", "right", "-"),
    _open("correctness: 1", "right", "-"),
    _open("1", "-", "-"),
    _open("", "-", "-"),
    _open("I cannot judge this.", "-", "-"),
    _open("**Correctness:** 0", "wrong", "-"),
)

ODD = (*CLOSED, *MCQ, *OPEN)
