"""VQA-RAD's test questions whose answer is yes or no."""

from __future__ import annotations

from medmax_pipeline.eval.closed import METRICS, YES_NO, answer_closed
from medmax_pipeline.eval.task import Count, Decoding, Task, of_kind
from medmax_pipeline.records import Sample


def prompt(sample: Sample) -> str:
    """Picture and question, as in training (the reference's `sft` prompt)."""
    return sample.turns[0].text


def reference(sample: Sample) -> str:
    """`yes` or `no`, in lower case as in the published evaluation data."""
    return sample.answer.strip().lower()


TASK = Task(
    task_name="vqa_rad",
    question_type="closed",
    rows={"vqa_rad": of_kind("vqa_closed")},
    prompt=prompt,
    reference=reference,
    answer=answer_closed,
    options=YES_NO,
    decoding=Decoding(max_new_tokens=8),
    metrics=METRICS,
    published=Count(251, "inferred: all published scores are multiples of 1/251, and 251 test answers are yes or no"),
    batch_size=64,
    version="1",
)
