"""PathMMU's test questions on pathology, mostly with four options."""

from __future__ import annotations

from medmax_pipeline.eval.choice import METRICS, answer_choice
from medmax_pipeline.eval.prompts import chameleon_choice, sft, upper_answer
from medmax_pipeline.eval.task import Count, Decoding, Task, of_kind, of_row

TASK = Task(
    task_name="path_mmu",
    question_type="mcq",
    rows={"path_mmu": of_kind("vqa_mcq"), "medmax_eval_data": of_row("path_mmu/mcq")},
    prompt=sft,
    chameleon_prompt=chameleon_choice,
    reference=upper_answer,
    answer=answer_choice,
    decoding=Decoding(max_new_tokens=16),
    metrics=METRICS,
    published=Count(1_000, "inferred: published scores are multiples of 1/1000, as they are of other numbers too"),
    batch_size=64,
    version="1",
)
