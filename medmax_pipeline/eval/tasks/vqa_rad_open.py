"""VQA-RAD's test questions with any other answer than yes or no, whatever its publisher calls them."""

from __future__ import annotations

from medmax_pipeline.eval.compat import OPEN_TOKENS
from medmax_pipeline.eval.open import METRICS, answer_open, score_open
from medmax_pipeline.eval.prompts import answer, chameleon_open, sft
from medmax_pipeline.eval.task import Count, Decoding, Task, of_kind, of_row

TASK = Task(
    task_name="vqa_rad",
    question_type="open",
    rows={"vqa_rad": of_kind("vqa_open"), "medmax_eval_data": of_row("vqa_rad/open")},
    prompt=sft,
    chameleon_prompt=chameleon_open,
    reference=answer,
    answer=answer_open,
    score=score_open,
    decoding=Decoding(max_new_tokens=OPEN_TOKENS),
    metrics=METRICS,
    published=Count(
        200, "inferred: published scores are multiples of 1/200, and 200 test answers are neither yes nor no"
    ),
    batch_size=32,
    version="1",
)
