"""Multiple-choice questions: the likelihood of each option's letter beside the words that the model says.

The three readings of `closed.py`, with letters: `strict` takes the likeliest of the item's own letters, `parsed` reads
the greedy reply by letter or by an option's text, `compat` wants one greedy token that equals the letter. Options
differ between items, and so does what guessing would earn: `chance` is a value of each record.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from medmax_pipeline.eval import compat
from medmax_pipeline.eval.asking import ask, record_of
from medmax_pipeline.eval.closed import NOT_AN_OPTION, surfaces
from medmax_pipeline.eval.items import Item
from medmax_pipeline.eval.reading import LETTERS, read_choice
from medmax_pipeline.eval.records import Answered, ItemRecord
from medmax_pipeline.eval.task import CHANCE, Metric, Task
from medmax_pipeline.records import Sample

if TYPE_CHECKING:
    from medmax_pipeline.eval.engine import Engine

UNLISTED: Final = "ABCD"
"""Letters where options stand in the question in a form nobody knows: those that the reference's prompt offers."""

METRICS = (
    Metric(
        name="accuracy_strict",
        scorer="letter_likelihood",
        meaning="share of items of whose letters the reference answer's is the likeliest",
        headline=True,
    ),
    Metric(
        name="balanced_accuracy_strict",
        scorer="letter_likelihood",
        meaning="accuracy_strict, averaged over the reference letters: always saying one letter earns chance",
        per_item="accuracy_strict",
        balanced=True,
    ),
    Metric(
        name="accuracy_parsed",
        scorer="strict_reading_of_greedy_text",
        meaning="share of items whose greedy reply names the right option by letter or text; unreadable ones are wrong",
    ),
    Metric(
        name="accuracy_compat",
        scorer="reference_first_token_rule",
        meaning="the reference implementation's rule: one greedy token, repetition penalty 1.2, equal to the letter",
    ),
)


def letters_of(sample: Sample) -> str:
    """The letters of a question's options."""
    return LETTERS[: len(sample.options)] or UNLISTED


def answer_choice(engine: Engine, task: Task, items: Sequence[Item]) -> Answered:
    """One record an item: likelihoods of its letters, greedy reply, the reference's one token, a verdict of each."""
    asked = ask(engine, task, items)
    letters = [surfaces(task, letters_of(item.sample)) for item in asked.items]
    likelihoods = engine.option_logprobs(asked.prompts, letters)
    replies = engine.replies(asked.prompts, task.decoding.max_new_tokens)
    tokens = engine.first_tokens(asked.prompts, compat.REPETITION_PENALTY)
    judged = {
        item.sample.sample_id: _record(task, item, chances, reply, token)
        for item, chances, reply, token in zip(asked.items, likelihoods, replies, tokens, strict=True)
    }
    return Answered(asked.in_order(task, judged))


def _record(task: Task, item: Item, likelihoods: Sequence[float], reply: str, token: str) -> ItemRecord:
    reference, letters = task.reference(item.sample), letters_of(item.sample)
    known = reference in tuple(letters)
    logprobs = dict(zip(letters, likelihoods, strict=True))
    likeliest = max(logprobs, key=logprobs.__getitem__)
    said = read_choice(reply, item.sample.options).said
    strict = likeliest == reference if known else None
    published = bool(compat.rule_choice(reference, token).correct)
    return record_of(
        task,
        item,
        generated_text=reply,
        option_logprobs=logprobs,
        predictions={
            "strict": likeliest,
            "parsed": said,
            "compat": compat.choice_prediction(token),
            "compat_text": token,
        },
        correct_strict=strict,
        correct_compat=published,
        unscored="" if known else NOT_AN_OPTION,
        metrics={
            "accuracy_strict": None if strict is None else float(strict),
            "accuracy_parsed": float(said == reference) if known else None,
            "accuracy_compat": float(published),
            CHANCE: 1 / len(letters) if known else None,
        },
    )
