"""PathVQA's test questions with any other answer than yes or no."""

from __future__ import annotations

from medmax_pipeline.eval.compat import OPEN_TOKENS
from medmax_pipeline.eval.open import METRICS, answer_open, score_open
from medmax_pipeline.eval.prompts import answer, chameleon_open, sft
from medmax_pipeline.eval.task import Count, Decoding, Task, of_kind, of_row

TASK = Task(
    task_name="pathvqa",
    question_type="open",
    rows={"pathvqa": of_kind("vqa_open"), "medmax_eval_data": of_row("pathvqa/open")},
    prompt=sft,
    chameleon_prompt=chameleon_open,
    reference=answer,
    answer=answer_open,
    score=score_open,
    decoding=Decoding(max_new_tokens=OPEN_TOKENS),
    metrics=METRICS,
    published=Count(1_000, "inferred: published scores are multiples of 1/1000, as they are of other numbers too"),
    batch_size=32,
    version="1",
)
