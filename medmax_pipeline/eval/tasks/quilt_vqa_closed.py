"""Quilt-VQA's closed questions, held to the yes or no that its publisher gives beside each answer."""

from __future__ import annotations

from medmax_pipeline.eval.closed import METRICS, answer_closed
from medmax_pipeline.eval.compat import YES_NO
from medmax_pipeline.eval.prompts import chameleon_closed, lower_answer, sft
from medmax_pipeline.eval.task import Count, Decoding, Task, of_kind, of_row

TASK = Task(
    task_name="quilt_vqa",
    question_type="closed",
    rows={"quilt_vqa": of_kind("vqa_closed"), "medmax_eval_data": of_row("quilt_vqa/closed")},
    prompt=sft,
    chameleon_prompt=chameleon_closed,
    reference=lower_answer,
    answer=answer_closed,
    options=YES_NO,
    decoding=Decoding(max_new_tokens=8),
    metrics=METRICS,
    published=Count(343, "the benchmark's closed questions, and published scores are multiples of 1/343"),
    batch_size=64,
    version="2",
)
