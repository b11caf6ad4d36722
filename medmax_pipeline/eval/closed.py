"""Questions with a closed choice of answers: the likelihood of each option beside the words that the model says.

Three readings of the same model, each a metric with its own name. `strict` takes the likeliest option and so always
has an opinion. `parsed` reads the first word of the greedy reply; a reply that cannot be read is wrong. `compat` is the
rule of the reference implementation (medmax `evaluation/vqa.py`): one greedy token under a repetition penalty of 1.2
over prompt and reply, lower-cased, right only when it contains the answer and not the other word.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medmax_pipeline.eval.asking import ask, record_of
from medmax_pipeline.eval.items import Item
from medmax_pipeline.eval.records import Answered, ItemRecord
from medmax_pipeline.eval.task import Metric, Task
from medmax_pipeline.eval.text_metrics import words

if TYPE_CHECKING:
    from medmax_pipeline.eval.engine import Engine

YES_NO = ("yes", "no")
COMPAT_PENALTY = 1.2
"""The reference's repetition penalty: left on even where it decodes greedily."""
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
        scorer="first_word_of_greedy_text",
        meaning="share of items whose greedy reply begins with the reference answer; an unreadable reply is wrong",
    ),
    Metric(
        name="accuracy_compat",
        scorer="reference_first_token_rule",
        meaning="the reference implementation's rule: one greedy token, repetition penalty 1.2, substring test",
    ),
)


def parsed(reply: str, options: Sequence[str]) -> str | None:
    """The option that is the reply's first word, or None: `not` is not `no`."""
    first = words(reply)[:1]
    return first[0] if first and first[0] in options else None


def compat_prediction(reply: str) -> str | None:
    """What the reference's substring test takes a reply for: `yes`, `no`, or None for both or neither.

    Kept as published: `not`, `nothing` and `abnormal` all contain `no`.
    """
    found = [option for option in YES_NO if option in reply.lower()]
    return found[0] if len(found) == 1 else None


def compat_correct(reply: str, reference: str) -> bool:
    """The reference's verdict; an item whose answer is neither `yes` nor `no` in lower case is always wrong."""
    return reference in YES_NO and compat_prediction(reply) == reference


def answer_closed(engine: Engine, task: Task, items: Sequence[Item]) -> Answered:
    """One record an item: likelihoods, greedy reply, the reference's one token, and a verdict of each."""
    asked = ask(engine, task, items)
    likelihoods = engine.option_logprobs(asked.prompts, [task.options] * len(asked.prompts))
    replies = engine.replies(asked.prompts, task.decoding.max_new_tokens)
    tokens = engine.first_tokens(asked.prompts, COMPAT_PENALTY)
    judged = {
        item.sample.sample_id: _record(task, item, options, reply, token)
        for item, options, reply, token in zip(asked.items, likelihoods, replies, tokens, strict=True)
    }
    return Answered(asked.in_order(task, judged))


def _record(task: Task, item: Item, likelihoods: Sequence[float], reply: str, token: str) -> ItemRecord:
    reference = task.reference(item.sample)
    known = reference in task.options
    logprobs = dict(zip(task.options, likelihoods, strict=True))
    likeliest = max(logprobs, key=logprobs.__getitem__)
    said = parsed(reply, task.options)
    strict = likeliest == reference if known else None
    compat = compat_correct(token, reference)
    return record_of(
        task,
        item,
        generated_text=reply,
        option_logprobs=logprobs,
        predictions={"strict": likeliest, "parsed": said, "compat": compat_prediction(token), "compat_text": token},
        correct_strict=strict,
        correct_compat=compat,
        unscored="" if known else NOT_AN_OPTION,
        metrics={
            "accuracy_strict": None if strict is None else float(strict),
            "accuracy_parsed": float(said == reference) if known else None,
            "accuracy_compat": float(compat),
        },
    )
