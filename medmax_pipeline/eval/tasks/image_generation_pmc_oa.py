"""Captions of held-out PMC-OA articles, to be drawn."""

from __future__ import annotations

from medmax_pipeline.eval.generation import METRICS, SAMPLING, answer_generation, caption, score_generation
from medmax_pipeline.eval.task import Count, Task, of_kind

TASK = Task(
    task_name="image_generation",
    question_type="pmc_oa",
    rows={
        "pmc_oa": of_kind("captioning"),
        "medmax_eval_data": of_kind("generation", answer_type="image_generation/pmc_oa"),
    },
    prompt=caption,
    reference=caption,
    answer=answer_generation,
    score=score_generation,
    decoding=SAMPLING,
    metrics=METRICS,
    published=Count(100, "the released code scores the first 100 of each source; the set's size is not published"),
    batch_size=8,
    version="2",
)
