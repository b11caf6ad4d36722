"""Multiple-choice questions: the letters of an item's own options, and how replies name one by letter or text.

What is asked of the model and what becomes of it is `choosing.py`. Options differ between items, and so does what
guessing would earn: `chance` is a value of each record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medmax_pipeline.eval import compat
from medmax_pipeline.eval.choosing import Rules, answer_choosing, metrics_of
from medmax_pipeline.eval.items import Item
from medmax_pipeline.eval.reading import LETTERS, read_choice
from medmax_pipeline.eval.records import Answered
from medmax_pipeline.eval.task import Task
from medmax_pipeline.records import Sample

if TYPE_CHECKING:
    from medmax_pipeline.eval.engine import Engine

UNLISTED: Final = "ABCD"
"""Letters where options stand in the question in a form nobody knows: those that the reference's prompt offers."""

METRICS = metrics_of(
    scorer="letter_likelihood",
    strict="of whose letters the reference answer's is the likeliest",
    answer="letter",
    parsed="names the right option by letter or text; unreadable ones are wrong",
    compat="equal to the letter",
)


def letters_of(sample: Sample) -> str:
    """The letters of a question's options."""
    return LETTERS[: len(sample.options)] or UNLISTED


RULES: Final = Rules(
    options=lambda _, sample: letters_of(sample),
    said=lambda reply, sample: read_choice(reply, sample.options).said,
    compat=compat.rule_choice,
    compat_prediction=compat.choice_prediction,
    chance=True,
)


def answer_choice(engine: Engine, task: Task, items: Sequence[Item]) -> Answered:
    """One record an item: the likelihood of each of its letters beside the words that the model says."""
    return answer_choosing(engine, task, items, RULES)
