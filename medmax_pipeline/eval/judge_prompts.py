"""What a judge is asked, and how its replies are read: two protocols, each read twice.

`correct`: right (1) or wrong (0) beside a reference, the reference implementation's protocol for open questions.
`pair`: two scores from 1 to 10, that of "LLaVA-Med" (arXiv 2306.00890, section 4) as the reference implementation uses
it. Both are restated in our words; the phrases that parsers and comparisons rest on are the protocols'. `compat` reads
as the reference implementation does; `strict` reads exactly one verdict or none. Asking is `judge.py`.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

from medmax_pipeline.models.endpoint import Message

PROMPTS_VERSION: Final = "1"
"""Raise it when a message changes: replies to others are then no answers to it."""
UNREADABLE: Final = "judge_unreadable"
TWO_VERDICTS: Final = "judge_two_verdicts"
LOWEST, HIGHEST = 1.0, 10.0
MARKS: Final = " \t\r*_`\"'()[].,;"
"""May stand around a verdict without changing it."""

CORRECT: Final = (
    "A model was asked about a biomedical image. Compare its answer with the reference.\n\n"
    "Question: {question}\n"
    "Reference answer: {reference}\n"
    "Candidate answer: {candidate}\n\n"
    "Decide 1 if the candidate matches the reference or is a good enough answer to the question, else 0. "
    "Give the decision once, on a line of its own:\n"
    "Correctness: <0/1>"
)
ASK_CORRECT_AGAIN: Final = (
    "That could not be read. Reply with one line and nothing else: Correctness: 0 or Correctness: 1"
)
PAIR_SYSTEM: Final = "You are a helpful and precise assistant for checking the quality of the answer."
PAIR: Final = (
    "[Context]\n{context}\n\n"
    "[Question]\n{question}\n\n"
    "[Assistant 1]\n{first}\n[End of Assistant 1]\n\n"
    "[Assistant 2]\n{second}\n[End of Assistant 2]\n\n"
    "[System]\n"
    "Two assistants answered a question about an image that you do not see; the context says what is known of it. Rate "
    "how helpful, relevant, accurate and detailed each answer is, with a score from 1 to 10, higher for better. Begin "
    "with one line that holds nothing but the two scores, that of Assistant 1 first, with a space between. Explain the "
    "scores on the lines after it; the order in which the answers stand must not sway you."
)
ASK_PAIR_AGAIN: Final = (
    "That could not be read. Reply with one line and nothing else: the score of Assistant 1 and the score of Assistant "
    "2, each from 1 to 10, with a space between."
)


class CorrectParts(NamedTuple):
    """What stands in a `correct` message."""

    question: str
    reference: str
    candidate: str


class PairParts(NamedTuple):
    """What stands in a `pair` message."""

    context: str
    question: str
    first: str
    second: str


class Scores(NamedTuple):
    """Scores of Assistant 1 and Assistant 2."""

    first: float
    second: float


def correct_messages(parts: CorrectParts) -> tuple[Message, ...]:
    """The messages that ask whether an answer is right."""
    return (Message("user", CORRECT.format(**parts._asdict())),)


def pair_messages(parts: PairParts) -> tuple[Message, ...]:
    """The messages that ask for two scores."""
    return (Message("system", PAIR_SYSTEM), Message("user", PAIR.format(**parts._asdict())))


def _pattern(template: str) -> re.Pattern[str]:
    """A template as the pattern of its messages."""
    pieces = re.split(r"\{(\w+)\}", template)
    text = "".join(f"(?P<{piece}>.*?)" if number % 2 else re.escape(piece) for number, piece in enumerate(pieces))
    return re.compile(text, re.DOTALL)


_CORRECT, _PAIR = _pattern(CORRECT), _pattern(PAIR)


def correct_parts(text: str) -> CorrectParts | None:
    """The parts of a `correct` message; None where it is none."""
    found = _CORRECT.fullmatch(text)
    return CorrectParts(**found.groupdict()) if found else None


def pair_parts(text: str) -> PairParts | None:
    """The parts of a `pair` message; None where it is none."""
    found = _PAIR.fullmatch(text)
    return PairParts(**found.groupdict()) if found else None


def read_correct_compat(reply: str) -> float | None:
    """0.0 or 1.0 by the reference implementation's rule: the first of two substrings that occurs in the reply."""
    for digit in ("1", "0"):
        if f"Correctness: {digit}" in reply:
            return float(digit)
    return None


def read_correct(reply: str) -> float | str:
    """0.0 or 1.0 where the reply gives exactly one verdict; else the name of what is wrong with it."""
    found = re.findall(r"correctness[*_`\"' \t]{0,8}:(.*)", reply, re.IGNORECASE)
    if len(found) > 1 or (found and "correctness" in found[0].lower()):
        return TWO_VERDICTS
    digit = found[0].strip(MARKS) if found else ""
    return float(digit) if digit in ("0", "1") else UNREADABLE


def read_scores_compat(reply: str) -> Scores | None:
    """Two numbers in the first line, whatever they are, as the reference implementation reads them."""
    words = reply.split("\n")[0].replace(",", " ").split()
    try:
        first, second = map(float, words)
    except ValueError:
        return None
    return Scores(first, second) if first and abs(first) < 1e6 and abs(second) < 1e6 else None


def read_scores(reply: str) -> Scores | str:
    """Two scores from 1 to 10 where exactly one line, the first, gives such; else the name of what is wrong."""
    lines = [line.strip() for line in reply.split("\n") if line.strip()]
    found = [_two_numbers(line) for line in lines]
    if not found or found[0] is None:
        return UNREADABLE
    if any(pair is not None for pair in found[1:]):
        return TWO_VERDICTS
    return found[0] if all(LOWEST <= score <= HIGHEST for score in found[0]) else UNREADABLE


def _two_numbers(line: str) -> Scores | None:
    found = re.fullmatch(r"(\d{1,3}(?:\.\d{1,3})?)(?:\s*,\s*|\s+)(\d{1,3}(?:\.\d{1,3})?)", line)
    return Scores(float(found[1]), float(found[2])) if found else None
