"""SLAKE's English test questions whose answer is yes or no; its 61 other closed ones are in no row."""

from __future__ import annotations

from medmax_pipeline.eval.closed import METRICS, answer_closed
from medmax_pipeline.eval.compat import YES_NO
from medmax_pipeline.eval.prompts import chameleon_closed, lower_answer, sft
from medmax_pipeline.eval.task import Count, Decoding, Task, of_kind, of_row

TASK = Task(
    task_name="slake",
    question_type="closed",
    rows={"slake": of_kind("vqa_closed"), "medmax_eval_data": of_row("slake/closed")},
    prompt=sft,
    chameleon_prompt=chameleon_closed,
    reference=lower_answer,
    answer=answer_closed,
    options=YES_NO,
    decoding=Decoding(max_new_tokens=8),
    metrics=METRICS,
    published=Count(
        None, "not published; 355 English test answers are yes or no, which nearly fits the published scores"
    ),
    batch_size=64,
    version="2",
)
