"""PathVQA's test questions whose answer is yes or no: 3,362, of which the published set holds a part."""

from __future__ import annotations

from medmax_pipeline.eval.closed import METRICS, answer_closed
from medmax_pipeline.eval.compat import YES_NO
from medmax_pipeline.eval.prompts import chameleon_closed, lower_answer, sft
from medmax_pipeline.eval.task import Count, Decoding, Task, of_kind, of_row

TASK = Task(
    task_name="pathvqa",
    question_type="closed",
    rows={"pathvqa": of_kind("vqa_closed"), "medmax_eval_data": of_row("pathvqa/closed")},
    prompt=sft,
    chameleon_prompt=chameleon_closed,
    reference=lower_answer,
    answer=answer_closed,
    options=YES_NO,
    decoding=Decoding(max_new_tokens=8),
    metrics=METRICS,
    published=Count(1_000, "inferred: published scores are multiples of 1/1000, as they are of other numbers too"),
    batch_size=64,
    version="2",
)
