"""Pictures described in words: captions and radiology reports.

Two greedy texts an item. The strict one is the model's likeliest; the compat one bears the reference implementation's
repetition penalty of 1.2 over prompt and reply (its `inference_utils`), which falls on the prompt's words too and hurts
long reports. Both answer the reference's fixed text. `clip_score_compat` reads the compat text, every other metric the
strict one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from medmax_pipeline.eval.asking import ask, fitted, record_of
from medmax_pipeline.eval.compat import REPETITION_PENALTY
from medmax_pipeline.eval.items import Item
from medmax_pipeline.eval.picture_text import PICTURE_UNREAD, Space, space_of
from medmax_pipeline.eval.records import Answered, ItemRecord, scored
from medmax_pipeline.eval.task import Decoding, Metric, Task
from medmax_pipeline.eval.text_metrics import OVERLAP, overlap, overlap_unscored, token_f1
from medmax_pipeline.records import IMAGE, Sample

if TYPE_CHECKING:
    from medmax_pipeline.eval.engine import Engine
    from medmax_pipeline.eval.scorers import Scorers

PROMPT = "Please describe this picture."
"""The reference's fixed text (paper, section 5)."""
DECODING = Decoding(max_new_tokens=512)
"""Ours: longer than nearly all captions and reports. The reference lets a text go on to the end of the model's 4,096
positions, which only one without an end reaches."""
NO_REFERENCE = "reference_missing"
COMPAT_TEXT = "compat_text"
"""Where the predictions of a record that was asked hold the text under the penalty."""

METRICS = (
    Metric(
        name="token_f1",
        scorer="word_overlap",
        meaning="F1 of the words of reply and reference",
        headline=True,
    ),
    *OVERLAP,
    Metric(
        name="clip_score",
        by="similarity",
        meaning="cosine of the picture and the text generated for it",
        share=False,
    ),
    Metric(
        name="clip_score_compat",
        by="similarity",
        meaning="cosine of the picture and the text generated under the reference implementation's repetition penalty",
        share=False,
    ),
    Metric(
        name="clip_score_reference",
        by="similarity",
        meaning="cosine of the picture and its reference text: what saturation of clip_score is read against",
        share=False,
    ),
)


def prompt(sample: Sample) -> str:
    """The picture and the reference's fixed text."""
    return IMAGE + PROMPT


def reference(sample: Sample) -> str:
    """The caption or report; empty where the published evaluation data leaves it out."""
    return sample.answer


def answer_captioning(engine: Engine, task: Task, items: Sequence[Item]) -> Answered:
    """One record an item: both texts, and the overlap of words with the reference."""
    task = fitted(engine, task)
    asked = ask(engine, task, items)
    length = task.decoding.max_new_tokens
    strict = engine.replies(asked.prompts, length)
    compat = engine.replies(asked.prompts, length, REPETITION_PENALTY)
    answered = {
        item.sample.sample_id: _record(task, item, mine, theirs)
        for item, mine, theirs in zip(asked.items, strict, compat, strict=True)
    }
    return Answered(asked.in_order(task, answered))


def _record(task: Task, item: Item, text: str, compat_text: str) -> ItemRecord:
    wanted = task.reference(item.sample)
    values: dict[str, float | None] = dict.fromkeys(each.name for each in METRICS if not each.by)
    if wanted:
        values = {"token_f1": token_f1(text, wanted), **overlap(text, wanted)}
    return record_of(
        task,
        item,
        generated_text=text,
        predictions={COMPAT_TEXT: compat_text},
        unscored=overlap_unscored(values) if wanted else NO_REFERENCE,
        metrics=values,
    )


def score_captioning(
    scorers: Scorers, task: Task, samples: Sequence[Sample], records: Sequence[ItemRecord]
) -> list[ItemRecord]:
    """Similarity of the picture with both texts and the reference."""
    space = space_of(scorers)
    if space is None:
        return list(records)
    return [_with_similarity(each, space) if COMPAT_TEXT in each.predictions else each for each in records]


def _with_similarity(record: ItemRecord, space: Space) -> ItemRecord:
    texts = [record.generated_text, record.predictions[COMPAT_TEXT] or "", record.reference]
    found = space.source_beside(record.image_ids[0], *map(space.text, texts))
    strict, compat, ceiling = found or (None, None, None)
    return scored(
        record,
        {
            "clip_score": strict,
            "clip_score_compat": compat,
            "clip_score_reference": ceiling if record.reference else None,
        },
        unscored="" if found else PICTURE_UNREAD,
    )
