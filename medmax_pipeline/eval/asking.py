"""What every family does: prompts out of items, and a record for each item, also for those that cannot be asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from medmax_pipeline.errors import TokenError
from medmax_pipeline.eval.items import Item
from medmax_pipeline.eval.records import ItemRecord
from medmax_pipeline.eval.task import Task
from medmax_pipeline.records import Turn

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from medmax_pipeline.eval.engine import Engine

    Ids = npt.NDArray[np.uint16]

NO_CODES = "image_without_codes"
REFUSED = "prompt_refused"
TOO_LONG = "prompt_too_long"
REPLY_SHARE = 4
"""A reply gets at most one in so many of the model's positions, where its task would let it have more."""


@dataclass(frozen=True)
class Asked:
    """The items of a batch that can be asked, their prompts, and why the others cannot."""

    all_items: tuple[Item, ...]
    items: tuple[Item, ...]
    prompts: tuple[Ids, ...]
    reasons: Mapping[str, str]
    """By sample id."""

    def in_order(self, task: Task, judged: Mapping[str, ItemRecord]) -> list[ItemRecord]:
        """One record an item in the batch's order; those not asked are unscored, with the reason."""
        return [
            judged.get(item.sample.sample_id) or unasked(task, item, self.reasons[item.sample.sample_id])
            for item in self.all_items
        ]


def ask(engine: Engine, task: Task, items: Sequence[Item], *, draws: bool = False) -> Asked:
    """Build the prompts of a batch.

    Args:
        engine: knows ids and how long a sequence may be.
        task: says the user's text.
        items: the batch.
        draws: the reply is a picture: the prompt ends with its begin, and only pictures of the text are shown.
    """
    kept, prompts, reasons = [], [], {}
    room = engine.vocabulary.codes_per_image + 2 if draws else task.decoding.max_new_tokens
    for item in items:
        name = item.sample.sample_id
        if item.codes is None:
            reasons[name] = NO_CODES
            continue
        turns = (Turn("user", task.prompt(item.sample)),)
        try:
            prompt = engine.sequencer.prompt(
                turns, () if draws else item.codes, image_next=draws, end_of_turn=task.end_of_turn
            )
        except TokenError:
            reasons[name] = REFUSED
            continue
        if len(prompt) + room > engine.max_positions:
            reasons[name] = TOO_LONG
            continue
        kept.append(item)
        prompts.append(prompt)
    return Asked(tuple(items), tuple(kept), tuple(prompts), reasons)


def fitted(engine: Engine, task: Task) -> Task:
    """The task with replies as long as the model's positions allow, the same for all its items: the 1,024 tokens of a
    description are 128 for a model of 512 positions."""
    most = min(task.decoding.max_new_tokens, engine.max_positions // REPLY_SHARE)
    return replace(task, decoding=replace(task.decoding, max_new_tokens=most))


def record_of(task: Task, item: Item, **answered: Any) -> ItemRecord:
    """A record with what is known of the item, and what was answered."""
    sample = item.sample
    return ItemRecord(
        task=task.key,
        model=item.model,
        item_id=sample.sample_id,
        image_ids=sample.images,
        cluster=item.cluster,
        credentialed=sample.credentialed,
        prompt=task.prompt(sample),
        reference=task.reference(sample),
        question_type=task.item_type(sample) if task.item_type else task.question_type,
        group=task.group(sample),
        **answered,
    )


def unasked(task: Task, item: Item, reason: str) -> ItemRecord:
    """The record of an item that the model never saw: every figure of it is unknown."""
    values = {metric.per_item or metric.name: None for metric in task.metrics if not metric.by}
    return record_of(task, item, unscored=reason, metrics=values)
