"""Pictures described in words: the greedy text beside the reference caption.

Unlike the reference implementation, no repetition penalty is applied: it falls on the prompt's words too and hurts long
reports. The paper's metric is a trained network's similarity and stays locked until its weights are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medmax_pipeline.eval.asking import ask, record_of
from medmax_pipeline.eval.items import Item
from medmax_pipeline.eval.records import Answered, ItemRecord
from medmax_pipeline.eval.task import Metric, Task
from medmax_pipeline.eval.text_metrics import rouge_l, token_f1

if TYPE_CHECKING:
    from medmax_pipeline.eval.engine import Engine

PROMPT = "Please describe this picture."
"""The reference's fixed text (paper, section 5)."""

METRICS = (
    Metric(
        name="token_f1",
        scorer="word_overlap",
        meaning="F1 of the words of reply and reference caption",
        headline=True,
    ),
    Metric(
        name="rouge_l",
        scorer="longest_common_subsequence",
        meaning="F1 of the longest common subsequence of words of reply and reference caption",
    ),
    Metric(
        name="clip_score",
        by="similarity",
        meaning="cosine of picture and text in the space of the similarity model",
        share=False,
    ),
)


def answer_captioning(engine: Engine, task: Task, items: Sequence[Item]) -> Answered:
    """One record an item: the greedy caption and its overlap with the reference."""
    asked = ask(engine, task, items)
    replies = engine.replies(asked.prompts, task.decoding.max_new_tokens)
    judged = {
        item.sample.sample_id: _record(task, item, reply) for item, reply in zip(asked.items, replies, strict=True)
    }
    return Answered(asked.in_order(task, judged))


def _record(task: Task, item: Item, reply: str) -> ItemRecord:
    reference = task.reference(item.sample)
    return record_of(
        task,
        item,
        generated_text=reply,
        metrics={
            "token_f1": token_f1(reply, reference),
            "rouge_l": rouge_l(reply, reference),
        },
    )
