"""Questions with answers to choose from: three readings of one run of the model, each a metric with its own name.

`strict` takes the likeliest option and so always has an opinion. `parsed` reads the greedy reply (`reading.py`); a
reply that cannot be read is wrong. `compat` is the reference implementation's rule (`compat.py`) on one greedy token.
What the options are and how a reply names one belongs to the families `closed.py` and `choice.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from medmax_pipeline.eval import compat
from medmax_pipeline.eval.asking import ask, record_of
from medmax_pipeline.eval.items import Item
from medmax_pipeline.eval.records import Answered, ItemRecord
from medmax_pipeline.eval.task import CHANCE, Metric, Task
from medmax_pipeline.records import Sample

if TYPE_CHECKING:
    from medmax_pipeline.eval.engine import Chosen, Engine

NOT_AN_OPTION: Final = "reference_not_an_option"


@dataclass(frozen=True, kw_only=True)
class Rules:
    """Where families of such questions differ."""

    options: Callable[[Task, Sample], Sequence[str]]
    """What an item's answer is chosen from."""
    said: Callable[[str, Sample], str | None]
    """The option that a reply names."""
    compat: Callable[[str, str], compat.Ruling]
    """The reference implementation's verdict, by answer and first token."""
    compat_prediction: Callable[[str], str | None]
    """What it takes the first token for."""
    chance: bool = False
    """Whether options differ between items, so that each record says what guessing would earn."""


def metrics_of(*, scorer: str, strict: str, answer: str, parsed: str, compat: str) -> tuple[Metric, ...]:
    """The family's metrics.

    Args:
        scorer: what the likelihoods are of.
        strict: what counts by them.
        answer: the word for an answer.
        parsed: what counts by the reply.
        compat: what the reference's rule asks of its one token.
    """
    return (
        Metric(name="accuracy_strict", scorer=scorer, meaning=f"share of items {strict}", headline=True),
        Metric(
            name="balanced_accuracy_strict",
            scorer=scorer,
            meaning=f"accuracy_strict, averaged over the reference {answer}s: always saying one {answer} earns chance",
            per_item="accuracy_strict",
            balanced=True,
        ),
        Metric(
            name="accuracy_parsed",
            scorer="strict_reading_of_greedy_text",
            meaning=f"share of items whose greedy reply {parsed}",
        ),
        Metric(
            name="accuracy_compat",
            scorer="reference_first_token_rule",
            meaning=f"the reference implementation's rule: one greedy token, repetition penalty 1.2, {compat}",
        ),
    )


def answer_choosing(engine: Engine, task: Task, items: Sequence[Item], rules: Rules) -> Answered:
    """One record an item: likelihoods, greedy reply, the reference's one token, and a verdict of each."""
    asked = ask(engine, task, items)
    options = [surfaces(task, rules.options(task, item.sample)) for item in asked.items]
    chosen = engine.choose(asked.prompts, options, task.decoding.max_new_tokens, compat.REPETITION_PENALTY)
    judged = {
        item.sample.sample_id: _record(task, item, rules, each) for item, each in zip(asked.items, chosen, strict=True)
    }
    return Answered(asked.in_order(task, judged))


def surfaces(task: Task, options: Sequence[str]) -> list[str]:
    """Options as they would stand behind the prompt: a reply of their own, or the next word of a text."""
    return list(options) if task.end_of_turn else [f" {option}" for option in options]


def _record(task: Task, item: Item, rules: Rules, chosen: Chosen) -> ItemRecord:
    reference, options = task.reference(item.sample), rules.options(task, item.sample)
    known = reference in tuple(options)
    logprobs = dict(zip(options, chosen.logprobs, strict=True))
    likeliest = max(logprobs, key=logprobs.__getitem__)
    said = rules.said(chosen.reply, item.sample)
    strict = likeliest == reference if known else None
    published = bool(rules.compat(reference, chosen.first_token).correct)
    metrics = {
        "accuracy_strict": None if strict is None else float(strict),
        "accuracy_parsed": float(said == reference) if known else None,
        "accuracy_compat": float(published),
    }
    if rules.chance:
        metrics[CHANCE] = 1 / len(options) if known else None
    return record_of(
        task,
        item,
        generated_text=chosen.reply,
        option_logprobs=logprobs,
        predictions={
            "strict": likeliest,
            "parsed": said,
            "compat": rules.compat_prediction(chosen.first_token),
            "compat_text": chosen.first_token,
        },
        correct_strict=strict,
        correct_compat=published,
        unscored="" if known else NOT_AN_OPTION,
        metrics=metrics,
    )
