"""Questions that PMC-OA's figures answer, replied to with text and a picture.

The published evaluation data is the only source: reference replies were written by a language model.
"""

from __future__ import annotations

from medmax_pipeline.eval.mm_out import (
    DECODING,
    METRICS,
    answer_mm_out,
    chameleon_prompt,
    prompt,
    reference,
    score_mm_out,
)
from medmax_pipeline.eval.task import Count, Task, of_kind

TASK = Task(
    task_name="mm_out",
    question_type="pmc_oa",
    rows={"medmax_eval_data": of_kind("interleaved", answer_type="mm_out/pmc_oa")},
    prompt=prompt,
    chameleon_prompt=chameleon_prompt,
    reference=reference,
    answer=answer_mm_out,
    score=score_mm_out,
    decoding=DECODING,
    metrics=METRICS,
    published=Count(None, "not published; paper, section 5"),
    batch_size=16,
    version="1",
)
