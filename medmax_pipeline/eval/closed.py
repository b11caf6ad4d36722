"""Questions to be answered with yes or no: the family's options, and how its replies are read.

What is asked of the model and what becomes of it is `choosing.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medmax_pipeline.eval import compat
from medmax_pipeline.eval.choosing import Rules, answer_choosing, metrics_of
from medmax_pipeline.eval.items import Item
from medmax_pipeline.eval.reading import read_yes_no
from medmax_pipeline.eval.records import Answered
from medmax_pipeline.eval.task import Task

if TYPE_CHECKING:
    from medmax_pipeline.eval.engine import Engine

METRICS = metrics_of(
    scorer="option_likelihood",
    strict="whose likeliest option is the reference answer",
    answer="answer",
    parsed="says the reference answer; an unreadable reply is wrong",
    compat="substring test",
)

RULES: Final = Rules(
    options=lambda task, _: task.options,
    said=lambda reply, _: read_yes_no(reply).said,
    compat=compat.rule_closed,
    compat_prediction=compat.closed_prediction,
)


def answer_closed(engine: Engine, task: Task, items: Sequence[Item]) -> Answered:
    """One record an item: the likelihood of each of the task's options beside the words that the model says."""
    return answer_choosing(engine, task, items, RULES)
