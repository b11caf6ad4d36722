"""Questions to be answered with yes or no: the likelihood of each beside the words that the model says.

Three readings of the same model, each a metric with its own name. `strict` takes the likelier word and so always has an
opinion. `parsed` reads the greedy reply (`reading.py`); a reply that cannot be read is wrong. `compat` is the reference
implementation's rule (`compat.py`) on one greedy token.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medmax_pipeline.eval import compat
from medmax_pipeline.eval.asking import ask, record_of
from medmax_pipeline.eval.items import Item
from medmax_pipeline.eval.reading import read_yes_no
from medmax_pipeline.eval.records import Answered, ItemRecord
from medmax_pipeline.eval.task import Metric, Task

if TYPE_CHECKING:
    from medmax_pipeline.eval.engine import Engine

NOT_AN_OPTION = "reference_not_an_option"

METRICS = (
    Metric(
        name="accuracy_strict",
        scorer="option_likelihood",
        meaning="share of items whose likeliest option is the reference answer",
        headline=True,
    ),
    Metric(
        name="balanced_accuracy_strict",
        scorer="option_likelihood",
        meaning="accuracy_strict, averaged over the reference answers: always saying one answer earns chance",
        per_item="accuracy_strict",
        balanced=True,
    ),
    Metric(
        name="accuracy_parsed",
        scorer="strict_reading_of_greedy_text",
        meaning="share of items whose greedy reply says the reference answer; an unreadable reply is wrong",
    ),
    Metric(
        name="accuracy_compat",
        scorer="reference_first_token_rule",
        meaning="the reference implementation's rule: one greedy token, repetition penalty 1.2, substring test",
    ),
)


def answer_closed(engine: Engine, task: Task, items: Sequence[Item]) -> Answered:
    """One record an item: likelihoods, greedy reply, the reference's one token, and a verdict of each."""
    asked = ask(engine, task, items)
    options = surfaces(task, task.options)
    likelihoods = engine.option_logprobs(asked.prompts, [options] * len(asked.prompts))
    replies = engine.replies(asked.prompts, task.decoding.max_new_tokens)
    tokens = engine.first_tokens(asked.prompts, compat.REPETITION_PENALTY)
    judged = {
        item.sample.sample_id: _record(task, item, chances, reply, token)
        for item, chances, reply, token in zip(asked.items, likelihoods, replies, tokens, strict=True)
    }
    return Answered(asked.in_order(task, judged))


def surfaces(task: Task, options: Sequence[str]) -> list[str]:
    """Options as they would stand behind the prompt: a reply of their own, or the next word of a text."""
    return list(options) if task.end_of_turn else [f" {option}" for option in options]


def _record(task: Task, item: Item, likelihoods: Sequence[float], reply: str, token: str) -> ItemRecord:
    reference = task.reference(item.sample)
    known = reference in task.options
    logprobs = dict(zip(task.options, likelihoods, strict=True))
    likeliest = max(logprobs, key=logprobs.__getitem__)
    said = read_yes_no(reply).said
    strict = likeliest == reference if known else None
    published = bool(compat.rule_closed(reference, token).correct)
    return record_of(
        task,
        item,
        generated_text=reply,
        option_logprobs=logprobs,
        predictions={
            "strict": likeliest,
            "parsed": said,
            "compat": compat.closed_prediction(token),
            "compat_text": token,
        },
        correct_strict=strict,
        correct_compat=published,
        unscored="" if known else NOT_AN_OPTION,
        metrics={
            "accuracy_strict": None if strict is None else float(strict),
            "accuracy_parsed": float(said == reference) if known else None,
            "accuracy_compat": float(published),
        },
    )
